"""Xray's API as our own facts and verbs, over our own gRPC engine: the only module that knows its messages.

It answers most failures with UNKNOWN and a text, so that texts decide what a failure means.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, TypeVar

import attrs
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.buoy.dataplane.base import EngineError, RealityUser
from pharos.buoy.xray.gen.handler_grpc import HandlerServiceStub
from pharos.buoy.xray.gen.handler_pb2 import (
    AddUserOperation,
    AlterInboundRequest,
    GetInboundUserRequest,
    RemoveUserOperation,
)
from pharos.buoy.xray.gen.stats_grpc import StatsServiceStub
from pharos.buoy.xray.gen.stats_pb2 import GetStatsRequest, QueryStatsRequest, SysStatsRequest
from pharos.buoy.xray.gen.typed_pb2 import TypedMessage
from pharos.buoy.xray.gen.user_pb2 import User
from pharos.buoy.xray.gen.vless_pb2 import Account
from pharos.buoy.xray.model import spell_user_id
from pharos.buoy.xray.version import Abilities, Call
from pharos.wire.errors import WireError
from pharos.wire.ids import DeviceId
from pharos.wire.reality.vless import Flow
from pharos.wire.rpc.client import Channel, open_channel
from pharos.wire.units import MIB, SECONDS

CALL_TIMEOUT: Final = 10 * SECONDS
"""The median is 0.3 ms; a node whose cores are all busy answers within a second."""
MAX_IN_FLIGHT: Final = 32
"""Xray's server has a window of 64 KiB for all calls of a connection, and each is some hundred octets."""
MAX_ANSWER: Final = 16 * MIB
"""All users with their accounts are 130 octets each, all counters 120 a user: ten times a node of 10,000."""
_AUTHORITY: Final = "xray"
_USER, _TRAFFIC = "user>>>", ">>>traffic>>>"
_UP, _DOWN = "uplink", "downlink"

_Message = TypeVar("_Message")


class TagUnknownError(EngineError):
    """The Xray that answers has no such inbound: it runs another configuration than the one that was written."""


@attrs.frozen
class Traffic:
    """Octets that were carried for a user since this Xray began."""

    received: int = 0
    """From the device."""
    sent: int = 0


