"""Passphrases of users: what one may be, and how it is checked (security.md rows 44, 50 and 51)."""

from __future__ import annotations

from typing import Final

import trio

from pharos.helm.accounts.claim import check_admitted
from pharos.helm.accounts.hashing import Hashing
from pharos.helm.accounts.throttle import Throttle
from pharos.helm.anomalies.tries import Door
from pharos.helm.ca.passwords import fits_nothing, hash_password, password_fits
from pharos.helm.context import HelmContext
from pharos.helm.errors import InvalidRequestError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.users import User
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.credentials import find_by_email, passphrase_of
from pharos.helm.store.database import Database

SHORTEST: Final = 10
LONGEST: Final = 128
MAX_EMAIL: Final = 254
"""RFC 5321 §4.5.3.1.3, without the angle brackets."""
REFUSED: Final = "the mail address or the passphrase is wrong"


class PassphraseDoor:
    """Checks passphrases for a running helm; counts tries and bounds what they cost.

    Its tries are not those of admins: whoever knocks here keeps no admin out.
    """

    def __init__(self, context: HelmContext) -> None:
        self._context: Final = context
        self._store: Final = context.store
        self._hashing: Final = context.hashing
        self._throttle: Final = Throttle()
        # Somebody who does not exist is checked against this, so that it takes as long.
        self._nobody: Final = fits_nothing()

    async def check(self, email: str, passphrase: str, *, at: str) -> User:
        """Return whose they are. ``at`` is the relay that it came through, for the audit.

        Raises: NotSignedInError — with the same words and after the same time whatever was wrong. NotAllowedError — the
        passphrase is right, and its user is kept out. TooManyTriesError — not yet. BusyError — too many at once.
        """
        # Before it counts: who is turned away has not tried.
        self._hashing.check_room(stranger=True)
        name = email[:MAX_EMAIL].lower()
        user, encoded = await self._store.read(_look, email)
        self._throttle.check(name, trio.current_time(), guessable=encoded is not None)
        # A longer one was never accepted, and hashing it would be work for nothing.
        said = passphrase if len(passphrase) <= LONGEST else ""
        fits = await self._hashing.run(lambda: password_fits(encoded or self._nobody, said), stranger=True)
        if user is None or encoded is None or not fits:
            self._throttle.failed(name, trio.current_time())
            await self._store.run(_note_failure, user, at)
            self._context.tries.refused(Door.LOGIN, _named(user), now_us())
            raise NotSignedInError(REFUSED)
        self._throttle.succeeded(name)
        check_admitted(user, now_us())
        return user


async def encode_passphrase(hashing: Hashing, passphrase: str) -> str:
    """Return what the record keeps of a new passphrase.

    Raises: InvalidRequestError — it is too short, too long, or nothing that can be typed. BusyError.
    """
    if not SHORTEST <= len(passphrase) <= LONGEST or not passphrase.isprintable():
        raise InvalidRequestError(f"a passphrase has {SHORTEST} to {LONGEST} printable characters")
    return await hashing.run(lambda: hash_password(passphrase))


def _look(db: Database, email: str) -> tuple[User | None, str | None]:
    user = find_by_email(db, email[:MAX_EMAIL])
    # Asked for whoever it is, so that it takes as long.
    encoded = passphrase_of(db, "" if user is None else user.id)
    return user, encoded


def _note_failure(db: Database, user: User | None, relay: str) -> None:
    act = Act(actor="device", at=now_us(), via="passage")
    subject = "" if user is None else user.id
    record_change(
        db,
        act,
        "login",
        "failed",
        subject=subject,
        version=0,
        body=None,
        detail=f"{_named(user)}, through relay {relay}",
    )


def _named(user: User | None) -> str:
    # Not what was typed: people type passphrases where an address is asked for.
    return "an address that nobody has" if user is None else user.name
