# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Map texts of a guarded path to the characters beyond ASCII that Unicode folds to them.

Written by tools/make_look_alikes.py from Unicode 14.0.0, with the letters that Unicode 16 added; changes made here are lost.
"""

from __future__ import annotations

# Folded text -> code points in hexadecimal, for NFKC and case mappings in any order.
LOOK_ALIKES = {
    "+": "207a 208a fb29 fe62 ff0b",
    "-": "fe63 ff0d",
    ".": "2024 fe52 ff0e",
    "/": "ff0f",
    "0": "2070 2080 24ea ff10 1ccf0 1d7ce 1d7d8 1d7e2 1d7ec 1d7f6 1fbf0",
    "1": "b9 2081 2460 ff11 1ccf1 1d7cf 1d7d9 1d7e3 1d7ed 1d7f7 1fbf1",
    "2": "b2 2082 2461 ff12 1ccf2 1d7d0 1d7da 1d7e4 1d7ee 1d7f8 1fbf2",
    "3": "b3 2083 2462 ff13 1ccf3 1d7d1 1d7db 1d7e5 1d7ef 1d7f9 1fbf3",
    "4": "2074 2084 2463 ff14 1ccf4 1d7d2 1d7dc 1d7e6 1d7f0 1d7fa 1fbf4",
    "5": "2075 2085 2464 ff15 1ccf5 1d7d3 1d7dd 1d7e7 1d7f1 1d7fb 1fbf5",
    "6": "2076 2086 2465 ff16 1ccf6 1d7d4 1d7de 1d7e8 1d7f2 1d7fc 1fbf6",
    "7": "2077 2087 2466 ff17 1ccf7 1d7d5 1d7df 1d7e9 1d7f3 1d7fd 1fbf7",
    "8": "2078 2088 2467 ff18 1ccf8 1d7d6 1d7e0 1d7ea 1d7f4 1d7fe 1fbf8",
    "9": "2079 2089 2468 ff19 1ccf9 1d7d7 1d7e1 1d7eb 1d7f5 1d7ff 1fbf9",
    "@": "fe6b ff20",
    "_": "fe33 fe34 fe4d fe4e fe4f ff3f",
    "a": (
        "aa 1d2c 1d43 2090 24b6 24d0 ff21 ff41 1ccd6 1d400 1d41a 1d434 1d44e 1d468 1d482 1d49c 1d4b6 1d4d0 "
        "1d4ea 1d504 1d51e 1d538 1d552 1d56c 1d586 1d5a0 1d5ba 1d5d4 1d5ee 1d608 1d622 1d63c 1d656 1d670 "
        "1d68a 1f130"
    ),
    "b": (
        "1d2e 1d47 212c 24b7 24d1 ff22 ff42 1ccd7 1d401 1d41b 1d435 1d44f 1d469 1d483 1d4b7 1d4d1 1d4eb 1d505"
        " 1d51f 1d539 1d553 1d56d 1d587 1d5a1 1d5bb 1d5d5 1d5ef 1d609 1d623 1d63d 1d657 1d671 1d68b 1f131"
    ),
    "c": (
        "1d9c 2102 212d 216d 217d 24b8 24d2 a7f2 ff23 ff43 1ccd8 1d402 1d41c 1d436 1d450 1d46a 1d484 1d49e "
        "1d4b8 1d4d2 1d4ec 1d520 1d554 1d56e 1d588 1d5a2 1d5bc 1d5d6 1d5f0 1d60a 1d624 1d63e 1d658 1d672 "
        "1d68c 1f12b 1f132"
    ),
    "d": (
        "1d30 1d48 2145 2146 216e 217e 24b9 24d3 ff24 ff44 1ccd9 1d403 1d41d 1d437 1d451 1d46b 1d485 1d49f "
        "1d4b9 1d4d3 1d4ed 1d507 1d521 1d53b 1d555 1d56f 1d589 1d5a3 1d5bd 1d5d7 1d5f1 1d60b 1d625 1d63f "
        "1d659 1d673 1d68d 1f133"
    ),
    "e": (
        "1d31 1d49 2091 212f 2130 2147 24ba 24d4 ff25 ff45 1ccda 1d404 1d41e 1d438 1d452 1d46c 1d486 1d4d4 "
        "1d4ee 1d508 1d522 1d53c 1d556 1d570 1d58a 1d5a4 1d5be 1d5d8 1d5f2 1d60c 1d626 1d640 1d65a 1d674 "
        "1d68e 1f134"
    ),
    "f": (
        "1da0 2131 24bb 24d5 a7f3 ff26 ff46 1ccdb 1d405 1d41f 1d439 1d453 1d46d 1d487 1d4bb 1d4d5 1d4ef 1d509"
        " 1d523 1d53d 1d557 1d571 1d58b 1d5a5 1d5bf 1d5d9 1d5f3 1d60d 1d627 1d641 1d65b 1d675 1d68f 1f135"
    ),
    "g": (
        "1d33 1d4d 210a 24bc 24d6 ff27 ff47 1ccdc 1d406 1d420 1d43a 1d454 1d46e 1d488 1d4a2 1d4d6 1d4f0 1d50a"
        " 1d524 1d53e 1d558 1d572 1d58c 1d5a6 1d5c0 1d5da 1d5f4 1d60e 1d628 1d642 1d65c 1d676 1d690 1f136"
    ),
    "h": (
        "2b0 1d34 2095 210b 210c 210d 210e 24bd 24d7 ff28 ff48 1ccdd 1d407 1d421 1d43b 1d46f 1d489 1d4bd "
        "1d4d7 1d4f1 1d525 1d559 1d573 1d58d 1d5a7 1d5c1 1d5db 1d5f5 1d60f 1d629 1d643 1d65d 1d677 1d691 "
        "1f137"
    ),
    "i": (
        "130 131 1d35 1d62 2071 2110 2111 2139 2148 2160 2170 24be 24d8 ff29 ff49 1ccde 1d408 1d422 1d43c "
        "1d456 1d470 1d48a 1d4be 1d4d8 1d4f2 1d526 1d540 1d55a 1d574 1d58e 1d5a8 1d5c2 1d5dc 1d5f6 1d610 "
        "1d62a 1d644 1d65e 1d678 1d692 1d6a4 1f138"
    ),
    "j": (
        "2b2 1d36 2149 24bf 24d9 2c7c ff2a ff4a 1ccdf 1d409 1d423 1d43d 1d457 1d471 1d48b 1d4a5 1d4bf 1d4d9 "
        "1d4f3 1d50d 1d527 1d541 1d55b 1d575 1d58f 1d5a9 1d5c3 1d5dd 1d5f7 1d611 1d62b 1d645 1d65f 1d679 "
        "1d693 1f139"
    ),
    "k": (
        "1d37 1d4f 2096 212a 24c0 24da ff2b ff4b 1cce0 1d40a 1d424 1d43e 1d458 1d472 1d48c 1d4a6 1d4c0 1d4da "
        "1d4f4 1d50e 1d528 1d542 1d55c 1d576 1d590 1d5aa 1d5c4 1d5de 1d5f8 1d612 1d62c 1d646 1d660 1d67a "
        "1d694 1f13a"
    ),
    "l": (
        "2e1 1d38 2097 2112 2113 216c 217c 24c1 24db ff2c ff4c 1cce1 1d40b 1d425 1d43f 1d459 1d473 1d48d "
        "1d4c1 1d4db 1d4f5 1d50f 1d529 1d543 1d55d 1d577 1d591 1d5ab 1d5c5 1d5df 1d5f9 1d613 1d62d 1d647 "
        "1d661 1d67b 1d695 1f13b"
    ),
    "m": (
        "1d39 1d50 2098 2133 216f 217f 24c2 24dc ff2d ff4d 1cce2 1d40c 1d426 1d440 1d45a 1d474 1d48e 1d4c2 "
        "1d4dc 1d4f6 1d510 1d52a 1d544 1d55e 1d578 1d592 1d5ac 1d5c6 1d5e0 1d5fa 1d614 1d62e 1d648 1d662 "
        "1d67c 1d696 1f13c"
    ),
    "n": (
        "1d3a 207f 2099 2115 24c3 24dd ff2e ff4e 1cce3 1d40d 1d427 1d441 1d45b 1d475 1d48f 1d4a9 1d4c3 1d4dd "
        "1d4f7 1d511 1d52b 1d55f 1d579 1d593 1d5ad 1d5c7 1d5e1 1d5fb 1d615 1d62f 1d649 1d663 1d67d 1d697 "
        "1f13d"
    ),
    "o": (
        "ba 1d3c 1d52 2092 2134 24c4 24de ff2f ff4f 1cce4 1d40e 1d428 1d442 1d45c 1d476 1d490 1d4aa 1d4de "
        "1d4f8 1d512 1d52c 1d546 1d560 1d57a 1d594 1d5ae 1d5c8 1d5e2 1d5fc 1d616 1d630 1d64a 1d664 1d67e "
        "1d698 1f13e"
    ),
    "p": (
        "1d3e 1d56 209a 2119 24c5 24df ff30 ff50 1cce5 1d40f 1d429 1d443 1d45d 1d477 1d491 1d4ab 1d4c5 1d4df "
        "1d4f9 1d513 1d52d 1d561 1d57b 1d595 1d5af 1d5c9 1d5e3 1d5fd 1d617 1d631 1d64b 1d665 1d67f 1d699 "
        "1f13f"
    ),
    "q": (
        "211a 24c6 24e0 a7f4 ff31 ff51 107a5 1cce6 1d410 1d42a 1d444 1d45e 1d478 1d492 1d4ac 1d4c6 1d4e0 "
        "1d4fa 1d514 1d52e 1d562 1d57c 1d596 1d5b0 1d5ca 1d5e4 1d5fe 1d618 1d632 1d64c 1d666 1d680 1d69a "
        "1f140"
    ),
    "r": (
        "2b3 1d3f 1d63 211b 211c 211d 24c7 24e1 ff32 ff52 1cce7 1d411 1d42b 1d445 1d45f 1d479 1d493 1d4c7 "
        "1d4e1 1d4fb 1d52f 1d563 1d57d 1d597 1d5b1 1d5cb 1d5e5 1d5ff 1d619 1d633 1d64d 1d667 1d681 1d69b "
        "1f12c 1f141"
    ),
    "s": (
        "17f 2e2 209b 24c8 24e2 ff33 ff53 1cce8 1d412 1d42c 1d446 1d460 1d47a 1d494 1d4ae 1d4c8 1d4e2 1d4fc "
        "1d516 1d530 1d54a 1d564 1d57e 1d598 1d5b2 1d5cc 1d5e6 1d600 1d61a 1d634 1d64e 1d668 1d682 1d69c "
        "1f142"
    ),
    "t": (
        "1d40 1d57 209c 24c9 24e3 ff34 ff54 1cce9 1d413 1d42d 1d447 1d461 1d47b 1d495 1d4af 1d4c9 1d4e3 1d4fd"
        " 1d517 1d531 1d54b 1d565 1d57f 1d599 1d5b3 1d5cd 1d5e7 1d601 1d61b 1d635 1d64f 1d669 1d683 1d69d "
        "1f143"
    ),
    "u": (
        "1d41 1d58 1d64 24ca 24e4 ff35 ff55 1ccea 1d414 1d42e 1d448 1d462 1d47c 1d496 1d4b0 1d4ca 1d4e4 1d4fe"
        " 1d518 1d532 1d54c 1d566 1d580 1d59a 1d5b4 1d5ce 1d5e8 1d602 1d61c 1d636 1d650 1d66a 1d684 1d69e "
        "1f144"
    ),
    "v": (
        "1d5b 1d65 2164 2174 24cb 24e5 2c7d ff36 ff56 1cceb 1d415 1d42f 1d449 1d463 1d47d 1d497 1d4b1 1d4cb "
        "1d4e5 1d4ff 1d519 1d533 1d54d 1d567 1d581 1d59b 1d5b5 1d5cf 1d5e9 1d603 1d61d 1d637 1d651 1d66b "
        "1d685 1d69f 1f145"
    ),
    "w": (
        "2b7 1d42 24cc 24e6 ff37 ff57 1ccec 1d416 1d430 1d44a 1d464 1d47e 1d498 1d4b2 1d4cc 1d4e6 1d500 1d51a"
        " 1d534 1d54e 1d568 1d582 1d59c 1d5b6 1d5d0 1d5ea 1d604 1d61e 1d638 1d652 1d66c 1d686 1d6a0 1f146"
    ),
    "x": (
        "2e3 2093 2169 2179 24cd 24e7 ff38 ff58 1cced 1d417 1d431 1d44b 1d465 1d47f 1d499 1d4b3 1d4cd 1d4e7 "
        "1d501 1d51b 1d535 1d54f 1d569 1d583 1d59d 1d5b7 1d5d1 1d5eb 1d605 1d61f 1d639 1d653 1d66d 1d687 "
        "1d6a1 1f147"
    ),
    "y": (
        "2b8 24ce 24e8 ff39 ff59 1ccee 1d418 1d432 1d44c 1d466 1d480 1d49a 1d4b4 1d4ce 1d4e8 1d502 1d51c "
        "1d536 1d550 1d56a 1d584 1d59e 1d5b8 1d5d2 1d5ec 1d606 1d620 1d63a 1d654 1d66e 1d688 1d6a2 1f148"
    ),
    "z": (
        "1dbb 2124 2128 24cf 24e9 ff3a ff5a 1ccef 1d419 1d433 1d44d 1d467 1d481 1d49b 1d4b5 1d4cf 1d4e9 1d503"
        " 1d537 1d56b 1d585 1d59f 1d5b9 1d5d3 1d5ed 1d607 1d621 1d63b 1d655 1d66f 1d689 1d6a3 1f149"
    ),
    "~": "ff5e",
    "..": "2025 fe30",
    "0.": "1f100",
    "1.": "2488",
    "10": "2469",
    "11": "246a",
    "12": "246b",
    "13": "246c",
    "14": "246d",
    "15": "246e",
    "16": "246f",
    "17": "2470",
    "18": "2471",
    "19": "2472",
    "2.": "2489",
    "20": "2473",
    "21": "3251",
    "22": "3252",
    "23": "3253",
    "24": "3254",
    "25": "3255",
    "26": "3256",
    "27": "3257",
    "28": "3258",
    "29": "3259",
    "3.": "248a",
    "30": "325a",
    "31": "325b",
    "32": "325c",
    "33": "325d",
    "34": "325e",
    "35": "325f",
    "36": "32b1",
    "37": "32b2",
    "38": "32b3",
    "39": "32b4",
    "4.": "248b",
    "40": "32b5",
    "41": "32b6",
    "42": "32b7",
    "43": "32b8",
    "44": "32b9",
    "45": "32ba",
    "46": "32bb",
    "47": "32bc",
    "48": "32bd",
    "49": "32be",
    "5.": "248c",
    "50": "32bf",
    "6.": "248d",
    "7.": "248e",
    "8.": "248f",
    "9.": "2490",
    "au": "3373",
    "bq": "33c3",
    "cc": "33c4",
    "cd": "33c5 1f12d",
    "cm": "339d",
    "da": "3372",
    "db": "33c8",
    "dj": "1f190",
    "dl": "3397",
    "dm": "3377",
    "dz": "1f1 1f2 1f3",
    "ev": "32ce",
    "ff": "fb00",
    "fi": "fb01",
    "fl": "fb02",
    "fm": "3399",
    "gb": "3387",
    "gy": "33c9",
    "ha": "33ca",
    "hg": "32cc",
    "hp": "33cb",
    "hv": "1f14a",
    "hz": "3390",
    "ii": "2161 2171",
    "ij": "132 133",
    "in": "33cc",
    "iu": "337a",
    "iv": "2163 2173",
    "ix": "2168 2178",
    "ka": "3384",
    "kb": "3385",
    "kg": "338f",
    "kk": "33cd",
    "kl": "3398",
    "km": "339e 33ce",
    "kt": "33cf",
    "kv": "33b8",
    "kw": "33be",
    "lj": "1c7 1c8 1c9",
    "lm": "33d0",
    "ln": "33d1",
    "lx": "33d3",
    "m2": "33a1",
    "m3": "33a5",
    "ma": "3383",
    "mb": "3386 33d4",
    "mc": "1f16a",
    "md": "1f16b",
    "mg": "338e",
    "ml": "3396",
    "mm": "339c",
    "mr": "1f16c",
    "ms": "33b3",
    "mv": "33b7 33b9 1f14b",
    "mw": "33bd 33bf",
    "na": "3381",
    "nf": "338b",
    "nj": "1ca 1cb 1cc",
    "nm": "339a",
    "no": "2116",
    "ns": "33b1",
    "nv": "33b5",
    "nw": "33bb",
    "ov": "3375",
    "pa": "3380 33a9",
    "pc": "3376",
    "pf": "338a",
    "ph": "33d7",
    "pr": "33da",
    "ps": "33b0",
    "pv": "33b4",
    "pw": "33ba",
    "rs": "20a8",
    "sd": "1f14c",
    "sm": "2120",
    "sr": "33db",
    "ss": "df 1e9e 1f14d",
    "st": "fb05 fb06",
    "sv": "33dc",
    "tm": "2122",
    "vi": "2165 2175",
    "wb": "33dd",
    "wc": "1f14f",
    "wz": "1f12e",
    "xi": "216a 217a",
    "...": "2026 fe19",
    "10.": "2491",
    "11.": "2492",
    "12.": "2493",
    "13.": "2494",
    "14.": "2495",
    "15.": "2496",
    "16.": "2497",
    "17.": "2498",
    "18.": "2499",
    "19.": "249a",
    "20.": "249b",
    "a/c": "2100",
    "a/s": "2101",
    "bar": "3374",
    "c/o": "2105",
    "c/u": "2106",
    "cal": "3388",
    "cm2": "33a0",
    "cm3": "33a4",
    "co.": "33c7",
    "dm2": "3378",
    "dm3": "3379",
    "erg": "32cd",
    "fax": "213b",
    "ffi": "fb03",
    "ffl": "fb04",
    "gal": "33ff",
    "ghz": "3393",
    "gpa": "33ac",
    "hpa": "3371",
    "iii": "2162 2172",
    "khz": "3391",
    "km2": "33a2",
    "km3": "33a6",
    "kpa": "33aa",
    "log": "33d2",
    "ltd": "32cf",
    "mhz": "3392",
    "mil": "33d5",
    "mm2": "339f",
    "mm3": "33a3",
    "mol": "33d6",
    "mpa": "33ab",
    "ppm": "33d9",
    "ppv": "1f14e",
    "pte": "3250",
    "rad": "33ad",
    "tel": "2121",
    "thz": "3394",
    "vii": "2166 2176",
    "xii": "216b 217b",
    "a.m.": "33c2",
    "kcal": "3389",
    "p.m.": "33d8",
    "viii": "2167 2177",
}

# First and last code point, in hexadecimal, of characters that are folded to separators, or that programs drop.
SEPARATORS = (
    ("80", "a0"),
    ("ad", "ad"),
    ("34f", "34f"),
    ("37e", "37e"),
    ("61c", "61c"),
    ("115f", "1160"),
    ("1680", "1680"),
    ("17b4", "17b5"),
    ("180b", "180f"),
    ("2000", "206f"),
    ("3000", "3000"),
    ("3164", "3164"),
    ("fe00", "fe0f"),
    ("fe14", "fe14"),
    ("fe16", "fe16"),
    ("fe19", "fe19"),
    ("fe30", "fe30"),
    ("fe52", "fe52"),
    ("fe54", "fe54"),
    ("fe56", "fe56"),
    ("fe5f", "fe5f"),
    ("fe68", "fe68"),
    ("fe6a", "fe6a"),
    ("feff", "feff"),
    ("ff03", "ff03"),
    ("ff05", "ff05"),
    ("ff0e", "ff0f"),
    ("ff1b", "ff1b"),
    ("ff1f", "ff1f"),
    ("ff3c", "ff3c"),
    ("ffa0", "ffa0"),
    ("fff0", "fff8"),
)
