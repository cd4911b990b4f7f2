# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that are compared: each an nginx of its own with one worker, all in front of one application."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.quietdoor.mtls.plugins.module_utils._contracts.stages import STAGES as ALL_STAGES
from ansible_collections.quietdoor.mtls.plugins.module_utils._deploy.module_options import nginx_from
from ansible_collections.quietdoor.mtls.plugins.module_utils._sites.models import MODES, REVOCATIONS
from ansible_collections.quietdoor.mtls.plugins.module_utils._trust.install import Request, install_trust
from material import SERVER_NAME, Material
from support.lab import COLLECTIONS, PLAYBOOK
from support.nginx import NginxInstance

PATH = "/admin/index.html"
STAGES = [stage for stage in ALL_STAGES if stage != "absent"]
# A common handwritten configuration with ssl_verify_client. Tickets are off as in the gate: they cost time at every handshake.
_PLAIN = """
    {format}
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {name};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache off;
        ssl_session_tickets off;
        {verify}
        access_log access.log {log};
        location / {{
            proxy_pass http://127.0.0.1:{application};
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            {headers}
        }}
    }}
"""
_VERIFY = "ssl_verify_client on; ssl_client_certificate ca.pem; ssl_crl crl.pem;"
_HEADERS = "proxy_set_header X-Client-Verify $ssl_client_verify; proxy_set_header X-Client-DN $ssl_client_s_dn;"
# Headers and log fields of a gate that nginx without a gate can provide.
_MORE_HEADERS = """
            proxy_set_header X-Client-Serial $ssl_client_serial;
            proxy_set_header X-Client-Fingerprint $ssl_client_fingerprint;
            proxy_set_header X-Client-Issuer-DN $ssl_client_i_dn;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Request-ID $request_id;"""
_FORMAT = """log_format detailed escape=json
        '{"time":"$time_iso8601","verify":"$ssl_client_verify","serial":"$ssl_client_serial","subject":"$ssl_client_s_dn",'
        '"issuer":"$ssl_client_i_dn","fingerprint":"$ssl_client_fingerprint","remote_addr":"$remote_addr",'
        '"peer":"$realip_remote_addr","server_name":"$ssl_server_name","host":"$host","method":"$request_method",'
        '"uri":"$request_uri","protocol":"$server_protocol","status":"$status","bytes":$body_bytes_sent,'
        '"seconds":$request_time,"upstream_status":"$upstream_status","referer":"$http_referer",'
        '"user_agent":"$http_user_agent","tls":"$ssl_protocol","tls_reused":"$ssl_session_reused","request_id":"$request_id"}';"""
_REFERENCES = {
    "no client certificates": {"verify": "", "headers": "", "format": "", "log": "combined"},
    "ssl_verify_client on, ssl_crl": {"verify": _VERIFY, "headers": _HEADERS, "format": "", "log": "combined"},
    "the same, telling as much as a gate": {
        "verify": _VERIFY,
        "headers": _HEADERS + _MORE_HEADERS,
        "format": _FORMAT,
        "log": "detailed",
    },
}
_APPLICATION = 'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }}'


def ports(count: int) -> list[int]:
    """Return so many ports that nobody listens on."""
    found: list[int] = []
    for port in range(24300, 24400):
        with socket.socket() as probe:
            if len(found) < count and probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


class Single(NginxInstance):
    """An nginx with one worker, on whose connections any number of requests is answered."""

    def configure(self, http: str = "", main: str = "", include: str = "include conf.d/*.conf;") -> None:
        """Write nginx.conf."""
        super().configure(f"keepalive_requests 100000000; {http}", main, include)
        text = self.conf_file.read_text().replace("worker_processes 2;", "worker_processes 1;")
        self.conf_file.write_text(text)

    def worker(self) -> int:
        """Return the process id of the one worker; after a reload, when the former one has gone."""
        while True:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            if len(children) == 1:
                return int(children[0])
            time.sleep(0.05)


