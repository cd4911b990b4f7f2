# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate, encode and load private keys (PKCS #8 of RFC 5958; PBES2 of RFC 8018 if encrypted)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from .._common.errors import MtlsError
from .._common.files import read_file
from .._common.pem import ENCRYPTED_KEY, pem_labels
from . import pkcs8_encryption

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    PrivateKey = Union[rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey]
    PublicKey = Union[rsa.RSAPublicKey, ec.EllipticCurvePublicKey]

RSA_SIZES_CA = (2048, 3072, 4096, 8192)
RSA_SIZES_CLIENT = (2048, 3072, 4096)
CURVES_CA = ("P-256", "P-384")
CURVES_CLIENT = ("P-256",)
# OWASP's figure for PBKDF2 with HMAC-SHA-256. cryptography always uses 2048 iterations.
KDF_ROUNDS = 600_000
_NO_PASSPHRASE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NIST_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384"}


@dataclass(frozen=True)
class KeySpec:
    """The kind of a key: RSA with a modulus of ``size`` bits, or ECDSA on the NIST curve ``curve``."""

    type: str
    size: int | None = None
    curve: str | None = None

    def __str__(self) -> str:
        return f"RSA {self.size}" if self.type == "rsa" else f"ECDSA {self.curve}"


def generate(spec: KeySpec) -> PrivateKey:
    """Return a new private key of the kind ``spec``."""
    if spec.type == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=spec.size or 0)
    return ec.generate_private_key(ec.SECP384R1() if spec.curve == "P-384" else ec.SECP256R1())


def spec_of(key: object) -> KeySpec | None:
    """Return the kind of a private or public key, or None if this collection does not support it."""
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return KeySpec("rsa", size=key.key_size)
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        return KeySpec("ecdsa", curve=_NIST_NAMES.get(key.curve.name, key.curve.name))
    return None


def public_der(key: object) -> bytes:
    """Return a public key as SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7), the form in which keys are compared."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore


def load_public(der: bytes) -> PublicKey:
    """Return the public key in a SubjectPublicKeyInfo that ``public_der`` returned for an RSA or ECDSA key."""
    return serialization.load_der_public_key(der)  # type: ignore[return-value]


def signing_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the digest that an authority with this key signs with: SHA-384 on P-384, else SHA-256."""
    return hashes.SHA384() if spec_of(key) == KeySpec("ecdsa", curve="P-384") else hashes.SHA256()


def sign(key: PrivateKey, data: bytes) -> bytes:
    """Return the signature of ``data`` by an authority with this key: RSASSA-PKCS1-v1_5 or ECDSA (RFC 4055, RFC 5758)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), signing_hash(key))
    return key.sign(data, ec.ECDSA(signing_hash(key)))


def check_passphrase(passphrase: str | None) -> bytes | None:
    """Return the passphrase of an authority's key as its bytes, or None if there is none.

    :raises MtlsError: if it is empty (an unset variable must not leave a key unencrypted), or if the openssl command could not
        read it: openssl reads one line of at most 1023 bytes.
    """
    if passphrase is None:
        return None
    data = passphrase.encode("utf-8", "surrogatepass")
    if not 1 <= len(data) <= 1023 or _NO_PASSPHRASE.search(passphrase):
        raise MtlsError(
            "passphrase is empty, longer than 1023 bytes, or has a control character",
            "Set it to one line of text, from a vault, or leave it out to keep the key unencrypted",
        )
    return data


def private_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return the key as PKCS #8 PEM, encrypted if a passphrase is given."""
    encoding = serialization.Encoding.DER if passphrase else serialization.Encoding.PEM
    data = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pkcs8_encryption.encrypted_pem(data, passphrase, KDF_ROUNDS) if passphrase else data


def is_encrypted(pem: bytes) -> bool:
    """Return whether a PEM private key is encrypted, as PKCS #8 or in openssl's traditional format."""
    return ENCRYPTED_KEY in pem_labels(pem) or b"Proc-Type: 4,ENCRYPTED" in pem


def opening(path: str, passphrase: bytes | None, previous: bytes | None) -> bytes | None:
    """Return the passphrase that opens the PEM file ``path`` now, before the passphrase changes. None: it is not encrypted.

    :param passphrase: the desired passphrase.
    :param previous: the passphrase that the key may still have; any value for an unencrypted key. None: nothing changes.
    :raises MtlsError: if neither passphrase opens the key, or there is a previous passphrase without a new one.
    """
    if previous is None:
        return passphrase
    if passphrase is None:
        raise MtlsError(
            "previous_passphrase was given without passphrase",
            "Set passphrase too: the passphrase of a key can be changed, not removed",
        )
    pem = _read(path)
    if not is_encrypted(pem):
        return None
    for candidate in (passphrase, previous):
        if candidate and _opens(pem, candidate):
            return candidate
    raise MtlsError(
        f"The private key {path} opens neither with passphrase nor with previous_passphrase",
        "Set previous_passphrase to the current passphrase, or restore the key from the backup",
    )


def _opens(pem: bytes, passphrase: bytes) -> bool:
    try:
        serialization.load_pem_private_key(pem, passphrase, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def load_private(path: str, passphrase: bytes | None) -> PrivateKey:
    """Return the private key in the PEM file ``path``.

    This collection wrote the file (0600), so the slow consistency check of RSA keys (0.3 s at 4096 bits) is skipped.

    :raises MtlsError: if the file is missing, is not a key of a supported kind, or does not open with this passphrase.
    """
    return parse_private(_read(path), path, passphrase)


def parse_private(pem: bytes, path: str, passphrase: bytes | None) -> PrivateKey:
    """Return the private key in ``pem``, also without the slow check.

    :param path: names the source in errors.
    :raises MtlsError: if it is not a key of a supported kind, or does not open with this passphrase.
    """
    if is_encrypted(pem) and not passphrase:
        raise MtlsError(
            f"The private key {path} is encrypted and no passphrase was given",
            "Set the option passphrase, from a vault",
        )
    if passphrase and not is_encrypted(pem):
        raise MtlsError(
            f"The private key {path} is not encrypted, but a passphrase was given",
            "Leave passphrase out, or encrypt the key: openssl pkcs8 -topk8 -v2 aes-256-cbc",
        )
    try:
        key = serialization.load_pem_private_key(pem, passphrase, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if passphrase:
            raise MtlsError(
                f"The private key {path} does not open with the passphrase that was given",
                "Give the right passphrase, or restore the key from the backup",
            ) from None
        raise MtlsError(f"The private key {path} is not a PEM private key", "Restore it from the backup") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise MtlsError(f"The private key {path} is neither RSA nor ECDSA", "Use an RSA or an ECDSA (P-256, P-384) key")
    return key


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise MtlsError(
            f"The private key {path} cannot be read ({error.strerror})",
            "Restore it from the backup, or run as the user who owns it",
        ) from None


def complete_spec(type: str, size: int | None, curve: str | None, default_size: int, option: str = "key") -> KeySpec:
    """Return the kind of key that options describe, with defaults for the options that are not set.

    :param option: names the option in errors.
    :raises MtlsError: if a size is given for ECDSA or a curve for RSA.
    """
    if type == "rsa" and curve is None:
        return KeySpec("rsa", size=size or default_size)
    if type == "ecdsa" and size is None:
        return KeySpec("ecdsa", curve=curve or "P-256")
    raise MtlsError(
        f"{option}: type {type} takes {'size' if type == 'rsa' else 'curve'} only",
        f"Leave {'curve' if type == 'rsa' else 'size'} out",
    )
