# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold the gate, its clients and the forged certificates of one probe run, and send its requests."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import secrets
from dataclasses import dataclass
from typing import Any

from .._contracts.stages import ENFORCE, OBSERVE
from .._contracts.status_protocol import GENERATION_HEADER, STATUS_PATH, VERDICT_HEADER
from .._probe.forged_certificates import Described, ForgedCertificateFactory, ForgedCertificates
from .._probe.http_client import ask
from .._probe.messages import HTTP, NO_ANSWER, NOBODY, TIMED_OUT, Answer, Connection, Identity, Request, Target
from .expected_outcomes import CERT, DENY, LETTING_IN, UNKNOWN, possible_outcomes

_DOWN = (502, 503, 504)  # answers of nginx when the application does not answer

_COMPARED = 4000  # characters of two pages that are compared
_ALIKE = 0.8  # least share of equal text in two versions of a page that differ only in tokens and times


@dataclass(frozen=True)
class Client:
    """An existing certificate, and the expected verdict of the gate.

    :param expect: CERT or DENY.
    :param kind: ``valid``, ``revoked``, ``expired``, ``server_auth``, ``foreign`` or ``other``.
    :param reason: the reason of the expectation, for the report.
    """

    identity: Identity
    expect: str = CERT
    kind: str = "valid"
    reason: str = ""


@dataclass(frozen=True)
class Gate:
    """The probed gate and its known properties.

    :param port: the port that browsers use, part of the Host header; ``target`` may have another one.
    :param path: request-target of a page behind the gate; ``echo_path`` is one that echoes the request as JSON, or empty.
    :param other_name: another name that may be served at the same address.
    :param generation, trust: the expected generations, None if unknown.
    :param expect_http2: None to report only.
    :param plain_ports: ports of the same address that may serve plain HTTP.
    :param guarded_paths: the guarded paths, each including all paths below it; ``path_spelling`` is ``strict`` or ``loose``.
    :param public_path: request-target of a public page, empty if there is none; ``public_echo_path`` is one that echoes.
    :param websocket_path: the path at which the application accepts WebSockets, empty if unknown.
    :param expect_hsts: ``absent``, ``present``, ``preload``, or empty to report only.
    :param rate_limit_burst: number of refusals that one address gets at once, None if they are not limited.
    :param stage, window, side_door: decide the outcomes for unauthenticated clients (:func:`possible_outcomes`).
    :param expect_application: False if the application behind the gate may be down.
    """

    target: Target
    server_name: str
    port: int
    path: str
    other_name: str
    echo_path: str = ""
    client_ca: str = ""
    contact: str = ""
    generation: int | None = None
    trust: int | None = None
    expect_http2: bool | None = None
    plain_ports: tuple[int, ...] = ()
    guarded_paths: tuple[str, ...] = ()
    path_spelling: str = "strict"
    public_path: str = ""
    public_echo_path: str = ""
    websocket_path: str = ""
    expect_hsts: str = ""
    rate_limit_burst: int | None = None
    stage: str = ENFORCE
    window: str = UNKNOWN
    side_door: bool = False
    expect_application: bool = True
    clients: tuple[Client, ...] = ()

    def host(self, name: str = "") -> str:
        """Return the Host header of a browser that opens ``name`` (default: the gate's) at the gate's port."""
        return (name or self.server_name) + ("" if self.port == 443 else f":{self.port}")

    @property
    def app_path(self) -> str:
        """The path at which the application is recognised best."""
        return self.echo_path or self.path


