# Copyright (c) 2026 The quietdoor.mtls authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the request headers that an application could trust for a client's identity, address or path.

nginx cannot remove headers by a pattern, so each name is listed, with a product that trusts it. nginx drops names with
underscores by itself. Applications that read CGI variables do not distinguish a hyphen from an underscore, so
``SSL-Client-Cert`` covers ``SSL_CLIENT_CERT``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Only proxies set these headers, so the gate never passes them on from a client.
IDENTITY = "identity"
# Clients of applications send these headers too, so the gate drops them only if the site says so.
CLIENT = "client"

# The product of the headers that gates set by default. No site may keep those of a client.
_GATES = "gates of this collection"
_PROXY_HEADERS = {
    _GATES: (
        "X-Client-Verify X-Client-DN X-Client-Serial X-Client-Fingerprint X-Client-Issuer-DN X-Client-Name X-Client-Email "
        "X-Client-Roles X-Quietdoor-Verdict X-Quietdoor-Generation"
    ),
    # Single sign-on proxies, and the applications that trust them.
    "Authelia": "Remote-User Remote-Name Remote-Email Remote-Groups",
    "Kubernetes API server, Apache": (
        "X-Remote-User X-Remote-Name X-Remote-Email X-Remote-Group X-Remote-Groups X-Remote-Role X-Remote-Uid"
    ),
    "Home Assistant Ingress": "X-Remote-User-Id X-Remote-User-Name X-Remote-User-Display-Name X-Ingress-Path",
    "OAuth2 Proxy": (
        "X-Forwarded-User X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token "
        "X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-Preferred-Username "
        "X-Auth-Request-Access-Token X-Auth-Request-Redirect"
    ),
    "Rundeck": (
        "X-Forwarded-Uuid X-Forwarded-Roles X-Forwarded-User-FirstName X-Forwarded-User-LastName X-Forwarded-User-Email"
    ),
    "Jenkins, Gerrit": "X-Forwarded-DisplayName X-Forwarded-Mail",
    "SonarQube": "X-Forwarded-Login X-Forwarded-Name",
    "Louketo Proxy": (
        "X-Auth-Audience X-Auth-Email X-Auth-ExpiresIn X-Auth-Groups X-Auth-Roles X-Auth-Subject X-Auth-Userid "
        "X-Auth-Username"
    ),
    "Seafile": "X-Auth-User",
    "Kong, APISIX": (
        "X-Consumer-ID X-Consumer-Custom-ID X-Consumer-Username X-Consumer-Groups X-Credential-Identifier "
        "X-Credential-Username X-Anonymous-Consumer X-Authenticated-Scope X-Authenticated-User X-Authenticated-Userid "
        "X-Authenticated-Groups X-Userinfo X-ID-Token"
    ),
    "authentik": (
        "X-Authentik-Username X-Authentik-Email X-Authentik-Name X-Authentik-Groups X-Authentik-Entitlements "
        "X-Authentik-Uid X-Authentik-Jwt X-Authentik-Meta-Jwks X-Authentik-Meta-Outpost X-Authentik-Meta-Provider "
        "X-Authentik-Meta-App X-Authentik-Meta-Version"
    ),
    "Grafana, Gitea": (
        "X-WebAuth-User X-WebAuth-Name X-WebAuth-Fullname X-WebAuth-Email X-WebAuth-Groups X-WebAuth-Role"
    ),
    "Pomerium": (
        "X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email X-Pomerium-Claim-Groups X-Pomerium-Claim-Name "
        "X-Pomerium-Claim-Sub X-Pomerium-Claim-User X-Pomerium-Authenticated-User-Email "
        "X-Pomerium-Authenticated-User-Groups X-Pomerium-Authenticated-User-Id"
    ),
    "Vouch Proxy": (
        "X-Vouch-User X-Vouch-Success X-Vouch-IdP-AccessToken X-Vouch-IdP-IdToken X-Vouch-IdP-Claims-Email "
        "X-Vouch-IdP-Claims-Groups X-Vouch-IdP-Claims-Name X-Vouch-IdP-Claims-Sub X-Vouch-IdP-Claims-Username"
    ),
    "Caddy Security": "X-Token-Subject X-Token-User-Name X-Token-User-Email X-Token-User-Roles",
    "Teleport": "Teleport-Jwt-Assertion",
    "Ory Oathkeeper": "X-User",
    "applications with a header of their own choice": "X-Username X-User-Name X-User-Email X-User-Roles",
    "Shibboleth": (
        "Shib-Session-ID Shib-Identity-Provider Shib-Application-ID Shib-Authentication-Method "
        "Shib-Authentication-Instant Shib-AuthnContext-Class Eppn Persistent-Id Targeted-Id Affiliation "
        "Unscoped-Affiliation Entitlement"
    ),
    "mod_auth_openidc": (
        "OIDC-Claim-Sub OIDC-Claim-Email OIDC-Claim-Name OIDC-Claim-Preferred-Username OIDC-Claim-Groups OIDC-Claim-Roles "
        "OIDC-Claim-Iss OIDC-Access-Token OIDC-Id-Token OIDC-Id-Token-Payload OIDC-Userinfo-Json"
    ),
    "mod_auth_cas": "CAS-User",
    "LemonLDAP::NG, YunoHost": "Auth-User Auth-Mail Auth-Groups Auth-Cn Lm-Remote-User YNH-User YNH-User-Email YNH-User-Fullname",
    "SiteMinder": "SM-User SM-UserDN SM-UniversalID SM-AuthType SM-ServerSessionID",
    "IBM WebSEAL": "Iv-User Iv-User-L Iv-Groups Iv-Creds Iv-Remote-Address Iv-Server-Name",
    "Oracle Access Manager, WebLogic": (
        "OAM-Remote-User Osso-User-DN Osso-User-Guid Proxy-Remote-User WL-Proxy-SSL WL-Proxy-Client-Cert "
        "WL-Proxy-Client-IP Proxy-Client-IP"
    ),
    "Apache NiFi": (
        "X-ProxiedEntitiesChain X-ProxiedIssuersChain X-ProxiedEntityGroups X-ProxyScheme X-ProxyHost X-ProxyPort "
        "X-ProxyContextPath X-Forwarded-Context"
    ),
    "OpenSearch Dashboards": "X-Proxy-User X-Proxy-Roles",
    "CouchDB": "X-Auth-CouchDB-UserName X-Auth-CouchDB-Roles X-Auth-CouchDB-Token",
    "Alfresco": "X-Alfresco-Remote-User",
    "RStudio Server, Posit Connect": (
        "X-RStudio-Username X-RStudio-Request X-RStudio-Root-Path RStudio-Connect-Credentials Shiny-Server-Credentials"
    ),
    "Sandstorm": "X-Sandstorm-User-Id X-Sandstorm-Username X-Sandstorm-Permissions X-Sandstorm-Session-Id",
    "Red Hat Insights, Pulp": "X-RH-Identity",
    "OpenStack services": "X-Identity-Status X-Roles X-Service-Identity-Status X-Service-Roles",
    # Clouds and meshes.
    "Azure App Service": (
        "X-MS-Client-Principal X-MS-Client-Principal-Id X-MS-Client-Principal-Name X-MS-Client-Principal-Idp "
        "X-MS-Token-AAD-Access-Token X-MS-Token-AAD-Id-Token X-MS-Token-AAD-Refresh-Token X-MS-Token-AAD-Expires-On "
        "X-MS-Token-Google-Access-Token X-MS-Token-Google-Id-Token X-MS-Token-Facebook-Access-Token "
        "X-ARR-ClientCert X-ARR-SSL X-AppService-Proto X-WAWS-Unencoded-URL Disguised-Host"
    ),
    "Azure Front Door": "X-Azure-ClientIP X-Azure-SocketIP X-Azure-FDID",
    "AD FS": "X-MS-Proxy X-MS-Forwarded-Client-IP X-MS-Endpoint-Absolute-Path X-MS-ADFS-Proxy-Client-IP",
    "Cloudflare": (
        "Cf-Access-Authenticated-User-Email Cf-Access-Jwt-Assertion CF-Connecting-IP CF-Connecting-IPv6 CF-Pseudo-IPv4 "
        "CF-Visitor CF-Cert-Verified CF-Cert-Revoked CF-Cert-Presented CF-Cert-Serial "
        "CF-Cert-Issuer-DN CF-Cert-Subject-DN CF-Cert-Sha256 CF-Cert-Fingerprint-Sha256 CF-Cert-Fingerprint-Sha1 "
        "CF-Client-Cert-Der-Base64 CF-Client-Cert-Sha256"
    ),
    "Tailscale": (
        "Tailscale-User-Login Tailscale-User-Name Tailscale-User-Profile-Pic Tailscale-App-Capabilities "
        "Tailscale-Headers-Info Tailscale-Funnel-Request Tailscale-User Tailscale-Login Tailscale-Name Tailscale-Tailnet "
        "Tailscale-Profile-Picture"
    ),
    "Google Cloud": (
        "X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id X-Goog-IAP-JWT-Assertion X-Apigateway-Api-Userinfo "
        "X-Endpoint-API-UserInfo X-CloudScheduler X-CloudTasks-QueueName"
    ),
    "Google App Engine": (
        "X-Appengine-User-Email X-Appengine-User-Id X-Appengine-User-Is-Admin X-Appengine-User-Nickname "
        "X-Appengine-User-IP X-Appengine-Auth-Domain X-Appengine-Cron X-Appengine-QueueName X-Appengine-TaskName "
        "X-Appengine-Inbound-Appid"
    ),
    "AWS": (
        "X-Amzn-Oidc-Data X-Amzn-Oidc-Identity X-Amzn-Oidc-Accesstoken X-Amzn-Ava-User-Context X-Amzn-Request-Context "
        "X-Amzn-Lambda-Context X-Apigateway-Event X-Apigateway-Context X-Amzn-Mtls-Clientcert "
        "X-Amzn-Mtls-Clientcert-Subject X-Amzn-Mtls-Clientcert-Serial-Number X-Amzn-Mtls-Clientcert-Issuer "
        "X-Amzn-Mtls-Clientcert-Validity X-Amzn-Mtls-Clientcert-Leaf"
    ),
    "AWS CloudFront": (
        "CloudFront-Viewer-Address CloudFront-Forwarded-Proto CloudFront-Viewer-Cert-Present "
        "CloudFront-Viewer-Cert-Sha256 CloudFront-Viewer-Cert-Serial-Number CloudFront-Viewer-Cert-Issuer "
        "CloudFront-Viewer-Cert-Subject CloudFront-Viewer-Cert-Validity"
    ),
    "Envoy, Istio": (
        "X-Forwarded-Client-Cert X-Forwarded-Client-Cert-Chain X-Envoy-External-Address X-Envoy-Internal "
        "X-Envoy-Original-Path X-Envoy-Original-Host X-Envoy-Original-Dst-Host X-Envoy-Peer-Metadata "
        "X-Envoy-Peer-Metadata-Id X-Jwt-Payload"
    ),
    "Linkerd": "L5d-Client-Id L5d-Remote-Ip L5d-Dst-Override",
    "Dapr": "Dapr-Caller-App-Id",
    "Vercel": "X-Vercel-Forwarded-For X-Vercel-Proxied-For X-Vercel-OIDC-Token",
    "Fly.io": "Fly-Client-IP Fly-Forwarded-Proto Fly-Forwarded-Port Fly-Forwarded-Ssl",
    # Programs that terminate TLS, and applications that read the variables of mod_ssl.
    "Puppet, Foreman": (
        "SSL-Client-Cert SSL-Client-Verify SSL-Client-DN SSL-Client-S-DN SSL-Client-S-DN-CN SSL-Client-S-DN-Email "
        "SSL-Client-S-DN-O SSL-Client-S-DN-OU SSL-Client-I-DN SSL-Client-I-DN-CN SSL-Client-Subject-DN "
        "SSL-Client-Issuer-DN SSL-Client-M-Serial SSL-Client-Serial SSL-Client-Fingerprint SSL-Client-CN "
        "SSL-Client-V-Start SSL-Client-V-End SSL-Client-V-Remain SSL-Client-SAN-Email-0"
    ),
    "RFC 9440": "Client-Cert Client-Cert-Chain",
    "HAProxy": (
        "X-SSL X-SSL-Cert X-SSL-Client X-SSL-Client-Cert X-SSL-Client-Verify X-SSL-Client-Verified X-SSL-Client-DN "
        "X-SSL-Client-S-DN X-SSL-Client-S-DN-CN X-SSL-Client-I-DN X-SSL-Client-Subject-DN X-SSL-Client-Subject-CN "
        "X-SSL-Client-Issuer-DN X-SSL-Client-Issuer X-SSL-Client-Serial X-SSL-Client-Fingerprint X-SSL-Client-SHA1 "
        "X-SSL-Client-SHA256 X-SSL-Client-CN X-SSL-Client-NotBefore X-SSL-Client-NotAfter X-SSL-Client-Session-Id "
        "X-SSL-Subject X-SSL-Issuer"
    ),
    "Datawave": "X-SSL-ClientCert-Subject X-SSL-ClientCert-Issuer",
    "nginx, F5": (
        "X-Client-CN X-Client-Cert X-Client-Certificate X-Client-Subject X-Client-SubjectDN X-Client-S-DN X-Client-I-DN "
        "X-Client-Issuer X-Client-User X-Client-Role X-Client-Emails X-TLS-Client-Cert X-TLS-Client-DN "
        "X-Forwarded-SSL-Client-Cert"
    ),
    "Google Cloud load balancer": (
        "X-Client-Cert-Present X-Client-Cert-Chain-Verified X-Client-Cert-Error X-Client-Cert-Hash "
        "X-Client-Cert-Serial-Number X-Client-Cert-Leaf"
    ),
    "Traefik": "X-Forwarded-TLS-Client-Cert X-Forwarded-TLS-Client-Cert-Info X-Replaced-Path",
    # The address and the scheme of the client.
    "RFC 7239": "Forwarded",
    "frameworks that trust a proxy": (
        "X-Forwarded X-Forwarded-By X-Forwarded-Server X-Forwarded-Prefix X-Forwarded-Path X-Forwarded-Uri "
        "X-Forwarded-Method X-Forwarded-Scheme X-Forwarded-Protocol X-Forwarded-Ssl X-Scheme X-Url-Scheme "
        "Front-End-Https X-Host X-Original-Host X-Original-Forwarded-For "
        "X-Originating-IP X-Client-IP X-Cluster-Client-IP X-Remote-IP X-Remote-Addr X-ProxyUser-Ip "
        "Client-IP"
    ),
    "Akamai": "True-Client-IP",
    "Fastly": "Fastly-Client-IP Fastly-SSL",
    "Imperva": "Incap-Client-IP",
    "Sucuri": "X-Sucuri-ClientIP",
    "Netlify": "X-NF-Client-Connection-IP",
    "DigitalOcean": "DO-Connecting-IP",
    "Alibaba Cloud": "Ali-CDN-Real-IP",
    # Names that replace the path or the base address.
    "Symfony, Laminas, IIS": "X-Original-URL X-Rewrite-URL",
    "ingress-nginx": "X-Original-URI X-Original-Method",
    "ASGI adapters on Vercel": "X-Original-Path",
    "Next.js": (
        "X-Middleware-Subrequest X-Middleware-Subrequest-Id X-Invoke-Path X-Invoke-Query X-Invoke-Output X-Invoke-Status "
        "X-Matched-Path X-Now-Route-Matches"
    ),
    "Rack": "X-Accel-Mapping X-Sendfile-Type",
    "Artifactory": "X-JFrog-Override-Base-Url X-Artifactory-Override-Base-Url",
    "Nuxeo": "Nuxeo-Virtual-Host",
    "CGI programs (CVE-2016-5385)": "Proxy",
}
_CLIENT_HEADERS = {
    "Rocket.Chat, GitLab": "X-User-Id X-Auth-Token",
    "Rails, Express, Symfony and others": "X-HTTP-Method-Override X-HTTP-Method X-Method-Override",
    "WSGI applications": "X-Script-Name",
    "Kubernetes API server": "Impersonate-User Impersonate-Group Impersonate-Uid",
    "Hasura": "X-Hasura-Role X-Hasura-User-Id",
    "Trino, Presto": "X-Trino-User X-Presto-User",
    "Grafana Loki, Mimir": "X-Scope-OrgID",
    "Grafana": "X-Grafana-Org-Id",
    "Elasticsearch": "Es-Security-Runas-User",
    "GitLab": "Sudo",
    "Redmine": "X-Redmine-Switch-User",
}


