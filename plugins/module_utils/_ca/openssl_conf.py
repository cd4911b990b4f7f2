# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the openssl.cnf with which the openssl command works on an authority."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .layout import Layout

_TEMPLATE = """\
# Written by quietdoor.mtls; changes made here are overwritten.
#
# This authority is an ordinary directory of "openssl ca". From anywhere:
#   openssl ca -config {configuration} -status SERIAL
#   openssl ca -config {configuration} -revoke CERTIFICATE -crl_reason keyCompromise
#   openssl ca -config {configuration} -gencrl -out {crl}
# Do it while no playbook runs: the openssl command knows nothing of locks.

[ ca ]
default_ca = authority

[ authority ]
dir = "{quoted}"
certs = $dir/certs
crl_dir = $dir/crl
new_certs_dir = $dir/{new_certificates}
database = $dir/index.txt
unique_subject = no
serial = $dir/serial
rand_serial = yes
crlnumber = $dir/crlnumber
certificate = $dir/{certificate}
private_key = $dir/{key}
crl = $dir/crl/ca.crl.pem
default_md = {digest}
default_days = 365
default_crl_days = 30
policy = policy
x509_extensions = client
crl_extensions = crl
# Nothing of a request is trusted but its key.
copy_extensions = none
email_in_dn = no
preserve = no
name_opt = utf8,sep_comma_plus_space
cert_opt = ca_default

[ policy ]
countryName = optional
stateOrProvinceName = optional
localityName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
emailAddress = optional

[ client ]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = {issuer_key}

[ crl ]
authorityKeyIdentifier = {issuer_key}

[ req ]
distinguished_name = request
string_mask = utf8only
utf8 = yes

[ request ]
commonName = Common name
"""


def render(layout: Layout, digest: str, *, has_key_identifier: bool = True) -> str:
    """Return the configuration of an authority whose directory is absolute and without control characters.

    :param digest: name of the digest to sign with, as in ``sha256``.
    :param has_key_identifier: whether the CA certificate has a subject key identifier, which openssl copies into the authority
        key identifier (RFC 5280 section 4.2.1.1). Without it that copy fails, so issuer and serial are configured instead.
    """
    # openssl.cnf(5): between quotes, only the quote and the backslash are special.
    quoted = re.sub(r'([\\"])', r"\\\1", layout.root)
    return _TEMPLATE.format(
        configuration=shlex.quote(layout.configuration),
        crl=shlex.quote(layout.crl),
        quoted=quoted,
        new_certificates=layout.places.new_certificates,
        certificate=layout.places.certificate,
        key=layout.places.key,
        digest=digest,
        issuer_key="keyid:always" if has_key_identifier else "issuer:always",
    )
