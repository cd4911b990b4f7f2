# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypt a PKCS #8 key with PBES2 (RFC 8018 section 6.2): PBKDF2 with HMAC-SHA-256, AES-256-CBC.

cryptography reads such keys, but cannot write them with a chosen number of iterations.
"""

from __future__ import annotations

import os

from .._common.asn1 import INTEGER, NULL, OCTETS, OID, SEQUENCE, encode
from .._common.pem import ENCRYPTED_KEY, encode_pem

try:
    from cryptography.hazmat.primitives import hashes, padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

# The contents of the object identifiers, from RFC 8018 appendix C.
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")
_AES256_CBC = bytes.fromhex("60864801650304012a")


def encrypted_pem(key: bytes, passphrase: bytes, rounds: int) -> bytes:
    """Return a PEM ``ENCRYPTED PRIVATE KEY`` (RFC 5958 section 3) of ``key``, a PrivateKeyInfo in DER.

    :param rounds: iterations of PBKDF2.
    """
    salt, vector = os.urandom(16), os.urandom(16)
    secret = PBKDF2HMAC(hashes.SHA256(), 32, salt, rounds).derive(passphrase)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(vector)).encryptor()
    data = encryptor.update(padder.update(key) + padder.finalize()) + encryptor.finalize()
    algorithm = encode(SEQUENCE, encode(OID, _PBES2), _parameters(salt, rounds, vector))
    return encode_pem(encode(SEQUENCE, algorithm, encode(OCTETS, data)), ENCRYPTED_KEY).encode("ascii")


def _parameters(salt: bytes, rounds: int, vector: bytes) -> bytes:
    iterations = encode(INTEGER, rounds.to_bytes(rounds.bit_length() // 8 + 1, "big"))
    function = encode(SEQUENCE, encode(OID, _HMAC_SHA256), encode(NULL))
    derivation = encode(SEQUENCE, encode(OID, _PBKDF2), encode(SEQUENCE, encode(OCTETS, salt), iterations, function))
    encryption = encode(SEQUENCE, encode(OID, _AES256_CBC), encode(OCTETS, vector))
    return encode(SEQUENCE, derivation, encryption)
