# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which generation the running nginx tells. The exit code of a reload proves nothing; this does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_endpoints, read_manifest
from .._nginx.nginx import Nginx
from .entry_point import included_sites
from .generation_store import HOME, GenerationStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._contracts.status_protocol import Endpoint


import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING

from .._contracts.status_protocol import (
    GENERATION_HEADER,
    GENERATIONS,
    LOOPBACK,
    STATUS_PATH,
    Answer,
    Endpoint,
    StatusClient,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# While workers are replaced, old and new ones take connections side by side: so many fresh ones in a row must agree.
_ROUNDS = 5
_PAUSE = 0.05
_ASK_TIMEOUT = 5.0


def ask(endpoint: Endpoint) -> Answer:
    """Ask the nginx on this host for its generations, on a fresh TLS connection. Never raises.

    The server's certificate is not checked: a local server is asked for two numbers, and nothing is sent to it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    address = (LOOPBACK.get(endpoint.address, endpoint.address), endpoint.port)
    try:
        with socket.create_connection(address, timeout=_ASK_TIMEOUT) as plain:
            return _ask_on(plain, context, endpoint.server_name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(failure=str(error) or type(error).__name__)


def _ask_on(plain: socket.socket, context: ssl.SSLContext, server_name: str) -> Answer:
    with context.wrap_socket(plain, server_hostname=server_name) as tls:
        lines = [f"GET {STATUS_PATH} HTTP/1.1", f"Host: {server_name}", "Connection: close", "", ""]
        tls.sendall("\r\n".join(lines).encode("ascii"))
        response = http.client.HTTPResponse(tls)
        try:
            response.begin()
            value = response.getheader(GENERATION_HEADER)
        finally:
            response.close()
    if value is None:
        return Answer(failure=f"status {response.status} without {GENERATION_HEADER}")
    told = {kind: int(number) for kind, number in GENERATIONS.findall(value)}
    return Answer(told.get("gate"), told.get("trust"))


class LiveNginx(Nginx):
    """An nginx whose live generation can be asked for."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Return what the running nginx reports at ``endpoint``."""
        return ask(endpoint)


def is_live(nginx: StatusClient, endpoints: Iterable[Endpoint], kind: str, generation: int | None) -> bool:
    """Return whether every endpoint tells ``generation`` (None: tells none), several times in a row."""
    return not any(_first_wrong(nginx, endpoints, kind, generation) for _round in range(_ROUNDS))


def wait_until_live(
    nginx: StatusClient,
    endpoints: Sequence[Endpoint],
    kind: str,
    generation: int | None,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until every endpoint tells ``generation`` (None: tells none) several times in a row on fresh connections.

    :param timeout: seconds.
    :raises MtlsError: if that does not come about; it says what was told instead.
    """
    deadline = clock() + timeout
    agreed = 0
    while True:
        wrong = _first_wrong(nginx, endpoints, kind, generation)
        agreed = 0 if wrong else agreed + 1
        if agreed >= _ROUNDS:
            return
        if wrong and clock() >= deadline:
            raise MtlsError(
                f"The running nginx does not serve {_named(kind, generation)}: after {timeout:g} s {wrong}",
                "Look into nginx's error log; an address or a shared zone that it cannot change in a reload needs a restart",
            )
        time.sleep(_PAUSE)


def _first_wrong(nginx: StatusClient, endpoints: Iterable[Endpoint], kind: str, generation: int | None) -> str:
    for endpoint in endpoints:
        answer = nginx.ask(endpoint)
        if answer.of(kind) != generation:
            return f"{endpoint} tells {_told(answer, kind)}"
    return ""


def _told(answer: Answer, kind: str) -> str:
    number = answer.of(kind)
    return _named(kind, number) if number is not None else f"none ({answer.failure or 'no ' + kind + ' generation'})"


def _named(kind: str, generation: int | None) -> str:
    return f"no {kind} generation" if generation is None else f"{kind} generation {generation}"


def endpoints_of_live_gate(conf_path: str) -> Sequence[Endpoint] | None:
    """Return where the running nginx tells its generations, None if no gate is live.

    Left out are the sites of snippets that no server included when the gate was last proven.

    :raises MtlsError: if its manifest does not say so.
    """
    shelf = GenerationStore(conf_path, "gate")
    live = shelf.live()
    if live is None:
        return None
    manifest = shelf.files(live).get("manifest.json", "")
    try:
        endpoints = manifest_endpoints(manifest)
    except MtlsError:
        raise MtlsError(
            f"{conf_path}/{HOME}/gate/manifest.json does not say where the running nginx can be asked, so somebody has "
            "changed it",
            f"Run playbook quietdoor.mtls.rollback with -e rollback_generation={live} "
            "-e rollout_overwrite_manual_changes=true, which writes what was there",
        ) from None
    snippets = {site.name for site in read_manifest(manifest).checked().sites if site.manage == "snippets"}
    waiting = snippets - included_sites(conf_path)
    return [endpoint for endpoint in endpoints if endpoint.site not in waiting]
