# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many instructions a server takes, counted by valgrind: the same number however busy the machine is.

The numbers exclude the kernel, which is the larger part of a request.
"""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import client

if TYPE_CHECKING:
    from compared_servers import ComparedServer


def count(server: ComparedServer, task: dict[str, Any]) -> int:
    """Run the server under valgrind, as one process, and return the instructions for one piece of the task.

    The server is not started again afterwards.
    """
    server.nginx.stop()
    prefix = server.nginx.prefix
    conf = server.nginx.conf_file
    alone = "master_process off;\n"
    conf.write_text(alone + conf.read_text().replace(alone, ""))
    tool = [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={prefix}/callgrind",
        f"--log-file={prefix}/valgrind.log",
    ]
    argv = [*tool, "--", server.nginx.binary, "-p", str(prefix), "-c", str(conf), "-g", "daemon off;"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            work, close = _prepared(process, task)
            work()  # what is done only once is not counted
            _control(process, "--zero")
            work()
            _control(process, "--dump")
            close()
        finally:
            process.terminate()
    output = (prefix / "callgrind.1").read_text()
    return int(re.search(r"^(?:summary|totals): (\d+)", output, re.MULTILINE)[1]) // task["count"]


def _prepared(process: subprocess.Popen[bytes], task: dict[str, Any]) -> Any:
    while process.poll() is None:
        try:
            client.connect(task, client.context_of(task)).close()
        except OSError:
            time.sleep(0.2)
        else:
            return getattr(client, task["kind"])(task)
    raise RuntimeError("nginx does not start under valgrind")


def _control(process: subprocess.Popen[bytes], what: str) -> None:
    subprocess.run(["callgrind_control", what, str(process.pid)], check=True, capture_output=True)
