"""Notes: the few octets that an idle passage carries instead of a connection (passage.md §4). Sans-IO, but for waiting.

    [type u8 = 1] [epoch u64] [rev u64]        big-endian

A device says with it which bundle it holds, helm which one is the newest: "sync now" if that is another.
"""

import struct
from typing import Final, Self

import attrs

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.rpc.flow import Wakeup

_BUNDLE: Final = 1
_FORM: Final = struct.Struct(">BQQ")
_U64 = (attrs.validators.ge(0), attrs.validators.lt(2**64))


@attrs.frozen(order=True)
class Note:
    """Which bundle, in the order in which bundles replace each other; (0, 0) is none yet."""

    epoch: int = attrs.field(default=0, validator=_U64)
    rev: int = attrs.field(default=0, validator=_U64)

    def encode(self) -> bytes:
        """Return the 17 octets."""
        return _FORM.pack(_BUNDLE, self.epoch, self.rev)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what ``encode`` gives.

        Raises: RemoteProtocolError — it is anything else. A new form is for a new version of the passage.
        """
        if len(data) != _FORM.size or data[0] != _BUNDLE:
            raise RemoteProtocolError(f"a note of {len(data)} octets is none that we know")
        return cls(*_FORM.unpack(data)[1:])


class Notes:
    """The peer's notes, for one task to iterate over: only the newest waits, for it makes those before it moot.

    The iteration ends with the passage, however that came about.
    """

    __slots__ = ("_ended", "_unread", "_wakeup", "newest")

    def __init__(self) -> None:
        self.newest: Note | None = None
        """The last that came, read or not."""
        self._unread = False
        self._ended = False
        self._wakeup = Wakeup()

    def put(self, note: Note) -> None:
        """Take a note from the peer."""
        self.newest = note
        self._unread = True
        self._wakeup.wake()

    def end(self) -> None:
        """Say that no more will come."""
        self._ended = True
        self._wakeup.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Note:
        while not self._unread:
            if self._ended:
                raise StopAsyncIteration
            await self._wakeup.wait()
        self._unread = False
        assert self.newest is not None, "one was put"
        return self.newest
