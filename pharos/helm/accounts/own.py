"""What somebody does with their own devices, from any of them, and with a login of theirs that waits."""

from __future__ import annotations

from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from pharos.helm.accounts.confirm import note_confirmed
from pharos.helm.accounts.devices import change_device, device_limit, move_device
from pharos.helm.accounts.waiting import WaitingLogin
from pharos.helm.context import HelmContext
from pharos.helm.errors import NotAllowedError, NotFoundError
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device, DeviceAct, DeviceState
from pharos.helm.store.changes import Act
from pharos.helm.store.database import Database
from pharos.helm.store.devices import get_device, is_allowed, live_devices_of
from pharos.helm.store.records import get_record
from pharos.helm.store.users import USERS
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId

WRONG_CODES: Final = 10
"""In one passage. Only logins of the device's own user are found, so there is little to guess at."""


class OwnDevices(account_grpc.OwnDevicesBase):
    """Served in one device passage; Noise has proven which device it is."""

    def __init__(self, context: HelmContext, device_id: DeviceId) -> None:
        self._context = context
        self._device_id = device_id
        self._wrong_codes = 0

    async def ListDevices(self, stream: Stream[pb.ListDevicesRequest, pb.ListDevicesReply]) -> None:
        """Answer with the user's devices, revoked ones apart; with this one alone where it is nobody's."""
        await stream.recv_message()

        def read(db: Database) -> pb.ListDevicesReply:
            asker = self._asker(db, now_us())
            if asker.user_id is None:
                return pb.ListDevicesReply(devices=[self._shown(asker)])
            devices = live_devices_of(db, asker.user_id)
            limit = device_limit(db, get_record(db, USERS, asker.user_id))
            return pb.ListDevicesReply(devices=map(self._shown, devices), limit=limit)

        await stream.send_message(await self._context.store.read(read))

    async def RenameDevice(self, stream: Stream[pb.RenameDeviceRequest, pb.OwnDevice]) -> None:
        """Give one of them another name."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "say which device")

        def write(db: Database) -> pb.OwnDevice:
            act, device = self._act(db), self._own(db, request.id)
            return self._shown(change_device(db, act, device.id, device.version, {"name": request.name}))

        await stream.send_message(await self._context.store.run(write))

    async def RevokeDevice(self, stream: Stream[pb.RevokeDeviceRequest, pb.OwnDevice]) -> None:
        """Put one of them out of the fleet for good; it may be this one."""
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "say which device")

        def write(db: Database) -> pb.OwnDevice:
            act, device = self._act(db), self._own(db, request.id)
            return self._shown(move_device(db, act, device.id, device.version, DeviceAct.REVOKE))

        await stream.send_message(await self._context.store.run(write))

    async def ShowLogin(self, stream: Stream[pb.ShowLoginRequest, pb.WaitingLogin]) -> None:
        """Tell what a code would let in."""
        request = await stream.recv_message()
        asker = await self._context.store.read(lambda db: self._asker(db, now_us()))
        await stream.send_message(_shown_login(self._find(asker, "" if request is None else request.code)))

    async def ConfirmLogin(self, stream: Stream[pb.ConfirmLoginRequest, pb.WaitingLogin]) -> None:
        """Let it in."""
        request = await stream.recv_message()
        asker = await self._context.store.read(lambda db: self._asker(db, now_us()))
        login = self._find(asker, "" if request is None else request.code)

        def write(db: Database) -> str:
            act = self._act(db)
            note_confirmed(db, act, login)
            return act.actor

        with self._context.logins.confirming(login, f"device {asker.name!r}"):
            await self._context.store.run(write)
        await stream.send_message(_shown_login(login))

    def _find(self, asker: Device, code: str) -> WaitingLogin:
        if asker.user_id is None:
            raise NotAllowedError("this device is nobody's in particular, so it confirms nobody's login")
        if self._wrong_codes >= WRONG_CODES:
            raise NotAllowedError("too many wrong codes; try again later")
        try:
            return self._context.logins.find(code, user_id=asker.user_id)
        except NotFoundError:
            self._wrong_codes += 1
            raise

    def _asker(self, db: Database, at: int) -> Device:
        device = get_device(db, self._device_id)
        if not is_allowed(db, device.id, at):
            raise NotAllowedError("this device was revoked or disabled, or has expired")
        return device

    def _act(self, db: Database) -> Act:
        """Return the act of whoever asks, if they still may. Raises: NotAllowedError."""
        at = now_us()
        asker = self._asker(db, at)
        user = "nobody" if asker.user_id is None else get_record(db, USERS, asker.user_id).name
        return Act(actor=f"{user} by device {asker.name}", at=at, via="passage")

    def _own(self, db: Database, device_id: str) -> Device:
        """Return a device of the same user.

        Raises: NotFoundError — there is none; the words are the same for another user's.
        """
        asker = get_device(db, self._device_id)
        try:
            device = get_device(db, DeviceId(device_id))
        except NotFoundError:
            device = None
        ours = device is not None and (
            device.id == asker.id or (asker.user_id is not None and device.user_id == asker.user_id)
        )
        if device is None or not ours or device.state is DeviceState.REVOKED:
            raise NotFoundError("you have no such device")
        return device

    def _shown(self, device: Device) -> pb.OwnDevice:
        return pb.OwnDevice(
            id=device.id,
            name=device.name,
            state=device.state.value,
            enrolled_at=device.created_at,
            asking=device.id == self._device_id,
        )


def _shown_login(login: WaitingLogin) -> pb.WaitingLogin:
    return pb.WaitingLogin(user_name=login.user_name, device_name=login.device_name, asked_at=login.asked_at)
