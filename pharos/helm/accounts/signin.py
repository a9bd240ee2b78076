"""Signing in: by a one-time link, or by password and TOTP code; what a session is and when it ends."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, TypeVar

import attrs
import pyotp
import trio

from pharos.helm.accounts.throttle import Throttle
from pharos.helm.ca.passwords import hash_password, password_fits
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import BusyError, InvalidRequestError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, AdminState
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database, Store
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.records import change_record, get_record
from pharos.helm.store.signins import (
    AdminSession,
    add_session,
    end_sessions,
    hash_secret,
    prove_session,
    prune_sessions,
    use_link,
)

T = TypeVar("T")

# security.md §2f. Microseconds.
IDLE: Final = 30 * 60 * 1_000_000
ABSOLUTE: Final = 12 * 3600 * 1_000_000
FRESH: Final = 5 * 60 * 1_000_000
"""How long a proof counts for acts that want a fresh one."""

# Each takes 64 MiB and a tenth of a second (row 44): two at once, eight waiting, and then 503.
AT_ONCE: Final = 2
QUEUE: Final = 8
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

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._throttle = Throttle()
        self._turn = trio.CapacityLimiter(AT_ONCE)
        self._waiting = 0
        # Somebody who does not exist is checked against this, so that it takes as long (row 51).
        self._dummy = hash_password(secrets.token_urlsafe(16))

    async def by_link(self, secret: str, *, browser: str) -> SignedIn:
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
            return _begin(db, admin, at=at, browser=browser, how="link")

        signed_in = await self._store.run(redeem)
        if signed_in is None:
            raise NotSignedInError("this link is used up, expired or unknown; ask an owner for another one")
        return signed_in

    async def by_password(self, name: str, password: str, code: str, *, browser: str) -> SignedIn:
        """Check name, password and, where the admin has one, the TOTP code.

        Raises: NotSignedInError — with the same words and after the same time whatever was wrong.
        TooManyTriesError — not yet. BusyError — too many at once.
        """
        self._throttle.check(name, trio.current_time())
        admin = await self._store.run(_find_by_name, name)
        known = admin is not None and admin.password is not None and admin.state is AdminState.ACTIVE
        fits = await self._verify(admin.password if known and admin and admin.password else self._dummy, password)
        signed_in = None
        if known and fits and admin is not None:
            signed_in = await self._store.run(self._finish, admin.id, code, browser)
        if signed_in is None:
            self._throttle.failed(name, trio.current_time())
            raise NotSignedInError(REFUSED)
        self._throttle.succeeded(name)
        return signed_in

    def _finish(self, db: Database, admin_id: str, code: str, browser: str) -> SignedIn | None:
        at = now_us()
        admin = get_record(db, ADMINS, admin_id)
        if admin.totp is not None:
            step = self._accepted_step(admin, code, at)
            if step is None:
                return None
            # Not a change of the record: a step that was used is none to anybody else.
            db.execute("UPDATE admins SET totp_step = ? WHERE id = ?", (step, admin_id))
        return _begin(db, admin, at=at, browser=browser, how="password")

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

        Raises: NotSignedInError, TooManyTriesError, BusyError.
        """
        self._throttle.check(admin.name, trio.current_time())
        if not await self._verify(admin.password or self._dummy, password) or admin.password is None:
            self._throttle.failed(admin.name, trio.current_time())
            raise NotSignedInError(REFUSED)
        self._throttle.succeeded(admin.name)
        await self._store.run(prove_session, session.hash, at=now_us())

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
        return await self._in_turn(lambda: password_fits(encoded, password))

    async def _hash(self, password: str) -> str:
        return await self._in_turn(lambda: hash_password(password))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= AT_ONCE + QUEUE:
            raise BusyError("too many people sign in at once; try again in a few seconds")
        self._waiting += 1
        try:
            return await trio.to_thread.run_sync(work, limiter=self._turn)
        finally:
            self._waiting -= 1


def check_fresh(session: AdminSession) -> None:
    """Raises: NotSignedInError — password or link were shown too long ago for an act like this."""
    if session.proven_at < now_us() - FRESH:
        raise NotSignedInError("this takes a fresh proof: show your password again")


def expiry(created_at: int, seen_at: int) -> int:
    """Return when a session ends: after 12 hours, or 30 minutes without use."""
    return min(created_at + ABSOLUTE, seen_at + IDLE)


def totp_name(admin_id: str) -> str:
    """Return the name under which an admin's TOTP secret is wrapped."""
    return f"totp/{admin_id}"


def _begin(db: Database, admin: Admin, *, at: int, browser: str, how: str) -> SignedIn:
    """Begin a session, with an id that nobody could have known before (row 49)."""
    prune_sessions(db, at=at)
    cookie = secrets.token_urlsafe(32)
    session = AdminSession(
        id=fresh_id(),
        hash=hash_secret(cookie),
        admin_id=admin.id,
        csrf=secrets.token_bytes(32),
        created_at=at,
        seen_at=at,
        proven_at=at,
        expires_at=expiry(at, at),
        browser=browser[:MAX_BROWSER],
    )
    add_session(db, session)
    act = Act(actor=admin.name, at=at, via="session")
    record_change(
        db, act, "admin", "signed_in", subject=admin.id, version=admin.version, body=ADMINS.view(admin), detail=how
    )
    return SignedIn(cookie=cookie, session=session, admin=admin)


def _find_by_name(db: Database, name: str) -> Admin | None:
    row = db.execute(f"SELECT {ADMINS.all_columns} FROM admins WHERE name = ?", (name,)).fetchone()  # noqa: S608
    return None if row is None else ADMINS.load(row)
