# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write index.txt, the text database of ``openssl ca``: one row per signed certificate.

A row has six fields, separated by tabs: status (V, R, E), end of validity, time and reason of revocation, serial, file, subject.
A backslash escapes a tab inside a field. Rows are never removed, because that would silently undo a revocation. openssl keeps the
field "file" without using it; here it links a certificate to its client, so a client can be revoked after all its files are lost.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .._common.errors import MtlsError
from .._common.timestamps import asn1, parse_asn1

if TYPE_CHECKING:
    from datetime import datetime

# The reasons of RFC 5280 section 5.3.1 in the spelling of ``openssl ca -crl_reason``.
REASONS = (
    "unspecified",
    "keyCompromise",
    "CACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "removeFromCRL",
)
# The reasons that openssl writes with a date or an instruction after them.
_REASONS_WITH_ARGUMENT = {"keyTime": "keyCompromise", "CAkeyTime": "CACompromise", "holdInstruction": "certificateHold"}
_KNOWN_REASONS = frozenset(("", *REASONS, *_REASONS_WITH_ARGUMENT))
_FIELD_END = re.compile(r"(?<!\\)\t")
# The form of openssl: whole bytes, no needless zeros. Other forms would allow the same serial in two rows.
_SERIAL = re.compile(r"(?!00.)(?:[0-9A-F]{2})+")
# Days that a month has in every year: a row with such a date needs no calendar. Other rows are parsed completely.
_DAY = r"(?:(?:0[1-9]|1[0-2])(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])(?:29|30)|(?:0[13578]|1[02])31)"
_DATE = rf"(?:\d\d|19[5-9]\d|20\d\d){_DAY}(?:[01]\d|2[0-3])[0-5]\d[0-5]\dZ"
_PLAIN_ROW = re.compile(
    rf"^(?:(?=R\t\w+\t\w)|(?=[VE]\t\w+\t\t))([VRE])\t({_DATE})\t((?:{_DATE}(?:,(?:{'|'.join(REASONS)}))?)?)"
    rf"\t({_SERIAL.pattern})\t([^\t\\\n]*)\t([^\t\n]*)$",
    re.ASCII | re.MULTILINE,
)
# In index.txt.attr, as openssl reads it (app_conf: anything that begins with one of these is "no").
_NOT_UNIQUE = re.compile(r"^\s*unique_subject\s*=\s*[fFnN0]", re.MULTILINE)
_CLIENT_FILE = re.compile(r"clients/([A-Za-z0-9][^/]*)/[^/]+\.crt")


@dataclass(frozen=True)
class Revocation:
    """Time and reason of a revocation; ``invalid_since`` is the invalidity date (RFC 5280 section 5.3.2), if known."""

    at: datetime
    reason: str | None = None
    invalid_since: datetime | None = None


class Row(NamedTuple):
    """One row with the six fields in the form of the file. It is a tuple, because there may be a million rows."""

    status: str
    expires: str
    revoked: str
    serial: str
    file: str
    subject: str

    @property
    def not_after(self) -> datetime:
        """Return the end of the certificate's validity."""
        return parse_asn1(self.expires)

    @property
    def client(self) -> str | None:
        """Return the client of the certificate, or None if it was not issued from a roster."""
        match = _CLIENT_FILE.fullmatch(self.file)
        return match[1] if match else None

    @property
    def is_revoked(self) -> bool:
        """Return whether the certificate was revoked."""
        return self.status == "R"

    @property
    def revocation(self) -> Revocation | None:
        """Return time and reason of the revocation, or None."""
        if not self.is_revoked:
            return None
        at, _comma, why = self.revoked.partition(",")
        return Revocation(parse_asn1(at), *parse_reason(why))


@functools.lru_cache(maxsize=1024)
def parse_reason(why: str) -> tuple[str | None, datetime | None]:
    """Return the reason and the invalidity date that follow the time of a revocation.

    :raises ValueError: if the date is not valid.
    """
    word, _comma, argument = why.partition(",")
    dated = word in ("keyTime", "CAkeyTime")
    return _REASONS_WITH_ARGUMENT.get(word, word) or None, parse_asn1(argument) if dated else None


