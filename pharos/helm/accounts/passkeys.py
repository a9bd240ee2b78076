"""Admins' passkeys: acts on them, and signing in. What an answer has to be is in `pharos.helm.accounts.ceremonies`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import trio

from pharos.helm.accounts.ceremonies import (
    REFUSED,
    Assertion,
    NewCredential,
    Site,
    blend,
    challenge_of_registration,
    check_assertion,
    check_registration,
    fingerprint,
    goes_back,
    read_assertion,
    registration_options,
    sign_in_options,
)
from pharos.helm.accounts.challenges import SIZE, Asked, Challenges, Purpose
from pharos.helm.accounts.signin import SignedIn, begin_session
from pharos.helm.accounts.users import check_name
from pharos.helm.alerts.acts import raise_alert
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import ConflictError, NotFoundError, NotSignedInError
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, AdminState
from pharos.helm.model.alerts import Severity
from pharos.helm.model.passkeys import MAX_PASSKEYS, Passkey
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.changes import Act, record_change
from pharos.helm.store.database import Database, Store
from pharos.helm.store.ids import fresh_id
from pharos.helm.store.passkeys import PASSKEYS, credentials_of, find_passkey, note_use, passkeys_of
from pharos.helm.store.records import add_record, change_record, find_record, get_record, remove_record
from pharos.helm.store.signins import AdminSession, end_sessions, prove_session
from pharos.wire.world import random_bytes

T = TypeVar("T")

log = logging.getLogger(__name__)

ALERT: Final = "passkey_copied"


class Passkeys:
    """The passkey door of a running helm; it remembers which questions are open."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._blending = vault.derive("passkeys/unknown-names")
        self._challenges = Challenges()

    async def ask_to_register(self, site: Site, session: AdminSession, admin: Admin) -> dict[str, Any]:
        """Return what a browser needs to make a passkey.

        Raises: ConflictError — the admin has as many as there may be.
        """
        known = await self._store.read(passkeys_of, admin.id)
        _check_room(known)
        challenge = self._ask(Purpose.REGISTER, site, session.id)
        here = [passkey for passkey in known if passkey.site == site.name]
        return registration_options(site, challenge, admin_id=admin.id, name=admin.name, known=here)

    def take_registration(self, site: Site, session: AdminSession, document: Mapping[str, Any]) -> NewCredential:
        """Return the credential that was made; writing it is up to the caller's transaction.

        Raises: InvalidRequestError — it is none, or of another page. NotSignedInError — nobody asked, or too long ago.
        """
        challenge = challenge_of_registration(document)
        self._take_own(challenge, Purpose.REGISTER, site, session)
        return check_registration(document, site, challenge)

    async def ask_to_sign_in(self, site: Site, name: str) -> dict[str, Any]:
        """Return what a browser needs to sign in, by any passkey that it has or by one of a named admin's.

        Whether there is such an admin, and with how many passkeys, it does not say (row 51).
        """
        challenge = self._ask(Purpose.SIGN_IN, site, name)
        if not name:
            return sign_in_options(site, challenge)
        real = await self._store.read(credentials_of, name, site.name)
        return sign_in_options(site, challenge, allowed=blend(self._blending, f"{site.name}\0{name}", real))

    async def sign_in(self, site: Site, document: Mapping[str, Any], *, browser: str, bound: str = "") -> SignedIn:
        """Begin a session of the admin whose passkey signed.

        Raises: NotSignedInError — with the same words whatever was wrong. InvalidRequestError — it is no assertion.
        """
        assertion = read_assertion(document)
        name = self._take(assertion.challenge, Purpose.SIGN_IN, site)

        def finish(db: Database, admin: Admin, at: int) -> SignedIn | None:
            if name not in ("", admin.name):
                return None
            return begin_session(db, admin, at=at, browser=browser, how="passkey", bound=bound)

        return await self._use(site, assertion, finish)

    async def ask_to_prove(self, site: Site, session: AdminSession) -> dict[str, Any]:
        """Return what a browser needs to show a passkey again.

        Raises: NotFoundError — the admin has none for this page.
        """
        own = await self._store.read(passkeys_of, session.admin_id)
        allowed = [passkey.credential for passkey in own if passkey.site == site.name]
        if not allowed:
            raise NotFoundError(f"you have no passkey for {site.name}; show your password, or sign in by a link again")
        challenge = self._ask(Purpose.PROVE, site, session.id)
        return sign_in_options(site, challenge, allowed=allowed)

    async def prove(self, site: Site, session: AdminSession, document: Mapping[str, Any]) -> None:
        """Take a passkey as fresh proof.

        Raises: NotSignedInError. InvalidRequestError — it is no assertion.
        """
        assertion = read_assertion(document)
        self._take_own(assertion.challenge, Purpose.PROVE, site, session)

        def finish(db: Database, admin: Admin, at: int) -> bool | None:
            if admin.id != session.admin_id:
                return None
            prove_session(db, session.hash, at=at)
            return True

        await self._use(site, assertion, finish)

    async def _use(self, site: Site, assertion: Assertion, finish: Callable[[Database, Admin, int], T | None]) -> T:
        """Let ``finish`` act for the admin whose passkey signed; None is a refusal like any other."""
        passkey = await self._store.read(find_passkey, assertion.credential)
        if passkey is None:
            log.info("refused passkey: nobody has the credential %s", fingerprint(assertion.credential))
            raise NotSignedInError(REFUSED)
        try:
            counter = check_assertion(assertion, passkey, site)
        except NotSignedInError as error:
            # The cause may repeat what the other side said: an origin, for instance.
            log.info("refused passkey %s: %.200r", passkey.id, str(error.__cause__))
            raise
        passkey_id = passkey.id

        def act(db: Database) -> T | None:
            return _finish(db, passkey_id, counter, finish)

        result: T | None = await self._store.run(act)
        if result is None:
            raise NotSignedInError(REFUSED)
        return result

    def _ask(self, purpose: Purpose, site: Site, subject: str) -> bytes:
        challenge = random_bytes(SIZE)
        asked = Asked(purpose=purpose, site=site.name, subject=subject)
        self._challenges.add(challenge, asked, trio.current_time())
        return challenge

    def _take(self, challenge: bytes, purpose: Purpose, site: Site) -> str:
        """Use a challenge up and return its subject."""
        asked = self._challenges.take(challenge, purpose, trio.current_time())
        if asked.site != site.name:
            raise NotSignedInError("this was asked on a page elsewhere; try again")
        return asked.subject

    def _take_own(self, challenge: bytes, purpose: Purpose, site: Site, session: AdminSession) -> None:
        if self._take(challenge, purpose, site) != session.id:
            raise NotSignedInError("this was asked of another session; try again")


