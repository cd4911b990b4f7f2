# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling trust: a web host fetches the publication itself, and takes it only if it could come from nobody but its own CA.

What is pulled is judged like what is pushed, and more strictly in two ways. Its root has to be one that this host knows
already, by fingerprint or because it is installed: a foreign CA comes in by a push only. And no serial that is denied here may
be missing in it.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._deploy.generation_store import GenerationStore
from .chain_verification import known_crls, read_chain, read_installed_chain
from .install import Request, install_trust
from .publication_reader import DATA_FILES, FILES, MANIFEST, read_digests, read_generation, read_publication
from .trust_anchor import check_anchors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from .._deploy.live_generation import LiveNginx
    from .chain_verification import Ca, Crl
    from .https_fetch import Source
    from .install import Outcome
    from .publication_reader import Publication

# Bytes. A hundred thousand revocations make a CRL of 5 MB and a denied.json of 15 MB.
_LIMITS = {MANIFEST: 1 << 16, "ca.pem": 1 << 20, "crl.pem": 1 << 26, "identities.json": 1 << 26, "denied.json": 1 << 26}
_ATTEMPTS = 5
_PAUSE = 2.0


@dataclass(frozen=True)
class Rules:
    """What a pulled publication has to satisfy, and how it is made live; see trust.Request.

    :param roots: SHA-256 of root certificates, lower-case hex; empty to know the installed one only.
    """

    roots: frozenset[str]
    min_remaining: timedelta
    prove_timeout: float
    keep: int


class PullError(MtlsError):
    """A Problem with one word for what kind it is, for a metric: fetch, incomplete, older, foreign, or refused."""

    def __init__(self, code: str, problem: MtlsError) -> None:
        super().__init__(problem.what, problem.hint)
        self.code = code


def pull(
    nginx: LiveNginx, source: Source, rules: Rules, now: datetime, sleep: Callable[[float], None] = time.sleep
) -> Outcome:
    """Fetch the publication and make it what this host believes.

    :raises PullError: if it cannot be fetched or is not taken; what was live stays so.
    """
    installed = installed_texts(nginx.conf_path)
    texts = _fetch(source, installed, sleep)
    _check("older", lambda: _check_not_older(texts, installed))
    _check("foreign", lambda: _check_origin(texts, installed, rules.roots, now))
    # Pinned roots name what may be added. Only a push replaces the installed authority.
    _check("foreign", lambda: _check_anchors(nginx.conf_path, texts["ca.pem"], now))
    request = Request(dict(texts), rules.min_remaining, rules.prove_timeout, rules.keep)
    try:
        return install_trust(nginx, request, now, check_mode=False)
    except MtlsError as problem:
        raise PullError("refused", problem) from problem


def installed_texts(conf_path: str) -> dict[str, str]:
    """Return the files of the publication that is live, none if there is none."""
    shelf = GenerationStore(conf_path, "trust")
    return {name: text for name, text in shelf.files(shelf.live()).items() if name in FILES}


def installed_crls(conf_path: str, now: datetime) -> tuple[Crl, ...]:
    """Return the CRLs that are live, whatever their dates; none if there are none that can be read."""
    installed = installed_texts(conf_path)
    try:
        chain = read_chain(installed.get("ca.pem", ""), now)
    except MtlsError:
        return ()
    return tuple(known_crls(installed.get("crl.pem", ""), chain).values())


def _check_anchors(conf_path: str, ca_pem: str, now: datetime) -> None:
    check_anchors(conf_path, ca_pem, "", now)


def _check(code: str, check: Callable[[], None]) -> None:
    try:
        check()
    except MtlsError as problem:
        raise PullError(code, problem) from None


