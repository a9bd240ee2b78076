"""Devices hear of a rotation's step once helm itself has taken it, whatever they were told in the instant before."""

from __future__ import annotations

from pathlib import Path

import attrs
import trio
import trio.testing

from pharos.helm.ca.live import LiveAuthority
from pharos.helm.profiles.reseal import reseal, run_reseal
from pharos.helm.trust.rotation import begin_rotation, run_rotation
from pharos.wire.ids import DeviceId
from pharos.wire.pki.rotation import Subject
from tests.support.helm import enrol_sample_device, open_helm, sample_act


@attrs.define
class Ears:
    """An edge where everybody is online, and asks at once: whoever hears a note gets the manifest of that moment."""

    authorities: LiveAuthority
    given: list[int] = attrs.field(factory=list)
    has_news: trio.Event = attrs.field(factory=trio.Event)

    def notify(self, _device_id: DeviceId, _epoch: int, _rev: int) -> bool:
        self.given.append(self.authorities.current.manifest_version)
        if self.given[-1] > self.given[0]:
            self.has_news.set()
        return True


async def test_device_that_asked_too_early_is_told_again(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        store, authorities = helm.store, helm.context.authorities
        await store.run(enrol_sample_device, 1)
        ears = Ears(authorities)
        await store.run(begin_rotation, sample_act(), helm.vault, helm.kit, tuple(Subject))
        # The rotation is in the record, and helm still speaks with the keys of before.
        await reseal(store, authorities, ears)
        assert ears.given == [1]
        nursery.start_soon(run_rotation, store, authorities, helm.vault)
        nursery.start_soon(run_reseal, store, authorities, ears)
        with trio.fail_after(20):
            await ears.has_news.wait()
        assert ears.given[-1] == authorities.current.manifest_version
        nursery.cancel_scope.cancel()


async def test_nobody_is_told_at_a_start_at_which_nothing_is_under_way(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, trio.open_nursery() as nursery:
        commits = helm.store.commits
        nursery.start_soon(run_rotation, helm.store, helm.context.authorities, helm.vault)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert helm.store.commits == commits
        nursery.cancel_scope.cancel()
