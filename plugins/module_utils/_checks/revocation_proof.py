# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove one revocation with every certificate at every gate, and report the result per host."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .._common.durations import parse_duration
from .._common.errors import MtlsError
from .._probe.addresses import LAST_PORT, address_from, resolve
from .._probe.messages import Identity, Target
from .revocation_witness import (
    GateEndpoint,
    Proof,
    Witness,
    ask_trust,
    judge_bundle,
    published_generation,
    unproven_hosts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_AT_ONCE = 16
_LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (where to connect, not what to bind)


@dataclass(frozen=True)
class Certificate:
    """A certificate that is about to be revoked; ``key`` is empty if its private key is not available."""

    name: str
    serial: str
    path: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.serial}"


class ProofReport:
    """The connections that are held open before a revocation, and the proofs after it."""

    def __init__(self, certificates: Sequence[Certificate], hosts: Sequence[Mapping[str, Any]], timeout: float) -> None:
        """Find every gate.

        :param hosts: as documented for module revocation_proof.
        :param timeout: seconds for each request.
        """
        self._certificates = certificates
        self._hosts = [str(host["name"]) for host in hosts]
        self._unknown: dict[str, str] = {}
        self._endpoints = [endpoint for host in hosts for endpoint in self._endpoints_of(host, timeout)]
        self._witnesses = [
            Witness(endpoint, Identity(str(one), one.path, one.key))
            for endpoint in self._endpoints
            for one in certificates
            if one.key
        ]

    def open(self) -> None:
        """Open the connections of every witness. The behaviour of a gate never raises an exception."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda witness: witness.open(), self._witnesses))

    def judge(self, publication: str, failures: Mapping[str, str]) -> dict[str, Any]:
        """Return the proofs, as module revocation_proof documents them.

        :param publication: the directory of the publication.
        :param failures: the failure on each host by its name; empty if there was none.
        """
        trust = published_generation(publication)
        proofs = [
            proof for one in self._certificates for proof in judge_bundle(publication, one.path, str(one), one.serial)
        ]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for found in pool.map(lambda witness: list(witness.judge(trust)), self._witnesses):
                proofs += found
            proofs += pool.map(lambda endpoint: ask_trust(endpoint, "nobody", trust), self._endpoints)
        problems = {host: failures.get(host) or self._unknown.get(host, "") for host in self._hosts}
        unproven = unproven_hosts(proofs, self._hosts)
        return {
            "generation": trust,
            "proofs": [asdict(proof) for proof in proofs],
            "table": [_line(proof) for proof in proofs],
            "failures": [f"{host}: {what}" for host, what in problems.items() if what],
            "unproven": [host for host in self._hosts if host in unproven or problems[host]],
            "kind": self._kind(),
        }

    def _endpoints_of(self, host: Mapping[str, Any], timeout: float) -> list[GateEndpoint]:
        try:
            endpoints = [_make_endpoint(host, endpoint, timeout) for endpoint in host["endpoints"]]
        except MtlsError as problem:
            self._unknown[host["name"]] = str(problem)
            return []
        if not endpoints:
            self._unknown[host["name"]] = "it has no gate in gate_sites that can be probed"
        return list(dict.fromkeys(endpoints))

    def _kind(self) -> str:
        with_key = [str(one) for one in self._certificates if one.key]
        without = [str(one) for one in self._certificates if not one.key]
        parts = []
        if with_key:
            parts.append(
                f"With the private key, from outside, on connections from before and fresh ones: {', '.join(with_key)}."
            )
        if without:
            parts.append(
                f"Without the private key, which is not here, by the trust that every gate serves: {', '.join(without)}."
            )
        return " ".join(parts) or "No certificate that has not expired was named, so there was nothing to prove."


def _make_endpoint(host: Mapping[str, Any], endpoint: Mapping[str, Any], timeout: float) -> GateEndpoint:
    try:
        own, port, name = str(endpoint["address"]), int(endpoint["port"]), str(endpoint["server_name"])
        site = str(endpoint["site"])
    except (KeyError, TypeError, ValueError):
        raise MtlsError(
            f"hosts: {host['name']}: {str(endpoint)[:200]!r} is not an endpoint",
            "Give every endpoint a site, an address, a port and a server_name",
        ) from None
    default_host, default_port = _LOOPBACK.get(own, own).strip("[]"), _translated(host, port)
    reached, reached_port = address_from(str(host.get("address") or ""), default_host, default_port)
    cut_after = str(host.get("cut_after") or "")
    return GateEndpoint(
        host=str(host["name"]),
        site=site,
        target=Target(resolve(reached, reached_port), reached_port, str(host.get("server_ca") or ""), timeout),
        server_name=name,
        port=port,
        websocket_path=str(host.get("websocket_path") or ""),
        cut_after=parse_duration(cut_after, "cut_after").total_seconds() if cut_after else None,
        closed=bool(host.get("close_connections")),
    )


def _translated(host: Mapping[str, Any], port: int) -> int:
    """Return the port to connect to for a port of a gate.

    :raises MtlsError: if ``ports`` of the host maps it to anything but a TCP port.
    """
    written = {str(key): value for key, value in (host.get("ports") or {}).items()}.get(str(port), port)
    try:
        translated = int(written)
    except (TypeError, ValueError):
        translated = 0
    if not 0 < translated <= LAST_PORT:
        what = f"hosts: {host['name']}: ports: {str(written)[:200]!r} for port {port} is not a TCP port"
        raise MtlsError(what, f"Choose from 1 to {LAST_PORT}; playbook revoke takes it from rollout_probe_ports")
    return translated


def _line(proof: Proof) -> str:
    word = {True: "ok", False: "WRONG", None: "note"}[proof.ok]
    where = f"{proof.host}  {proof.gate}  " if proof.host else ""
    return f"{word:<6}{where}{proof.client}  {proof.tried}: {proof.seen}"
