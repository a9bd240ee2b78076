"""What a provider says of a person beside the ID token, whose claims some keep short (OpenID Connect Core §5.3)."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from pharos.helm.accounts.oidc.tokens import one_line, read_groups
from pharos.helm.errors import ProviderError
from pharos.helm.model.oidc import Claims


class _Said(msgspec.Struct, kw_only=True):
    sub: str
    email: str | None = None
    email_verified: bool | str = False
    name: str | None = None
    preferred_username: str | None = None


def add_userinfo(claims: Claims, document: bytes, groups_claim: str) -> Claims:
    """Return claims with what the ID token left out; what it says itself stays.

    Raises: ProviderError — the document is none, or another person's (§5.3.2).
    """
    try:
        members: Any = msgspec.json.decode(document)
        said = msgspec.convert(members, _Said, strict=True)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProviderError(f"{claims.issuer} says nothing readable of the person who signs in: {error}") from error
    if said.sub != claims.subject:
        raise ProviderError(f"{claims.issuer} speaks of another person than the one who signs in")
    groups = claims.groups or read_groups(members.get(groups_claim))
    name = claims.name or one_line(said.name) or one_line(said.preferred_username)
    if claims.email:
        return attrs.evolve(claims, groups=groups, name=name)
    verified = said.email_verified in (True, "true")
    return attrs.evolve(claims, groups=groups, name=name, email=one_line(said.email), email_verified=verified)
