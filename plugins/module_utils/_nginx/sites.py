# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of sites behind a gate: judged once, completed once, and never looked at raw again."""

from __future__ import annotations

import html
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._ansible.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STAGES = ("absent", "enforce")
MODES = ("host",)
KEYS = (
    "certificate",
    "certificate_key",
    "client_max_body_size",
    "contact",
    "listen",
    "mode",
    "name",
    "server_names",
    "stage",
    "upstream",
    "upstream_ca",
    "websocket",
)
EVERY_ADDRESS = "*"

_CONTACT_LIMIT = 200
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")
_LISTEN = re.compile(r"(?:(?P<address>\*|[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>[0-9]+)")
_UPSTREAM = re.compile(r"(?P<scheme>https?)://(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]+))?)/?")
_UPSTREAM_SOCKET = re.compile(r"http://unix:(?P<path>/[A-Za-z0-9._/@+-]+)")
_SIZE = re.compile(r"[0-9]{1,9}[kKmMgG]?")
# A dollar sign would start a variable; engine:, store: and data: name keys that are no files.
_PATH = re.compile(r"(?![A-Za-z][A-Za-z0-9+.-]*:)[^$]{1,1000}")


@dataclass(frozen=True)
class Listen:
    """One address and port of a site. ``address`` is ``*``, an IPv4 address, or an IPv6 address without brackets."""

    address: str
    port: int

    @property
    def token(self) -> str:
        """The address as the directive ``listen`` takes it."""
        if self.address == EVERY_ADDRESS:
            return str(self.port)
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def reachable_at(self) -> str:
        """An address at which the host itself reaches this listener."""
        return {EVERY_ADDRESS: "127.0.0.1", "::": "::1"}.get(self.address, self.address)


@dataclass(frozen=True)
class Site:
    """One entry of ``gate_sites``, complete and valid."""

    name: str
    stage: str
    mode: str
    server_names: tuple[str, ...]
    listen: tuple[Listen, ...]
    upstream: str
    upstream_name: str
    upstream_ca: str
    certificate: str
    certificate_key: str
    contact: str
    client_max_body_size: str
    websocket: bool

    @property
    def slug(self) -> str:
        """The name as a part of a name of ours in nginx."""
        return self.name.replace("-", "_")

    def as_dict(self) -> dict[str, Any]:
        """Everything that a template needs, as plain data.

        ``contact_html`` is safe inside HTML and holds no dollar sign. ``endpoints`` are the places where the host
        itself can ask the site.
        """
        return {
            "name": self.name,
            "slug": self.slug,
            "stage": self.stage,
            "mode": self.mode,
            "server_names": list(self.server_names),
            "listen": [
                {"address": listen.address, "port": listen.port, "token": listen.token} for listen in self.listen
            ],
            "endpoints": [
                {
                    "site": self.name,
                    "address": listen.reachable_at,
                    "port": listen.port,
                    "server_name": self.server_names[0],
                }
                for listen in self.listen
            ],
            "upstream": self.upstream,
            "upstream_name": self.upstream_name,
            "upstream_ca": self.upstream_ca,
            "certificate": self.certificate,
            "certificate_key": self.certificate_key,
            "contact": self.contact,
            "contact_html": html.escape(self.contact).replace("$", "&#36;").replace("\\", "&#92;"),
            "client_max_body_size": self.client_max_body_size,
            "websocket": self.websocket,
        }


def parse_sites(raw: object) -> tuple[Site, ...]:
    """Judge the whole list ``gate_sites`` and return it with every default filled in.

    :raises Problem: that names the site and the key at fault.
    """
    if not isinstance(raw, (list, tuple)):
        raise Problem(f"gate_sites is {_kind(raw)}, not a list", "Write it as a list with one entry for each site")
    sites = tuple(_parse_site(entry, position) for position, entry in enumerate(raw, start=1))
    _refuse_double_names(sites)
    _refuse_double_server_names([site for site in sites if site.stage != "absent"])
    return sites


class _Entry:
    """One raw entry of the list, and how its errors begin."""

    def __init__(self, values: Mapping[str, Any], called: str) -> None:
        self._values = values
        self.called = called

    def problem(self, key: str, what: str, mend: str) -> Problem:
        return Problem(f"gate_sites: {self.called}: {key}: {what}", mend)

    def given(self, key: str) -> bool:
        """Whether the key is there with a value; null and the empty string count as not given."""
        value = self._values.get(key)
        return value is not None and value != ""

    def value(self, key: str) -> Any:
        return self._values.get(key)

    def text(self, key: str, mend: str, default: str | None = None) -> str:
        """The string under ``key``.

        :raises Problem: if it is missing and there is no default, or if it is no string.
        """
        if not self.given(key):
            if default is None:
                raise self.problem(key, "missing", mend)
            return default
        value = self._values[key]
        if not isinstance(value, str):
            raise self.problem(key, f"{value!r} is {_kind(value)}, not a string", mend)
        return str(value)

    def texts(self, key: str, mend: str) -> list[str]:
        """The strings under ``key``: a list, or one alone. Whole numbers count, for ports."""
        value = self._values.get(key)
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        for item in items:
            if isinstance(item, bool) or not isinstance(item, (str, int)):
                raise self.problem(key, f"{item!r} is {_kind(item)}, not a string", mend)
        return [str(item) for item in items]


