"""Signed in at the loopback edge, as a browser is after its owner used a one-time link."""

from __future__ import annotations

from pharos.helm.accounts.admins import add_admin, make_link
from pharos.helm.accounts.signin import SignIn
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Role
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.web.session import COOKIE, CSRF_HEADER, csrf_text

Headers = list[tuple[str, str]]


async def invited(context: HelmContext, *, name: str = "ada", role: Role = Role.OWNER) -> str:
    """Make an admin, and return the secret of a link to come in by."""

    def write(db: Database) -> str:
        act = Act(actor="operator", at=now_us())
        return make_link(db, act, add_admin(db, act, name, role).id)

    return await context.store.run(write)


async def sign_in(context: HelmContext, *, name: str = "ada", role: Role = Role.OWNER) -> Headers:
    """Return what the browser of a new admin sends with every request."""
    signed = await SignIn(context.store, context.vault).by_link(
        await invited(context, name=name, role=role), browser="a test"
    )
    return [("Cookie", f"{COOKIE}={signed.cookie}"), (CSRF_HEADER, csrf_text(signed.session))]
