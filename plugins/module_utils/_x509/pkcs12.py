# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build bundles: PKCS #12 files (RFC 7292) with a client's key, certificate and chain."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

from .._common.errors import MtlsError

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

    from .keys import PrivateKey

# File endings by profile.
SUFFIXES = {"modern": "p12", "compat": "compat.p12"}
KDF_ROUNDS = 20_000
# Without letters and digits that are easily confused when they are read aloud or from paper.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
# Control characters, surrogates, and what lies beyond the Basic Multilingual Plane.
_NOT_BMP_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff\U00010000-\U0010ffff]")


def generate_passphrase() -> str:
    """Return a passphrase of 24 characters (119 bits) in groups of four: a bundle may be copied and attacked offline."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _char in range(4)) for _group in range(6))


def check_passphrase(value: str, client: str) -> str:
    """Return ``value`` if it is a passphrase that every import dialog accepts.

    :raises MtlsError: if it is empty, or has a character that import dialogs or the BMPString of RFC 7292 appendix B exclude.
    """
    if not value or _NOT_BMP_TEXT.search(value):
        raise MtlsError(
            f"client {client}: bundle_passphrase is empty or has a character that is not valid in a PKCS #12 passphrase",
            "Use visible characters of the Basic Multilingual Plane, or leave it out: then a passphrase is generated",
        )
    return value


def build(
    profile: str,
    friendly_name: str,
    key: PrivateKey,
    certificate: x509.Certificate,
    chain: list[x509.Certificate],
    passphrase: str,
) -> bytes:
    """Return the PKCS #12 file.

    :param profile: ``modern`` (PBES2 with AES-256, HMAC-SHA-256) or ``compat`` (3DES and SHA-1, for macOS Keychain, Android and
        Windows before 2019).
    """
    return pkcs12.serialize_key_and_certificates(
        friendly_name.encode("utf-8"), key, certificate, chain, _encryption(profile, passphrase.encode("utf-8"))
    )


def _encryption(profile: str, passphrase: bytes) -> KeySerializationEncryption:
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(KDF_ROUNDS)
    if profile == "compat":
        return (
            builder.key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
            .hmac_hash(hashes.SHA1())
            .build(passphrase)
        )
    return builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).hmac_hash(hashes.SHA256()).build(passphrase)


def passphrase_tag(key_pem: bytes, passphrase: str) -> str:
    """Return a keyed digest by which a later run detects a changed passphrase without opening the bundle.

    Its key is the client's private key beside the bundle, so it reveals nothing to a reader without that key.
    """
    return hmac.new(key_pem, passphrase.encode("utf-8"), hashlib.sha256).hexdigest()


def digest(data: bytes) -> str:
    """Return the SHA-256 of a bundle in hex."""
    return hashlib.sha256(data).hexdigest()
