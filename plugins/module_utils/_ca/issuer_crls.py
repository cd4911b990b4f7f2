# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep verified copies of the CRLs of an issuing CA's issuers, and a file with the CRLs of the chain.

The verification of a client's certificate needs the CRL of every CA up to the root CA (RFC 5280 section 6.3), which may be away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import PUBLIC_FILE, opened, write_atomic
from .._common.pem import CRL, split_pem
from .._common.timestamps import iso
from .._x509.names import rfc2253
from .authority import load_certificate
from .chain import load_chain
from .layout import check_path, readable_authority

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from datetime import datetime

    from .chain import Chain
    from .layout import Layout

HINT = (
    "Bring its directory back, or write a CRL on its host, and run module crl with issuer or with issuer_crl; its directory "
    "can be removed afterwards"
)


@dataclass(frozen=True)
class Copy:
    """The copy of one issuer's CRL: the name of the CA (RFC 2253), and the CRL, if there is one."""

    issuer: str
    crl: x509.CertificateRevocationList | None


@dataclass(frozen=True)
class Outcome:
    """The replaced copies (in check mode: predicted) and why, all copies in the chain's order, and warnings."""

    changes: list[str]
    copies: list[Copy]
    warnings: list[str]


@dataclass(frozen=True)
class Offer:
    """The sources of new CRLs.

    :param issuer: directory of the issuer; it may be away.
    :param handed_over: file with a CRL from another host, PEM or DER.
    """

    issuer: str | None = None
    handed_over: str | None = None


def chain_of(path: str) -> Chain:
    """Return the chain of the authority at ``path``, without reading its database."""
    layout = readable_authority(path)
    return load_chain(layout, load_certificate(layout.certificate))


def copies(layout: Layout, chain: Chain) -> list[Copy]:
    """Return the stored CRL of every CA of ``chain`` except the first."""
    stored = _read(layout.issuer_crls)
    return [Copy(rfc2253(ca.subject), _newest(_signed_by(ca, stored))) for ca in chain[1:]]


