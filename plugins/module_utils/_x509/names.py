# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate client names, roles, e-mail addresses and subject texts; format distinguished names."""

from __future__ import annotations

import re
import unicodedata

from .._common import asn1
from .._common.errors import MtlsError, shown

try:
    from cryptography import x509
    from cryptography.x509.oid import NameOID
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

_CLIENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}")
_EMAIL = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)[A-Za-z0-9!#%&'*+/=?^_~-]+(?:\.[A-Za-z0-9!#%&'*+/=?^_~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_COUNTRY = re.compile(r"[A-Z]{2}")
# Control, format (bidirectional overrides, zero-width), surrogate, private use, unassigned, separators (spaces of all widths).
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
# Letters, marks and symbols that leave no ink: grapheme joiner, Hangul and Khmer fillers, variation selectors, blank Braille.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}


def check_client_name(value: str, where: str = "clients") -> str:
    """Return ``value`` if it is a valid client name. It becomes a file name, an nginx map value and an HTTP header.

    :param where: names the option in errors.
    :raises MtlsError: otherwise.
    """
    if not _CLIENT_NAME.fullmatch(value):
        raise MtlsError(
            f"{where}: name {shown(value)} is not a valid client name",
            "Use 1 to 64 of the characters A-Z a-z 0-9 . _ @ + -, beginning with a letter or digit; "
            "the name of a person belongs in common_name",
        )
    return value


def check_role(value: str, client: str) -> str:
    """Return ``value`` if it is a valid name of a role.

    :raises MtlsError: otherwise.
    """
    if not _ROLE.fullmatch(value):
        raise MtlsError(
            f"client {client}: role {shown(value)} is not a valid role",
            "Use 1 to 64 of the characters A-Z a-z 0-9 . _ : / @ -, beginning with a letter or digit",
        )
    return value


def check_email(value: str, client: str) -> str:
    """Return ``value`` if it is an e-mail address that fits an rfc822Name (RFC 5280 section 4.2.1.6: IA5String).

    :raises MtlsError: otherwise. Quoted local parts and the characters $ { } | ` are refused although RFC 5322 allows them:
        nginx cannot carry them safely.
    """
    if not _EMAIL.fullmatch(value):
        raise MtlsError(
            f"client {client}: {shown(value)} is not an e-mail address that a certificate can carry",
            "Write it as local@domain in ASCII (an internationalised domain as xn--...)",
        )
    return value


def check_subject_text(value: str, option: str) -> str:
    """Return ``value`` if it is valid in a subject: visible text of 1 to 64 bytes in UTF-8.

    RFC 5280 appendix A (ub-common-name) counts 64 characters; cryptography and some verifiers count bytes.

    :param option: names the text in errors.
    :raises MtlsError: if the text is empty, too long or partly invisible, or not in Unicode form NFC: names that look alike must
        not differ.
    """
    hint = "Use visible characters and single spaces in Unicode form NFC, 1 to 64 bytes in UTF-8"
    if not value or any(_is_invisible(char) for char in value) or value != " ".join(value.split()):
        raise MtlsError(f"{option}: {shown(value)} is empty, or has invisible characters or needless spaces", hint)
    if len(value.encode("utf-8")) > 64:
        raise MtlsError(f"{option}: {shown(value)} is too long", hint)
    if not unicodedata.is_normalized("NFC", value):
        raise MtlsError(f"{option}: {shown(value)} is not in Unicode form NFC", hint)
    return value


def _is_invisible(char: str) -> bool:
    return char != " " and (unicodedata.category(char) in _UNPRINTABLE or char in _BLANK)


def check_country(value: str) -> str:
    """Return ``value`` if it is a countryName: two upper-case letters (RFC 5280 appendix A, ISO 3166).

    :raises MtlsError: otherwise.
    """
    if not _COUNTRY.fullmatch(value):
        raise MtlsError(
            f"country: {shown(value)} is not a country code", "Use the two upper-case letters of ISO 3166, as in DE"
        )
    return value


def build_name(common_name: str, organization: str | None = None, country: str | None = None) -> x509.Name:
    """Return the distinguished name C, O, CN (RFC 5280 section 4.1.2.4). The texts have been checked before."""
    parts = [
        (NameOID.COUNTRY_NAME, country),
        (NameOID.ORGANIZATION_NAME, organization),
        (NameOID.COMMON_NAME, common_name),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts if value])


# openssl's short names of the types of RFC 5280 appendix A, RFC 4519 and PKCS #9; it prints other types by number.
_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
}


def _short_name(attribute: x509.NameAttribute[str | bytes]) -> str:
    dotted = attribute.oid.dotted_string
    return _SHORT_NAMES.get(dotted, dotted)


def _encoded(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    value = attribute.value
    return value if isinstance(value, bytes) else value.encode("utf-8")


def oneline(name: x509.Name) -> str:
    r"""Return the name as openssl 3 writes it into index.txt (X509_NAME_oneline): ``/O=Ops\/Dev/CN=Zo\xC3\xAB``."""
    return "".join(
        "/" + "+".join(f"{_short_name(attribute)}={_escape_oneline(_encoded(attribute))}" for attribute in rdn)
        for rdn in name.rdns
    )


def _escape_oneline(value: bytes) -> str:
    return "".join(
        f"\\{chr(byte)}" if byte in b"/+" else chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02X}" for byte in value
    )


def rfc2253(name: x509.Name) -> str:
    r"""Return the name as nginx prints it in ``$ssl_client_i_dn``: RFC 2253, last part first, bytes above ASCII as ``\C3``."""
    return ",".join(
        "+".join(f"{_short_name(attribute)}={_value_2253(attribute)}" for attribute in reversed(list(rdn)))
        for rdn in reversed(name.rdns)
    )


def is_plain(name: x509.Name) -> bool:
    """Return whether the name is encoded as :func:`build_name` encodes it: single parts of text, in UTF-8 or ASCII.

    Adopted authorities may have others, and openssl's way to print those differs between its versions.
    """
    try:
        plain = x509.Name([x509.NameAttribute(attribute.oid, attribute.value) for attribute in name])
    except (TypeError, ValueError):
        return False
    return plain.public_bytes() == name.public_bytes()


def _value_2253(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = _encoded(attribute)
    if attribute.oid.dotted_string not in _SHORT_NAMES:
        # RFC 2253 section 2.4: of an unknown type, the DER encoding.
        return "#" + asn1.encode(asn1.UTF8_STRING, value).hex().upper()
    last = len(value) - 1
    return "".join(_escape_byte(byte, index == 0, index == last) for index, byte in enumerate(value))


def _escape_byte(byte: int, first: bool, last: bool) -> str:
    char = chr(byte)
    # openssl does not escape the value "#": it tests only whether the byte is the last one.
    if char in ',+"\\<>;' or (char == "#" and first and not last) or (char == " " and (first or last)):
        return "\\" + char
    return char if 0x20 <= byte <= 0x7E else f"\\{byte:02X}"
