# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Query the generation that the running nginx uses.

The exit code of a reload does not prove that nginx uses the new configuration; its answers on new connections do.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._contracts.gate_manifest import manifest_endpoints, read_manifest
from .._contracts.paths import LIVE_MANIFEST, MANIFEST
from .._contracts.status_protocol import GENERATION_HEADER, GENERATIONS, LOOPBACK, STATUS_PATH, Answer
from .._nginx.nginx import Nginx
from .entry_point import included_sites
from .generation_store import GenerationStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._contracts.status_protocol import Endpoint, StatusClient

# During a reload old and new workers accept connections, so this number of new connections in a row must agree.
_ROUNDS = 5
_PAUSE = 0.05
_ASK_TIMEOUT = 5.0


def ask(endpoint: Endpoint) -> Answer:
    """Return the generations that the nginx on this host reports on a new TLS connection. Never raises.

    The server certificate is not verified: the request goes to a local server and contains no secret.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    address = (LOOPBACK.get(endpoint.address, endpoint.address), endpoint.port)
    try:
        with socket.create_connection(address, timeout=_ASK_TIMEOUT) as plain:
            return _send_request(plain, context, endpoint.server_name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(failure=str(error) or type(error).__name__)


def _send_request(plain: socket.socket, context: ssl.SSLContext, server_name: str) -> Answer:
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
    reported = {kind: int(number) for kind, number in GENERATIONS.findall(value)}
    return Answer(reported.get("gate"), reported.get("trust"))


class LiveNginx(Nginx):
    """An nginx that reports its live generation."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Return what the running nginx reports at ``endpoint``."""
        return ask(endpoint)


def is_live(nginx: StatusClient, endpoints: Iterable[Endpoint], kind: str, generation: int | None) -> bool:
    """Return whether every endpoint reports ``generation`` (None: reports none) several times in a row."""
    return not any(_find_mismatch(nginx, endpoints, kind, generation) for _round in range(_ROUNDS))


def wait_until_live(
    nginx: StatusClient,
    endpoints: Sequence[Endpoint],
    kind: str,
    generation: int | None,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until every endpoint reports ``generation`` (None: none) several times in a row on new connections.

    :param timeout: seconds.
    :raises MtlsError: if an endpoint reports another generation at the timeout.
    """
    deadline = clock() + timeout
    agreed = 0
    while True:
        mismatch = _find_mismatch(nginx, endpoints, kind, generation)
        agreed = 0 if mismatch else agreed + 1
        if agreed >= _ROUNDS:
            return
        if mismatch and clock() >= deadline:
            raise MtlsError(
                f"The running nginx does not serve {_describe_generation(kind, generation)}: after {timeout:g} s {mismatch}",
                "Check the error log of nginx. A changed address or shared memory zone can require a restart",
            )
        time.sleep(_PAUSE)


def _find_mismatch(nginx: StatusClient, endpoints: Iterable[Endpoint], kind: str, generation: int | None) -> str:
    for endpoint in endpoints:
        answer = nginx.ask(endpoint)
        if answer.of(kind) != generation:
            return f"{endpoint} reports {_describe_answer(answer, kind)}"
    return ""


def _describe_answer(answer: Answer, kind: str) -> str:
    number = answer.of(kind)
    return (
        _describe_generation(kind, number)
        if number is not None
        else f"none ({answer.failure or 'no ' + kind + ' generation'})"
    )


def _describe_generation(kind: str, generation: int | None) -> str:
    return f"no {kind} generation" if generation is None else f"{kind} generation {generation}"


def endpoints_of_live_gate(conf_path: str) -> Sequence[Endpoint] | None:
    """Return the endpoints of the live gate, None if no gate is live.

    Sites with ``manage: snippets`` that no server included when the gate was last verified have no endpoint yet and are omitted.

    :raises MtlsError: if the manifest of the live gate is not valid.
    """
    shelf = GenerationStore(conf_path, "gate")
    live = shelf.live()
    if live is None:
        return None
    manifest = shelf.files(live).get(MANIFEST, "")
    try:
        endpoints = manifest_endpoints(manifest)
    except MtlsError:
        raise MtlsError(
            f"{conf_path}/{LIVE_MANIFEST}: the list of endpoints is not valid, since the file was changed",
            f"Run playbook quietdoor.mtls.rollback with -e rollback_generation={live} "
            "-e rollout_overwrite_manual_changes=true, which restores the file",
        ) from None
    snippets = {site.name for site in read_manifest(manifest).checked().sites if site.manage == "snippets"}
    waiting = snippets - included_sites(conf_path)
    return [endpoint for endpoint in endpoints if endpoint.site not in waiting]
