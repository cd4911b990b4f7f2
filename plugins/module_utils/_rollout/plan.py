# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the rollout of one host: its stage changes, and everything that must hold before they begin."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from .._common.errors import MtlsError
from .._contracts.stages import OPEN, REFUSING
from .._sites.template_context import endpoints_of, handlers_of
from .readiness import judge, people_of, rehearsal_of
from .rollback_target import choose_rollback_target
from .stage_changes import BACK, STAY, live_stages, plan_stage_changes, refuse_stage_changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from .._sites.models import Site
    from .readiness import Readiness, Rules
    from .receipts import RolledOutSite
    from .stage_changes import StageChange

_ENVIRONMENT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_AGAIN = "run playbook quietdoor.mtls.rollout again"


@dataclass(frozen=True)
class ChangePlan:
    """The stage changes of one host.

    :param differs: whether the candidate differs from the live gate.
    """

    changes: tuple[StageChange, ...]
    differs: bool

    @property
    def only_back(self) -> bool:
        """Whether something changes, and every change goes back to an earlier stage.

        Such a rollout may be what repairs a mistake in the trust or in a certificate, so it does not wait for them.
        """
        changing = [change for change in self.changes if change.touched or change.kind != STAY]
        return bool(changing) and all(change.kind == BACK for change in changing)

    @property
    def enforced(self) -> tuple[str, ...]:
        """The sites that refuse clients whom they admit without a certificate today."""
        return tuple(change.site for change in self.changes if change.shuts)


@dataclass(frozen=True)
class LogFile:
    """The access log of one site.

    :param from_files: whether nginx itself may answer requests of authorized clients, without an upstream.
    :param expected: whether the live gate admits clients without a certificate, so that a log has to exist.
    """

    site: str
    path: str
    from_files: bool
    expected: bool


@dataclass(frozen=True)
class ProbeClient:
    """The probe client, and the state of its files.

    :param host: the host from which the gates are probed.
    :param found: whether the certificate and the key exist there, in this order.
    :param serial: the serial of the certificate in the format of nginx.
    """

    name: str
    host: str
    certificate: str
    key: str
    found: tuple[bool, bool] = (False, False)
    serial: str = ""


@dataclass(frozen=True)
class ServerCertificate:
    """A server certificate that the candidate uses.

    :param problem: ``name``, ``end`` or ``unreadable``; empty if there is none.
    :param detail: the output of openssl.
    """

    file: str
    server_name: str
    problem: str
    detail: str


@dataclass(frozen=True)
class SiteReadiness:
    """Whether one site may be enforced, and the names of the clients that it admits."""

    readiness: Readiness
    admitted: tuple[str, ...]

    @property
    def site(self) -> str:
        """The name of the site."""
        return self.readiness.site

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, with a table for the terminal."""
        return {**self.readiness.as_dict(), "admitted": list(self.admitted)}


@dataclass(frozen=True)
class Receipts:
    """The storage of receipts, and the environment that must have one before this one changes.

    :param directory: empty if it is not known.
    :param previous: the environment before this one; empty if there is none.
    """

    directory: str
    host: str
    environment: str
    previous: str


@dataclass(frozen=True)
class RolloutPlan:
    """The plan of a rollout of one host, and its refusal.

    :param messages: for the operator, in this order.
    :param required: the receipts of the previous environment that have to exist.
    :param provable: the sites of this host once it is rolled out.
    :param refusal: why the rollout is refused; None if it is not.
    """

    messages: tuple[str, ...]
    required: tuple[RolledOutSite, ...]
    provable: tuple[RolledOutSite, ...]
    refusal: MtlsError | None


def present(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Return the sites that have a gate."""
    return tuple(site for site in sites if site.stage != "absent")


def plan_changes(
    sites: Sequence[Site], manifest: object, test: Mapping[str, Any], *, host: str, force: bool
) -> ChangePlan:
    """Return the stage changes of one host.

    :param manifest: the manifest of the live gate; empty without a gate, None if it cannot be read.
    :param test: the result of module gate_transaction, step ``test``.
    :raises MtlsError: if the candidate could not be tested, or if a change is refused.
    """
    differs = test["action"] != "unchanged"
    if present(sites) and differs and not test["tested"]:
        raise MtlsError(
            f"No trust is installed on {host}, so its gate was neither tested nor changed",
            "Run playbook quietdoor.mtls.trust first",
        )
    changes = plan_stage_changes(sites, manifest, test["open_elsewhere"], test["differing"], force=force)
    if not force:
        refuse_stage_changes(changes)
    return ChangePlan(changes, differs)


