"""An OpenID provider as an operator sets it: whose word is taken, and which of its groups has which role."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import attrs

from pharos.helm.model.admins import Role

# Issuers of the providers we know have some 90 characters; 2,000 is what browsers and proxies surely carry.
MAX_ISSUER: Final = 500
MAX_URL: Final = 2000
MAX_MAPPED: Final = 64
"""Groups of one fleet that have a role; there are four roles."""
MAX_GROUP: Final = 256
"""Characters; a distinguished name of a directory is the longest group name there is."""
MAX_WORD: Final = 256
GROUPS_CLAIM: Final = "groups"


@attrs.frozen(kw_only=True)
class Claims:
    """What an ID token says of a person, once it was verified (OpenID Connect Core §2, §5.1)."""

    issuer: str
    subject: str
    """Never given to anybody else by this issuer; all that a record may be found by."""
    email: str = ""
    email_verified: bool = False
    name: str = ""
    groups: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Client:
    """What helm is at a provider."""

    issuer: str
    client_id: str
    secret: str = attrs.field(default="", repr=False)
    """Empty: a public client, which PKCE alone protects (RFC 8252 §8.5)."""
    groups_claim: str = GROUPS_CLAIM
    roles: tuple[str, ...] = ()
    """Each ``group=role``."""
    users: bool = False
    """Whether end users may log in by device code."""


def check_issuer(text: str) -> str:
    """Return an issuer that may be asked: https, or plain http on this machine itself.

    Raises: ValueError — it is none (OpenID Connect Discovery §3: no query, no fragment).
    """
    parts = urlsplit(check_url(text, plain=is_plain(text)))
    if parts.query or "?" in text or len(text) > MAX_ISSUER:
        raise ValueError(f"{text!r} is not an issuer")
    return text


def check_url(text: str, *, plain: bool) -> str:
    """Return an address of a provider; ``plain`` ones may be http, on loopback.

    Raises: ValueError — it is none.
    """
    parts = urlsplit(text)
    usual = text.isascii() and text.isprintable() and " " not in text and "\\" not in text and len(text) <= MAX_URL
    if not usual or not parts.hostname or "@" in parts.netloc or "#" in text or parts.port == 0:
        raise ValueError(f"{text!r} is not an address of an OpenID provider")
    if parts.scheme != "https" and not (plain and is_plain(text)):
        raise ValueError(f"{text!r} is not https")
    return text


def is_plain(text: str) -> bool:
    """Tell whether it is http on loopback, where nobody stands between."""
    parts = urlsplit(text)
    if parts.scheme != "http":
        return False
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def check_word(text: str) -> str:
    """Return a client id or a claim's name. Raises: ValueError — it is none (RFC 6749 appendix A.1)."""
    if not 0 < len(text) <= MAX_WORD or not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError(f"{text!r} is no such name")
    return text


def check_mapping(text: str) -> str:
    """Return a ``group=role``. Raises: ValueError — it is none."""
    group, _, role = text.rpartition("=")
    if not 0 < len(group) <= MAX_GROUP or not group.isprintable() or group != group.strip():
        raise ValueError(f"{text!r} names no group")
    Role(role)
    return text


def highest_role(groups: Collection[str], mapping: Collection[str]) -> Role | None:
    """Return the highest role that one of the groups has; None where none has one. Groups are compared exactly."""
    roles = [Role(role) for group, _, role in (text.rpartition("=") for text in mapping) if group in groups]
    return next((role for role in Role if role in roles), None)
