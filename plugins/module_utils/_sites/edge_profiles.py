# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the headers in which common TLS-terminating proxies describe a client's certificate.

docs/behind-a-proxy.md names the sources. An edge is a proxy that terminates TLS in front of nginx. Every profile identifies a
certificate in one way, so that two statements never have to be reconciled.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._contracts.publication_format import CERTIFICATE_ENCODINGS
from .._nginx.quoting import quote_verbatim

CUSTOM = "custom"
# A way to identify a certificate -> the headers that it needs.
WAYS = {
    "serial": ("serial", "issuer_dn"),
    "sha256": ("sha256",),
    "sha256_base64": ("sha256_base64",),
    "sha1": ("sha1",),
    **{spelling: (spelling,) for spelling in CERTIFICATE_ENCODINGS},
}
HEADERS = ("verify", *(header for headers in WAYS.values() for header in headers))

_HEX = "[0-9A-Fa-f]"
# RFC 4648 section 4, with or without the padding.
_BASE64 = "[A-Za-z0-9+/]{43}"
# One element of x-forwarded-client-cert and no second one (a comma outside quotes would begin it); Hash once, before every
# field that the client's certificate decides. Possessive, because it can contain a whole certificate.
_XFCC = (
    rf'(?:By=[^;,"]*+;)*+Hash=(?<NAME>{_HEX}{{64}})'
    r'(?:;(?:Cert|Chain|Subject|URI|DNS)=(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^;,"]*+))*+'
)
# A whole certificate. Possessive, because it is long; the maps of trust compare it, so only a real one counts.
_DER = "[A-Za-z0-9+/]++={0,2}+"
_FIELD = "(?<NAME>VALUE)"
# RFC 8941 section 3.3.5, sf-binary; RFC 9440 section 2.2 allows no parameters and no list.
_RFC9440 = f":{_FIELD}:"
# The chain that the client sent, its own certificate first. Joining two headers puts a space behind the comma.
_CHAIN = f"{_FIELD}(?:,[A-Za-z0-9+/=,]++)?"
# $ssl_client_escaped_cert of nginx: PEM, escaped as a component of a URI with upper-case digits.
_PEM = "-----BEGIN%20CERTIFICATE-----%0A(?<NAME>[A-Za-z0-9%]+)%0A-----END%20CERTIFICATE-----%0A"


@dataclass(frozen=True)
class Profile:
    """One kind of edge.

    :param way: how it identifies the certificate, a key of ``WAYS``.
    :param headers: a statement about the certificate -> the name of its header; without ``verify`` the edge describes only
        certificates that it has verified, or the statement identifies the certificate by itself.
    :param verified: the value of ``verify`` for a valid certificate, empty without that header.
    :param address: the header with the client's address.
    :param recursive: whether that header ends with addresses of the edge itself.
    :param xfcc: whether the digest is part of an element of ``x-forwarded-client-cert``.
    :param forms: the forms of the header of a ``certificate``, with ``NAME`` and ``VALUE`` for the capture.
    """

    way: str
    headers: dict[str, str]
    verified: str = ""
    address: str = "X-Forwarded-For"
    recursive: bool = False
    xfcc: bool = False
    forms: tuple[str, ...] = (_FIELD, _RFC9440)


PROFILES = {
    "nginx": Profile(
        way="serial",
        headers={
            "verify": "X-SSL-Client-Verify",
            "serial": "X-SSL-Client-Serial",
            "issuer_dn": "X-SSL-Client-I-DN",
        },
        verified="SUCCESS",
    ),
    "haproxy": Profile(
        way="sha256",
        headers={"verify": "X-SSL-Client-Verify", "sha256": "X-SSL-Client-SHA256"},
        verified="0",
    ),
    "envoy": Profile(way="sha256", headers={"sha256": "X-Forwarded-Client-Cert"}, xfcc=True),
    "cloudflare": Profile(way="sha256", headers={"sha256": "X-SSL-Client-SHA256"}, address="CF-Connecting-IP"),
    "cloudfront": Profile(way="sha256", headers={"sha256": "CloudFront-Viewer-Cert-Sha256"}),
    "aws_alb": Profile(
        way="serial",
        headers={
            "serial": "X-Amzn-Mtls-Clientcert-Serial-Number",
            "issuer_dn": "X-Amzn-Mtls-Clientcert-Issuer",
        },
    ),
    "azure": Profile(
        way="sha1",
        headers={"verify": "X-SSL-Client-Verify", "sha1": "X-SSL-Client-Fingerprint"},
        verified="SUCCESS",
    ),
    "google": Profile(
        way="sha256_base64",
        headers={"verify": "X-Client-Cert-Chain-Verified", "sha256_base64": "X-Client-Cert-Hash"},
        verified="true",
        recursive=True,
    ),
    "traefik": Profile(way="certificate", headers={"certificate": "X-Forwarded-Tls-Client-Cert"}, forms=(_CHAIN,)),
    "rfc9440": Profile(way="certificate", headers={"certificate": "Client-Cert"}, forms=(_RFC9440,)),
    "ingress_nginx": Profile(
        way="certificate_pem",
        headers={"verify": "ssl-client-verify", "certificate_pem": "ssl-client-cert"},
        verified="SUCCESS",
    ),
}


def patterns(profile: Profile) -> dict[str, list[tuple[str, str]]]:
    """Return keys and values for the maps that extract the identifier from ``good:HEADER``.

    All sites share the names of the captures, because PCRE allows 32 characters; a request belongs to one site only.

    :returns: ``serial``, ``sha256`` or another of ``WAYS`` -> keys, each with its value.
    """
    if profile.way == "serial":
        # A number: leading zeros are dropped, and an odd number of digits gets one zero, as in $ssl_client_serial.
        whole, half = "quietdoor_edge_whole", "quietdoor_edge_half"
        return {
            "serial": [
                (_key(rf"0*(?<{whole}>(?:{_HEX}{{2}})+)"), f"${whole}"),
                (_key(rf"(?<{half}>{_HEX}(?:{_HEX}{{2}})*)"), f'"0${half}"'),
            ]
        }
    if profile.way in CERTIFICATE_ENCODINGS:
        return {profile.way: _certificate_patterns(profile)}
    name = "quietdoor_edge_digest"
    text = {
        "sha256": rf"(?<{name}>{_HEX}{{64}})",
        "sha256_base64": rf"(?<{name}>{_BASE64})=?",
        "sha1": rf"(?<{name}>{_HEX}{{40}})",
    }[profile.way]
    return {profile.way: [(_key(_XFCC.replace("NAME", name) if profile.xfcc else text), f"${name}")]}


def _certificate_patterns(profile: Profile) -> list[tuple[str, str]]:
    forms = profile.forms if profile.way == "certificate" else (_PEM,)
    # PCRE needs a name for each capture; nginx makes a variable of each.
    names = [f"quietdoor_edge_certificate_{number}" for number in range(len(forms))]
    texts = (form.replace("NAME", name).replace("VALUE", _DER) for form, name in zip(forms, names))
    return [(_key(text), f"${name}") for text, name in zip(texts, names)]


def _key(text: str) -> str:
    return quote_verbatim(rf"~^good:{text}\z")
