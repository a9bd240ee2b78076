"""What this fleet has set about its OpenID provider: settings, and the client's secret, which only the vault opens."""

from __future__ import annotations

from typing import Final

from pharos.helm.ca.vault import Vault
from pharos.helm.errors import InvalidRequestError, NotFoundError, NotInitialisedError
from pharos.helm.model.oidc import Client
from pharos.helm.store.audit import append_audit
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.fleet import get_secret, put_secret, remove_secret
from pharos.helm.store.settings import setting

SECRET: Final = "oidc-client"  # noqa: S105 -- its name
_VERSION: Final = 1
MAX_SECRET: Final = 1000
"""Characters; those of the providers we know have 40 to 90."""


def read_client(db: Database, vault: Vault) -> Client:
    """Return what helm is at the provider.

    Raises: NotFoundError — no provider is set. StateFileError — the secret was altered.
    """
    issuer, client_id = setting(db, "oidc.issuer"), setting(db, "oidc.client_id")
    if not issuer or not client_id:
        raise NotFoundError("no OpenID provider is set: see helm settings set oidc.issuer, and oidc.client_id")
    return Client(
        issuer=issuer,
        client_id=client_id,
        secret=_read_secret(db, vault),
        groups_claim=setting(db, "oidc.groups_claim"),
        roles=tuple(setting(db, "oidc.roles")),
        users=setting(db, "oidc.users"),
    )


def has_secret(db: Database) -> bool:
    """Tell whether a secret is kept."""
    return db.execute("SELECT 1 FROM secrets WHERE name = ?", (SECRET,)).fetchone() is not None


def set_secret(db: Database, act: Act, vault: Vault, secret: str) -> None:
    """Keep the client's secret, wrapped by the data key.

    Raises: InvalidRequestError — it is none (RFC 6749 appendix A.2).
    """
    if not 0 < len(secret) <= MAX_SECRET or not secret.isascii() or not secret.isprintable():
        raise InvalidRequestError(f"a client secret has 1 to {MAX_SECRET} printable ASCII characters")
    put_secret(db, SECRET, _VERSION, vault.wrap(SECRET, _VERSION, secret.encode()))
    _audit(db, act, "oidc_secret_set")


def forget_secret(db: Database, act: Act) -> None:
    """Be a public client, which PKCE alone protects. Raises: NotFoundError — there is no secret."""
    if not has_secret(db):
        raise NotFoundError("no client secret is kept")
    remove_secret(db, SECRET)
    _audit(db, act, "oidc_secret_forgotten")


def _read_secret(db: Database, vault: Vault) -> str:
    try:
        version, wrapped = get_secret(db, SECRET)
    except NotInitialisedError:
        return ""
    return vault.unwrap(SECRET, version, wrapped).decode()


def _audit(db: Database, act: Act, verb: str) -> None:
    append_audit(db, at=act.at, actor=act.actor, via=act.via, verb=verb)
