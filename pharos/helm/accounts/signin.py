"""Signing in by a one-time link, or by password and TOTP code; what a session is and when it ends.

Passkeys come in by `pharos.helm.accounts.passkeys`.
"""

from __future__ import annotations

from typing import Final

import attrs
import pyotp
import trio

from pharos.helm.accounts.browsers import browser_owner
from pharos.helm.accounts.hashing import Hashing
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.anomalies.tries import Door, Tries
from pharos.helm.ca.passwords import fits_nothing, hash_password, password_fits
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import InvalidRequestError, NotAllowedError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, AdminState
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database, Store
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import change_record, find_record, get_record
from pharos.helm.store.settings import setting
from pharos.helm.store.signins import (
    AdminSession,
    add_session,
    end_sessions,
    hash_secret,
    prove_session,
    prune_sessions,
    use_link,
)
from pharos.wire.chance import token_urlsafe
from pharos.wire.world import random_bytes

# security.md §2f. Microseconds.
IDLE: Final = 30 * 60 * 1_000_000
ABSOLUTE: Final = 12 * 3600 * 1_000_000
FRESH: Final = 5 * 60 * 1_000_000
"""How long a proof counts for acts that want a fresh one."""

SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 128
MAX_BROWSER: Final = 200
TOTP_PERIOD: Final = 30
TOTP_VERSION: Final = 1
REFUSED: Final = "name, password or code is wrong"


@attrs.frozen(kw_only=True)
class SignedIn:
    """A session just begun."""

    cookie: str = attrs.field(repr=False)
    session: AdminSession
    admin: Admin


class SignIn:
    """The door of a running helm; counts tries and bounds what they cost."""

    def __init__(self, store: Store, vault: Vault, hashing: Hashing | None = None, tries: Tries | None = None) -> None:
        self._store = store
        self._vault = vault
        self._tries = tries or Tries()
        self._throttle = Throttle()
        self._hashing = hashing or Hashing()
        # Somebody who does not exist is checked against this, so that it takes as long (row 51).
        self._dummy = fits_nothing()

    async def by_link(self, secret: str, *, browser: str, bound: str = "") -> SignedIn:
        """Use a one-time link up.

        Raises: NotSignedInError — it is unknown, used or expired.
        """

        def redeem(db: Database) -> SignedIn | None:
            at = now_us()
            admin_id = use_link(db, hash_secret(secret), at=at)
            if admin_id is None:
                return None
            admin = get_record(db, ADMINS, admin_id)
            if admin.state is AdminState.DISABLED:
                return None
            act = Act(actor=admin.name, at=at, via="session")
            if admin.state is AdminState.INVITED:
                admin = change_record(db, ADMINS, admin.id, admin.version, {"state": AdminState.ACTIVE}, act)
            return begin_session(db, admin, at=at, browser=browser, how="link", bound=bound)

        signed_in = await self._store.run(redeem)
        if signed_in is None:
            raise NotSignedInError("this link is used up, expired or unknown; ask an owner for another one")
        return signed_in

    async def by_password(self, name: str, password: str, code: str, *, browser: str, bound: str = "") -> SignedIn:
        """Check name, password and, where the admin has one, the TOTP code.

        Raises: NotSignedInError — with the same words and after the same time whatever was wrong.
        TooManyTriesError — not yet. BusyError — too many at once. NotAllowedError — all is right, and this fleet lets
        nobody in by password.
        """
        self._throttle.check(name, trio.current_time())
        admin_id, encoded = await self._store.read(_find_password, name) or (None, self._dummy)
        fits = await self._verify(encoded, password)
        signed_in = None
        if fits and admin_id is not None:
            signed_in = await self._store.run(self._finish, admin_id, encoded, code, browser, bound)
        if signed_in is None:
            self._throttle.failed(name, trio.current_time())
            # Not what was typed: people type passwords where a name is asked for.
            self._tries.refused(Door.ADMIN, "a name that nobody has" if admin_id is None else name, now_us())
            raise NotSignedInError(REFUSED)
        self._throttle.succeeded(name)
        return signed_in

    def _finish(
        self, db: Database, admin_id: str, encoded: str, code: str, browser: str, bound: str
    ) -> SignedIn | None:
        at = now_us()
        admin = find_record(db, ADMINS, admin_id)
        # The hash took a while. Meanwhile an owner, or the admin with another password, may have been faster (row 49).
        if admin is None or admin.state is not AdminState.ACTIVE or admin.password != encoded:
            return None
        if admin.totp is not None:
            step = self._accepted_step(admin, code, at)
            if step is None:
                return None
            # Not a change of the record: a step that was used is none to anybody else.
            db.execute("UPDATE admins SET totp_step = ? WHERE id = ?", (step, admin_id))
        # Only now: whoever does not know the password does not learn what this fleet allows, either.
        _check_password_allowed(db)
        return begin_session(db, admin, at=at, browser=browser, how="password", bound=bound)

    def _accepted_step(self, admin: Admin, code: str, at: int) -> int | None:
        """Return the time step that ``code`` is of: this one or a neighbour, and none that was used (RFC 6238 §5.2)."""
        assert admin.totp is not None
        totp = pyotp.TOTP(self._vault.unwrap(totp_name(admin.id), TOTP_VERSION, admin.totp).decode())
        now = at // 1_000_000 // TOTP_PERIOD
        for step in (now, now - 1, now + 1):
            if step > admin.totp_step and pyotp.utils.strings_equal(code, totp.at(step * TOTP_PERIOD)):
                return step
        return None

    async def prove(self, session: AdminSession, admin: Admin, password: str) -> None:
        """Take the password again, for acts that want a fresh proof.

        Raises: NotSignedInError, TooManyTriesError, BusyError. NotAllowedError — it is right, and counts for nothing
        in this fleet.
        """
        self._throttle.check(admin.name, trio.current_time())
        if not await self._verify(admin.password or self._dummy, password) or admin.password is None:
            self._throttle.failed(admin.name, trio.current_time())
            raise NotSignedInError(REFUSED)
        self._throttle.succeeded(admin.name)

        def write(db: Database) -> None:
            _check_password_allowed(db)
            prove_session(db, session.hash, at=now_us())

        await self._store.run(write)

    async def set_password(self, session: AdminSession, admin: Admin, password: str) -> None:
        """Set the password; every other session of this admin ends (row 49).

        Raises: InvalidRequestError — too short or too long. NotSignedInError — the session's proof is not fresh.
        """
        check_fresh(session)
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise InvalidRequestError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
        encoded = await self._hash(password)

        def write(db: Database) -> None:
            act = Act(actor=admin.name, at=now_us(), via="session")
            current = get_record(db, ADMINS, admin.id)
            change_record(db, ADMINS, admin.id, current.version, {"password": encoded}, act, verb="password_set")
            end_sessions(db, admin.id, but=session.hash)

        await self._store.run(write)

    async def set_totp(self, session: AdminSession, admin: Admin, secret: str, code: str) -> None:
        """Set the TOTP secret, once a code shows that the admin's app has it.

        Raises: InvalidRequestError — the secret or the code does not fit. NotSignedInError — no fresh proof.
        """
        check_fresh(session)
        at = now_us()
        step = at // 1_000_000 // TOTP_PERIOD
        try:
            codes = [pyotp.TOTP(secret).at(n * TOTP_PERIOD) for n in (step, step - 1, step + 1)]
        except ValueError as error:
            raise InvalidRequestError("that is not a TOTP secret") from error
        if len(secret) < 32 or not any(pyotp.utils.strings_equal(code, one) for one in codes):
            raise InvalidRequestError("the code does not fit the secret; check the clock of both")
        wrapped = self._vault.wrap(totp_name(admin.id), TOTP_VERSION, secret.encode())

        def write(db: Database) -> None:
            act = Act(actor=admin.name, at=at, via="session")
            current = get_record(db, ADMINS, admin.id)
            values = {"totp": wrapped, "totp_step": step}
            change_record(db, ADMINS, admin.id, current.version, values, act, verb="totp_set")
            end_sessions(db, admin.id, but=session.hash)

        await self._store.run(write)

    async def _verify(self, encoded: str, password: str) -> bool:
        # A longer one was never accepted, and hashing it would be work for nothing.
        if len(password) > LONGEST_PASSWORD:
            password = ""
        return await self._hashing.run(lambda: password_fits(encoded, password))

    async def _hash(self, password: str) -> str:
        return await self._hashing.run(lambda: hash_password(password))