class XrayApi:
    """One connection to an Xray that runs; `open_api` makes it. Every verb raises: EngineError — it gave no answer."""

    def __init__(self, channel: Channel, abilities: Abilities) -> None:
        self._channel = channel
        self._handler = HandlerServiceStub(channel)
        self._stats = StatsServiceStub(channel)
        self._abilities = abilities
        self._limit = trio.CapacityLimiter(MAX_IN_FLIGHT)

    @property
    def closed(self) -> bool:
        """Whether Xray has gone."""
        return self._channel.connection.closed

    async def wait_closed(self) -> None:
        """Wait until Xray has gone."""
        await self._channel.connection.wait_closed()

    async def list_users(self, tag: str) -> dict[DeviceId, str]:
        """Return the users of an inbound and their ids, as `spell_user_id` spells them.

        Raises: TagUnknownError.
        """
        reply = await self._call(self._handler.GetInboundUsers, GetInboundUserRequest(tag=tag))
        return {DeviceId(user.email): Account.FromString(user.account.value).id for user in reply.users}

    async def add_user(self, tag: str, user: RealityUser) -> None:
        """Let a user in; one who is in by that name already stays as he was. Raises: TagUnknownError."""
        account = Account(id=spell_user_id(user.user_id), flow=Flow.VISION.value)
        packed = User(email=user.device_id, account=_typed(account.SerializeToString(), Account.DESCRIPTOR.full_name))
        operation = AddUserOperation(user=packed)
        await self._alter(tag, _typed(operation.SerializeToString(), AddUserOperation.DESCRIPTOR.full_name), "exists")

    async def remove_user(self, tag: str, name: DeviceId) -> None:
        """Let a user in no more; what he has open stays open. One who is not there is gone. Raises: TagUnknownError."""
        operation = RemoveUserOperation(email=name)
        kind = RemoveUserOperation.DESCRIPTOR.full_name
        await self._alter(tag, _typed(operation.SerializeToString(), kind), "not found")

    async def change_users(self, tag: str, *, remove: Iterable[DeviceId], add: Iterable[RealityUser]) -> None:
        """Remove, then add: a user whose id changed is one of both. Raises: TagUnknownError."""
        # To remove a user takes away his id, whoever has it by then.
        await self._all((self.remove_user, tag, name) for name in remove)
        await self._all((self.add_user, tag, user) for user in add)

    async def read_traffic(self) -> dict[DeviceId, Traffic]:
        """Return what was carried for each user who has had a connection; nothing is reset."""
        reply = await self._call(self._stats.QueryStats, QueryStatsRequest(pattern=_USER))
        found: dict[DeviceId, Traffic] = {}
        for stat in reply.stat:
            name, _, way = stat.name.removeprefix(_USER).partition(_TRAFFIC)
            device_id = DeviceId(name)
            before = found.get(device_id, Traffic())
            if way == _UP:
                found[device_id] = attrs.evolve(before, received=stat.value)
            elif way == _DOWN:
                found[device_id] = attrs.evolve(before, sent=stat.value)
        return found

    async def read_uptime(self) -> int:
        """Return for how many seconds this Xray has run."""
        return (await self._call(self._stats.GetSysStats, SysStatsRequest())).Uptime

    async def read_addresses(self, name: DeviceId) -> set[IPv4Address | IPv6Address]:
        """Return from where a user has connections; nothing where that is not known."""
        if not self._abilities.has(Call.ONLINE_ADDRESSES):
            return set()
        try:
            reply = await self._call(self._stats.GetStatsOnlineIpList, GetStatsRequest(name=f"{_USER}{name}>>>online"))
        except _UnimplementedError:
            self._abilities.forget(Call.ONLINE_ADDRESSES)
            return set()
        except EngineError:
            # Who has had no connection yet is not found.
            return set()
        return {ip_address(text) for text in reply.ips}

    async def _alter(self, tag: str, operation: TypedMessage, harmless: str) -> None:
        try:
            await self._call(self._handler.AlterInbound, AlterInboundRequest(tag=tag, operation=operation))
        except TagUnknownError:
            raise
        except EngineError as error:
            if harmless not in str(error):
                raise

    async def _all(self, calls: Iterable[tuple[Callable[..., Awaitable[None]], str, object]]) -> None:
        waiting = iter(calls)

        async def work() -> None:
            for verb, tag, what in waiting:
                try:
                    await verb(tag, what)
                except EngineError as error:
                    failures.append(error)
                    return

        failures: list[EngineError] = []
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_IN_FLIGHT):
                nursery.start_soon(work)
        if failures:
            raise failures[0]

    async def _call(self, method: Callable[..., Awaitable[_Message]], request: object) -> _Message:
        try:
            async with self._limit:
                return await method(request, timeout=CALL_TIMEOUT)
        except GRPCError as error:
            raise _read_error(error) from error
        except StreamTerminatedError as error:
            raise EngineError(f"Xray went away: {error}") from error


class _UnimplementedError(EngineError):
    """This version does not know the call."""


@asynccontextmanager
async def open_api(path: Path, abilities: Abilities) -> AsyncIterator[XrayApi]:
    """Speak to the Xray behind a socket while the block lasts.

    Raises: EngineError — nobody is there.
    """
    try:
        with trio.fail_after(CALL_TIMEOUT):
            stream = await trio.open_unix_socket(str(path))
    except OSError as error:
        raise EngineError(f"no Xray at {path}: {error.strerror}") from error
    except trio.TooSlowError:
        raise EngineError(f"no Xray at {path} within {CALL_TIMEOUT:.0f} s") from None
    try:
        # Its server takes offence at PINGs more frequent than one in five minutes; a Unix socket needs none.
        async with open_channel(stream, authority=_AUTHORITY, max_message=MAX_ANSWER, keepalive=None) as channel:
            yield XrayApi(channel, abilities)
    except EngineError:
        raise
    except WireError as error:
        raise EngineError(f"no Xray at {path}: {error}") from error


def _typed(value: bytes, name: str) -> TypedMessage:
    return TypedMessage(type=name, value=value)


def _read_error(error: GRPCError) -> EngineError:
    text = error.message or error.status.name
    if error.status is Status.UNIMPLEMENTED:
        return _UnimplementedError(f"Xray does not know the call: {text}")
    # "handler not found", of which the text about a user who is not found is a part.
    kind = TagUnknownError if "failed to get handler" in text else EngineError
    return kind(f"Xray answered: {text}")
