# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report a mistake in the variables of the operator once."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail


class VariablesError(AnsibleActionFail):
    """A mistake in the variables.

    With an exception in the result, Ansible prints the sentence more than once, with unrelated lines of the role.
    """

    @property
    def omit_exception_key(self) -> bool:
        """Return True, so that Ansible omits the exception from the result."""
        return True
