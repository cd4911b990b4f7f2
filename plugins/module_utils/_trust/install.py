# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trust: what a web host believes. It comes from a publication, has a generation of its own, and only moves forward."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._deploy import switch
from .._deploy.generation_store import HOME, GenerationStore, locked
from .._deploy.live_generation import endpoints_of_live_gate
from .._deploy.switch import Result, Switch
from .chain_verification import Crl, known_crls, read_chain, read_crls, too_short
from .deny_list import anchors, deny_keys, revoked_cas
from .edge_certificate_maps import render_certificate_maps
from .edge_maps import render_edge_maps
from .identity_maps import render_maps
from .publication_reader import FILES, MANIFEST, Publication, read_generation, read_publication
from .trust_anchor import check_anchors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from .._contracts.status_protocol import Endpoint
    from .._deploy.live_generation import LiveNginx
    from .._nginx.config_model import Configuration
    from .chain_verification import Ca

MAPS = "http.conf"
EDGE_MAPS = "edge.conf"
ANCHORS = "anchors.pem"


@dataclass(frozen=True)
class Request:
    """What shall be believed.

    :param publication: file name -> text.
    :param min_remaining: a CRL that lives shorter is refused, unless a revocation would have to wait for it.
    :param prove_timeout: seconds.
    :param keep: how many generations to keep on disk.
    :param replace_anchor: the SHA-256 of a root's public key that is accepted though the installed trust does not have it.
    """

    publication: Mapping[str, object]
    min_remaining: timedelta
    prove_timeout: float
    keep: int
    replace_anchor: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of it. ``before`` and ``after`` describe the trust for people, one line a thing, as far as it differs."""

    result: Result
    generation: int
    previous_generation: int | None
    crls: tuple[Crl, ...]
    before: str
    after: str
    lapsing: tuple[str, ...] = ()
    """What to say of CRLs that live shorter than they should and were taken with a revocation."""


def install_trust(nginx: LiveNginx, request: Request, now: datetime, *, check_mode: bool) -> Outcome:
    """Make the publication what this host believes.

    :raises MtlsError: if it is not sound, would go back in time, or nginx does not take it.
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
    """One call, under the lock."""

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
        if short and not self._newly_denied():
            raise short[0]
        self._check_forward()
        if self.endpoints is None:
            result = self._without_gate(check_mode=check_mode)
        else:
            self.nginx.check()
            result = switch.make_live(self.nginx, self._move(self.endpoints), check_mode=check_mode)
        before, after = self._described() if result.action == "applied" else ("", "")
        lapsing = tuple(f"{one.what}. It was taken over all the same, with a revocation. {one.hint}." for one in short)
        return Outcome(result, self.publication.generation, self.committed, self.crls, before, after, lapsing)

    def _newly_denied(self) -> bool:
        """Tell whether this host is to hear of a revocation. One that believes nothing yet lets nobody in."""
        if not self.installed:
            return False
        try:
            known = _denied_in(
                read_publication({name: self.installed[name] for name in FILES if name in self.installed})
            )
        except MtlsError:
            known = frozenset()
        return not _denied_in(self.publication) <= known

    def _same(self) -> bool:
        return all(self.installed.get(name) == self.publication.texts[name] for name in FILES)

    def _check_forward(self) -> None:
        if not self.installed or self._same():
            return
        held, offered = self._installed_generation(), self.publication.generation
        if offered < held:
            raise MtlsError(
                f"The publication is older (generation {offered}) than the trust that is installed ({held}); "
                "trust only moves forward",
                "Read the publication again, from the CA host itself",
            )
        if offered == held:
            raise MtlsError(
                f"The publication has generation {offered}, like the trust that is installed, but other contents",
                "Publish again, so that it gets a generation of its own",
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
                f"The installed trust in {self.shelf.link} is damaged: {MANIFEST} names no generation",
                "Find out who changed it; then put that file back from a backup, or move the directory away",
            ) from None

    def _move(self, endpoints: Sequence[Endpoint]) -> Switch:
        files = self._files()
        generation = self.publication.generation
        return Switch(
            shelf=self.shelf,
            target=generation,
            files=None if self._same() else files,
            in_place=self._same(),
            reason=self._reason(),
            arrange=self._arrange,
            endpoints_of=lambda _generation: endpoints,
            overlay={f"{HOME}/trust": None, **{f"{HOME}/trust/{name}": text for name, text in files.items()}},
            judge=_no_judgement,
            # A revocation must not be lost because nginx happens to be down: it starts with the new trust.
            even_if_stopped=True,
            timeout=self.request.prove_timeout,
            keep=self.request.keep,
        )

    def _arrange(self, generation: int | None) -> None:
        # A gate is live and cannot do without any trust: where none was ever proven, the one that lies there stays.
        self.shelf.point(self.live if generation is None else generation)

    def _files(self) -> dict[str, str]:
        sources = (self.publication, self.chain, self.crls)
        denied = deny_keys(*sources)
        return {
            **self.publication.texts,
            MAPS: render_maps(self.publication, denied),
            EDGE_MAPS: render_edge_maps(self.publication, denied),
            **render_certificate_maps(self.publication),
            ANCHORS: anchors(self.chain, revoked_cas(*sources)),
        }

    def _without_gate(self, *, check_mode: bool) -> Result:
        generation = self.publication.generation
        if self._same() and self.committed == generation:
            return Result("unchanged", "", tested=False)
        result = Result("applied", self._reason(), tested=False)
        if self._same():
            result = Result("resumed", "an earlier run ended before it had finished; no gate is live", tested=False)
        if not check_mode:
            self.shelf.tidy()
            if not self._same():
                self.shelf.write(generation, self._files())
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

    def _described(self) -> tuple[str, str]:
        old_crls = known_crls(self.installed.get("crl.pem", ""), self.chain)
        old = _facts(self.installed, old_crls.values())
        new = _facts(self.publication.texts, self.crls)
        return _lines(sorted(old - new)), _lines(sorted(new - old))


