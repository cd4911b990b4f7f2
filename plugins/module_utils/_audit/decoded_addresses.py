# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the lines of a server with snippets that pass on the decoded address.

nginx does not encode variables of ``proxy_pass`` again (ngx_http_proxy_eval()). ``$uri`` is decoded, so ``%0d%0a`` in an address
becomes a line break in the request to the application, and the client writes headers of it, those of the identity too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .._contracts.gate_manifest import ProtectedSite
from .._nginx.proxy_targets import values_of
from .findings import Block, Finding, error, levels, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._nginx.config_model import Configuration

_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]+)")
_DECODED = frozenset(("uri", "document_uri"))


def audit_decoded_addresses(
    configuration: Configuration, block: Block, protected: ProtectedSite, home: str
) -> Iterator[Finding]:
    """Yield an error for each ``proxy_pass`` with ``$uri`` or ``$document_uri``, also through other variables."""
    values: dict[str, tuple[str, ...]] = {}
    for name, texts in values_of(configuration).items():
        values[name.lower()] = (*values.get(name.lower(), ()), *texts)
    for level in levels(block.directive):
        for directive in named(level, "proxy_pass"):
            if directive.file.startswith(home) or not _is_decoded(values, directive.args[0]):
                continue
            what = (
                f"proxy_pass {directive.args[0]} passes on the decoded address, so %0d%0a in an address becomes headers of the "
                "request, also forged identity headers"
            )
            hint = f"Write $request_uri, or no address behind the application, in line {directive.line} of {directive.file}"
            yield error(protected, directive, what, hint)


def _is_decoded(values: Mapping[str, tuple[str, ...]], address: str) -> bool:
    """Return whether a text contains the decoded address, whatever the other variables are."""
    waiting, seen = [address], {address}
    while waiting:
        names = {match[1].lower() for match in _VARIABLE.finditer(waiting.pop())}
        if names & _DECODED:
            return True
        more = {text for name in names for text in values.get(name, ())} - seen
        seen |= more
        waiting += more
    return False
