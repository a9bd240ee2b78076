"""The users of a node while it runs: who is connected, how much was carried for them, and who has to go now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.accounts import Account, Accounts
from pharos.wire.reality.events import Event, UserConnected, UserDisconnected
from pharos.wire.reality.throttle import Bucket

MAX_WAITING_EVENTS: Final = 1024
"""For each watcher: a reconnect of 500 users at once. One that falls further behind is hung up on."""


@attrs.define(eq=False, kw_only=True)
class User:
    """One account and what is carried for it."""

    account: Account
    to_device: Bucket = attrs.field(repr=False)
    from_device: Bucket = attrs.field(repr=False)
    received_bytes: int = 0
    sent_bytes: int = 0
    sessions: dict[int, Session] = attrs.field(factory=dict, repr=False)


@attrs.define(eq=False, kw_only=True)
class Session:
    """One connection of a user."""

    number: int
    user: User
    scope: trio.CancelScope = attrs.field(repr=False)
    received_bytes: int = 0
    sent_bytes: int = 0
    kicked: bool = False

    def count_received(self, size: int) -> None:
        self.received_bytes += size
        self.user.received_bytes += size

    def count_sent(self, size: int) -> None:
        self.sent_bytes += size
        self.user.sent_bytes += size


class Users:
    """Accounts may be added, changed and removed at any time. ``clock``: Unix time in nanoseconds."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        self.accounts = Accounts()
        self._clock = clock
        self._users: dict[str, User] = {}
        self._sessions = 0
        self._watchers: set[trio.MemorySendChannel[Event]] = set()

    def __iter__(self) -> Iterator[User]:
        return iter(tuple(self._users.values()))

    def find(self, name: str) -> User | None:
        return self._users.get(name)

    def put(self, account: Account, *, send_rate: float = 0, receive_rate: float = 0) -> None:
        """Add a user, or change it; a user whose id or flow is another now is kicked. Rates: octets a second, 0 is
        none, each for all of the user's connections together.

        Raises: ParameterError — another user goes by that id; nothing has changed then.
        """
        now = trio.current_time()
        user = self._users.get(account.name)
        if user is not None and user.account == account:
            user.to_device.set_rate(send_rate, now=now)
            user.from_device.set_rate(receive_rate, now=now)
            return
        self._replace(account)
        if user is not None:
            self._end_sessions(user)
        buckets = Bucket(send_rate, now=now), Bucket(receive_rate, now=now)
        fresh = User(account=account, to_device=buckets[0], from_device=buckets[1])
        if user is not None:
            fresh.received_bytes, fresh.sent_bytes = user.received_bytes, user.sent_bytes
        self._users[account.name] = fresh

    def remove(self, name: str) -> None:
        """Let a user in no more, and end its connections now. One who is not there is none the less gone."""
        self.accounts.remove(name)
        user = self._users.pop(name, None)
        if user is not None:
            self._end_sessions(user)

    def kick(self, name: str) -> None:
        """End a user's connections now; new ones may come."""
        if (user := self._users.get(name)) is not None:
            self._end_sessions(user)

    @contextmanager
    def session(self, account: Account, source: str) -> Iterator[Session]:
        """Be a connection of a user while the block lasts, which is cancelled when the user is kicked.

        Raises: RemoteProtocolError — the user has been removed since its request was read.
        """
        user = self._users.get(account.name)
        if user is None or user.account is not account:
            raise RemoteProtocolError("VLESS: the user has been removed meanwhile")
        self._sessions += 1
        scope = trio.CancelScope()
        session = Session(number=self._sessions, user=user, scope=scope)
        user.sessions[session.number] = session
        self._tell(UserConnected(name=account.name, session=session.number, source=source, at_ns=self._clock()))
        try:
            with scope:
                yield session
        finally:
            user.sessions.pop(session.number, None)
            self._tell(
                UserDisconnected(
                    name=account.name,
                    session=session.number,
                    received_bytes=session.received_bytes,
                    sent_bytes=session.sent_bytes,
                    kicked=session.kicked,
                    at_ns=self._clock(),
                )
            )

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Receive every event from now on; the channel ends when its reader falls too far behind."""
        sending, receiving = trio.open_memory_channel[Event](MAX_WAITING_EVENTS)
        self._watchers.add(sending)
        try:
            async with receiving:
                yield receiving
        finally:
            self._watchers.discard(sending)
            sending.close()

    def _replace(self, account: Account) -> None:
        """Put the account in the place of the one that had its name, or leave everything as it was."""
        old = self._users.get(account.name)
        self.accounts.remove(account.name)
        try:
            self.accounts.add(account)
        except BaseException:
            if old is not None:
                self.accounts.add(old.account)
            raise

    def _end_sessions(self, user: User) -> None:
        for session in user.sessions.values():
            session.kicked = True
            session.scope.cancel()

    def _tell(self, event: Event) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher.send_nowait(event)
            except trio.WouldBlock:
                self._watchers.discard(watcher)
                watcher.close()
            except trio.BrokenResourceError:
                self._watchers.discard(watcher)
