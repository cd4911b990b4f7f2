# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judging a CA chain and its CRLs before nginx gets them, with nothing but the openssl command.

nginx takes any CRL that parses, and then locks everybody out if it is expired, from another CA, or missing for one CA of the
chain. So all of that is looked at here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from .._common.commands import run_command
from .._common.errors import MtlsError
from .._common.files import opened
from .._nginx.config_sandbox import private_directory
from .publication_reader import SERIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----", re.DOTALL)
_CRL = re.compile(r"-----BEGIN X509 CRL-----\n.*?-----END X509 CRL-----", re.DOTALL)
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n(.*?)-----END PUBLIC KEY-----\n", re.DOTALL)
_BEGIN = re.compile(r"-----BEGIN ")
_FIELD = re.compile(
    r"^(?P<key>subject|issuer|serial|notAfter|lastUpdate|nextUpdate|crlNumber|\w+ Fingerprint)=(?P<value>.*)$", re.M
)
# i2a_ASN1_INTEGER(), which also makes $ssl_client_serial.
_ENTRY = re.compile(r"^    Serial Number: (.*)$", re.M)
_HINT_CRL = "Write a new CRL on the CA host and publish it"


@dataclass(frozen=True)
class Ca:
    """A CA certificate. ``subject`` is in the form of RFC 2253, ``serial`` as in Crl.

    ``sha256`` is that of the certificate, ``key_sha256`` that of its public key (SubjectPublicKeyInfo), in lower-case hex.
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
        """Whether it names itself as its issuer; ``read_chain`` has verified the signature."""
        return self.subject == self.issuer


@dataclass(frozen=True)
class Crl:
    """A CRL whose signature one CA of the chain made. ``number`` is None if it has none.

    ``serials`` are what it revokes, in the form of ``$ssl_client_serial``: upper-case hex in whole bytes.
    """

    issuer: str
    issuer_sha256: str
    number: int | None
    last_update: datetime
    next_update: datetime
    serials: tuple[str, ...]

    @property
    def entries(self) -> int:
        """How many certificates it revokes."""
        return len(self.serials)


def read_chain(text: str, now: datetime) -> tuple[Ca, ...]:
    """Return the CA certificates of ``ca.pem``: one chain, or several where an authority and its successor are both trusted.

    :raises MtlsError: if one is no CA, has expired, has the name of another, or stands in no chain up to a self-signed root.
    """
    blocks = _CERTIFICATE.findall(text)
    if not blocks or len(blocks) != len(_BEGIN.findall(text)):
        raise MtlsError("ca.pem does not consist of whole PEM certificates", "Publish the chain again")
    chain = tuple(_read_ca(block) for block in blocks)
    for ca in chain:
        if ca.not_after <= now:
            raise MtlsError(
                f"The CA certificate of {ca.subject} ended on {_day(ca.not_after)}", "Renew the CA and publish"
            )
    _check_names(chain)
    _check_chains(chain)
    return chain


def read_installed_chain(text: str) -> tuple[Ca, ...]:
    """Return the CAs of a ``ca.pem`` that was accepted before, whatever their dates; what openssl cannot read is left out."""
    found = []
    for block in _CERTIFICATE.findall(text):
        try:
            found.append(_read_ca(block))
        except MtlsError:
            continue
    return tuple(found)


def read_crls(text: str, chain: Sequence[Ca], now: datetime) -> tuple[Crl, ...]:
    """Return the CRLs of ``crl.pem``: exactly one of every CA of ``chain``, in the chain's order.

    :raises MtlsError: naming the CA whose CRL is missing, damaged, not signed by it, not valid yet, or ended.
    """
    blocks = _CRL.findall(text)
    if len(blocks) != len(_BEGIN.findall(text)) or not blocks:
        raise MtlsError("crl.pem does not consist of whole PEM CRLs", _HINT_CRL)
    found: dict[str, Crl] = {}
    for block in blocks:
        crl = _read_crl(block, chain)
        if crl.issuer_sha256 in found:
            raise MtlsError(f"crl.pem holds two CRLs of {crl.issuer}", "Leave the older one out")
        _check_dates(crl, now)
        found[crl.issuer_sha256] = crl
    for ca in chain:
        if ca.sha256 not in found:
            raise MtlsError(
                f"crl.pem holds no CRL of {ca.subject}; nginx needs one of every CA in the chain, the root included",
                _HINT_CRL,
            )
    return tuple(found[ca.sha256] for ca in chain)


def known_crls(text: str, chain: Sequence[Ca]) -> dict[str, Crl]:
    """Return the CRLs in ``text`` by the SHA-256 of their CA, for those CAs of ``chain`` that made one. Dates are not judged."""
    found = {}
    for block in _CRL.findall(text):
        try:
            crl = _read_crl(block, chain)
        except MtlsError:
            continue  # of a CA that is not in the chain any more
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
        raise MtlsError(f"ca.pem holds a certificate that openssl cannot read: {done.words}", "Publish the chain again")
    key = _PUBLIC_KEY.search(done.out)
    if key is None:
        raise MtlsError("ca.pem holds a certificate whose public key openssl cannot read", "Publish the chain again")
    fields = _fields(_PUBLIC_KEY.sub("", done.out))
    fingerprint = next((value for key, value in fields.items() if key.lower() == "sha256 fingerprint"), "")
    return Ca(
        subject=fields["subject"],
        issuer=fields["issuer"],
        serial=fields["serial"],
        sha256=fingerprint.replace(":", "").lower(),
        not_after=_time(fields["notAfter"]),
        pem=pem,
        key_sha256=hashlib.sha256(base64.b64decode(key[1])).hexdigest(),
    )


def _check_names(chain: Sequence[Ca]) -> None:
    seen: set[str] = set()
    for ca in chain:
        if ca.subject in seen:
            raise MtlsError(
                f"ca.pem holds two certificates of {ca.subject}; nginx finds a CA and its CRL by that name",
                "Publish with role authority, which gives every CA once",
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
            # -check_ss_sig: the root's own signature as well. CRLs are judged apart.
            argv = ["openssl", "verify", "-check_ss_sig", "-no_check_time", "-CAfile", trusted, "-untrusted", others]
            done = run_command(argv, stdin=ca.pem.encode())
            basic = run_command(["openssl", "x509", "-noout", "-ext", "basicConstraints"], stdin=ca.pem.encode())
            if done.code != 0 or "CA:TRUE" not in basic.out:
                words = done.words if done.code != 0 else "it is not a CA (basicConstraints CA:TRUE)"
                raise MtlsError(f"{ca.subject} is no link of the chain in ca.pem: {words}", "Publish the chain again")


def _read_crl(pem: str, chain: Sequence[Ca]) -> Crl:
    with private_directory() as directory:
        # A file, because openssl takes twenty times as long to read a large CRL from a pipe.
        path = os.path.join(directory, "crl.pem")
        _write(path, pem)
        options = ["-issuer", "-lastupdate", "-nextupdate", "-crlnumber", "-nameopt", "RFC2253", "-text"]
        done = run_command(["openssl", "crl", "-in", path, "-noout", *options])
        if done.code != 0:
            raise MtlsError(f"crl.pem holds a CRL that openssl cannot read: {done.words}", _HINT_CRL)
        header = done.out.partition("Revoked Certificates:")[0]
        fields = _fields(header)
        signer = _signer(path, fields["issuer"], chain)
    issuer = fields["issuer"]
    if re.search(r"Issuing Distribution Point:\s*critical", header):
        raise MtlsError(
            f"The CRL of {issuer} has a critical Issuing Distribution Point, with which nginx refuses valid certificates",
            "Publish a complete CRL without that extension",
        )
    if fields.get("nextUpdate", "NONE") == "NONE":
        raise MtlsError(f"The CRL of {issuer} does not say when the next one comes (nextUpdate)", _HINT_CRL)
    return Crl(
        issuer=issuer,
        issuer_sha256=signer.sha256,
        number=_number(fields.get("crlNumber", "")),
        last_update=_time(fields["lastUpdate"]),
        next_update=_time(fields["nextUpdate"]),
        serials=_serials(done.out, issuer),
    )


def _serials(text: str, issuer: str) -> tuple[str, ...]:
    serials = tuple(_ENTRY.findall(text))
    odd = [serial for serial in serials if not SERIAL.fullmatch(serial)]
    if odd:
        raise MtlsError(
            f"The CRL of {issuer} revokes {ascii(odd[0])[:80]}, no serial number of at most 20 bytes (RFC 5280, 4.1.2.2)",
            _HINT_CRL,
        )
    return serials


def _signer(path: str, issuer: str, chain: Sequence[Ca]) -> Ca:
    candidates = [ca for ca in chain if ca.subject == issuer]
    if not candidates:
        raise MtlsError(
            f"crl.pem holds a CRL of {issuer}, a CA that is not in ca.pem", "Publish the CRLs of this chain"
        )
    certificate = os.path.join(os.path.dirname(path), "ca.pem")
    for ca in candidates:
        _write(certificate, ca.pem)
        done = run_command(["openssl", "crl", "-in", path, "-noout", "-verify", "-CAfile", certificate, "-no-CApath"])
        # Its exit code is 0 on "verify failure", too.
        if "verify OK" in done.err:
            return ca
    raise MtlsError(f"The CRL that names {issuer} was not signed by the CA of that name in ca.pem", _HINT_CRL)


def too_short(crls: Sequence[Crl], now: datetime, min_remaining: timedelta) -> list[MtlsError]:
    """Return what to say of the CRLs that live shorter than that still."""
    return [
        MtlsError(
            f"The CRL of {crl.issuer} ends on {_day(crl.next_update)}, sooner than min_remaining ({min_remaining}) allows",
            _HINT_CRL,
        )
        for crl in crls
        if crl.next_update - now < min_remaining
    ]


def _check_dates(crl: Crl, now: datetime) -> None:
    if crl.last_update > now:
        raise MtlsError(
            f"The CRL of {crl.issuer} is valid from {_day(crl.last_update)} on only, which is in the future here",
            "Set the clocks of this host and of the CA host",
        )
    if crl.next_update <= now:
        raise MtlsError(f"The CRL of {crl.issuer} ended on {_day(crl.next_update)}: nobody could get in", _HINT_CRL)


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _FIELD.finditer(text):
        found.setdefault(match["key"], match["value"])
    return found


def _number(text: str) -> int | None:
    # OpenSSL 3 prints 0x1000, 1.1.1 prints 1000, both mean hexadecimal.
    return int(text, 16) if re.fullmatch(r"(?:0x)?[0-9A-Fa-f]+", text) else None


def _time(text: str) -> datetime:
    # Not strptime: its month names depend on the locale.
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), timezone.utc)


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _write(path: str, text: str) -> None:
    with opened(path, "w", encoding="ascii") as file:
        file.write(text + "\n")
