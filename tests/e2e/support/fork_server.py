# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Ansible programs in forks of a process that has imported Ansible already.

    fork_server.py KIND SOCKET

KIND is ``command`` (the commands ansible and ansible-playbook), ``module`` (the module files that Ansible sends to a host) or
``direct`` (a module of the installed collection, started as ``python -m``). A request on SOCKET is one message: a marshalled
tuple of arguments, environment, working directory, umask and whether to begin a session, with the three standard file
descriptors. The reply is the process id, and at the end the exit code. With HOLD_PATH in the environment, the process id is also
in a file of that directory whose name is the process id of the client, for a test that kills a run with everything it started.

Each program runs in a process of its own, which is made by fork instead of exec: the import of Ansible, one second for
ansible-playbook and 0.3 s for a module, is paid once. The code of the collection in a module file comes from that file;
only its compilation is cached, by the digest of the source. The server ends, and removes the
directory of SOCKET, when its standard input is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import hashlib
import importlib
import marshal
import os
import random
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import traceback
import types
import zipimport
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Imported by nearly every module; standard library and cryptography only.
_MODULE_IMPORTS = (
    "ansible.module_utils.basic",
    "ansible.module_utils._internal._ansiballz._loader",
    "ansible.module_utils.common.json",
    "ansible.module_utils.common.text.converters",
    "base64",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "cryptography.x509",
    "email.parser",
    "http.client",
    "json",
    "ssl",
    "tempfile",
    "zipfile",
)
_COMMAND_IMPORTS = (
    "ansible.cli.adhoc",
    "ansible.cli.playbook",
    "ansible.executor.module_common",
    "ansible.executor.playbook_executor",
    "ansible.executor.task_executor",
    "ansible.executor.task_queue_manager",
    "ansible.inventory.manager",
    "ansible.parsing.dataloader",
    "ansible.playbook",
    "ansible.plugins.action.normal",
    "ansible.plugins.connection.local",
    "ansible.plugins.strategy.linear",
    "ansible.template",
    "ansible.vars.manager",
    "cryptography.x509",
    "jinja2.nativetypes",
    "yaml",
)
_COLLECTION = "ansible_collections.quietdoor.mtls"


def _run_command(arguments: list[str]) -> None:
    """Run the command ``ansible`` or ``ansible-playbook``."""
    from ansible.cli import adhoc, playbook  # noqa: PLC0415

    random.seed()
    command = {"ansible": adhoc, "ansible-playbook": playbook}[arguments[0]]
    command.main(arguments)


def _run_module(arguments: list[str]) -> None:
    """Run a module file as ``python FILE`` or ``python < FILE`` does."""
    main = types.ModuleType("__main__")
    if arguments:
        main.__file__ = arguments[0]
        source = Path(arguments[0]).read_bytes()
    else:
        source = sys.stdin.buffer.read()
    sys.argv = arguments or [""]
    sys.modules["__main__"] = main
    exec(compile(source, arguments[0] if arguments else "<stdin>", "exec"), main.__dict__)  # noqa: S102


def _run_direct(arguments: list[str]) -> None:
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _cache_compilation(directory: Path) -> None:
    """Compile each source in a zip file once per source, not once per process."""
    compile_source = zipimport._compile_source  # type: ignore[attr-defined]

    def cached(pathname: str, source: bytes) -> types.CodeType:
        path = directory / hashlib.sha256(source).hexdigest()
        with contextlib.suppress(OSError):
            return marshal.loads(path.read_bytes())
        code = compile_source(pathname, source)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_bytes(marshal.dumps(code))
        new.replace(path)
        return code

    zipimport._compile_source = cached  # type: ignore[attr-defined]


