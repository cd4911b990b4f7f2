# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute deny-map keys and trust anchors for sites that do not use ``ssl_crl``.

With ``ssl_crl`` nginx hashes every CRL of the chain at every handshake. A site with ``revocation: map`` omits it, so two other
rules apply. The deny map must contain all CRL entries and all clients of revoked CAs. A chain must not contain a CA certificate
that the client sends, because its revocation would not be checked. So every CA is a trust anchor of its own (a trusted
certificate, openssl-x509(1)), and ``ssl_verify_depth 0`` allows no certificate in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._common.commands import run_command
from .._common.errors import MtlsError
from .._common.pem import TRUSTED_CERTIFICATE, pem_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chain_verification import Ca, Crl
    from .publication_reader import Publication


def revoked_cas(publication: Publication, chain: Sequence[Ca], crls: Sequence[Crl]) -> frozenset[str]:
    """Return the SHA-256 of every CA of ``chain`` that was revoked, or whose issuer is such a CA."""
    digests = {str(issuer.id): issuer.sha256 for issuer in publication.issuers}
    pairs = {(crl.issuer_sha256, serial) for crl in crls for serial in crl.serials}
    pairs |= {(digests[issuer], serial) for issuer, serial in (key.split(":") for key in publication.denied)}
    above = {ca.subject: ca.sha256 for ca in chain}
    found: set[str] = set()
    for _link in chain:  # each round can add the CAs below those found so far
        found |= {ca.sha256 for ca in chain if above[ca.issuer] in found or (above[ca.issuer], ca.serial) in pairs}
    return frozenset(found)


def deny_keys(publication: Publication, chain: Sequence[Ca], crls: Sequence[Crl]) -> tuple[str, ...]:
    """Return keys for the deny map in addition to those of denied.json, which may lack entries of the CRLs.

    A revoked CA is denied with all certificates that it issued, by a regular expression on its id.
    """
    ids = {issuer.sha256: issuer.id for issuer in publication.issuers}
    revoked = revoked_cas(publication, chain, crls)
    entries = (
        f"{ids[crl.issuer_sha256]}:{serial}" for crl in crls if crl.issuer_sha256 in ids for serial in crl.serials
    )
    whole = (f'"~^{ids[digest]}:"' for digest in sorted(revoked) if digest in ids)
    return (*dict.fromkeys(entries), *whole)


def anchors(chain: Sequence[Ca], revoked: frozenset[str]) -> str:
    """Return the PEM file of the trust anchors: all CAs that were not revoked.

    Trusted certificates come first, because OpenSSL keeps the first entry of a CA. The same ones follow as plain certificates,
    from which nginx reads the names of CAs that it sends to browsers.

    :param revoked: SHA-256 of the revoked CAs. If all are revoked they stay, because nginx does not start without any; the deny
        map then rejects every client.
    :raises MtlsError: if openssl cannot convert a certificate.
    """
    remaining = [ca for ca in chain if ca.sha256 not in revoked] or chain
    return "".join([*(_to_trusted_certificate(ca) for ca in remaining), *(f"{ca.pem}\n" for ca in remaining)])


def _to_trusted_certificate(ca: Ca) -> str:
    done = run_command(["openssl", "x509", "-addtrust", "clientAuth", "-trustout"], stdin=ca.pem.encode())
    if done.code != 0 or TRUSTED_CERTIFICATE not in pem_labels(done.out):
        raise MtlsError(f"openssl cannot mark {ca.subject} as trusted: {done.words}", "Publish the chain again")
    return done.out