def log_files(sites: Iterable[Site], manifest: object, directory: str) -> tuple[LogFile, ...]:
    """Return the access log of every site.

    :param manifest: the manifest of the live gate. Without a readable one no log is expected.
    """
    try:
        stages = live_stages(manifest)
    except MtlsError:
        stages = {}
    return tuple(
        LogFile(
            site=site.name,
            path=f"{directory}/quietdoor-{site.name}.log",
            from_files=_answers_itself(site),
            expected=stages.get(site.name) in OPEN,
        )
        for site in sites
    )


def readiness_of(
    sites: Iterable[Site],
    logs: Sequence[Mapping[str, Any]],
    people: Sequence[Mapping[str, Any]],
    rules: Rules,
    now: datetime,
) -> tuple[SiteReadiness, ...]:
    """Return the evidence of the logs of all hosts about each site that has a gate.

    :param logs: each with ``site``, ``host`` and ``log``, the last None where a log is missing.
    :param people: the clients with a valid certificate, as module trust_info returns them.
    """
    found = []
    for site in present(sites):
        if site.rehearsal:
            continue
        admitted = people_of(people, site.allow)
        # Without a staging port, a site of that name is another one.
        names = (site.name, rehearsal_of(site.name)) if site.staging_listen else (site.name,)
        own = [one for one in logs if one["site"] in names]
        found.append(SiteReadiness(judge(site.name, own, admitted, rules, now), tuple(sorted(admitted))))
    return tuple(found)


