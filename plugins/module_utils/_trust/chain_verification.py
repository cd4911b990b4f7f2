# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a CA chain and its CRLs with the openssl command before nginx uses them.

nginx loads any CRL that parses, and then rejects every client if the CRL has expired, is from another CA, or is missing for a CA
of the chain. All of that is checked here.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .._common.commands import run_command
from .._common.errors import MtlsError
from .._common.files import opened
from .._common.pem import CERTIFICATE, CRL, PUBLIC_KEY, decode_pem, remove_pem, split_pem, split_whole_pem
from .._common.timestamps import in_words_to_the_minute, parse_openssl
from .._nginx.config_sandbox import private_directory
from .publication_reader import SERIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIELD = re.compile(
    r"^(?P<key>subject|issuer|serial|notAfter|lastUpdate|nextUpdate|crlNumber|\w+ Fingerprint)=(?P<value>.*)$", re.M
)
# openssl prints serials with i2a_ASN1_INTEGER(), as nginx does for $ssl_client_serial.
_ENTRY = re.compile(r"^    Serial Number: (.*)$", re.M)
_HINT_CRL = "Write a new CRL on the CA host and publish it"


@dataclass(frozen=True)
class Ca:
    """A CA certificate. ``subject`` is in the form of RFC 2253, ``serial`` as in Crl.

    ``sha256`` is the digest of the certificate, ``key_sha256`` that of its public key (SubjectPublicKeyInfo), in lower-case hex.
    """

    subject: str
    issuer: str
    serial: str
    sha256: str
    not_after: datetime
    pem: str
    key_sha256: str

    @property
    def is_root(self) -> bool:
        """Whether subject and issuer are equal; ``read_chain`` has verified the signature."""
        return self.subject == self.issuer


@dataclass(frozen=True)
class Crl:
    """A CRL that a CA of the chain signed. ``number`` is None if it has none.

    ``serials`` are the revoked serials in the form of ``$ssl_client_serial``: upper-case hex in whole bytes.
    """

    issuer: str
    issuer_sha256: str
    number: int | None
    last_update: datetime
    next_update: datetime
    serials: tuple[str, ...]

    @property
    def entries(self) -> int:
        """The number of certificates that it revokes."""
        return len(self.serials)


def read_chain(text: str, now: datetime) -> tuple[Ca, ...]:
    """Return the CA certificates of ``ca.pem``: one chain, or several where an authority and its successor are both trusted.

    :raises MtlsError: if one is not a CA, has expired, shares its name, or has no chain up to a self-signed root.
    """
    try:
        blocks = split_whole_pem(text, CERTIFICATE)
    except ValueError:
        raise MtlsError(
            "ca.pem: the text does not consist of whole PEM certificates", "Publish the chain again"
        ) from None
    chain = tuple(_read_ca(block) for block in blocks)
    for ca in chain:
        if ca.not_after <= now:
            raise MtlsError(
                f"The CA certificate of {ca.subject} expired on {in_words_to_the_minute(ca.not_after)}",
                "Renew the CA and publish",
            )
    _check_names(chain)
    _check_chains(chain)
    return chain


def read_installed_chain(text: str) -> tuple[Ca, ...]:
    """Return the CAs of an accepted ``ca.pem``, expired ones included. Skip certificates that openssl cannot read."""
    found = []
    for block in split_pem(text, CERTIFICATE):
        try:
            found.append(_read_ca(block))
        except MtlsError:
            continue
    return tuple(found)


def read_crls(text: str, chain: Sequence[Ca], now: datetime) -> tuple[Crl, ...]:
    """Return the CRLs of ``crl.pem``: exactly one for each CA of ``chain``, in the order of the chain.

    :raises MtlsError: with the CA whose CRL is missing, damaged, not signed by it, not valid yet, or expired.
    """
    try:
        blocks = split_whole_pem(text, CRL)
    except ValueError:
        raise MtlsError("crl.pem: the text does not consist of whole PEM CRLs", _HINT_CRL) from None
    found: dict[str, Crl] = {}
    for block in blocks:
        crl = _read_crl(block, chain)
        if crl.issuer_sha256 in found:
            raise MtlsError(f"crl.pem contains more than one CRL of {crl.issuer}", "Remove the older one")
        _check_dates(crl, now)
        found[crl.issuer_sha256] = crl
    for ca in chain:
        if ca.sha256 not in found:
            raise MtlsError(
                f"crl.pem contains no CRL of {ca.subject}; nginx needs one for every CA in the chain, the root included",
                _HINT_CRL,
            )
    return tuple(found[ca.sha256] for ca in chain)


