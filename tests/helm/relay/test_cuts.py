"""A device that is revoked or disabled loses its passage at once; others keep theirs."""

from __future__ import annotations

from pathlib import Path

import trio

from pharos.helm.accounts.devices import move_device
from pharos.helm.live.board import now_us
from pharos.helm.model.devices import DeviceAct
from pharos.helm.relay.cuts import run_cuts
from pharos.helm.relay.online import OnlineDevices
from pharos.helm.store.changes import Act
from pharos.wire.ids import DeviceId
from tests.support.helm import enrol_sample_device, open_helm


class Recording(OnlineDevices):
    """Tells who was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts: list[DeviceId] = []
        self.changed = trio.Event()

    def cut(self, device_id: DeviceId) -> None:
        self.cuts.append(device_id)
        self.changed.set()


async def test_device_that_may_not_come_any_more_is_cut(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        phone, laptop, tablet = [await helm.store.run(enrol_sample_device, number) for number in (1, 2, 3)]
        online = Recording()
        await nursery.start(run_cuts, helm.store, online)
        act = Act(actor="operator", at=now_us())
        for device, leave in ((phone, DeviceAct.REVOKE), (laptop, DeviceAct.DISABLE)):
            online.changed = trio.Event()
            await helm.store.run(move_device, act, device.id, device.version, leave)
            with trio.fail_after(10):
                await online.changed.wait()
        assert online.cuts == [phone.id, laptop.id]
        assert tablet.id not in online.cuts
        nursery.cancel_scope.cancel()
