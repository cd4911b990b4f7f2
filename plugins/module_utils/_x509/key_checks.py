# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse public keys of clients that browsers do not support or that are known to be weak."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .keys import CURVES_CLIENT, RSA_SIZES_CLIENT, spec_of

try:
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, rsa
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from .keys import KeySpec

_ADVICE = "openssl ecparam -name prime256v1 -genkey -noout -out NAME.key"
_SMALL_PRIMES = tuple(number for number in range(2, 752) if all(number % d for d in range(2, math.isqrt(number) + 1)))
_FERMAT_ROUNDS = 100
# CVE-2017-15361: Infineon's library made primes that are powers of 65537 modulo these primes, and so are their moduli.
_ROCA_PRIMES = tuple(prime for prime in _SMALL_PRIMES if 11 <= prime <= 167)


def check_client_key(key: object, description: str) -> KeySpec:
    """Return the kind of a public key that a client made itself, if a certificate may be issued for it.

    :param description: names the key in errors.
    :raises MtlsError: for another kind than P-256 and RSA of 2048 to 4096 bits, and for RSA keys that are weak.
    """
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        raise MtlsError(f"{description} is an EdDSA key, which browsers do not use for client certificates", _hint())
    spec = spec_of(key)
    if spec is None or (spec.type == "ecdsa" and spec.curve not in CURVES_CLIENT):
        raise MtlsError(f"{description} is {spec or 'neither RSA nor ECDSA'}", _hint())
    if isinstance(key, rsa.RSAPublicKey):
        why = _weakness(key.public_numbers().n, key.public_numbers().e)
        if why:
            raise MtlsError(f"{description} is weak: {why}", _hint())
    return spec


def _hint() -> str:
    return f"Create a P-256 key or an RSA key of 2048 to 4096 bits ({_ADVICE}), and a CSR with it"


def _weakness(modulus: int, exponent: int) -> str | None:
    """Return the weakness of an RSA key, or None. Every check takes a few milliseconds at most.

    The limits of exponent and length are those of FIPS 186-5. Section 6.1.1.3 of the CA/Browser Forum's Baseline Requirements
    requires the checks for small factors, close factors and ROCA.
    """
    if not RSA_SIZES_CLIENT[0] <= modulus.bit_length() <= RSA_SIZES_CLIENT[-1]:
        return f"its modulus has {modulus.bit_length()} bits"
    if exponent % 2 == 0 or not 1 << 16 < exponent < 1 << 256:
        return "its public exponent is even, below 65537 or above 256 bits"
    if any(modulus % prime == 0 for prime in _SMALL_PRIMES):
        return "its modulus has a small factor"
    if _has_close_factors(modulus):
        return "the factors of its modulus are so close to each other that they can be found (Fermat)"
    if all(_is_power_of_65537(modulus, prime) for prime in _ROCA_PRIMES):
        return "it was made by a library with a known fault (ROCA, CVE-2017-15361)"
    return None


def _has_close_factors(modulus: int) -> bool:
    start = math.isqrt(modulus - 1) + 1
    differences = (guess * guess - modulus for guess in range(start, start + _FERMAT_ROUNDS))
    return any(math.isqrt(difference) ** 2 == difference for difference in differences)


def _is_power_of_65537(modulus: int, prime: int) -> bool:
    return modulus % prime in {pow(65537, exponent, prime) for exponent in range(prime - 1)}