def _fetch(source: Source, installed: Mapping[str, str], sleep: Callable[[float], None]) -> dict[str, str]:
    """Return the files, each with the digest that the manifest gives.

    The CA host writes the manifest last. Who reads in between meets files that do not match, and reads again.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            sleep(_PAUSE)
        try:
            texts, differing = _fetch_once(source, installed)
        except MtlsError as problem:
            raise PullError("fetch", problem) from None
        if not differing:
            return texts
    what = f"{source.url}: {', '.join(differing)} did not have the digest that {MANIFEST} gives, {_ATTEMPTS} times in a row"
    hint = "Copy the publication there whole, trust.json last; nothing may change the files on the way"
    raise PullError("incomplete", MtlsError(what, hint))


def _fetch_once(source: Source, installed: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    manifest = _text(source, MANIFEST)
    digests = read_digests(manifest)
    texts = {name: _with_digest(source, name, digests[name], installed) for name in DATA_FILES}
    return {**texts, MANIFEST: manifest}, [name for name in DATA_FILES if _digest(texts[name]) != digests[name]]


def _with_digest(source: Source, name: str, digest: str, installed: Mapping[str, str]) -> str:
    held = installed.get(name)
    return held if held is not None and _digest(held) == digest else _text(source, name)


def _text(source: Source, name: str) -> str:
    data = source.fetch(name, _LIMITS[name])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MtlsError(f"{source.url}/{name} is not text", "Look at what is served there") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _check_not_older(texts: Mapping[str, str], installed: Mapping[str, str]) -> None:
    if not installed:
        return
    held, offered = read_generation(installed.get(MANIFEST, "")), read_generation(texts[MANIFEST])
    if offered < held:
        raise MtlsError(
            f"The publication that is served is older (generation {offered}) than the trust that is installed ({held})",
            "Look who put an old one there: somebody may want to undo a revocation",
        )


def _check_origin(texts: Mapping[str, str], installed: Mapping[str, str], roots: frozenset[str], now: datetime) -> None:
    publication = read_publication(texts)
    chain = read_chain(texts["ca.pem"], now)
    known = _installed_anchors(installed)
    if not (roots or known):
        raise MtlsError(
            "It is not known which root to believe: no trust is installed here, and trust_pull_roots is empty",
            "Hand the first trust over with trust_source push, or set trust_pull_roots to the SHA-256 of the root certificate",
        )
    for root in (ca for ca in chain if ca.is_root):
        # A root that was renewed with the same key has another fingerprint.
        if not (root.sha256 in roots if roots else root.key_sha256 in known):
            raise MtlsError(
                f"The publication brings the root {root.subject} (SHA-256 {root.sha256}), which this host does not know",
                "If that is a new root of yours, hand it over with trust_source push, or add it to trust_pull_roots",
            )
    _check_denied(publication, chain, installed)


def _installed_anchors(installed: Mapping[str, str]) -> frozenset[str]:
    return frozenset(ca.key_sha256 for ca in read_installed_chain(installed.get("ca.pem", "")) if ca.is_root)


def _check_denied(publication: Publication, chain: tuple[Ca, ...], installed: Mapping[str, str]) -> None:
    if not installed:
        return
    former = read_installed_chain(installed.get("ca.pem", ""))
    # By key: a CA that was renewed with the same key is still the issuer of what was denied.
    keys = {ca.sha256: ca.key_sha256 for ca in (*former, *chain)}
    present = {ca.key_sha256 for ca in chain}
    lost = sorted(
        (issuer, serial)
        for issuer, serial in _denied(read_publication(installed), keys) - _denied(publication, keys)
        if issuer in present
    )
    if lost:
        raise MtlsError(
            f"The publication does not deny the serial {lost[0][1]} any more ({len(lost)} such in all); a revocation is for ever",
            "Look who changed it. If an authority was restored from a backup, revoke again what was revoked since",
        )


def _denied(publication: Publication, keys: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """Return the denied certificates by the key of their issuer and the serial: ids differ between publications.

    :param keys: the SHA-256 of a CA certificate -> that of its public key.
    """
    issuers = {str(issuer.id): keys.get(issuer.sha256, issuer.sha256) for issuer in publication.issuers}
    pairs = (key.split(":") for key in publication.denied)
    return frozenset((issuers[issuer], serial) for issuer, serial in pairs)
