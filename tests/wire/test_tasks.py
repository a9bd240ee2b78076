"""A task beside a block ends with it and leaves its errors as they are."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
import trio

from pharos.wire.tasks import open_background


async def run_forever(*, task_status: trio.TaskStatus[str]) -> None:
    task_status.started("ready")
    await trio.sleep_forever()


async def test_block_gets_what_the_task_started_with_and_ends_it() -> None:
    with trio.fail_after(5):
        async with open_background(run_forever) as started:
            assert started == "ready"


async def test_error_of_the_block_is_not_wrapped_in_a_group() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_background(run_forever):
            raise ZeroDivisionError


async def test_error_of_the_task_ends_the_block() -> None:
    async def crash(*, task_status: trio.TaskStatus[None]) -> Awaitable[None]:
        task_status.started()
        raise ZeroDivisionError

    with trio.fail_after(5), pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_background(crash):
            await trio.sleep_forever()


async def test_cancelling_the_block_cancels_the_task() -> None:
    with trio.CancelScope() as scope:
        async with open_background(run_forever):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
