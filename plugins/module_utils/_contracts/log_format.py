# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the fields of a gate's access log; render and parse both of its formats.

A new field is one line in ``FIELDS``; with ``combined=True`` it is part of format ``combined``, too. Lines of earlier
releases lack it, so readers need a default.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOG_FORMATS = ("json", "combined")


@dataclass(frozen=True)
class LogField:
    """One field of a line.

    :param value: the nginx expression; ``{name}`` is a value of the site, see :func:`render_log_format`.
    :param quoted: whether the value is a string in JSON.
    :param combined: whether the format ``combined`` contains it, too.
    :param edge: whether the field exists only for sites behind a TLS-terminating proxy.
    """

    key: str
    value: str
    quoted: bool = True
    combined: bool = False
    edge: bool = False


# Each tuple is one line of the rendered format.
FIELDS = (
    (
        LogField("time", "$time_iso8601"),
        LogField("site", "{site}"),
        LogField("stage", "{stage}", combined=True),
        LogField("verdict", "{verdict}", combined=True),
        LogField("reason", "{reason}", combined=True),
    ),
    (
        LogField("verify", "{verify}", combined=True),
        LogField("serial", "{serial}", combined=True),
        LogField("subject", "{dn}", combined=True),
        LogField("issuer", "{issuer_dn}", combined=True),
    ),
    (
        LogField("fingerprint", "{fingerprint}"),
        LogField("name", "{name}", combined=True),
        LogField("email", "{email}", combined=True),
    ),
    (
        LogField("roles", "{roles}"),
        LogField("remote_addr", "{address}"),
        LogField("peer", "$realip_remote_addr", combined=True),
        LogField("server_name", "$ssl_server_name"),
    ),
    (
        LogField("edge", "$ssl_client_s_dn", combined=True, edge=True),
        LogField("edge_verify", "$ssl_client_verify", edge=True),
        LogField("edge_signal", "{edge_signal}", edge=True),
    ),
    (
        LogField("host", "$host"),
        LogField("method", "$request_method"),
        LogField("uri", "$request_uri"),
        LogField("protocol", "$server_protocol"),
        LogField("status", "$status"),
    ),
    (
        LogField("bytes", "$body_bytes_sent", quoted=False),
        LogField("seconds", "$request_time", quoted=False),
        LogField("upstream_status", "$upstream_status", combined=True),
        LogField("referer", "$http_referer"),
    ),
    (
        LogField("user_agent", "$http_user_agent"),
        LogField("tls", "$ssl_protocol"),
        LogField("tls_reused", "$ssl_session_reused"),
        LogField("request_id", "$request_id", combined=True),
    ),
    (
        LogField("gate", "$quietdoor_gate_generation"),
        LogField("trust", "$quietdoor_trust_generation"),
    ),
)
# The fields of nginx's own "combined" format come before those of the gate.
_PREFIX = '{address} - - [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
# A line of the rendered format "combined" ends after these fields.
_LINE_ENDS = ("serial", "email")
_COMBINED = re.compile(
    r'(?P<remote_addr>\S+) - - \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) \d+ '
    r'"(?:[^"\\]|\\.)*" "(?P<user_agent>(?:[^"\\]|\\.)*)"(?P<fields>(?: [a-z_]+="[^"]*")+)\n?'
)
_FIELD = re.compile(r' ([a-z_]+)="([^"]*)"')
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_LOCAL = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-]\d{4})")
# A byte that nginx escapes in a log that is not JSON.
_ESCAPED = re.compile(r"\\x([0-9A-F]{2})")


def render_log_format(kind: str, values: Mapping[str, str], *, edge: bool) -> str:
    """Return the arguments of directive ``log_format`` after its name, without the semicolon.

    :param kind: ``json`` or ``combined``.
    :param values: the values of the site by name; ``edge_signal`` is needed only behind a TLS-terminating proxy.
    :param edge: whether the site is behind a TLS-terminating proxy.
    """
    lines = _render_json(edge=edge) if kind == "json" else _render_combined(edge=edge)
    quoted = "\n    ".join(f"'{line}'" for line in lines)
    names = re.compile(r"\{([a-z_]+)\}")
    return ("escape=json " if kind == "json" else "") + names.sub(lambda match: values[match[1]], quoted)


def _select_fields(*, edge: bool) -> Iterator[tuple[LogField, ...]]:
    for line in FIELDS:
        kept = tuple(field for field in line if edge or not field.edge)
        if kept:
            yield kept


def _render_json(*, edge: bool) -> list[str]:
    lines = [
        ",".join(f'"{field.key}":"{field.value}"' if field.quoted else f'"{field.key}":{field.value}' for field in line)
        for line in _select_fields(edge=edge)
    ]
    return ["{", *(f"{line}," for line in lines[:-1]), f"{lines[-1]}}}"]


def _render_combined(*, edge: bool) -> list[str]:
    fields = [field for line in _select_fields(edge=edge) for field in line if field.combined]
    lines, rest = [f"{_PREFIX} "], ""
    # Fields that only some sites have come last.
    for field in sorted(fields, key=lambda field: field.edge):
        rest += f'{field.key}="{field.value}" '
        if field.key in _LINE_ENDS:
            lines.append(rest)
            rest = ""
    return [*lines, rest.rstrip()]


def parse_line(line: str) -> dict[str, Any]:
    """Return the fields of a line of either format; ``time`` is RFC 3339 in both, ``uri`` is the request target as sent.

    :raises ValueError: if the line is not from the log of a gate.
    """
    if not line.startswith("{"):
        return _parse_combined(line)
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise ValueError(line)
    return fields


def _parse_combined(line: str) -> dict[str, str]:
    match = _COMBINED.fullmatch(line)
    if match is None:
        raise ValueError(line)
    found = {**match.groupdict(), **dict(_FIELD.findall(match["fields"]))}
    if "request_id" not in found:
        raise ValueError(line)
    # nginx writes an empty value as a hyphen in this format.
    fields = {key: "" if value == "-" else _unescape(value) for key, value in found.items() if key != "fields"}
    # The request line is method, target and protocol; a target can contain spaces.
    uri = fields["request"].partition(" ")[2].rpartition(" ")[0]
    return {**fields, "uri": uri, "time": _convert_local_time(match["time"])}


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _convert_local_time(text: str) -> str:
    match = _LOCAL.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, month, year, hour, minute, second, offset = match.groups()
    return f"{year}-{_MONTHS[month]:02d}-{day}T{hour}:{minute}:{second}{offset[:3]}:{offset[3:]}"