def _load_plugins() -> None:
    """Load the plugins that each play uses. To read the options in their documentation takes longer than to import them."""
    from ansible import cli  # noqa: PLC0415
    from ansible.plugins import loader  # noqa: PLC0415

    loader.init_plugin_loader()
    cli.init_plugin_loader = lambda *_paths: None  # a second time would only give a warning
    for plugins, names in {
        loader.action_loader: ("assert", "debug", "fail", "include_tasks", "normal", "set_fact", "template"),
        loader.cache_loader: ("memory",),
        loader.connection_loader: ("local",),
        loader.inventory_loader: ("auto", "host_list", "ini", "script", "toml", "yaml"),
        loader.shell_loader: ("sh",),
        loader.strategy_loader: ("linear",),
    }.items():
        for name in names:
            plugins.get(name, class_only=True)
    for plugins in (
        loader.become_loader,
        loader.callback_loader,
        loader.filter_loader,
        loader.shell_loader,
        loader.test_loader,
    ):
        for _plugin in plugins.all(class_only=True):
            pass
    # The loader of collections keeps no compiled code, so each worker of each play would compile what its filters import.
    home = _import_library()
    for kind, plugins in {"action": loader.action_loader, "filter": loader.filter_loader}.items():
        for path in sorted((home / "plugins" / kind).glob("[!_]*.py")):
            plugins.get(f"quietdoor.mtls.{path.stem}", class_only=True)


def _import_library() -> Path:
    """Import all module_utils of the installed collection; return the directory of the collection."""
    library = Path(next(iter(importlib.import_module(f"{_COLLECTION}.plugins.module_utils").__path__)))
    home = library.parents[1]
    for path in sorted(library.rglob("*.py")):
        names = path.relative_to(home).with_suffix("").parts
        importlib.import_module(".".join((_COLLECTION, *names)).removesuffix(".__init__"))
    return home


def _prepare(kind: str, directory: Path) -> Callable[[list[str]], None]:
    """Import what programs of the kind import; return what runs one."""
    names = _COMMAND_IMPORTS if kind == "command" else _MODULE_IMPORTS
    for name in names:
        importlib.import_module(name)
    if kind == "command":
        _load_plugins()
        gc.freeze()
        return _run_command
    if kind == "direct":
        _import_library()
        return _run_direct
    _cache_compilation(directory)
    return _run_module


def _exit_code(run: Callable[[list[str]], None], arguments: list[str]) -> int:
    """Run a program to its end, as the interpreter does; return its exit code."""
    code = 0
    try:
        run(arguments)
    except SystemExit as end:
        if isinstance(end.code, int) or end.code is None:
            code = end.code or 0
        else:
            print(end.code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def _answer(connection: socket.socket, run: Callable[[list[str]], None]) -> None:
    """Become the program that one request asks for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # The functions that imports registered for the exit would remove the cache of built modules, which belongs to the server.
    atexit._clear()  # type: ignore[attr-defined]
    data, descriptors, _flags, _address = socket.recv_fds(connection, 1 << 20, 3)
    arguments, environment, directory, umask, session = marshal.loads(data)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(directory)
    os.umask(umask)
    if session:
        os.setsid()
    elif "HOLD_PATH" in environment:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        client, _user, _group = struct.unpack("3i", credentials)
        Path(environment["HOLD_PATH"], f"module-of-{client}").write_text(str(os.getpid()))
    with contextlib.suppress(OSError):
        connection.send(b"%d" % os.getpid())
    code = _exit_code(run, arguments)
    with contextlib.suppress(OSError):
        connection.send(b"%d" % code)
    os._exit(code)


def _wait_for_ended(_signal: int, _frame: object) -> None:
    """Wait for each program that has ended, so that its CPU seconds count as those of the tests."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _serve(listener: socket.socket, run: Callable[[list[str]], None]) -> None:
    signal.signal(signal.SIGCHLD, _wait_for_ended)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            return
        connection, _address = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(connection, run)
        connection.close()


def main() -> None:
    """See above."""
    kind, address = sys.argv[1:]
    directory = Path(address).parent
    run = _prepare(kind, directory)
    # Programs must not import from the directory of this file.
    sys.path = [one for one in sys.path if one != str(Path(__file__).parent)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        _serve(listener, run)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