@dataclass(frozen=True)
class TrustedHeader:
    """A header that an application trusts.

    :param product: a product that trusts it, or sets it for applications that do.
    :param kind: ``IDENTITY`` or ``CLIENT``.
    """

    name: str
    product: str
    kind: str


TRUSTED_HEADERS = tuple(
    TrustedHeader(name, product, kind)
    for kind, products in ((IDENTITY, _PROXY_HEADERS), (CLIENT, _CLIENT_HEADERS))
    for product, names in products.items()
    for name in names.split()
)


def header_names(*kinds: str) -> tuple[str, ...]:
    """Return the names of these kinds, ``IDENTITY`` or ``CLIENT``, in the order of the list."""
    return tuple(header.name for header in TRUSTED_HEADERS if header.kind in kinds)


def gate_header_names() -> tuple[str, ...]:
    """Return the names of the headers that gates of this collection set, unless a site renames them."""
    return tuple(header.name for header in TRUSTED_HEADERS if header.product == _GATES)


def without(names: Iterable[str], left_out: Iterable[str]) -> tuple[str, ...]:
    """Return names without duplicates and without those left out; case does not count (RFC 9110 section 5.1)."""
    lower = {name.lower() for name in left_out}
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.lower(), name)
    return tuple(name for key, name in found.items() if key not in lower)
