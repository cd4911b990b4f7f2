# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that no browser makes, from somebody without a good certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .check import REFUSED, Check, Expectation, Finding, Step, judge, not_application, refused_or
from .wire import NOBODY, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .inquiry import Inquiry

_BODY = b"quietdoor=probe"
_OVERSIZED = "x" * 40000  # bytes; more than nginx's default large_client_header_buffers (4 of 8k) hold in one line


def requests(inquiry: Inquiry) -> list[tuple[str, Request, Expectation]]:
    """Return what is sent: a label, the request, and what may come back."""
    path, host = inquiry.gate.app_path, inquiry.gate.host()
    other = inquiry.gate.host(inquiry.gate.other_name)
    elsewhere = Request("GET", f"https://{other}{path}", host)
    return [
        *((method, Request(method, path, host, body=_BODY), REFUSED) for method in ("POST", "PUT", "DELETE")),
        ("OPTIONS", Request("OPTIONS", path, host), REFUSED),
        ("TRACE", Request("TRACE", path, host), refused_or(405)),
        ("HTTP/1.0 without Host", Request("GET", path, None, version="HTTP/1.0"), not_application(inquiry)),
        ("absolute-form target", Request("GET", f"https://{host}{path}", host), REFUSED),
        ("absolute-form target of another site", elsewhere, not_application(inquiry)),
        ("oversized header", Request("GET", path, host, (("X-Filler", _OVERSIZED),)), refused_or(400, 414, 431)),
    ]


def _hostile(inquiry: Inquiry) -> Iterator[Finding]:
    for identity in (NOBODY, inquiry.specimens.foreign):
        asked = requests(inquiry)
        steps = [Step(label, inquiry.ask(request, identity), expected) for label, request, expected in asked]
        yield judge(identity.name, steps, "the gate's refusal, or nginx's own")


CHECKS = (
    Check("hostile_requests", "odd methods, targets and sizes do not get past the gate", _hostile, needs_openssl=True),
)
