"""What a provider publishes of itself (OpenID Connect Discovery §3, RFC 8414), read without I/O."""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from pharos.helm.errors import ProviderError
from pharos.helm.model.oidc import check_url, is_plain

WELL_KNOWN: Final = "/.well-known/openid-configuration"


@attrs.frozen(kw_only=True)
class Metadata:
    """Where a provider is asked for what."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    device_authorization_endpoint: str
    """Empty: it has no device code (RFC 8628 §4)."""
    userinfo_endpoint: str
    """Empty: it has none (OpenID Connect Core §5.3)."""
    secret_in_form: bool
    """Whether the client's secret goes into the form, because the provider takes it no other way (RFC 6749 §2.3.1)."""
    names_itself: bool
    """Whether it says its issuer when it sends a browser back (RFC 9207 §3)."""


class _Document(msgspec.Struct, kw_only=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    device_authorization_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] = msgspec.field(default_factory=lambda: ["client_secret_basic"])
    authorization_response_iss_parameter_supported: bool = False


def well_known(issuer: str) -> str:
    """Return where the document of an issuer lies."""
    return issuer.removesuffix("/") + WELL_KNOWN


def read_metadata(document: bytes, issuer: str) -> Metadata:
    """Read a discovery document.

    Raises: ProviderError — it is none, or another issuer's, or sends people or secrets over what is not https.
    """
    try:
        found = msgspec.json.decode(document, type=_Document)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProviderError(f"what {issuer} publishes is no discovery document: {error}") from error
    if found.issuer != issuer:
        raise ProviderError(f"{issuer} calls itself {found.issuer[:100]!r}: oidc.issuer has to be that, to the letter")
    plain = is_plain(issuer)
    endpoints = [found.authorization_endpoint, found.token_endpoint, found.jwks_uri]
    endpoints += filter(None, (found.device_authorization_endpoint, found.userinfo_endpoint))
    try:
        for endpoint in endpoints:
            check_url(endpoint, plain=plain)
    except ValueError as error:
        raise ProviderError(f"{issuer} names an endpoint that cannot be used: {error}") from error
    methods = found.token_endpoint_auth_methods_supported
    return Metadata(
        issuer=issuer,
        authorization_endpoint=found.authorization_endpoint,
        token_endpoint=found.token_endpoint,
        jwks_uri=found.jwks_uri,
        device_authorization_endpoint=found.device_authorization_endpoint,
        userinfo_endpoint=found.userinfo_endpoint,
        secret_in_form="client_secret_basic" not in methods and "client_secret_post" in methods,
        names_itself=found.authorization_response_iss_parameter_supported,
    )
