# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the access rules of a site: `allow`, identity headers, HSTS and the rate limit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from .._common.durations import parse_duration
from .._common.errors import MtlsError
from .._nginx.quoting import regex_exact
from .field_reader import first_duplicate

if TYPE_CHECKING:
    from .field_reader import FieldReader

IDENTITY_HEADERS = {
    "verify": ("X-Client-Verify", "$ssl_client_verify"),
    "dn": ("X-Client-DN", "$quietdoor_subject_dn"),
    "serial": ("X-Client-Serial", "$quietdoor_serial"),
    "fingerprint": ("X-Client-Fingerprint", "$ssl_client_fingerprint"),
    "issuer_dn": ("X-Client-Issuer-DN", "$quietdoor_issuer_dn"),
    "name": ("X-Client-Name", "$quietdoor_name"),
    "email": ("X-Client-Email", "$quietdoor_email"),
    "roles": ("X-Client-Roles", "$quietdoor_roles"),
}
_ALLOW_KEYS = ("names", "emails", "roles")
_HSTS_KEYS = ("max_age", "include_subdomains", "preload")
_RATE_KEYS = ("rate", "burst")

# As in identities.json: none of these can contain a comma, which joins e-mails and roles there.
_LISTED = {
    "names": re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}"),
    "emails": re.compile(r"(?=.{3,254}\Z)[A-Za-z0-9.!#%&'*+/=?^_~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"),
    "roles": re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}"),
}
_HEADER = re.compile(r"[A-Za-z](?:-?[A-Za-z0-9]){1,39}")
# HTTP, nginx or the gate uses these headers; some decide how a request is framed (RFC 9110 sections 7.6.1 and 8.6).
_RESERVED_HEADERS = frozenset(
    [
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-type",
        "cookie",
        "date",
        "expect",
        "forwarded",
        "from",
        "host",
        "http2-settings",
        "keep-alive",
        "max-forwards",
        "origin",
        "pragma",
        "priority",
        "proxy",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "referer",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-method",
        "x-original-uri",
        "x-real-ip",
        "x-request-id",
    ]
)
_RESERVED_BEGINNINGS = ("x-quietdoor-", "x-accel-", "sec-", "if-", "access-control-", "content-")
_RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]")
_YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Allow:
    """The clients with a valid certificate that are admitted: those in one of the lists. All empty admits every one."""

    names: tuple[str, ...]
    emails: tuple[str, ...]
    roles: tuple[str, ...]

    @property
    def restricted(self) -> bool:
        """Whether any client with a valid certificate is refused."""
        return bool(self.names or self.emails or self.roles)

    def as_keys(self) -> dict[str, list[str]]:
        """Return keys for a map on the variable of that name: whole values, case-sensitive."""
        return {
            "name": [regex_exact(name) for name in self.names],
            "email": [_list_item_key(email) for email in self.emails],
            "roles": [_list_item_key(role) for role in self.roles],
        }


@dataclass(frozen=True)
class RateLimit:
    """The limit of refusals for one address: ``rate`` as of ``limit_req_zone``, and ``burst`` requests more at once."""

    rate: str
    burst: int


def parse_allow(entry: FieldReader) -> Allow:
    """Read ``allow``.

    :raises MtlsError: if it names no client, or a value that no roster can contain.
    """
    hint = "Write at least one of names, emails and roles, each a list; omit allow to admit every valid certificate"
    part = entry.part("allow", _ALLOW_KEYS, hint)
    lists = {key: _parse_list(part, key) for key in _ALLOW_KEYS}
    allow = Allow(**lists)
    if entry.value("allow") is not None and not allow.restricted:
        raise entry.problem("allow", "admits no client", hint)
    return allow


def _parse_list(part: FieldReader, key: str) -> tuple[str, ...]:
    if part.value(key) is None:
        return ()
    hint = f"Write {key} exactly as in the roster"
    items = tuple(part.texts(key, hint))
    for item in items:
        if not _LISTED[key].fullmatch(item):
            raise part.problem(key, f"{item!r} is not valid in a roster", hint)
    duplicate = first_duplicate(items)
    if duplicate:
        raise part.problem(key, f"{duplicate} is listed more than once", "Remove the duplicate")
    return items


def _list_item_key(value: str) -> str:
    """Return a key that finds ``value`` as a whole in a list joined by commas."""
    body = regex_exact(value)[len('"~^') : -len('\\\\z"')]
    return f'"~(?:^|,){body}(?:,|\\\\z)"'