@dataclass
class ComparedServer:
    """One of the servers. ``site`` holds its particular options of gate_sites; None for a server without a gate."""

    name: str
    nginx: Single
    port: int
    verifies: bool
    site: dict[str, Any] | None = None

    def update_trust(self, publication: dict[str, str]) -> None:
        """Install a publication."""
        if self.site is not None:
            request = Request(publication, timedelta(days=7), prove_timeout=120.0, keep=1)
            install_trust(nginx_from(self.nginx.options()), request, datetime.now(timezone.utc), check_mode=False)
            return
        if not self.verifies:
            return
        former = self.nginx.worker()
        for name in ("ca.pem", "crl.pem"):
            (self.nginx.prefix / name).write_text(publication[name])
        self.nginx.reload()
        while self.nginx.worker() == former:
            time.sleep(0.05)

    def processor(self) -> float:
        """Return the seconds of user and system time that the worker has used up, to the nanosecond."""
        return int(Path(f"/proc/{self.nginx.worker()}/schedstat").read_text().split()[0]) / 1e9

    def mebibytes(self) -> float:
        """Return how much memory the worker holds."""
        lines = Path(f"/proc/{self.nginx.worker()}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


def build(
    root: Path, material: Material, publication: dict[str, str], stages: list[str]
) -> tuple[list[ComparedServer], NginxInstance]:
    """Start the application, the servers without a gate, to which the others are compared, and a gate in each of the stages."""
    wanted = [(stage, mode, revocation) for stage in stages for mode in MODES for revocation in REVOCATIONS]
    application, *free = ports(1 + len(_REFERENCES) + len(wanted))
    body = "x" * 1000
    upstream = NginxInstance(root / "application", http=_APPLICATION.format(port=application, body=body))
    upstream.start()
    values = {"name": SERVER_NAME, "certificate": material.server.certificate, "key": material.server.key}
    servers = []
    for name, texts in _REFERENCES.items():
        port = free.pop(0)
        text = _PLAIN.format(**values, **texts, port=port, application=application)
        nginx = Single(root / f"plain-{port}", http=text)
        for file in ("ca.pem", "crl.pem"):
            (nginx.prefix / file).write_text(publication[file])
        servers.append(ComparedServer(name, nginx, port, bool(texts["verify"])))
    for stage, mode, revocation in wanted:
        site = {"stage": stage, "mode": mode, "revocation": revocation, "window": {"networks": ["192.0.2.0/24"]}}
        port = free.pop(0)
        servers.append(
            ComparedServer(f"gate, {mode}, {stage}, {revocation}", Single(root / f"gate-{port}"), port, True, site)
        )
    try:
        for server in servers:
            server.nginx.start()
        _apply_roles(
            root, [server for server in servers if server.site is not None], material, publication, application
        )
    except BaseException:
        for nginx in (*(server.nginx for server in servers), upstream):
            nginx.stop()
        raise
    return servers, upstream


def _apply_roles(
    root: Path, servers: list[ComparedServer], material: Material, publication: dict[str, str], application: int
) -> None:
    """Run the roles trust and gate, for all gates at once."""
    published = root / "publication"
    published.mkdir()
    for name, text in publication.items():
        (published / name).write_text(text)
    hosts = {f"server-{server.port}": _variables(server, material, application) for server in servers}
    common = {"ansible_connection": "local", "authority_publish_path": str(published)}
    inventory = {
        "all": {"vars": common},
        "mtls_web": {"hosts": hosts},
        "mtls_ca": {"hosts": dict.fromkeys([*hosts][:1])},
    }
    roles = [{"role": f"quietdoor.mtls.{name}"} for name in ("trust", "gate")]
    play = {"hosts": "mtls_web", "gather_facts": False, "roles": roles}
    (root / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (root / "play.yml").write_text(yaml.safe_dump([play]))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(root / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(root / "ansible" / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(root / "ansible" / "tmp"),
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    }
    argv = [str(PLAYBOOK), "-i", str(root / "inventory.yml"), str(root / "play.yml")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)


def _variables(server: ComparedServer, material: Material, application: int) -> dict[str, Any]:
    upstream = f"http://127.0.0.1:{application}"
    site = {
        "name": "panel",
        "server_names": [SERVER_NAME],
        "listen": [f"127.0.0.1:{server.port}"],
        "upstream": upstream,
        "certificate": str(material.server.certificate),
        "certificate_key": str(material.server.key),
        **(server.site or {}),
    }
    if site["mode"] == "path":
        site["paths"] = ["/admin/"]
    options = server.nginx.options()
    return {
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "gate_nginx_conf_path": options["conf_path"],
        "gate_nginx_binary": options["nginx_binary"],
        "gate_nginx_test_argv": options["test_argv"],
        "gate_nginx_reload_argv": options["reload_argv"],
        "gate_nginx_log_path": str(server.nginx.prefix),
        "gate_sites": [site],
    }
