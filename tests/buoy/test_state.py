"""A buoy comes up with exactly what it was last told, or not at all."""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pharos.buoy import state as state_module
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
        patch.setattr(os, "fdatasync", fail)
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


async def test_damaged_files_are_refused_with_the_way_out_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await DesiredState(tmp_path).replace(sample())
    paths = [tmp_path / "desired.json", tmp_path / "desired.copy.json"]
    damaged = paths[0].read_bytes().replace(b"device-1", b"device-9")
    for path in paths:
        path.write_bytes(damaged)
    state = DesiredState(tmp_path)
    with pytest.raises(StateFileError, match=r"desired\.json is corrupt.*move it away to start without peers"):
        state.load(mend=True)
    assert [path.read_bytes() for path in paths] == [damaged, damaged]
    assert state.current == Desired()
    caplog.clear()


@pytest.mark.parametrize("journalled", [False, True])
async def test_one_damaged_copy_of_two_costs_nothing_but_a_loud_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, journalled: bool
) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample())
    if journalled:
        await state.replace(state.current.after(added(3)))
    path = tmp_path / "desired.json"
    damaged = path.read_bytes()[:-40]
    path.write_bytes(damaged)
    again = DesiredState(tmp_path)
    assert again.load(mend=True) == state.current
    assert "desired.json is corrupt" in caplog.text
    caplog.clear()
    assert (tmp_path / "desired.json.corrupt").read_bytes() == damaged
    assert DesiredState(tmp_path).load(mend=True) == state.current
    assert caplog.text == ""


async def test_operator_who_moves_the_file_away_starts_without_peers(tmp_path: Path) -> None:
    await DesiredState(tmp_path).replace(sample())
    (tmp_path / "desired.json").unlink()
    assert DesiredState(tmp_path).load(mend=True) == Desired()


async def test_new_peer_costs_a_line(tmp_path: Path) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample())
    before = (tmp_path / "desired.json").read_bytes()
    for number in range(3, 30):
        await state.replace(state.current.after(added(number)))
    assert (tmp_path / "desired.json").read_bytes() == before
    assert DesiredState(tmp_path).load() == state.current


async def test_journal_that_has_grown_is_taken_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_JOURNAL", 1000)
    state = DesiredState(tmp_path)
    await state.replace(sample())
    for number in range(3, 30):
        await state.replace(state.current.after(added(number)))
        assert DesiredState(tmp_path).load() == state.current
    assert (tmp_path / "desired.journal").stat().st_size < 2000


@pytest.mark.parametrize("length", range(1, 60, 7))
async def test_line_that_was_cut_was_never_acknowledged(tmp_path: Path, length: int) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample())
    await state.replace(state.current.after(added(3)))
    held = state.current
    path = tmp_path / "desired.journal"
    whole = path.read_bytes()
    await state.replace(state.current.after(added(4)))
    path.write_bytes(path.read_bytes()[: len(whole) + length])
    again = DesiredState(tmp_path)
    assert again.load(mend=True) == held
    await again.replace(again.current.after(added(5)))
    assert DesiredState(tmp_path).load() == again.current


async def test_damaged_line_ends_the_journal_there_and_helm_says_the_rest_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample())
    held = state.current
    for number in (3, 4):
        await state.replace(state.current.after(added(number)))
    path = tmp_path / "desired.journal"
    path.write_bytes(path.read_bytes().replace(b"device-3", b"device-7"))
    again = DesiredState(tmp_path)
    assert again.load(mend=True) == held
    assert "line 2, is corrupt" in caplog.text
    caplog.clear()
    await again.replace(again.current.after(added(5)))
    assert DesiredState(tmp_path).load() == again.current


@pytest.mark.parametrize("call", ["write", "fdatasync"])
async def test_full_disk_keeps_what_was_and_takes_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample())
    held, calls = state.current, 0
    true = getattr(os, call)

    def fail(descriptor: int, *data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            if data:
                true(descriptor, data[0][:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(true(descriptor, *data) or 0)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            await state.replace(state.current.after(added(3)))
    assert state.current == held == DesiredState(tmp_path).load()
    await state.replace(state.current.after(added(4)))
    assert DesiredState(tmp_path).load() == state.current


def added(number: int) -> Push:
    return Push(fence=Fence(5, 2, 7 + number), snapshot=False, upsert=(peer_of(number),))


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
    (tmp_path / "desired.copy.json").unlink()
    with pytest.raises(StateFileError, match=r"is corrupt.*move it away"):
        DesiredState(tmp_path).load()


async def test_only_what_holds_is_kept(tmp_path: Path) -> None:
    """Forward secrecy of the record: a removed peer is in no file any more."""
    state = DesiredState(tmp_path)
    await state.replace(sample())
    await state.replace(state.current.after(added(3)))
    gone = Push(fence=Fence(5, 2, 11), snapshot=False, remove=(DeviceId("device-1"), DeviceId("device-3")))
    await state.replace(state.current.after(gone))
    assert b"device-1" not in everything_in(tmp_path)
    assert b"device-3" not in everything_in(tmp_path)


async def test_key_that_was_replaced_is_in_no_file_any_more(tmp_path: Path) -> None:
    state = DesiredState(tmp_path)
    await state.replace(sample())
    old = state.current.peers[DeviceId("device-1")]
    new = attrs.evolve(old, awg_key=peer_of(9).awg_key)
    await state.replace(state.current.after(Push(fence=Fence(5, 2, 8), snapshot=False, upsert=(new,))))
    assert base64.b64encode(old.awg_key) not in everything_in(tmp_path)


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
