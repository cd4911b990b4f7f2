# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one error that reaches a person: what is wrong, and what mends it."""

from __future__ import annotations


class MtlsError(Exception):
    """Something a person has to know about and can mend.

    Nothing was changed when this is raised, unless ``what`` says so.

    :param what: one sentence that names the thing and, where there is one, the file.
    :param mend: one sentence, in the imperative, that says what to do about it.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what.rstrip('.')}. {hint.rstrip('.')}.")
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[type[MtlsError], tuple[str, str]]:
        """Let it be pickled: a worker process hands its problem to the process that started it."""
        return MtlsError, (self.what, self.hint)


def shown(value: object) -> str:
    """Return ``value`` for an error message: escaped, and short whatever it is."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(str(value))} characters)"