class ProbeSession:
    """One run of the checks against one gate, with the state that the checks share."""

    def __init__(self, gate: Gate, workshop: ForgedCertificateFactory) -> None:
        self.gate = gate
        self.unknown_name = f"quietdoor-probe-{secrets.token_hex(4)}.invalid"
        self._factory = workshop
        self._hanging: dict[str, bool] = {}

    @property
    def authorized(self) -> list[Identity]:
        """The clients that the gate should let in."""
        return [client.identity for client in self.gate.clients if client.expect == CERT]

    @property
    def refused_clients(self) -> list[Identity]:
        """The clients that the gate should refuse."""
        return [client.identity for client in self.gate.clients if client.expect == DENY]

    @property
    def authorized_client(self) -> Identity:
        """One client that the gate lets in; NOBODY if there is none."""
        return self.authorized[0] if self.authorized else NOBODY

    def possible_outcomes(self, identity: Identity = NOBODY) -> frozenset[str]:
        """Return the possible outcomes for an identity without a valid certificate."""
        gate = self.gate
        kinds = {client.identity: client.kind for client in gate.clients}
        return possible_outcomes(gate.stage, gate.window, gate.side_door, kinds.get(identity, ""))

    def is_refused(self, identity: Identity = NOBODY) -> bool:
        """Return whether an identity without a valid certificate is never let in."""
        return not self.possible_outcomes(identity) & LETTING_IN

    @property
    def always_refused(self) -> list[Identity]:
        """The clients that are refused for certain, without a password prompt."""
        return [identity for identity in self.refused_clients if self.possible_outcomes(identity) == {DENY}]

    @property
    def refused(self) -> list[Identity]:
        """The identities for checks that need a refusal: unauthenticated clients, or else a revoked client."""
        return [NOBODY, self.forged_certificates.foreign] if self.is_refused() else self.always_refused[:1]

    @property
    def refusal_unknown(self) -> str:
        """The reason why no identity is refused for certain; empty if one is."""
        if self.is_refused() or self.always_refused:
            return ""
        if self.gate.stage == OBSERVE:
            return "no client is refused at stage observe"
        open_to = f"stage {self.gate.stage} with window={self.gate.window}"
        return f"at {open_to} only a revoked client is refused for certain, and none was given"

    @functools.cached_property
    def forged_certificates(self) -> ForgedCertificates:
        """The forged certificates, created once."""
        return self._factory.make(self.authorized[0] if self.authorized else None, self.gate.client_ca)

    def prepare(self) -> ForgedCertificates:
        """Create the forged certificates now, so that a failure of openssl is reported before the first request."""
        return self.forged_certificates

    def describe(self, identity: Identity) -> Described:
        """Return subject and serial of a client's certificate."""
        return self._factory.describe(identity.certificate)

    def connection(self, identity: Identity = NOBODY, **options: Any) -> Connection:
        """Return a connection to the gate with its own name as SNI, unless ``options`` override it."""
        return Connection(**{"sni": self.gate.server_name, "identity": identity, **options})

    def get(self, path: str, headers: tuple[tuple[str, str], ...] = (), host: str | None = None) -> Request:
        """Return a GET request with the gate's Host header, unless ``host`` is given."""
        return Request("GET", path, host if host is not None else self.gate.host(), headers)

    def ask(self, request: Request, identity: Identity = NOBODY, **options: Any) -> Answer:
        """Send a request to the gate on a new connection, and return the classified answer."""
        answer = ask(self.gate.target, self.connection(identity, **options), request)
        return self.classify(answer, request.target, identity)

    def classify(self, answer: Answer, path: str, identity: Identity = NOBODY) -> Answer:
        """Mark an answer that shows that the application does not run.

        The answer counts only if the first authorized client gets such an answer too: otherwise the application runs, and the
        gate keeps the client from it.

        :param path: the requested path.
        """
        silent = _is_silent(answer) and self._hangs(path)
        if not silent and not (
            _looks_down(answer) and (identity == self.authorized_client or _looks_down(self._ask_as_authorized(path)))
        ):
            return answer
        return dataclasses.replace(answer, down=True)

    def _ask_as_authorized(self, path: str) -> Answer:
        return ask(self.gate.target, self.connection(self.authorized_client), self.get(path))

    def _hangs(self, path: str) -> bool:
        """Return whether the gate answers the first authorized client but the application does not; wait once per path."""
        if path != STATUS_PATH and path not in self._hanging:
            gate_answers = self._ask_as_authorized(STATUS_PATH).header(VERDICT_HEADER) is not None
            self._hanging[path] = gate_answers and _is_silent(self._ask_as_authorized(path))
        return self._hanging.get(path, False)

    @functools.cached_property
    def _control(self) -> Answer | None:
        """The answer of the application to a client that is let in; None if unknown."""
        if self.authorized_client is NOBODY and self.is_refused():
            return None
        answer = self.ask(self.get(self.gate.app_path), self.authorized_client)
        return (
            answer if answer.outcome == HTTP and answer.status < 400 and answer.header(VERDICT_HEADER) is None else None
        )

    def is_application(self, answer: Answer) -> bool:
        """Return whether the answer to a GET of ``app_path`` comes from the application; True if that is unknown."""
        if answer.down:
            return True
        if answer.outcome != HTTP or answer.header(VERDICT_HEADER) is not None:
            return False
        if self.gate.echo_path:
            return read_echo(answer) is not None
        if self._control is None:
            return answer.status < 400
        return _alike(answer, self._control)


def _looks_down(answer: Answer) -> bool:
    from_gate = answer.header(VERDICT_HEADER) is not None or answer.header(GENERATION_HEADER) is not None
    return answer.outcome == HTTP and answer.status in _DOWN and not from_gate


def _is_silent(answer: Answer) -> bool:
    return answer.outcome == NO_ANSWER and answer.reason == TIMED_OUT and answer.handshake


def read_echo(answer: Answer) -> dict[str, list[str]] | None:
    """Return the headers in the answer of an echoing application, each with all values; None for any other answer."""
    try:
        echo = json.loads(answer.body)
        headers = {str(name): _values(value) for name, value in echo["headers"].items()}
        return headers if {"method", "path"} <= set(echo) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _values(value: Any) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else [str(value)]


def _alike(one: Answer, other: Answer) -> bool:
    if one.status != other.status or one.header("Location") != other.header("Location"):
        return False
    texts = [answer.body.decode("utf-8", "replace")[:_COMPARED] for answer in (one, other)]
    return difflib.SequenceMatcher(a=texts[0], b=texts[1], autojunk=False).ratio() >= _ALIKE
