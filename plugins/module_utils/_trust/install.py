# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a publication as the trust of a web host, and reject older ones."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.timestamps import in_words_to_the_minute
from .._contracts.paths import ANCHORS, EDGE_MAPS, HTTP, TRUST
from .._contracts.publication_format import MANIFEST
from .._deploy import switch
from .._deploy.generation_store import GenerationStore, locked
from .._deploy.live_generation import endpoints_of_live_gate
from .._deploy.switch import Result, Switch
from .chain_verification import Crl, known_crls, read_chain, read_crls, too_short
from .deny_list import anchors, deny_keys, revoked_cas
from .edge_certificate_maps import render_certificate_maps
from .edge_maps import render_edge_maps
from .identity_maps import render_maps
from .publication_reader import FILES, Publication, read_generation, read_publication
from .trust_anchor import check_anchors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from .._contracts.status_protocol import Endpoint
    from .._deploy.live_generation import LiveNginx
    from .._nginx.config_model import Configuration
    from .chain_verification import Ca


@dataclass(frozen=True)
class Request:
    """A publication to install, with the rules for it.

    :param publication: file name -> text.
    :param min_remaining: a CRL that expires sooner is rejected, unless the publication contains a new revocation.
    :param prove_timeout: seconds.
    :param keep: the number of generations to keep on disk.
    :param replace_anchor: the SHA-256 of a root's public key that is accepted in addition to the installed ones.
    """

    publication: Mapping[str, object]
    min_remaining: timedelta
    prove_timeout: float
    keep: int
    replace_anchor: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result. ``before`` and ``after`` are the lines that differ in the descriptions of the trust."""

    result: Result
    generation: int
    previous_generation: int | None
    crls: tuple[Crl, ...]
    before: str
    after: str
    lapsing: tuple[str, ...] = ()
    """Warnings about CRLs that expire too soon and were installed together with a revocation."""


def install_trust(nginx: LiveNginx, request: Request, now: datetime, *, check_mode: bool) -> Outcome:
    """Install the publication as the trust of this host.

    :raises MtlsError: if it is not valid, is older than the installed trust, or nginx rejects it.
    """
    publication = read_publication(request.publication)
    chain = read_chain(publication.texts["ca.pem"], now)
    _check_issuers(publication, chain)
    crls = read_crls(publication.texts["crl.pem"], chain, now)
    short = too_short(crls, now, request.min_remaining)
    if not os.path.isdir(nginx.conf_path):
        raise MtlsError(
            f"{nginx.conf_path} does not exist", "Install nginx first, or set gate_nginx_conf_path to its directory"
        )
    with locked(nginx.conf_path, check_mode=check_mode):
        replaced = check_anchors(nginx.conf_path, publication.texts["ca.pem"], request.replace_anchor, now)
        return _Trust(nginx, request, publication, chain, crls, replaced).install(short, check_mode=check_mode)


class _Trust:
    """One installation; the caller holds the lock."""

    def __init__(
        self,
        nginx: LiveNginx,
        request: Request,
        publication: Publication,
        chain: tuple[Ca, ...],
        crls: tuple[Crl, ...],
        replaced: str,
    ) -> None:
        self.nginx = nginx
        self.request = request
        self.publication = publication
        self.chain = chain
        self.crls = crls
        self.replaced = replaced
        self.shelf = GenerationStore(nginx.conf_path, "trust")
        self.live = self.shelf.live()
        self.committed = self.shelf.committed()
        self.installed = self.shelf.files(self.live)
        self.endpoints = endpoints_of_live_gate(nginx.conf_path)

    def install(self, short: Sequence[MtlsError], *, check_mode: bool) -> Outcome:
        if short and not self._has_new_revocation():
            raise short[0]
        self._check_forward()
        if self.endpoints is None:
            result = self._install_without_gate(check_mode=check_mode)
        else:
            self.nginx.check()
            result = switch.make_live(self.nginx, self._switch(self.endpoints), check_mode=check_mode)
        before, after = self._describe_change() if result.action == "applied" else ("", "")
        lapsing = tuple(
            f"{one.what}. It was installed because the publication contains a new revocation. {one.hint}."
            for one in short
        )
        return Outcome(result, self.publication.generation, self.committed, self.crls, before, after, lapsing)

    def _has_new_revocation(self) -> bool:
        """Return whether the publication has a revocation that the installed trust lacks; False if none is installed."""
        if not self.installed:
            return False
        try:
            known = _denied_certificates(
                read_publication({name: self.installed[name] for name in FILES if name in self.installed})
            )
        except MtlsError:
            known = frozenset()
        return not _denied_certificates(self.publication) <= known

    def _is_installed(self) -> bool:
        return all(self.installed.get(name) == self.publication.texts[name] for name in FILES)

    def _check_forward(self) -> None:
        if not self.installed or self._is_installed():
            return
        held, offered = self._installed_generation(), self.publication.generation
        if offered < held:
            raise MtlsError(
                f"The publication is older (generation {offered}) than the installed trust ({held})",
                "Read the publication again from the CA host",
            )
        if offered == held:
            raise MtlsError(
                f"The publication has generation {offered}, equal to that of the installed trust, but different contents",
                "Publish again, so that it gets a new generation",
            )
        before = known_crls(self.installed.get("crl.pem", ""), self.chain)
        for crl in self.crls:
            held_number = before[crl.issuer_sha256].number if crl.issuer_sha256 in before else None
            if held_number is not None and (crl.number is None or crl.number < held_number):
                raise MtlsError(
                    f"The CRL of {crl.issuer} has number {crl.number}, lower than the installed one ({held_number})",
                    "Write a new CRL on the CA host with a higher number, and publish it",
                )

    def _installed_generation(self) -> int:
        try:
            return read_generation(self.installed.get(MANIFEST, ""))
        except MtlsError:
            raise MtlsError(
                f"The installed trust in {self.shelf.link} is damaged: {MANIFEST} contains no generation",
                "Restore that file from a backup, or move the directory away",
            ) from None

    def _switch(self, endpoints: Sequence[Endpoint]) -> Switch:
        files = self._render_files()
        generation = self.publication.generation
        return Switch(
            shelf=self.shelf,
            target=generation,
            files=None if self._is_installed() else files,
            in_place=self._is_installed(),
            reason=self._reason(),
            arrange=self._arrange,
            endpoints_of=lambda _generation: endpoints,
            overlay={TRUST: None, **{f"{TRUST}/{name}": text for name, text in files.items()}},
            judge=_accept_any,
            # A revocation must not be lost if nginx is stopped: it starts with the new trust.
            even_if_stopped=True,
            timeout=self.request.prove_timeout,
            keep=self.request.keep,
        )

    def _arrange(self, generation: int | None) -> None:
        # The live gate needs some trust: if none was ever verified, the present one stays.
        self.shelf.point(self.live if generation is None else generation)

    def _render_files(self) -> dict[str, str]:
        sources = (self.publication, self.chain, self.crls)
        denied = deny_keys(*sources)
        return {
            **self.publication.texts,
            HTTP: render_maps(self.publication, denied),
            EDGE_MAPS: render_edge_maps(self.publication, denied),
            **render_certificate_maps(self.publication),
            ANCHORS: anchors(self.chain, revoked_cas(*sources)),
        }

    def _install_without_gate(self, *, check_mode: bool) -> Result:
        generation = self.publication.generation
        if self._is_installed() and self.committed == generation:
            return Result("unchanged", "", tested=False)
        result = Result("applied", self._reason(), tested=False)
        if self._is_installed():
            result = Result("resumed", "an earlier run ended before it had finished; no gate is live", tested=False)
        if not check_mode:
            self.shelf.tidy()
            if not self._is_installed():
                self.shelf.write(generation, self._render_files())
            self.shelf.point(generation)
            self.shelf.commit(generation)
            self.shelf.prune(self.request.keep)
        return result

    def _reason(self) -> str:
        if not self.installed:
            return "no trust was installed"
        differing = [
            name for name in FILES if name != MANIFEST and self.installed.get(name) != self.publication.texts[name]
        ]
        newer = f"the publication is newer: {', '.join(differing) or MANIFEST}"
        return f"{self.replaced}; {newer}" if self.replaced else newer

    def _describe_change(self) -> tuple[str, str]:
        old_crls = known_crls(self.installed.get("crl.pem", ""), self.chain)
        old = _describe_trust(self.installed, old_crls.values())
        new = _describe_trust(self.publication.texts, self.crls)
        return _join_lines(sorted(old - new)), _join_lines(sorted(new - old))


def _denied_certificates(publication: Publication) -> frozenset[tuple[str, str]]:
    """Return the CA name and the serial of each denied certificate, since ids of CAs can change."""
    names = {str(issuer.id): issuer.subject for issuer in publication.issuers}
    keys = (key.partition(":") for key in publication.denied)
    return frozenset((names[number], serial) for number, colon, serial in keys if colon)


def _describe_trust(texts: Mapping[str, str], crls: Iterable[Crl]) -> frozenset[str]:
    """Return the description of a trust as lines."""
    try:
        publication = read_publication({name: text for name, text in texts.items() if name in FILES})
    except MtlsError:
        return frozenset()  # No trust was installed, or it is damaged.
    identities = (
        f"identity {one.key} {one.name} <{','.join(one.email)}> {','.join(one.roles)}" for one in publication.identities
    )
    denied = (f"denied {key}" for key in publication.denied)
    issuers = (f"issuer {issuer.id} {issuer.subject} sha256 {issuer.sha256}" for issuer in publication.issuers)
    dated = (
        f"CRL {crl.issuer}: number {crl.number}, next update {in_words_to_the_minute(crl.next_update)}" for crl in crls
    )
    return frozenset({f"generation {publication.generation}", *issuers, *identities, *denied, *dated})


def _join_lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _check_issuers(publication: Publication, chain: Sequence[Ca]) -> None:
    subjects = {ca.sha256: ca.subject for ca in chain}
    for issuer in publication.issuers:
        if subjects.get(issuer.sha256) != issuer.subject:
            raise MtlsError(
                f"identities.json: the issuer {issuer.subject} is not in ca.pem with that name and digest",
                "Publish again with role authority",
            )


def _accept_any(_configuration: Configuration, _root: str) -> None:
    """Accept every configuration that nginx accepts."""
