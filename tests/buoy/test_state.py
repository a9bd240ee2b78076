"""A buoy comes up with exactly what it was last told, or not at all."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy.state import DesiredState
from pharos.wire.desired import Desired, Fence, Push
from pharos.wire.errors import StateFileError
from pharos.wire.files import StateFile
from pharos.wire.ids import DeviceId
from tests.support.strategies import (
    fences,
    node_addresses,
    parameters,
    parameters_of,
    peer_lists,
    peer_of,
    policies,
    previous_endpoints,
    quick,
)

desired_states = st.builds(
    Desired,
    fence=fences,
    awg=st.none() | parameters,
    addresses=node_addresses,
    peers=peer_lists.map(lambda peers: {peer.device_id: peer for peer in peers}),
    policy=policies,
    previous=previous_endpoints,
)


def sample(revision: int = 7) -> Desired:
    push = Push(
        fence=Fence(5, 2, revision),
        snapshot=True,
        upsert=(peer_of(1), peer_of(2)),
        awg=parameters_of(1),
        addresses=("10.86.0.1",),
    )
    return Desired().after(push)


def test_nothing_is_desired_of_a_node_that_was_never_told(tmp_path: Path) -> None:
    assert DesiredState(tmp_path).load() == Desired()
    assert list(tmp_path.iterdir()) == []


@quick
@given(desired_states)
def test_node_comes_up_with_exactly_what_it_was_told(
    tmp_path_factory: pytest.TempPathFactory, desired: Desired
) -> None:
    folder = tmp_path_factory.mktemp("state")
    trio.run(DesiredState(folder).replace, desired)
    again = DesiredState(folder)
    assert again.load() == desired
    assert again.current == desired


async def test_state_is_private_and_current_only_once_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample(1))
    assert stat.S_IMODE((tmp_path / "desired.json").stat().st_mode) == 0o600

    def fail(_descriptor: int) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="gone"):
            await state.replace(sample(2))
    assert state.current == sample(1)
    assert DesiredState(tmp_path).load() == sample(1)
    # A scratch file that was left behind is in nobody's way.
    await state.replace(sample(3))
    assert DesiredState(tmp_path).load() == sample(3)


async def test_cancelled_write_is_finished_before_it_counts(tmp_path: Path) -> None:
    state = DesiredState(tmp_path)
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        try:
            await state.replace(sample())
        except trio.Cancelled:
            assert state.current == Desired()
            assert not (tmp_path / "desired.json").exists()
            raise
        assert DesiredState(tmp_path).load() == state.current == sample()


async def test_damaged_file_is_refused_with_the_way_out_and_left_alone(tmp_path: Path) -> None:
    await DesiredState(tmp_path).replace(sample())
    path = tmp_path / "desired.json"
    damaged = path.read_bytes().replace(b"device-1", b"device-9")
    path.write_bytes(damaged)
    state = DesiredState(tmp_path)
    with pytest.raises(StateFileError, match=r"desired\.json is corrupt.*move it away to start without peers"):
        state.load()
    assert path.read_bytes() == damaged
    assert state.current == Desired()


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.pop("peers"),
        lambda body: body.update(fence=None),
        lambda body: body.update(fence=[1, 2, 3, 4]),
        lambda body: body.update(fence=["1", 2, 3]),
        lambda body: body.update(fence=[-1, 0, 0]),
        lambda body: body.update(awg={"h1": 3}),
        lambda body: body.update(awg=[1]),
        lambda body: body.update(addresses=["nowhere"]),
        lambda body: body.update(addresses=5),
        lambda body: body.update(policy={}),
        lambda body: body["policy"].update(closed=["nowhere"]),
        lambda body: body.update(previous=[{"port": 1}]),
        lambda body: body.update(previous=7),
        lambda body: body["peers"][0].update(awg_key="AAAA"),
        lambda body: body["peers"][0].update(addresses=None),
        lambda body: body["peers"].append(body["peers"][0] | {"device_id": "twin"}),
    ],
)
def test_file_that_says_what_no_push_could_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """The checksum is right and the content is not: another version's, or a helpful editor's."""
    trio.run(DesiredState(tmp_path).replace, sample())
    body = json.loads((tmp_path / "desired.json").read_text())["body"]
    change(body)
    StateFile(tmp_path / "desired.json", "pharos/buoy-desired/v1", "").save(body)
    with pytest.raises(StateFileError, match=r"is corrupt.*move it away"):
        DesiredState(tmp_path).load()


async def test_only_what_holds_is_kept(tmp_path: Path) -> None:
    """Forward secrecy of the record: a removed peer is in no file any more."""
    state = DesiredState(tmp_path)
    await state.replace(sample())
    gone = Push(fence=Fence(5, 2, 8), snapshot=False, remove=(DeviceId("device-1"),))
    await state.replace(state.current.after(gone))
    assert b"device-1" not in everything_in(tmp_path)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    await DesiredState(tmp_path).replace(sample())
    body = json.loads((tmp_path / "desired.json").read_text())["body"]
    del body["policy"], body["previous"]
    for peer in body["peers"]:
        del peer["expires_at"], peer["quota"], peer["rate_limit"], peer["protocols"]
    StateFile(tmp_path / "desired.json", "pharos/buoy-desired/v1", "").save(body)
    assert DesiredState(tmp_path).load() == sample()