def valid_row(serial: int, not_after: datetime, subject: str, client: str | None = None, stem: str = "") -> Row:
    """Return the row of a new certificate.

    :param subject: in the form of ``names.oneline``.
    :param client: its client, if any; then ``stem`` is the start of the names of its files.
    """
    file = f"clients/{client}/{stem}.crt" if client else "unknown"
    return Row("V", asn1(not_after), "", serial_hex(serial), file, subject)


def revoked_row(row: Row, at: datetime, reason: str) -> Row:
    """Return ``row`` in the form that ``openssl ca -revoke`` would write."""
    return row._replace(status="R", revoked=f"{asn1(at)},{reason}")


def serial_hex(serial: int) -> str:
    """Return a serial as index.txt and nginx's ``$ssl_client_serial`` write it: upper-case hex, whole bytes."""
    text = f"{serial:X}"
    return text if len(text) % 2 == 0 else f"0{text}"


def allows_repeated_subjects(attributes: str) -> bool:
    """Return whether an index.txt.attr with this text allows two certificates with one subject, as renewals need."""
    return _NOT_UNIQUE.search(attributes) is not None


def parse(text: str, path: str) -> list[Row]:
    """Return the rows of an index.txt.

    :param path: names the file in errors.
    :raises MtlsError: if a line is not a row, or a serial is repeated. A damaged database must not be used to sign or revoke.
    """
    if text and not text.endswith("\n"):
        # openssl silently ignores such a line.
        raise _damaged(path, "its last line is cut off")
    plain = _PLAIN_ROW.findall(text)
    all_plain = len(plain) == text.count("\n")
    rows = [_new(Row, fields) for fields in plain] if all_plain else _parse_lines(text, path)
    if len({row.serial for row in rows}) < len(rows):
        raise _damaged(path, f"it lists serial {_repeated(rows)} more than once")
    return rows


def _repeated(rows: list[Row]) -> str:
    return Counter(row.serial for row in rows).most_common(1)[0][0]


def render(rows: list[Row]) -> str:
    """Return the text of an index.txt with these rows."""
    return "".join(_render_line(row) for row in rows)


def _render_line(row: Row) -> str:
    line = "\t".join(row)
    return line + "\n" if line.count("\t") == 5 else "\t".join(field.replace("\t", "\\\t") for field in row) + "\n"


# Row._make is too slow for a million rows.
_new = tuple.__new__


def _parse_lines(text: str, path: str) -> list[Row]:
    lines = enumerate(text.split("\n"), 1)
    return [_parse_line(line, number, path) for number, line in lines if line and not line.startswith("#")]


def _parse_line(line: str, number: int, path: str) -> Row:
    plain = _PLAIN_ROW.fullmatch(line)
    if plain:
        return Row(*plain.groups())
    fields = [field.replace("\\\t", "\t") for field in _FIELD_END.split(line)]
    if len(fields) != 6:
        raise _damaged(path, f"line {number} has {len(fields)} fields instead of 6")
    row = Row(*fields)
    if not _is_well_formed(row):
        raise _damaged(path, f"line {number} is not a row of openssl's database")
    return row


def _is_well_formed(row: Row) -> bool:
    if row.status not in ("V", "R", "E") or not _SERIAL.fullmatch(row.serial):
        return False
    try:
        row.not_after, row.revocation  # noqa: B018 (reading them parses them)
    except ValueError:
        return False
    return not row.is_revoked or row.revoked.partition(",")[2].partition(",")[0] in _KNOWN_REASONS


def _damaged(path: str, why: str) -> MtlsError:
    return MtlsError(
        f"{path} is damaged: {why}", "Restore it from the backup (openssl keeps the previous one as index.txt.old)"
    )