def number_of(crl: x509.CertificateRevocationList) -> int:
    """Return a CRL's number (RFC 5280 section 5.2.3), or 0 if it has none."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def why_unfit(crl: x509.CertificateRevocationList | None, least: timedelta, now: datetime) -> str | None:
    """Return why a CRL is not good enough, or None.

    :param least: the minimum of its remaining validity.
    """
    if crl is None:
        return "there is none"
    if crl.last_update_utc > now:
        return f"it begins only at {iso(crl.last_update_utc)}"
    if crl.next_update_utc is None:
        return "it has no next update"
    left = crl.next_update_utc - now
    return f"it ends at {iso(crl.next_update_utc)}" if left <= timedelta(0) or left < least else None


def check_offer(path: str, offer: Offer, now: datetime) -> None:
    """Check that a CRL from another host can be accepted.

    :raises MtlsError: if it cannot be read, is not from an issuer, is not valid now, or is older than the copy.
    """
    if offer.handed_over is None:
        return
    layout, chain = check_path(path), chain_of(path)
    found = _read(offer.handed_over)
    if not found:
        raise MtlsError(
            f"issuer_crl: {offer.handed_over} is not a CRL", "Give the path of a CRL on this host, PEM or DER"
        )
    above = zip(chain[1:], copies(layout, chain))
    refusals = [_refusal(crl, copy, now) for ca, copy in above for crl in _signed_by(ca, found)]
    if not refusals:
        raise MtlsError(
            f"issuer_crl: {offer.handed_over} was not signed by an issuer of {layout.root}",
            "Give the CRL of the root CA, or of another CA of certs/chain.pem",
        )
    refused = next((refusal for refusal in refusals if refusal), None)
    if refused:
        raise MtlsError(
            f"issuer_crl: {offer.handed_over} is not accepted: {refused}", "Write a new CRL on the host of the root CA"
        )


def keep(path: str, offer: Offer, now: datetime, *, check_mode: bool) -> Outcome:
    """Update the copies from the offered CRLs, and write the file with the CRL of every CA.

    An unacceptable CRL in the issuer's directory is only a warning, because it must not delay the authority's own CRL.
    """
    layout, chain = check_path(path), chain_of(path)
    if len(chain) == 1:
        return Outcome([], [], [])
    if check_mode:
        return _keep(layout, chain, offer, now, check_mode=True)
    with layout.locked():
        layout.remove_leftovers()
        return _keep(layout, chain, offer, now, check_mode=False)


def _keep(layout: Layout, chain: Chain, offer: Offer, now: datetime, *, check_mode: bool) -> Outcome:
    sources = [source for source in (_issuer_file(offer), offer.handed_over) if source]
    offered = [crl for source in sources for crl in _read(source)]
    changes, warnings, kept = [], [], []
    for below, ca, copy in zip(chain, chain[1:], copies(layout, chain)):
        taken = copy.crl
        for crl in _signed_by(ca, offered):
            refusal = _refusal(crl, Copy(copy.issuer, taken), now)
            if refusal:
                warnings.append(f"The offered CRL of {copy.issuer} is not accepted: {refusal}.")
            else:
                taken = crl
        if taken is not None and taken != copy.crl:
            changes.append(f"CRL {number_of(taken)} of {copy.issuer} copied")
        if taken is not None and taken.get_revoked_certificate_by_serial_number(below.serial_number) is not None:
            warnings.append(
                f"{copy.issuer} has revoked {rfc2253(below.subject)}: no client with a certificate of it is authorized."
            )
        kept.append(Copy(copy.issuer, taken))
    texts = [_pem(copy.crl) for copy in kept if copy.crl is not None]
    changes += _write(layout, "".join(texts), check_mode=check_mode)
    return Outcome(changes, kept, warnings)


def _write(layout: Layout, copied: str, *, check_mode: bool) -> list[str]:
    own = _read(layout.crl)
    wanted = {layout.issuer_crls: copied, layout.chain_crls: "".join(_pem(crl) for crl in own[:1]) + copied}
    stale = {path: text for path, text in wanted.items() if _bytes(path) != text.encode()}
    if not check_mode:
        for path, text in stale.items():
            write_atomic(path, text.encode(), PUBLIC_FILE)
    return [f"{path} written" for path in stale]


def _issuer_file(offer: Offer) -> str | None:
    return check_path(offer.issuer).crl if offer.issuer else None


def _refusal(crl: x509.CertificateRevocationList, copy: Copy, now: datetime) -> str | None:
    unfit = why_unfit(crl, timedelta(0), now)
    if unfit:
        return unfit
    if copy.crl is not None and number_of(crl) < number_of(copy.crl):
        return f"its number {number_of(crl)} is lower than that of the copy here, {number_of(copy.crl)}"
    return None


def _signed_by(
    ca: x509.Certificate, crls: list[x509.CertificateRevocationList]
) -> list[x509.CertificateRevocationList]:
    return [crl for crl in crls if crl.issuer == ca.subject and _is_signed(crl, ca)]


def _is_signed(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    except (TypeError, UnsupportedAlgorithm):
        return False


def _newest(crls: list[x509.CertificateRevocationList]) -> x509.CertificateRevocationList | None:
    return max(crls, key=number_of, default=None)


def _read(path: str) -> list[x509.CertificateRevocationList]:
    """Return the CRLs in a file, PEM or DER; none if the file is missing or has no valid CRL."""
    data = _bytes(path)
    try:
        if data.startswith(b"\x30"):
            return [x509.load_der_x509_crl(data)]
        return [x509.load_pem_x509_crl(block.encode("ascii")) for block in split_pem(data, CRL)]
    except ValueError:
        return []


def _bytes(path: str) -> bytes:
    try:
        with opened(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _pem(crl: x509.CertificateRevocationList) -> str:
    return crl.public_bytes(Encoding.PEM).decode()
