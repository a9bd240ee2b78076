"""Logins that wait until somebody says yes to them, each by a code that is shown on the new device.

They live as long as their passages, so in memory: a helm that starts again has none of either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import attrs
import trio

from pharos.helm.errors import BusyError, NotFoundError
from pharos.wire.chance import choose
from pharos.wire.ids import RelayId
from pharos.wire.units import MINUTES, SECONDS

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels and no digits, so that it spells no word and nothing is mistaken for anything else (RFC 8628 §6.1)."""
CODE_LENGTH: Final = 8
"""34 bits. Who could guess at them is signed in or enrolled, and of a device's owner there are few."""

LIFETIME: Final = 10 * MINUTES - 30 * SECONDS
"""The beacon gives the whole passage ten minutes, and what follows the confirmation takes a moment of them."""

PER_BEACON: Final = 64
"""Login passages (security.md row 26), whatever a beacon lets through: each holds 60 kB here."""


@attrs.define(eq=False, kw_only=True)
class WaitingLogin:
    """One of them."""

    code: str = attrs.field(repr=False)
    user_id: str | None
    """None for an address that nobody has: it waits in vain, and who asks does not learn it (row 51)."""
    user_name: str
    device_name: str
    """As the new device calls itself."""
    relay_id: RelayId
    asked_at: int
    """Microseconds since 1970."""
    confirmed: trio.Event = attrs.field(factory=trio.Event)
    confirmed_by: str = ""
    over: bool = False
    """Its passage has ended."""


class WaitingLogins:
    """All of a helm's."""

    def __init__(self, draw: Callable[[], str] | None = None) -> None:
        self._draw: Final = draw or draw_code
        self._waiting: Final[dict[str, WaitingLogin]] = {}
        self._passages: Final[Counter[RelayId]] = Counter()

    @contextmanager
    def passage(self, relay_id: RelayId) -> Iterator[None]:
        """Hold one of a beacon's places for login passages.

        Raises: BusyError — there is none.
        """
        if self._passages[relay_id] >= PER_BEACON:
            raise BusyError("too many log in at once; try again in a few minutes")
        self._passages[relay_id] += 1
        try:
            yield
        finally:
            self._passages[relay_id] -= 1
            if not self._passages[relay_id]:
                del self._passages[relay_id]

    @contextmanager
    def waiting(
        self, *, user_id: str | None, user_name: str, device_name: str, relay_id: RelayId, at: int
    ) -> Iterator[WaitingLogin]:
        """Let a login wait while the block runs; its code is good for no other, and for nothing afterwards."""
        while (code := self._draw()) in self._waiting:
            pass
        login = WaitingLogin(
            code=code, user_id=user_id, user_name=user_name, device_name=device_name, relay_id=relay_id, asked_at=at
        )
        self._waiting[code] = login
        try:
            yield login
        finally:
            login.over = True
            if self._waiting.get(code) is login:
                del self._waiting[code]

    def find(self, text: str, *, user_id: str | None = None) -> WaitingLogin:
        """Return the login of a code, in whatever way it is written; with ``user_id`` only that user's.

        Raises: NotFoundError — none of these waits; the words are the same whether another's does.
        """
        login = self._waiting.get(read_code(text))
        if login is None or login.user_id is None or (user_id is not None and login.user_id != user_id):
            raise NotFoundError("no login waits with this code; it may have been used, or be too old")
        return login

    @contextmanager
    def confirming(self, login: WaitingLogin, by: str) -> Iterator[None]:
        """Use the code up, and let the login go on when the block has gone well; else it waits on.

        Raises: NotFoundError — somebody was faster.
        """
        if self._waiting.get(login.code) is not login:
            raise NotFoundError("somebody has confirmed this login already")
        del self._waiting[login.code]
        try:
            yield
        except BaseException:
            if not login.over:
                self._waiting[login.code] = login
            raise
        login.confirmed_by = by
        login.confirmed.set()


def draw_code() -> str:
    """Draw a code."""
    return "".join(choose(ALPHABET) for _ in range(CODE_LENGTH))


def show_code(code: str) -> str:
    """Return a code as people read it."""
    return f"{code[: CODE_LENGTH // 2]}-{code[CODE_LENGTH // 2 :]}"


def read_code(text: str) -> str:
    """Return the code that somebody has typed, however they write it."""
    return "".join(sign for sign in text[:64].upper() if sign.isalnum())