def add_passkey(db: Database, act: Act, admin_id: str, name: str, made: NewCredential, site: Site) -> Passkey:
    """Write the passkey that a registration brought.

    Raises: ConflictError — its credential is known already, or there are as many as there may be. InvalidRequestError.
    """
    _check_room(passkeys_of(db, admin_id))
    passkey = Passkey(
        id=fresh_id(),
        admin_id=admin_id,
        name=check_name(name, "passkey"),
        site=site.name,
        credential=made.credential,
        public_key=made.public_key,
        counter=made.counter,
        synced=made.synced,
    )
    return add_record(db, PASSKEYS, passkey, act, detail=f"{name} for {site.name}")


def rename_passkey(db: Database, act: Act, admin_id: str, passkey_id: str, version: int, name: str) -> Passkey:
    """Call an admin's own passkey something else. Raises: NotFoundError, StaleVersionError, InvalidRequestError."""
    _own(db, admin_id, passkey_id)
    return change_record(db, PASSKEYS, passkey_id, version, {"name": check_name(name, "passkey")}, act)


def remove_passkey(db: Database, act: Act, session: AdminSession, passkey_id: str, version: int) -> None:
    """Remove an admin's own passkey. Every other session ends: whoever has the passkey may have begun one.

    Raises: NotFoundError, StaleVersionError.
    """
    take_passkey(db, act, session.admin_id, passkey_id, version, but=session.hash)


def take_passkey(db: Database, act: Act, admin_id: str, passkey_id: str, version: int, *, but: bytes = b"") -> None:
    """Remove a passkey of an admin who may have lost it; all sessions end but the one with the hash ``but``.

    Raises: NotFoundError, StaleVersionError.
    """
    passkey = _own(db, admin_id, passkey_id)
    remove_record(db, PASSKEYS, passkey_id, version, act, detail=passkey.name)
    end_sessions(db, admin_id, but=but)


def _own(db: Database, admin_id: str, passkey_id: str) -> Passkey:
    passkey = find_record(db, PASSKEYS, passkey_id)
    if passkey is None or passkey.admin_id != admin_id:
        raise NotFoundError(f"this admin has no passkey {passkey_id!r}")
    return passkey


def _check_room(known: Sequence[Passkey]) -> None:
    if len(known) >= MAX_PASSKEYS:
        raise ConflictError(f"an admin has at most {MAX_PASSKEYS} passkeys; remove one first")


def _finish(
    db: Database, passkey_id: str, counter: int, finish: Callable[[Database, Admin, int], T | None]
) -> T | None:
    at = now_us()
    passkey = find_record(db, PASSKEYS, passkey_id)
    if passkey is None:
        return None
    admin = get_record(db, ADMINS, passkey.admin_id)
    if admin.state is not AdminState.ACTIVE:
        return None
    if goes_back(passkey.counter, counter):
        _tell_of_copy(db, Act(actor=admin.name, at=at, via="session"), passkey, counter)
        return None
    note_use(db, passkey.id, counter=counter, at=at)
    return finish(db, admin, at)


def _tell_of_copy(db: Database, act: Act, passkey: Passkey, counter: int) -> None:
    """Write down that two authenticators seem to hold one key. The transaction goes on, so that this stays."""
    detail = f"{passkey.name}: its counter went from {passkey.counter} to {counter}"
    body = PASSKEYS.view(passkey)
    record_change(db, act, "passkey", "refused", subject=passkey.id, version=passkey.version, body=body, detail=detail)
    raise_alert(
        db,
        act,
        ALERT,
        Severity.CRITICAL,
        f"A passkey of {act.actor} seems to have a copy: {detail}. Let its owner remove it.",
        noun="passkey",
        subject=passkey.id,
        evidence={"before": passkey.counter, "now": counter},
    )