def parse_identity_headers(entry: FieldReader) -> tuple[tuple[str, str, str], ...]:
    """Read ``identity_headers``: the name of each header, its key there, and the nginx variable whose value it carries.

    :raises MtlsError: if a header name is not valid, is reserved, or is listed more than once.
    """
    hint = f"Write a mapping of some of {', '.join(IDENTITY_HEADERS)} to header names"
    part = entry.part("identity_headers", tuple(IDENTITY_HEADERS), hint)
    headers = tuple(
        (header_name(part, key, default), key, variable) for key, (default, variable) in IDENTITY_HEADERS.items()
    )
    duplicate = first_duplicate([name.lower() for name, _key, _variable in headers])
    if duplicate:
        raise entry.problem(
            "identity_headers", f"{duplicate} is listed more than once", "Give every header a name of its own"
        )
    return headers


def header_name(part: FieldReader, key: str, default: str | None) -> str:
    """Read the name of a header that describes the client.

    :raises MtlsError: if it is not a valid header name, is reserved, or is missing without a default.
    """
    hint = "Write letters, digits and single hyphens, a letter first, at most 40 characters"
    name = part.text(key, hint, default=default)
    if not _HEADER.fullmatch(name) or len(name) > 40:
        raise part.problem(key, f"{name!r} is not a valid header name", hint)
    if name.lower() in _RESERVED_HEADERS or name.lower().startswith(_RESERVED_BEGINNINGS):
        raise part.problem(key, f"{name} is reserved, because HTTP, nginx or the gate uses it", "Choose another name")
    return name


def parse_hsts(entry: FieldReader) -> str:
    """Read ``hsts`` and return the value of Strict-Transport-Security (RFC 6797), empty for no header.

    :raises MtlsError: if a browser, or the preload list, would not accept it.
    """
    hint = f"Write true, false, or a mapping of {', '.join(_HSTS_KEYS)}"
    value = entry.value("hsts")
    if value is None or value is False:
        return ""
    part = entry.part("hsts", _HSTS_KEYS, hint) if value is not True else entry.part("", (), hint)
    age = _max_age(part)
    subdomains, preload = part.flag("include_subdomains"), part.flag("preload")
    if preload and (not subdomains or age < _YEAR):
        raise part.problem(
            "preload",
            "the preload list requires include_subdomains and a max_age of at least one year",
            "Write include_subdomains: true and max_age: 365d, or remove preload",
        )
    return "; ".join(
        [f"max-age={int(age.total_seconds())}", *(["includeSubDomains"] * subdomains), *(["preload"] * preload)]
    )


def _max_age(part: FieldReader) -> timedelta:
    hint = "Write a duration such as 365d"
    text = part.text("max_age", hint, default="365d")
    try:
        return parse_duration(text, "max_age")
    except MtlsError:
        raise part.problem("max_age", f"{text!r} is not a valid duration", hint) from None


def parse_rate_limit(entry: FieldReader) -> RateLimit | None:
    """Read ``rate_limit``. Return None without a limit.

    :raises MtlsError: if nginx would not accept it.
    """
    hint = "Write a mapping of rate, as in 10r/m or 2r/s, and burst, a whole number up to 10000"
    if entry.value("rate_limit") is None:
        return None
    part = entry.part("rate_limit", _RATE_KEYS, hint)
    rate = part.text("rate", hint)
    if not _RATE.fullmatch(rate):
        raise part.problem("rate", f"{rate!r} is not a valid rate", hint)
    burst = part.value("burst") if part.given("burst") else 10
    if isinstance(burst, bool) or not isinstance(burst, int) or not 0 <= burst <= 10000:
        raise part.problem("burst", f"{burst!r} is not a valid number of requests", hint)
    return RateLimit(rate, burst)


def larger_than(size: str) -> str:
    """Return a key for ``map $http_content_length``: every whole number above a size, empty without a limit.

    :param size: as nginx writes sizes, as in ``20m``.
    """
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number = int(size.rstrip("kKmMgG")) * units.get(size[-1].lower(), 1)
    return f'"~^0*(?:{"|".join(_larger_numbers(str(number)))})\\\\z"' if number else ""


def _larger_numbers(digits: str) -> list[str]:
    longer = f"[1-9][0-9]{{{len(digits)},}}"
    higher = [
        f"{digits[:place]}[{int(digit) + 1}-9][0-9]{{{len(digits) - place - 1}}}"
        for place, digit in enumerate(digits)
        if digit != "9"
    ]
    return [longer, *higher]
