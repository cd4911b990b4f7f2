# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the chain of an authority: its certificate and its issuers', the root CA last.

An issuing CA keeps public copies of its issuers' certificates, so it works while the directory of the root CA is away. See
RFC 5280 section 6.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._common.errors import MtlsError
from .._common.files import read_file
from .._x509.names import rfc2253

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError:  # the modules report it (_common.requirements) before anything here is called
    pass

if TYPE_CHECKING:
    from .layout import Layout

    Chain = tuple[x509.Certificate, ...]

_HINT = (
    "Bring the issuer's directory back and run module ca with the option issuer, or write the PEM certificates of the chain "
    "into it, its own first and the root CA last"
)


def load_chain(layout: Layout, certificate: x509.Certificate) -> Chain:
    """Return the chain of an authority's certificate, from its copy of the issuers' certificates.

    :raises MtlsError: if the copy is missing, damaged, or is not the chain of this certificate.
    """
    if certificate.subject == certificate.issuer:
        return (certificate,)
    path = layout.chain
    try:
        # The first one is the certificate itself or, after a kill during its renewal, a newer one.
        above = x509.load_pem_x509_certificates(read_file(path))[1:]
    except OSError as error:
        raise MtlsError(f"{path} cannot be read ({error.strerror})", _HINT) from None
    except ValueError:
        raise MtlsError(f"{path} does not consist of PEM certificates", _HINT) from None
    chain = (certificate, *above)
    broken = next((one for one, issuer in zip(chain, chain[1:]) if not is_issued_by(one, issuer)), None)
    if broken is not None or chain[-1].subject != chain[-1].issuer:
        end = broken or chain[-1]
        raise MtlsError(f"{path} does not hold the CA that issued {rfc2253(end.subject)}", _HINT)
    return chain


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether ``issuer`` is named as the issuer and its key made the signature."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def pem(chain: Chain) -> str:
    """Return the certificates as one PEM text."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)
