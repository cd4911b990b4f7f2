# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked about one gate: its address, the clients to knock as, and what a check needs to ask and to remember."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import secrets
from dataclasses import dataclass
from typing import Any

from .._probe.forged_certificates import Described, ForgedCertificateFactory, ForgedCertificates
from .._probe.http_client import ask
from .._probe.messages import HTTP, NO_ANSWER, NOBODY, TIMED_OUT, Answer, Connection, Identity, Request, Target
from .expected_outcomes import CERT, DENY, ENFORCE, LETTING_IN, OBSERVE, UNKNOWN, possible_outcomes

STATUS_PATH = "/.well-known/quietdoor"
VERDICT = "X-Quietdoor-Verdict"
GENERATION = "X-Quietdoor-Generation"

_DOWN = (502, 503, 504)  # what nginx answers when the application does not

_COMPARED = 4000  # characters of two pages that are compared
_ALIKE = 0.8  # share of them that is the same when a page differs only by tokens and times


@dataclass(frozen=True)
class Client:
    """A certificate that exists, and what the gate should make of it.

    :param expect: CERT or DENY.
    :param kind: ``valid``, ``revoked``, ``expired``, ``server_auth``, ``foreign`` or ``other``.
    :param reason: why, for the report.
    """

    identity: Identity
    expect: str = CERT
    kind: str = "valid"
    reason: str = ""


