"""One's own devices, from any of them: list, rename, revoke; and say yes to another that logs in."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs

from pharos.caravel.errors import NoSuchDeviceError
from pharos.caravel.profiles.store import ProfileStore
from pharos.caravel.sync import CALL_TIMEOUT, failures_as_no_answer, open_device_passage
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.ids import DeviceId


@attrs.frozen(kw_only=True)
class OwnDevice:
    """A device of this device's user."""

    id: DeviceId
    name: str
    state: str
    """active, disabled or revoked."""
    enrolled_at: datetime.datetime
    this: bool
    """The one that asks."""


@attrs.frozen(kw_only=True)
class OwnDevices:
    """All of them that are not revoked."""

    devices: tuple[OwnDevice, ...]
    limit: int
    """As many as the user may have; 0 where this device is nobody's in particular."""


@attrs.frozen(kw_only=True)
class WaitingLogin:
    """A login that waits to be confirmed."""

    user_name: str
    device_name: str
    """What the new device calls itself: nobody has checked it."""
    asked_at: datetime.datetime


class Account:
    """What a device may do for its user; `open_account` makes it.

    Every verb raises: HelmRefusedError — helm says no, and why. NoAnswerError.
    """

    def __init__(self, stub: account_grpc.OwnDevicesStub) -> None:
        self._stub = stub

    async def devices(self) -> OwnDevices:
        """Return the user's devices, oldest first."""
        with failures_as_no_answer():
            reply = await self._stub.ListDevices(pb.ListDevicesRequest(), timeout=CALL_TIMEOUT)
        return OwnDevices(devices=tuple(map(_device, reply.devices)), limit=reply.limit)

    async def find(self, wanted: str) -> OwnDevice:
        """Return the device with that id, or the only one of that name.

        Raises: NoSuchDeviceError — none, or several.
        """
        devices = (await self.devices()).devices
        found = [device for device in devices if device.id == wanted] or [d for d in devices if d.name == wanted]
        if not found:
            raise NoSuchDeviceError(f"you have no device {wanted!r}; see: caravel devices list")
        if len(found) > 1:
            ids = ", ".join(device.id for device in found)
            raise NoSuchDeviceError(f"{wanted!r} is the name of {len(found)} devices; say which by its id: {ids}")
        return found[0]

    async def rename(self, device_id: DeviceId, name: str) -> OwnDevice:
        """Give a device another name."""
        with failures_as_no_answer():
            return _device(
                await self._stub.RenameDevice(pb.RenameDeviceRequest(id=device_id, name=name), timeout=CALL_TIMEOUT)
            )

    async def revoke(self, device_id: DeviceId) -> OwnDevice:
        """Put a device out of the fleet for good."""
        with failures_as_no_answer():
            return _device(await self._stub.RevokeDevice(pb.RevokeDeviceRequest(id=device_id), timeout=CALL_TIMEOUT))

    async def show_login(self, code: str) -> WaitingLogin:
        """Return what a code would let in."""
        with failures_as_no_answer():
            return _login(await self._stub.ShowLogin(pb.ShowLoginRequest(code=code), timeout=CALL_TIMEOUT))

    async def confirm_login(self, code: str) -> WaitingLogin:
        """Let it in."""
        with failures_as_no_answer():
            return _login(await self._stub.ConfirmLogin(pb.ConfirmLoginRequest(code=code), timeout=CALL_TIMEOUT))


@asynccontextmanager
async def open_account(store: ProfileStore) -> AsyncIterator[Account]:
    """Reach helm as this device, for its user.

    Raises: NotEnrolledError. NoAnswerError, HelmRefusedError — nobody answered, or this device is kept out.
    """
    with failures_as_no_answer():
        async with open_device_passage(store) as passage, passage.channel() as inner:
            yield Account(account_grpc.OwnDevicesStub(inner))


def _device(device: pb.OwnDevice) -> OwnDevice:
    return OwnDevice(
        id=DeviceId(device.id),
        name=device.name,
        state=device.state,
        enrolled_at=_moment(device.enrolled_at),
        this=device.asking,
    )


def _login(login: pb.WaitingLogin) -> WaitingLogin:
    return WaitingLogin(user_name=login.user_name, device_name=login.device_name, asked_at=_moment(login.asked_at))


def _moment(microseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(microseconds / 1e6, datetime.UTC)
