"""Whom a VLESS server lets in, and by which octets of a user id."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

import attrs

from pharos.wire.errors import ParameterError, RemoteProtocolError
from pharos.wire.reality.vless import USER_ID_OCTETS, Flow


@attrs.frozen(kw_only=True)
class Account:
    """Whom a server lets in.

    Raises: ParameterError — the user id is none.
    """

    name: str
    """Known to the server only, and unique there."""
    user_id: bytes = attrs.field(repr=False)
    flow: Flow = Flow.VISION
    """The one this user has to speak."""

    def __attrs_post_init__(self) -> None:
        if len(self.user_id) != USER_ID_OCTETS:
            raise ParameterError(f"the user id of {self.name} has {len(self.user_id)} octets, not {USER_ID_OCTETS}")


class Accounts:
    """The users of a server. Octets 6 and 7 of a user id are the client's to write into, and count for nothing.

    Raises: ParameterError — as `add` does.
    """

    def __init__(self, accounts: Iterable[Account] = ()) -> None:
        self._by_id: dict[bytes, Account] = {}
        self._ids: dict[str, bytes] = {}
        for account in accounts:
            self.add(account)

    def __iter__(self) -> Iterator[Account]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, account: Account) -> None:
        """Raises: ParameterError — another user goes by that name, or by that id in all octets that count."""
        key = masked_user_id(account.user_id)
        if account.name in self._ids or key in self._by_id:
            raise ParameterError(f"{account.name}: name or user id is another user's already")
        self._ids[account.name] = key
        self._by_id[key] = account

    def remove(self, name: str) -> None:
        """Let a user in no more; connections that are open stay. One who is not there is none the less gone."""
        key = self._ids.pop(name, None)
        if key is not None:
            del self._by_id[key]

    def holder(self, user_id: bytes) -> Account | None:
        """Return whose user id it is, if it is anybody's."""
        return self._by_id.get(masked_user_id(user_id))

    def find(self, user_id: bytes) -> Account:
        """Raises: RemoteProtocolError — it is nobody's. The error does not quote it: it may be a slip of somebody's."""
        if (account := self.holder(user_id)) is None:
            raise RemoteProtocolError("VLESS: nobody has that user id")
        return account


def masked_user_id(user_id: bytes) -> bytes:
    """Return a user id as servers compare it, which is without octets 6 and 7 (Xray keeps a route in there)."""
    return user_id[:6] + bytes(2) + user_id[8:]


def parse_user_id(text: str) -> bytes:
    """Read a UUID in its usual spelling.

    Raises: ParameterError — it is in no such spelling.
    """
    try:
        user_id = uuid.UUID(text)
    except ValueError:
        user_id = None
    if user_id is None or str(user_id) != text.lower():
        raise ParameterError("a user id is a UUID: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12")
    return user_id.bytes
