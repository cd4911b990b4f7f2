# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quote text for nginx as a filter."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_quote
short_description: Write text as one token of an nginx configuration
version_added: 0.1.0
author:
  - quietdoor.mtls authors (@quietdoor)
description:
  - Encloses text in double quotes, with backslashes and double quotes escaped, so that nginx always reads it as one word.
  - Fails on text that nginx cannot represent in a word, which is control characters, the dollar sign (it starts a variable and
    cannot be escaped) and text longer than 4094 bytes.
positional: _input
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Quote a path for nginx
  ansible.builtin.debug:
    msg: "ssl_certificate {{ '/etc/ssl/my certificate.pem' | quietdoor.mtls.nginx_quote }};"
    # -> ssl_certificate "/etc/ssl/my certificate.pem";
"""

RETURN = r"""
_value:
  description: The token, with its quotes.
  type: str
"""

from typing import TYPE_CHECKING

from ansible.errors import AnsibleFilterError
from ansible_collections.quietdoor.mtls.plugins.module_utils._common.errors import MtlsError
from ansible_collections.quietdoor.mtls.plugins.module_utils._nginx.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Callable


def nginx_quote(value: object) -> str:
    """Return ``value`` as one quoted token.

    :raises AnsibleFilterError: for text that cannot be quoted.
    """
    if not isinstance(value, str):
        raise AnsibleFilterError(f"nginx_quote: {value!r} is not a string. Pass it text.")
    try:
        return quote(value)
    except MtlsError as problem:
        raise AnsibleFilterError(f"nginx_quote: {problem}") from problem


class FilterModule:
    """The filter for Ansible."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {"nginx_quote": nginx_quote}
