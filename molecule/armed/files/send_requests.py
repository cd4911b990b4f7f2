# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a request to a gate every 100 ms on a new connection until a file is removed.

send_requests.py PORT SERVER_NAME CERTIFICATE KEY FILE
The program prints the number of requests and the refusals as JSON.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
import time


def send_request(port: int, name: str, context: ssl.SSLContext) -> str:
    """Request the application. Return what is wrong with the answer, or an empty string."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            tls = context.wrap_socket(plain, server_hostname=name)
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(tls)
            response.begin()
            response.read()
            tls.close()
            return "" if response.status == 200 else f"status {response.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__} {error}"


def main(port: str, name: str, certificate: str, key: str, file: str) -> None:
    """Send requests until the file is removed, and print the results."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(certificate, key)
    count, refusals = 0, []
    while os.path.exists(file):
        wrong = send_request(int(port), name, context)
        count += 1
        refusals += [wrong] if wrong else []
        time.sleep(0.1)
    print(json.dumps({"requests": count, "refusals": refusals}))


if __name__ == "__main__":
    main(*sys.argv[1:])