def check_fresh(session: AdminSession) -> None:
    """Raises: NotSignedInError — password, passkey or link were shown too long ago for an act like this."""
    if session.proven_at < now_us() - FRESH:
        raise NotSignedInError("this takes a fresh proof: show your passkey or your password again")


def expiry(created_at: int, seen_at: int) -> int:
    """Return when a session ends: after 12 hours, or 30 minutes without use."""
    return min(created_at + ABSOLUTE, seen_at + IDLE)


def totp_name(admin_id: str) -> str:
    """Return the name under which an admin's TOTP secret is wrapped."""
    return f"totp/{admin_id}"


def begin_session(db: Database, admin: Admin, *, at: int, browser: str, how: str, bound: str = "") -> SignedIn:
    """Begin a session of an admin who has shown to be that, with an id that nobody could have known before (row 49).

    ``how`` is ``link``, ``password``, ``passkey`` or ``oidc``; ``bound`` the fingerprint of the browser's certificate,
    if it has one: the session is then refused to every other browser.

    Raises: NotAllowedError — the browser's certificate is another admin's.
    """
    owner = browser_owner(db, bound)
    if owner not in (None, admin.id):
        raise NotAllowedError("this browser's certificate is another admin's; use your own: helm admins certificate")
    prune_sessions(db, at=at)
    cookie = token_urlsafe(32)
    session = AdminSession(
        id=fresh_id(),
        hash=hash_secret(cookie),
        admin_id=admin.id,
        csrf=random_bytes(32),
        created_at=at,
        seen_at=at,
        proven_at=at,
        expires_at=expiry(at, at),
        browser=browser[:MAX_BROWSER],
        how=how,
        bound=bound,
    )
    add_session(db, session)
    act = Act(actor=admin.name, at=at, via="session")
    record_change(
        db, act, "admin", "signed_in", subject=admin.id, version=admin.version, body=ADMINS.view(admin), detail=how
    )
    return SignedIn(cookie=cookie, session=session, admin=admin)


def _check_password_allowed(db: Database) -> None:
    if not setting(db, "admins.password"):
        raise NotAllowedError(
            "this fleet lets no admin in by password (setting admins.password): use a passkey or single sign-on,"
            " or ask an owner for a link"
        )


def _find_password(db: Database, name: str) -> tuple[str, str] | None:
    """Return id and encoded password of an admin who can have one; nobody is found as fast as somebody.

    To make a whole record of a row takes ten microseconds more than to find none, and 300 samples would show it.
    """
    row = db.execute(
        "SELECT id, password FROM admins WHERE name = ? AND state = ? AND password IS NOT NULL",
        (name, AdminState.ACTIVE.value),
    ).fetchone()
    return None if row is None else (row["id"], row["password"])
