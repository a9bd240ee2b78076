"""A double of Xray that speaks its API as Xray does, errors included; it lets nobody through."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.buoy.xray.gen.handler_grpc import HandlerServiceBase
from pharos.buoy.xray.gen.handler_pb2 import (
    AddUserOperation,
    AlterInboundResponse,
    GetInboundUserResponse,
    RemoveUserOperation,
)
from pharos.buoy.xray.gen.stats_grpc import StatsServiceBase
from pharos.buoy.xray.gen.stats_pb2 import (
    GetStatsOnlineIpListResponse,
    QueryStatsResponse,
    Stat,
    SysStatsResponse,
)
from pharos.buoy.xray.gen.typed_pb2 import TypedMessage
from pharos.buoy.xray.gen.user_pb2 import User
from pharos.buoy.xray.gen.vless_pb2 import Account
from pharos.wire.localsocket import listen_local
from pharos.wire.rpc.server import Service, serve_connection

ACCOUNT = "xray.proxy.vless.Account"


def make_program(folder: Path, *, version: str = "26.3.27", refuses: bool = False) -> Path:
    """Write what answers ``version`` and ``run -test`` as Xray does."""
    program = folder / "xray"
    code = 23 if refuses else 0
    program.write_text(
        f"#!/bin/sh\n[ $1 = version ] && echo 'Xray {version} (Xray, Penetrates Everything.)' && exit\nexit {code}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


class FakeXray(HandlerServiceBase, StatsServiceBase):
    """Also the `Runner` of itself."""

    def __init__(self, runtime: Path) -> None:
        self.runtime = runtime
        self.users: dict[str, dict[str, Account]] = {}
        self.traffic: dict[str, int] = {}
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str]] = []
        """What was altered: the operation, and for whom."""
        self.starts = 0
        self.uptime = 0
        self.in_flight = self.most_in_flight = 0
        self.unknown: set[str] = set()
        """Calls of a newer version."""
        self.fails = ""
        """What it answers to every change."""
        self._scope: trio.CancelScope | None = None
        self._wanted = trio.Event()
        self._ended = trio.Event()
        self._ended.set()

    # -- as a runner

    async def restart(self) -> None:
        await self.stop()
        self._wanted.set()

    async def stop(self) -> None:
        if self._wanted.is_set():
            self._wanted = trio.Event()
        await self.fall()

    async def fall(self) -> None:
        """End; it is started again if nobody stopped it."""
        if self._scope is not None:
            self._scope.cancel()
        await self._ended.wait()

    async def run(self) -> NoReturn:
        while True:
            await self._wanted.wait()
            self.starts += 1
            self._ended = trio.Event()
            document = json.loads((self.runtime / "config.json").read_text())
            self.users = {one["tag"]: dict(_accounts(one)) for one in document["inbounds"][1:]}
            self.traffic.clear()
            with trio.CancelScope() as self._scope, listen_local(self.runtime / "api.sock", directory_mode=0o700) as at:
                await trio.serve_listeners(self._serve, [at])
            self._scope = None
            self._ended.set()

    async def _serve(self, stream: trio.SocketStream) -> None:
        methods = {path: handler for path, handler in self.__mapping__().items() if path not in self.unknown}
        service = Service([])
        service._methods.update(methods)
        await serve_connection(stream, service)

    def __mapping__(self) -> dict[str, Any]:
        return {**HandlerServiceBase.__mapping__(self), **StatsServiceBase.__mapping__(self)}

    # -- as Xray

    async def AlterInbound(self, stream: Any) -> None:  # noqa: N802
        request = await stream.recv_message()
        with self._counted():
            await trio.lowlevel.checkpoint()
            if self.fails:
                raise GRPCError(Status.UNKNOWN, self.fails)
            users = self._of(request.tag)
            value = request.operation.value
            match request.operation.type:
                case "xray.app.proxyman.command.AddUserOperation":
                    user = AddUserOperation.FromString(value).user
                    assert user.account.type == ACCOUNT
                    self.asked.append(("add", user.email))
                    if user.email in users:
                        raise GRPCError(Status.UNKNOWN, f"User {user.email} already exists.")
                    users[user.email] = Account.FromString(user.account.value)
                case "xray.app.proxyman.command.RemoveUserOperation":
                    email = RemoveUserOperation.FromString(value).email
                    self.asked.append(("remove", email))
                    if users.pop(email, None) is None:
                        raise GRPCError(Status.UNKNOWN, f"User {email} not found.")
                case other:
                    raise GRPCError(Status.UNKNOWN, f"unknown operation > {other}")
        await stream.send_message(AlterInboundResponse())

    async def GetInboundUsers(self, stream: Any) -> None:  # noqa: N802
        request = await stream.recv_message()
        found = [
            User(email=email, account=TypedMessage(type=ACCOUNT, value=account.SerializeToString()))
            for email, account in self._of(request.tag).items()
        ]
        await stream.send_message(GetInboundUserResponse(users=found))

    async def QueryStats(self, stream: Any) -> None:  # noqa: N802
        request = await stream.recv_message()
        assert not request.reset
        found = [Stat(name=name, value=value) for name, value in self.traffic.items() if request.pattern in name]
        await stream.send_message(QueryStatsResponse(stat=found))

    async def GetSysStats(self, stream: Any) -> None:  # noqa: N802
        await stream.recv_message()
        await stream.send_message(SysStatsResponse(Uptime=self.uptime))

    async def GetStatsOnlineIpList(self, stream: Any) -> None:  # noqa: N802
        request = await stream.recv_message()
        name = request.name.split(">>>")[1]
        if name not in self.addresses:
            raise GRPCError(Status.UNKNOWN, f"{request.name} not found.")
        ips = dict.fromkeys(self.addresses[name], 1)
        await stream.send_message(GetStatsOnlineIpListResponse(name=request.name, ips=ips))

    def _of(self, tag: str) -> dict[str, Account]:
        if tag not in self.users:
            text = (
                f"app/proxyman/command: failed to get handler: {tag} > app/proxyman/inbound: handler not found: {tag}"
            )
            raise GRPCError(Status.UNKNOWN, text)
        return self.users[tag]

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1


def _accounts(inbound: dict[str, Any]) -> Iterator[tuple[str, Account]]:
    for client in inbound["settings"]["clients"]:
        yield client["email"], Account(id=client["id"], flow=client["flow"])
