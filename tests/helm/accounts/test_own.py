"""What a device may do for its user inside its passage, and what it may not."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
from grpclib.const import Status

from pharos.helm.accounts.devices import change_device
from pharos.helm.accounts.own import WRONG_CODES
from pharos.helm.accounts.users import add_user
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import Device
from pharos.helm.model.users import User
from pharos.helm.store.devices import get_device, is_allowed
from pharos.wire.gen.pharos.account.v1 import account_grpc
from pharos.wire.gen.pharos.account.v1 import account_pb2 as pb
from pharos.wire.passage.metadata import Purpose
from tests.helm.relay.test_edge import RELAY, Machine, Scene, edge, refused_with
from tests.support.helm import enrol_sample_device, sample_act


@attrs.frozen
class Owner:
    """Ada at her device."""

    scene: Scene
    user: User
    device: Device
    stub: account_grpc.OwnDevicesStub


@asynccontextmanager
async def ada(tmp_path: Path) -> AsyncIterator[Owner]:
    machine = Machine()
    async with edge(tmp_path) as scene:
        store = scene.helm.store
        user = await store.run(add_user, sample_act(), {"name": "ada"})
        device = await scene.enrolled(machine)
        device = await store.run(change_device, sample_act(), device.id, device.version, {"user_id": user.id})
        async with scene.passage(Purpose.DEVICE, static=machine.noise) as (_, inner):
            yield Owner(scene, user, device, account_grpc.OwnDevicesStub(inner))


async def test_device_of_somebody_else_is_none(tmp_path: Path) -> None:
    async with ada(tmp_path) as owner:
        store = owner.scene.helm.store
        eve = await store.run(add_user, sample_act(), {"name": "eve"})
        others = [
            await store.run(enrol_sample_device, 7, "eve's", user_id=eve.id),
            await store.run(enrol_sample_device, 8, "nobody's"),
        ]
        for device_id in (*(other.id for other in others), "x", ""):
            revoke, rename = pb.RevokeDeviceRequest(id=device_id), pb.RenameDeviceRequest(id=device_id, name="mine")
            said = [
                await refused_with(Status.NOT_FOUND, functools.partial(owner.stub.RevokeDevice, revoke)),
                await refused_with(Status.NOT_FOUND, functools.partial(owner.stub.RenameDevice, rename)),
            ]
            assert set(said) == {"you have no such device"}
        for other in others:
            assert await store.read(get_device, other.id) == other
        listed = await owner.stub.ListDevices(pb.ListDevicesRequest())
        assert [device.id for device in listed.devices] == [owner.device.id]


async def test_name_that_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    async with ada(tmp_path) as owner:
        request = pb.RenameDeviceRequest(id=owner.device.id, name="a\nb")
        assert "printable" in await refused_with(Status.INVALID_ARGUMENT, lambda: owner.stub.RenameDevice(request))


async def test_codes_are_not_guessed_at_without_end(tmp_path: Path) -> None:
    async with ada(tmp_path) as owner:
        logins = owner.scene.helm.context.logins
        with logins.waiting(
            user_id=owner.user.id, user_name="ada", device_name="tablet", relay_id=RELAY, at=now_us()
        ) as login:
            for _ in range(WRONG_CODES):
                wrong = pb.ShowLoginRequest(code="BBBB-BBBB")
                await refused_with(Status.NOT_FOUND, functools.partial(owner.stub.ShowLogin, wrong))
            right = pb.ConfirmLoginRequest(code=login.code)
            assert "too many" in await refused_with(Status.PERMISSION_DENIED, lambda: owner.stub.ConfirmLogin(right))
            assert not login.confirmed.is_set()


async def test_revoked_device_is_out_at_once(tmp_path: Path) -> None:
    async with ada(tmp_path) as owner:
        answer = await owner.stub.RevokeDevice(pb.RevokeDeviceRequest(id=owner.device.id))
        assert (answer.state, answer.asking) == ("revoked", True)
        assert not await owner.scene.helm.store.read(is_allowed, owner.device.id, now_us())
        for call in (
            lambda: owner.stub.ListDevices(pb.ListDevicesRequest()),
            lambda: owner.stub.RenameDevice(pb.RenameDeviceRequest(id=owner.device.id, name="again")),
            lambda: owner.stub.ShowLogin(pb.ShowLoginRequest(code="BBBB-BBBB")),
        ):
            await refused_with(Status.PERMISSION_DENIED, call)