def known_crls(text: str, chain: Sequence[Ca]) -> dict[str, Crl]:
    """Return the CRLs in ``text`` by the SHA-256 of their CA, for CAs of ``chain`` only. Dates are not checked."""
    found = {}
    for block in split_pem(text, CRL):
        try:
            crl = _read_crl(block, chain)
        except MtlsError:
            continue  # Its CA is not in the chain any more.
        found[crl.issuer_sha256] = crl
    return found


def _read_ca(pem: str) -> Ca:
    options = [
        "-subject",
        "-issuer",
        "-serial",
        "-enddate",
        "-fingerprint",
        "-sha256",
        "-nameopt",
        "RFC2253",
        "-pubkey",
    ]
    done = run_command(["openssl", "x509", "-noout", *options], stdin=pem.encode())
    if done.code != 0:
        raise MtlsError(
            f"ca.pem contains a certificate that openssl cannot read: {done.words}", "Publish the chain again"
        )
    keys = split_pem(done.out, PUBLIC_KEY)
    if not keys:
        raise MtlsError("ca.pem contains a certificate whose public key openssl cannot read", "Publish the chain again")
    fields = _read_fields(remove_pem(done.out, PUBLIC_KEY))
    fingerprint = next((value for key, value in fields.items() if key.lower() == "sha256 fingerprint"), "")
    return Ca(
        subject=fields["subject"],
        issuer=fields["issuer"],
        serial=fields["serial"],
        sha256=fingerprint.replace(":", "").lower(),
        not_after=parse_openssl(fields["notAfter"]),
        pem=pem,
        key_sha256=hashlib.sha256(decode_pem(keys[0])).hexdigest(),
    )


def _check_names(chain: Sequence[Ca]) -> None:
    seen: set[str] = set()
    for ca in chain:
        if ca.subject in seen:
            raise MtlsError(
                f"ca.pem contains more than one certificate of {ca.subject}; nginx selects a CA and its CRL by that name",
                "Publish with role authority, which publishes each CA only once",
            )
        seen.add(ca.subject)


def _check_chains(chain: Sequence[Ca]) -> None:
    roots = [ca for ca in chain if ca.is_root]
    if not roots:
        raise MtlsError(
            f"ca.pem ends with {chain[-1].subject}, which is not a self-signed root; nginx needs the whole chain",
            "Publish the chain with the root as its last certificate",
        )
    with private_directory() as directory:
        trusted, others = (os.path.join(directory, name) for name in ("roots.pem", "others.pem"))
        _write(trusted, "\n".join(ca.pem for ca in roots))
        _write(others, "\n".join(ca.pem for ca in chain))
        for ca in chain:
            # -check_ss_sig verifies the signature of the root, too. CRLs are checked separately.
            argv = ["openssl", "verify", "-check_ss_sig", "-no_check_time", "-CAfile", trusted, "-untrusted", others]
            done = run_command(argv, stdin=ca.pem.encode())
            basic = run_command(["openssl", "x509", "-noout", "-ext", "basicConstraints"], stdin=ca.pem.encode())
            if done.code != 0 or "CA:TRUE" not in basic.out:
                words = done.words if done.code != 0 else "it is not a CA (basicConstraints CA:TRUE)"
                raise MtlsError(
                    f"{ca.subject} is not part of a valid chain in ca.pem: {words}", "Publish the chain again"
                )