def merge_readiness(found: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return each site once; of the results of several hosts, one that does not allow enforcing it.

    :param found: :meth:`SiteReadiness.as_dict` of every site of every host.
    """
    merged: dict[str, Mapping[str, Any]] = {}
    for one in found:
        if one["site"] not in merged or not one["allowed"]:
            merged[one["site"]] = one
    return list(merged.values())


def refusing_endpoints(sites: Iterable[Site]) -> list[dict[str, Any]]:
    """Return the endpoints of the gates that refuse clients without a certificate."""
    return [asdict(endpoint) for site in sites if site.stage in REFUSING for endpoint in endpoints_of(site)]


def trust_problems(trust: Mapping[str, Any]) -> list[str]:
    """Return the problems of the installed trust.

    :param trust: the result of module trust_info, which may have failed.
    """
    if trust.get("problems") is not None and not trust.get("failed"):
        return [str(problem) for problem in trust["problems"]]
    return [str(trust.get("msg") or "the installed trust could not be read")]


def check_trust(sites: Iterable[Site], trust: Mapping[str, Any], client: ProbeClient, host: str) -> None:
    """Raise an error if the installed trust would refuse clients, or the probe client.

    :raises MtlsError: if so.
    """
    guarded = present(sites)
    if not guarded:
        return
    problems = trust_problems(trust)
    if problems:
        raise MtlsError(
            f"Nothing was changed: {'; '.join(problems).rstrip('.')}",
            f"Run playbook quietdoor.mtls.trust, and {_AGAIN}",
        )
    if needs_probe_client(guarded):
        _check_probe_client(trust["people"], client, host)


def needs_probe_client(sites: Iterable[Site]) -> bool:
    """Return whether a site can be probed with a certificate; behind an edge no certificate is presented to nginx."""
    return any(site.edge is None for site in present(sites))


def check_server_certificates(certificates: Iterable[ServerCertificate]) -> None:
    """Raise an error if browsers would warn of a server certificate, because of its name or its end.

    :raises MtlsError: if so.
    """
    wrong = [one for one in certificates if one.problem]
    if wrong:
        raise MtlsError(
            f"Nothing was changed: {'; '.join(_certificate_problem(one) for one in wrong)}",
            f"Install the right certificate, and {_AGAIN}",
        )


def plan_rollout(
    sites: Sequence[Site],
    changes: ChangePlan,
    readiness: Sequence[SiteReadiness],
    digests: Sequence[RolledOutSite],
    *,
    trust: Mapping[str, Any],
    certificates: Sequence[ServerCertificate],
    client: ProbeClient,
    unread: Sequence[str],
    receipts: Receipts,
    host: str,
    force: bool,
) -> RolloutPlan:
    """Return the plan of a rollout of one host, with its refusal if a condition does not hold.

    :param unread: the web hosts whose access logs were not read in this run.
    :param digests: one for each site of this host.
    """
    shown = [one for one in readiness if one.site in changes.enforced]
    messages = [*_trust_messages(sites, trust, only_back=changes.only_back)]
    messages += [line for one in shown for line in one.readiness.table()]
    messages += [str(change) for change in changes.changes]
    required: tuple[RolledOutSite, ...] = ()
    refusal = None
    try:
        if not changes.only_back:
            check_trust(sites, trust, client, host)
            check_server_certificates(certificates)
            _check_admitted(sites, readiness, client)
        if changes.enforced and not force:
            _check_all_read(unread)
            _check_ready(shown)
        required = _required_receipts(changes, digests, receipts, force=force)
    except MtlsError as problem:
        refusal = problem
    provable = tuple(digest for digest in digests if digest.stage != "absent")
    return RolloutPlan(tuple(messages), required, provable, refusal)


def default_receipts(given: str, authority_path: str) -> str:
    """Return the directory of the receipts: the given one, else one beside the authority; empty if it is not known."""
    authority = authority_path.rstrip("/")
    return given or (f"{authority}-receipts" if authority else "")


def with_default_files(client: ProbeClient, authority_path: str) -> ProbeClient:
    """Return the probe client; files that were not given are those of role authority."""
    authority = authority_path.rstrip("/")
    if not authority:
        return client
    stem = f"{authority}/clients/{client.name}/{client.name}"
    return replace(client, certificate=client.certificate or f"{stem}.chain.pem", key=client.key or f"{stem}.key")


def _answers_itself(site: Site) -> bool:
    """Return whether requests of authorized clients may be answered without an upstream, as by the operator's server."""
    handlers = handlers_of(site)
    kinds = [handler["kind"] for handler in handlers if handler["identity"]]
    return site.manage == "snippets" or "static" in kinds


def _trust_messages(sites: Sequence[Site], trust: Mapping[str, Any], *, only_back: bool) -> list[str]:
    if not present(sites):
        return []
    found = []
    problems = trust_problems(trust)
    if only_back and problems:
        found.append(
            f"The installed trust has problems, which do not stop a change to an earlier stage: {'; '.join(problems)}"
        )
    if trust.get("unverifiable"):
        names = ", ".join(trust["unverifiable"])
        found.append(f"The certificates of these clients are not published as a whole and were not verified: {names}")
    return found


def _check_probe_client(people: Iterable[Mapping[str, Any]], client: ProbeClient, host: str) -> None:
    serials = {str(one["name"]): [str(serial) for serial in one["serials"]] for one in people}
    if client.name not in serials:
        raise MtlsError(
            f"{client.name} holds no valid certificate, so nothing could be proven from outside",
            f"Add {{name: {client.name}, common_name: Door probe}} to authority_roster and run playbook quietdoor.mtls.trust, "
            "or name another client with rollout_probe_client",
        )
    if client.found != (True, True):
        certificate = client.certificate or "rollout_probe_certificate is not set"
        raise MtlsError(
            f"{client.host} has no certificate and key of {client.name}: {certificate}, "
            f"{client.key or 'rollout_probe_key is not set'}",
            "Set rollout_probe_certificate (with the chain) and rollout_probe_key to their paths",
        )
    if client.serial not in serials[client.name]:
        raise MtlsError(
            f"{client.certificate} on {client.host} is not one of the valid certificates of {client.name} that {host} has "
            f"installed ({', '.join(serials[client.name])}), because it was revoked or has ended, or because the installed "
            "trust is old",
            "Take the current certificate, or run playbook quietdoor.mtls.trust",
        )


def _certificate_problem(one: ServerCertificate) -> str:
    if one.problem == "end":
        return f"{one.file} has ended"
    if one.problem == "name":
        return f"{one.file} is not for {one.server_name} ({one.detail})"
    return f"{one.file} cannot be read ({one.detail})"


def _check_admitted(sites: Sequence[Site], readiness: Iterable[SiteReadiness], client: ProbeClient) -> None:
    direct = {site.name for site in present(sites) if site.edge is None}
    closed = [one.site for one in readiness if one.site in direct and client.name not in one.admitted]
    if closed:
        raise MtlsError(
            f"{', '.join(closed)}: {client.name} is not admitted by allow, so nothing could be proven from outside",
            "Add it to allow.names, or name another client with rollout_probe_client",
        )


def _check_all_read(unread: Sequence[str]) -> None:
    if unread:
        raise MtlsError(
            f"{', '.join(unread)} was not read in this run, so clients that still come there without a certificate are unknown",
            "Run the rollout without --limit, or set rollout_force=true",
        )


def _check_ready(shown: Iterable[SiteReadiness]) -> None:
    early = [one for one in shown if one.readiness.reasons]
    if early:
        reasons = ". ".join(f"{one.site}: {'; '.join(one.readiness.reasons)}" for one in early)
        raise MtlsError(
            f"Not yet. {reasons}",
            f"See playbook quietdoor.mtls.confirm, and {_AGAIN} when these clients have got in; or set rollout_force=true, "
            "which refuses them",
        )


def _required_receipts(
    changes: ChangePlan, digests: Iterable[RolledOutSite], receipts: Receipts, *, force: bool
) -> tuple[RolledOutSite, ...]:
    if not _ENVIRONMENT.fullmatch(receipts.environment):
        raise MtlsError(
            f"rollout_environment: {receipts.environment!r} is not a valid name of an environment",
            "Use lower-case letters, digits and _, at most 32, a letter first, for example staging",
        )
    if not changes.differs or force or receipts.previous in ("", receipts.environment):
        return ()
    # A site that goes back waits for nothing; a site that keeps its stage may have changed all the same.
    changed = {change.site for change in changes.changes if change.kind != BACK}
    required = tuple(digest for digest in digests if digest.site in changed)
    if required and not receipts.directory:
        raise MtlsError(
            f"rollout_receipts_path: the directory of the receipts on {receipts.host} is not known",
            'Set rollout_receipts_path, or rollout_requires_environment to "" if no environment comes before '
            f"{receipts.environment}",
        )
    return required


@dataclass(frozen=True)
class RollbackPlan:
    """The plan of a rollback of one host.

    :param generation: the kept generation, 0 for no gate; None if there is nothing to do.
    :param messages: for the operator.
    """

    generation: int | None
    messages: tuple[str, ...]


def plan_rollback(
    status: Mapping[str, Any], wanted: str, *, reverted: bool, host: str, force: bool, check_mode: bool
) -> RollbackPlan:
    """Return the plan of a rollback of one host.

    :param status: the result of module gate_transaction, step ``status``.
    :param wanted: the generation that the operator requested; empty for the one before.
    :param reverted: whether an armed transaction has just been reverted, which is a rollback already.
    :raises MtlsError: if no generation fits, or if that generation would refuse clients whom the live one admits.
    """
    if reverted and not wanted:
        was = "would be" if check_mode else "was"
        return RollbackPlan(
            None, (f"{host}: the armed transaction {was} reverted. The gate is as it was before that.",)
        )
    target = choose_rollback_target(status["snapshots"], status["generation"], wanted, force=force)
    if target.reason:
        return RollbackPlan(None, (f"{host}: {target.reason}.",))
    closed = ", ".join(target.closed)
    ended = f"{closed}: the fallback window of generation {target.generation} has ended. It admits no client any more."
    return RollbackPlan(target.generation, (ended,) if closed else ())


def rollback_summary(host: str, target: int, generation: int | None, *, check_mode: bool) -> str:
    """Return the last message of a rollback.

    :param generation: the generation that is live now, None without a gate.
    """
    if check_mode:
        return f"{host} would go back to the files of generation {target}"
    return f"{host} is back at the files of generation {target}; they are generation {generation or 'none'} now"