@dataclass(frozen=True)
class Gate:
    """The gate that is asked, and what is known of it.

    :param port: the port that browsers use, part of the Host header; ``target`` may be reached by another one.
    :param path: request-target of a page behind it; ``echo_path`` one that echoes the request as JSON, or empty.
    :param other_name: another name that may be served at the same address.
    :param generation, trust: the expected generations, None if not known.
    :param expect_http2: None to report only.
    :param plain_ports: ports of the same address where plain HTTP may be spoken.
    :param guarded_paths: what is guarded, each also with everything below it; ``path_spelling`` is ``strict`` or ``loose``.
    :param public_path: request-target of a page that is public, empty if nothing is; ``public_echo_path`` one that echoes.
    :param websocket_path: where the application takes WebSockets, empty if it is not known.
    :param expect_hsts: ``absent``, ``present``, ``preload``, or empty to report only.
    :param rate_limit_burst: refusals that one address gets at once, None if they are not limited.
    :param stage, window, side_door: what is expected for who has no good certificate (:func:`possible_outcomes`).
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
        """Return the Host header of a browser that goes to ``name`` (default: the gate's) at the gate's port."""
        return (name or self.server_name) + ("" if self.port == 443 else f":{self.port}")

    @property
    def app_path(self) -> str:
        """The path where the application is recognised best."""
        return self.echo_path or self.path


class ProbeSession:
    """One run of the catalogue against one gate: how to ask it, and what was learnt on the way."""

    def __init__(self, gate: Gate, workshop: ForgedCertificateFactory) -> None:
        self.gate = gate
        self.unknown_name = f"quietdoor-probe-{secrets.token_hex(4)}.invalid"
        self._factory = workshop
        self._hanging: dict[str, bool] = {}

    @property
    def authorized(self) -> list[Identity]:
        """The clients that should get in."""
        return [client.identity for client in self.gate.clients if client.expect == CERT]

    @property
    def refused_clients(self) -> list[Identity]:
        """The clients that should be refused."""
        return [client.identity for client in self.gate.clients if client.expect == DENY]

    @property
    def authorized_client(self) -> Identity:
        """One client that gets in; nobody if there is none."""
        return self.authorized[0] if self.authorized else NOBODY

    def possible_outcomes(self, identity: Identity = NOBODY) -> frozenset[str]:
        """Return what may become of an identity that has no good certificate."""
        gate = self.gate
        kinds = {client.identity: client.kind for client in gate.clients}
        return possible_outcomes(gate.stage, gate.window, gate.side_door, kinds.get(identity, ""))

    def is_refused(self, identity: Identity = NOBODY) -> bool:
        """Say whether an identity without a good certificate does not get in for certain."""
        return not self.possible_outcomes(identity) & LETTING_IN

    @property
    def always_refused(self) -> list[Identity]:
        """The clients that are refused for certain, without being asked for a password."""
        return [identity for identity in self.refused_clients if self.possible_outcomes(identity) == {DENY}]

    @property
    def refused(self) -> list[Identity]:
        """Whom to ask as where only a refusal will do: nobody and a stranger, or revoked clients where those may get in."""
        return [NOBODY, self.forged_certificates.foreign] if self.is_refused() else self.always_refused[:1]

    @property
    def refusal_unknown(self) -> str:
        """Why there is nobody to ask as; empty if there is somebody."""
        if self.is_refused() or self.always_refused:
            return ""
        if self.gate.stage == OBSERVE:
            return "nobody is refused at stage observe"
        open_to = f"stage {self.gate.stage} with window={self.gate.window}"
        return f"at {open_to} only a revoked client is refused for certain, and none was given"

    @functools.cached_property
    def forged_certificates(self) -> ForgedCertificates:
        """The false certificates, made once."""
        return self._factory.make(self.authorized[0] if self.authorized else None, self.gate.client_ca)

    def prepare(self) -> ForgedCertificates:
        """Make the false certificates now, so that what is wrong with openssl shows before anything is asked."""
        return self.forged_certificates

    def describe(self, identity: Identity) -> Described:
        """Return subject and serial of a client's certificate."""
        return self._factory.describe(identity.certificate)

    def connection(self, identity: Identity = NOBODY, **options: Any) -> Connection:
        """Return a connection to the gate by its own name, unless ``options`` say otherwise."""
        return Connection(**{"sni": self.gate.server_name, "identity": identity, **options})

    def get(self, path: str, headers: tuple[tuple[str, str], ...] = (), host: str | None = None) -> Request:
        """Return a GET request with the gate's Host header, unless another is given."""
        return Request("GET", path, host if host is not None else self.gate.host(), headers)

    def ask(self, request: Request, identity: Identity = NOBODY, **options: Any) -> Answer:
        """Ask the gate on a fresh connection."""
        answer = ask(self.gate.target, self.connection(identity, **options), request)
        return self.classify(answer, request.target, identity)

    def classify(self, answer: Answer, path: str, identity: Identity = NOBODY) -> Answer:
        """Mark an answer that shows that the application does not run.

        It does so only if the first client that gets in has such an answer too: else the application is there, and it is the gate
        that keeps somebody from it.

        :param path: what was asked for.
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
        """Say whether the gate answers the first client that gets in, but nothing does behind it. Waited for once only."""
        if path != STATUS_PATH and path not in self._hanging:
            gate_answers = self._ask_as_authorized(STATUS_PATH).header(VERDICT) is not None
            self._hanging[path] = gate_answers and _is_silent(self._ask_as_authorized(path))
        return self._hanging.get(path, False)

    @functools.cached_property
    def _control(self) -> Answer | None:
        """What the application answers to somebody who gets in; None if that is not known."""
        if self.authorized_client is NOBODY and self.is_refused():
            return None
        answer = self.ask(self.get(self.gate.app_path), self.authorized_client)
        return answer if answer.outcome == HTTP and answer.status < 400 and answer.header(VERDICT) is None else None

    def is_application(self, answer: Answer) -> bool:
        """Say whether the answer, to a GET of ``app_path``, is the application's. When it cannot be told, it is."""
        if answer.down:
            return True
        if answer.outcome != HTTP or answer.header(VERDICT) is not None:
            return False
        if self.gate.echo_path:
            return read_echo(answer) is not None
        if self._control is None:
            return answer.status < 400
        return _alike(answer, self._control)


def _looks_down(answer: Answer) -> bool:
    from_gate = answer.header(VERDICT) is not None or answer.header(GENERATION) is not None
    return answer.outcome == HTTP and answer.status in _DOWN and not from_gate


def _is_silent(answer: Answer) -> bool:
    return answer.outcome == NO_ANSWER and answer.reason == TIMED_OUT and answer.handshake


def read_echo(answer: Answer) -> dict[str, list[str]] | None:
    """Return the headers in an echoing application's answer, each with all its values; None if it is no such answer."""
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