def _parse_site(raw: object, position: int) -> Site:
    if not isinstance(raw, dict):
        raise Problem(f"gate_sites: entry {position} is {_kind(raw)}, not a mapping", "Write it as keys and values")
    name = _parse_name(_Entry(raw, f"entry {position}"))
    entry = _Entry(raw, f"site {name}")
    _refuse_unknown_keys(entry, raw)
    upstream, upstream_name = _parse_upstream(entry)
    return Site(
        name=name,
        stage=_parse_stage(entry),
        mode=_parse_mode(entry),
        server_names=_parse_server_names(entry),
        listen=_parse_listens(entry),
        upstream=upstream,
        upstream_name=upstream_name,
        upstream_ca=_parse_upstream_ca(entry, upstream),
        certificate=_parse_path(entry, "certificate"),
        certificate_key=_parse_path(entry, "certificate_key"),
        contact=_parse_contact(entry),
        client_max_body_size=_parse_size(entry),
        websocket=_parse_flag(entry, "websocket"),
    )


def _parse_name(entry: _Entry) -> str:
    mend = "Give the site a name of lower-case letters, digits, - and _, at most 32, that begins with a letter"
    name = entry.text("name", mend)
    if not _NAME.fullmatch(name):
        raise entry.problem("name", f"{name!r} cannot be the name of a site", mend)
    return name


def _refuse_unknown_keys(entry: _Entry, raw: Mapping[Any, Any]) -> None:
    unknown = sorted(str(key) for key in raw if key not in KEYS)
    if unknown:
        raise entry.problem(", ".join(unknown), "no such key", f"The keys of a site are: {', '.join(KEYS)}")


def _parse_stage(entry: _Entry) -> str:
    mend = f"Write one of: {', '.join(STAGES)}"
    stage = entry.value("stage")
    if isinstance(stage, bool):
        raise entry.problem(
            "stage",
            f"{stage} is a boolean (YAML reads off, no, on and yes as one)",
            "To remove the gate write stage: absent, to close it stage: enforce",
        )
    text = entry.text("stage", mend)
    if text not in STAGES:
        raise entry.problem("stage", f"{text!r} is no stage", mend)
    return text


def _parse_mode(entry: _Entry) -> str:
    mend = f"Write one of: {', '.join(MODES)}"
    mode = entry.text("mode", mend, default="host")
    if mode not in MODES:
        raise entry.problem("mode", f"{mode!r} is no mode", mend)
    return mode


def _parse_server_names(entry: _Entry) -> tuple[str, ...]:
    mend = "Write the full host names at which people reach the site, for example panel.example.org"
    if not entry.given("server_names"):
        raise entry.problem("server_names", "missing", mend)
    names = tuple(_parse_host(entry, text, mend) for text in entry.texts("server_names", mend))
    if not names:
        raise entry.problem("server_names", "an empty list", mend)
    double = _first_double(names)
    if double:
        raise entry.problem("server_names", f"{double} stands there twice", "Remove one of them")
    return names


