# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the error that reaches the user: what is wrong, and a hint."""

from __future__ import annotations


class MtlsError(Exception):
    """An error that the user can correct.

    Nothing was changed when it is raised, unless ``what`` states otherwise.

    :param what: one sentence that names the object, with its file if it has one, and what is wrong.
    :param hint: one imperative sentence on how to correct it.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what.rstrip('.')}. {hint.rstrip('.')}.")
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[type[MtlsError], tuple[str, str]]:
        """Support pickling, so that a worker process can pass the error to its parent."""
        return MtlsError, (self.what, self.hint)


def shown(value: object) -> str:
    """Return ``value`` for an error message, escaped and shortened."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(str(value))} characters)"
