# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests of the clients of the rollout demo until this process is terminated.

demo_rollout_clients.py CONFIG
Each client sends a request every 100 ms over a new connection. CONFIG is a JSON file with the URL, the clients, and the file for
the records, one JSON object per line.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

PAUSE = 0.1
# The timeout is long, so that a slow machine does not count as a refusal.
PATIENCE = 60.0


class Client:
    """A client with its own loopback address, with or without a certificate."""

    def __init__(self, config: dict, person: dict) -> None:
        self.name = person["name"]
        self._server_name = config["server_name"]
        self._source = person["address"]
        self._gate = config["ports"]["gate"]
        self._tls = ssl.create_default_context(cafile=config["server_ca"])
        if person.get("certificate"):
            self._tls.load_cert_chain(person["certificate"], person["key"])

    def ask(self, port: int) -> dict:
        """Send one request and return its record: ``at`` and ``answered`` in seconds since 1970, ``status`` 0 for no answer."""
        seen = {"client": self.name, "at": time.time(), "gate": port == self._gate}
        seen |= {"status": 0, "verdict": "", "generation": ""}
        try:
            with self._connected(port) as raw, self._tls.wrap_socket(raw, server_hostname=self._server_name) as sock:
                connection = http.client.HTTPConnection(self._server_name, port)
                connection.sock = sock
                seen |= _get(connection, "/")
                seen["answered"] = time.time()
                if seen["gate"] and not seen["verdict"]:
                    seen |= self._told(connection)
        except (OSError, http.client.HTTPException) as error:
            seen["error"] = repr(error)
        return {"answered": time.time(), **seen}

    def _connected(self, port: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE, (self._source, 0))

    @staticmethod
    def _told(connection: http.client.HTTPConnection) -> dict:
        """Request the verdict of the gate over the same connection, which a reload of nginx may have closed."""
        try:
            answer = _get(connection, "/.well-known/quietdoor")
        except (OSError, http.client.HTTPException):
            return {}
        return {"verdict": answer["verdict"], "generation": answer["generation"]}


def _get(connection: http.client.HTTPConnection, path: str) -> dict:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    told = dict(part.split("=") for part in (answer.getheader("X-Quietdoor-Generation") or "").split())
    verdict = answer.getheader("X-Quietdoor-Verdict") or ""
    return {"status": answer.status, "verdict": verdict, "generation": told.get("gate", "")}


class Notebook:
    """The file of the records, buffered by line, so that each record is readable immediately."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, seen: dict) -> None:
        """Write one record."""
        with self._lock:
            self._file.write(json.dumps(seen) + "\n")


def keep_asking(client: Client, place: Path, notebook: Notebook) -> None:
    """Send a request every 100 ms to the port in file ``place``. Requests that are due during a slow answer are skipped."""
    due = time.monotonic()
    while True:
        notebook.write(client.ask(int(place.read_text(encoding="ascii"))))
        due = max(due + PAUSE, time.monotonic())
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0)


def main(path: str) -> None:
    """Run all clients until this process is terminated."""
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    with Path(config["records"]).open("a", encoding="utf-8", buffering=1) as file:
        notebook = Notebook(file)
        threads = [
            threading.Thread(target=keep_asking, args=(Client(config, person), Path(config["place"]), notebook))
            for person in config["people"]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
