# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revocation without ``ssl_crl``: what the deny map has to hold, and which CAs nginx may believe when it asks no CRL.

With ``ssl_crl`` nginx hashes every CRL of the chain at every handshake. A site with ``revocation: map`` leaves it out, and
then two things are ours to see to. The map has to hold all that the CRLs hold, and the clients of a CA that was itself revoked.
And no CA certificate that a client sends along may be part of its chain: nothing would ask whether that one was revoked. So
every CA is an anchor of its own (a trusted certificate, openssl-x509(1)), and ``ssl_verify_depth 0`` allows nothing in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._common.commands import run_command
from .._common.errors import MtlsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chain_verification import Ca, Crl
    from .publication_reader import Publication


def revoked_cas(publication: Publication, chain: Sequence[Ca], crls: Sequence[Crl]) -> frozenset[str]:
    """Return the SHA-256 of every CA of ``chain`` that was revoked, or stands below one that was."""
    digests = {str(issuer.id): issuer.sha256 for issuer in publication.issuers}
    pairs = {(crl.issuer_sha256, serial) for crl in crls for serial in crl.serials}
    pairs |= {(digests[issuer], serial) for issuer, serial in (key.split(":") for key in publication.denied)}
    above = {ca.subject: ca.sha256 for ca in chain}
    found: set[str] = set()
    for _link in chain:  # one that is lost shows only when the one above it is known to be
        found |= {ca.sha256 for ca in chain if above[ca.issuer] in found or (above[ca.issuer], ca.serial) in pairs}
    return frozenset(found)


def deny_keys(publication: Publication, chain: Sequence[Ca], crls: Sequence[Crl]) -> tuple[str, ...]:
    """Return keys for the deny map beyond those of denied.json, which may know less than the CRLs.

    A CA that was revoked is denied with everything it ever issued, by a regular expression on its id.
    """
    ids = {issuer.sha256: issuer.id for issuer in publication.issuers}
    lost = revoked_cas(publication, chain, crls)
    entries = (
        f"{ids[crl.issuer_sha256]}:{serial}" for crl in crls if crl.issuer_sha256 in ids for serial in crl.serials
    )
    whole = (f'"~^{ids[digest]}:"' for digest in sorted(lost) if digest in ids)
    return (*dict.fromkeys(entries), *whole)


def anchors(chain: Sequence[Ca], lost: frozenset[str]) -> str:
    """Return the PEM file of the CAs that are believed by themselves: all but those that were revoked.

    Trusted certificates first, because OpenSSL keeps what it reads first. The same ones follow in the usual form: of those nginx
    tells browsers the names, and it knows no other form for that.

    :param lost: SHA-256 of the CAs to leave out. Where that is all of them they stay, because nginx does not start without
        any; the deny map lets nobody in.
    :raises MtlsError: if openssl cannot write one.
    """
    left = [ca for ca in chain if ca.sha256 not in lost] or chain
    return "".join([*(_trusted(ca) for ca in left), *(f"{ca.pem}\n" for ca in left)])


def _trusted(ca: Ca) -> str:
    done = run_command(["openssl", "x509", "-addtrust", "clientAuth", "-trustout"], stdin=ca.pem.encode())
    if done.code != 0 or "BEGIN TRUSTED CERTIFICATE" not in done.out:
        raise MtlsError(f"openssl cannot mark {ca.subject} as trusted: {done.words}", "Look at ca.pem")
    return done.out