def _read_crl(pem: str, chain: Sequence[Ca]) -> Crl:
    with private_directory() as directory:
        # openssl reads a large CRL twenty times as fast from a file as from a pipe.
        path = os.path.join(directory, "crl.pem")
        _write(path, pem)
        options = ["-issuer", "-lastupdate", "-nextupdate", "-crlnumber", "-nameopt", "RFC2253", "-text"]
        done = run_command(["openssl", "crl", "-in", path, "-noout", *options])
        if done.code != 0:
            raise MtlsError(f"crl.pem contains a CRL that openssl cannot read: {done.words}", _HINT_CRL)
        header = done.out.partition("Revoked Certificates:")[0]
        fields = _read_fields(header)
        signer = _find_signer(path, fields["issuer"], chain)
    issuer = fields["issuer"]
    if re.search(r"Issuing Distribution Point:\s*critical", header):
        raise MtlsError(
            f"The CRL of {issuer} has a critical Issuing Distribution Point, with which nginx rejects valid certificates",
            "Publish a complete CRL without that extension",
        )
    if fields.get("nextUpdate", "NONE") == "NONE":
        raise MtlsError(f"The CRL of {issuer} has no time of the next update (nextUpdate)", _HINT_CRL)
    return Crl(
        issuer=issuer,
        issuer_sha256=signer.sha256,
        number=_parse_number(fields.get("crlNumber", "")),
        last_update=parse_openssl(fields["lastUpdate"]),
        next_update=parse_openssl(fields["nextUpdate"]),
        serials=_read_serials(done.out, issuer),
    )


def _read_serials(text: str, issuer: str) -> tuple[str, ...]:
    serials = tuple(_ENTRY.findall(text))
    invalid = [serial for serial in serials if not SERIAL.fullmatch(serial)]
    if invalid:
        raise MtlsError(
            f"The CRL of {issuer} revokes {ascii(invalid[0])[:80]}, which is not a valid serial number (RFC 5280, 4.1.2.2)",
            _HINT_CRL,
        )
    return serials


def _find_signer(path: str, issuer: str, chain: Sequence[Ca]) -> Ca:
    candidates = [ca for ca in chain if ca.subject == issuer]
    if not candidates:
        raise MtlsError(
            f"crl.pem contains a CRL of {issuer}, a CA that is not in ca.pem", "Publish the CRLs of this chain"
        )
    certificate = os.path.join(os.path.dirname(path), "ca.pem")
    for ca in candidates:
        _write(certificate, ca.pem)
        done = run_command(["openssl", "crl", "-in", path, "-noout", "-verify", "-CAfile", certificate, "-no-CApath"])
        # openssl exits with 0 on "verify failure", too.
        if "verify OK" in done.err:
            return ca
    raise MtlsError(f"The CRL of {issuer} was not signed by the CA of that name in ca.pem", _HINT_CRL)


def too_short(crls: Sequence[Crl], now: datetime, min_remaining: timedelta) -> list[MtlsError]:
    """Return an error for each CRL that expires within ``min_remaining``."""
    return [
        MtlsError(
            f"The CRL of {crl.issuer} expires on {in_words_to_the_minute(crl.next_update)}, "
            f"earlier than trust_min_remaining ({min_remaining}) allows",
            _HINT_CRL,
        )
        for crl in crls
        if crl.next_update - now < min_remaining
    ]


def _check_dates(crl: Crl, now: datetime) -> None:
    if crl.last_update > now:
        raise MtlsError(
            f"The CRL of {crl.issuer} is not valid before {in_words_to_the_minute(crl.last_update)}, which is in the future",
            "Correct the clocks of this host and of the CA host",
        )
    if crl.next_update <= now:
        raise MtlsError(
            f"The CRL of {crl.issuer} expired on {in_words_to_the_minute(crl.next_update)}, so nginx would reject every client",
            _HINT_CRL,
        )


def _read_fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _FIELD.finditer(text):
        found.setdefault(match["key"], match["value"])
    return found


def _parse_number(text: str) -> int | None:
    # OpenSSL 3 prints 0x1000 and 1.1.1 prints 1000; both are hexadecimal.
    return int(text, 16) if re.fullmatch(r"(?:0x)?[0-9A-Fa-f]+", text) else None


def _write(path: str, text: str) -> None:
    with opened(path, "w", encoding="ascii") as file:
        file.write(text + "\n")