def _denied_in(publication: Publication) -> frozenset[tuple[str, str]]:
    """Return the name of the CA and the serial of whatever is denied: numbers of CAs may change."""
    names = {str(issuer.id): issuer.subject for issuer in publication.issuers}
    keys = (key.partition(":") for key in publication.denied)
    return frozenset((names[number], serial) for number, colon, serial in keys if colon)


def _facts(texts: Mapping[str, str], crls: Iterable[Crl]) -> frozenset[str]:
    """What a trust says, one line a thing."""
    try:
        publication = read_publication({name: text for name, text in texts.items() if name in FILES})
    except MtlsError:
        return frozenset()  # nothing was installed, or nothing that can be described
    people = (
        f"identity {one.key} {one.name} <{','.join(one.email)}> {','.join(one.roles)}" for one in publication.identities
    )
    denied = (f"denied {key}" for key in publication.denied)
    issuers = (f"issuer {issuer.id} {issuer.subject} sha256 {issuer.sha256}" for issuer in publication.issuers)
    dated = (f"CRL {crl.issuer}: number {crl.number}, next update {crl.next_update:%Y-%m-%d %H:%M} UTC" for crl in crls)
    return frozenset({f"generation {publication.generation}", *issuers, *people, *denied, *dated})


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _check_issuers(publication: Publication, chain: Sequence[Ca]) -> None:
    subjects = {ca.sha256: ca.subject for ca in chain}
    for issuer in publication.issuers:
        if subjects.get(issuer.sha256) != issuer.subject:
            raise MtlsError(
                f"identities.json names the issuer {issuer.subject}, which is not in ca.pem with that name and digest",
                "Publish again with role authority",
            )


def _no_judgement(_configuration: Configuration, _root: str) -> None:
    """Whatever nginx accepts."""