def _parse_host(entry: _Entry, text: str, mend: str) -> str:
    """An exact host name in ASCII, lower case (RFC 1123 section 2.1; RFC 6066 section 3: no address, no final dot)."""
    if not text.isascii():
        raise entry.problem(
            "server_names", f"{text!r} is not ASCII", "Write it as the A-label that a browser sends, beginning xn--"
        )
    name = text.lower()
    labels = name.split(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise entry.problem("server_names", f"{text!r} is no exact host name", mend)
    if labels[-1].isdigit():
        raise entry.problem(
            "server_names", f"{text!r} is an address; a browser sends no server name for one (RFC 6066)", mend
        )
    return name


def _parse_listens(entry: _Entry) -> tuple[Listen, ...]:
    mend = 'Write a list of ports, address:port or [IPv6 address]:port, for example ["443", "[::]:443"]'
    if not entry.given("listen"):
        return (Listen(EVERY_ADDRESS, 443),)
    listens = tuple(_parse_listen(entry, text, mend) for text in entry.texts("listen", mend))
    if not listens:
        raise entry.problem("listen", "an empty list", mend)
    double = _first_double([listen.token for listen in listens])
    if double:
        raise entry.problem("listen", f"{double} stands there twice", "Remove one of them")
    return listens


def _parse_listen(entry: _Entry, text: str, mend: str) -> Listen:
    match = _LISTEN.fullmatch(text)
    if not match:
        raise entry.problem("listen", f"{text!r} is no port and no address with a port", mend)
    return Listen(_parse_address(entry, match["address"], mend), _parse_port(entry, "listen", match["port"]))


def _parse_address(entry: _Entry, text: str | None, mend: str) -> str:
    if text is None or text in (EVERY_ADDRESS, "0.0.0.0"):  # noqa: S104 the wildcard as a person writes it, nothing is bound
        return EVERY_ADDRESS
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise entry.problem("listen", f"{text!r} is no address", mend) from None


def _parse_port(entry: _Entry, key: str, text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise entry.problem(key, f"{text} is no port", "Write a port from 1 to 65535")
    return int(text)


def _parse_upstream(entry: _Entry) -> tuple[str, str]:
    """The address of the application for ``proxy_pass``, and the host name in it (empty for a socket).

    A path is refused: with one, nginx would rewrite every URI instead of handing it on as it came.
    """
    mend = "Write http://host:port, https://host:port or http://unix:/path/of/socket, without a path"
    text = entry.text("upstream", mend)
    if _UPSTREAM_SOCKET.fullmatch(text):
        return text, ""
    match = _UPSTREAM.fullmatch(text)
    if not match:
        raise entry.problem("upstream", f"{text!r} is no address of an application", mend)
    if match["port"]:
        _parse_port(entry, "upstream", match["port"])
    return text.rstrip("/"), match["host"].strip("[]")


def _parse_upstream_ca(entry: _Entry, upstream: str) -> str:
    if not entry.given("upstream_ca"):
        return ""
    if not upstream.startswith("https://"):
        raise entry.problem(
            "upstream_ca", "has no effect, because upstream is not https", "Remove it, or write upstream as https://"
        )
    return _parse_path(entry, "upstream_ca")


def _parse_path(entry: _Entry, key: str) -> str:
    mend = "Write the path of a PEM file on the web host, absolute or relative to the directory of nginx.conf"
    path = entry.text(key, mend)
    if not _PATH.fullmatch(path) or not path.isprintable():
        raise entry.problem(key, f"{path!r} cannot be the path of a file", mend)
    return path


def _parse_contact(entry: _Entry) -> str:
    mend = f"Write one line of at most {_CONTACT_LIMIT} characters: whom to ask, and how"
    contact = entry.text("contact", mend, default="")
    if len(contact) > _CONTACT_LIMIT:
        raise entry.problem("contact", f"{len(contact)} characters are too many", mend)
    if not contact.isprintable():
        raise entry.problem("contact", "holds a line break or another control character", mend)
    return contact


def _parse_size(entry: _Entry) -> str:
    mend = "Write a size as nginx does: bytes, or a number and k, m or g, as in 20m; 0 means no limit"
    texts = entry.texts("client_max_body_size", mend) if entry.given("client_max_body_size") else [""]
    if len(texts) != 1 or not (texts[0] == "" or _SIZE.fullmatch(texts[0])):
        raise entry.problem("client_max_body_size", f"{entry.value('client_max_body_size')!r} is no size", mend)
    return texts[0]


def _parse_flag(entry: _Entry, key: str) -> bool:
    value = entry.value(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise entry.problem(key, f"{value!r} is {_kind(value)}, not a boolean", "Write true or false")
    return value


def _refuse_double_names(sites: Sequence[Site]) -> None:
    seen: dict[str, str] = {}
    for site in sites:
        if site.slug in seen:
            raise Problem(
                f"gate_sites: site {site.name}: name: the same as that of site {seen[site.slug]} (- and _ count as one)",
                "Give every site a name of its own",
            )
        seen[site.slug] = site.name


def _refuse_double_server_names(sites: Sequence[Site]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for site in sites:
        for place in sorted({(name, listen.port) for name in site.server_names for listen in site.listen}):
            if place in seen:
                raise Problem(
                    f"gate_sites: site {site.name}: server_names: {place[0]} on port {place[1]} belongs to site "
                    f"{seen[place]} already",
                    "Give every site names of its own, or another port",
                )
            seen[place] = site.name


def _first_double(items: Sequence[str]) -> str | None:
    return next((item for index, item in enumerate(items) if item in items[:index]), None)


def _kind(value: object) -> str:
    """The value's type in words for a person who writes YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", tuple: "a list", dict: "a mapping"}
    return next((words for kind, words in names.items() if isinstance(value, kind)), type(value).__name__)
