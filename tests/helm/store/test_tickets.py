"""A ticket is used once, in time, whoever races for it."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio

from pharos.helm.model.tickets import Ticket, TicketState
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.pages import Query, count_records, list_page
from pharos.helm.store.records import add_record, change_record
from pharos.helm.store.tickets import TICKETS, consume_ticket, find_ticket
from pharos.wire.ids import TicketId
from tests.support.helm import enrol_sample_device, fleet_in_memory, open_helm, sample_act

TICKET_ID = TicketId(b"12345678")
TICKET = Ticket(
    id=TICKET_ID.hex(),
    device_name="Ada's phone",
    psk=b"wrapped",
    proof=b"P" * 32,
    expires_at=1000,
)


def add(db: Database) -> Ticket:
    return add_record(db, TICKETS, TICKET, sample_act(at=1))


def test_ticket_is_found_used_or_not() -> None:
    with fleet_in_memory() as (db, _):
        ticket = add(db)
        assert find_ticket(db, TICKET_ID) == ticket
        assert find_ticket(db, TicketId(bytes(8))) is None
        device = enrol_sample_device(db, 1)
        assert consume_ticket(db, TICKET_ID, sample_act(at=999), keys=b"K", device_id=device.id)
        used = find_ticket(db, TICKET_ID)
        assert used is not None
        assert (used.used_keys, used.device_id) == (b"K", device.id)


def test_ticket_is_used_once_and_keeps_its_first_user() -> None:
    with fleet_in_memory() as (db, _):
        add(db)
        first, second = enrol_sample_device(db, 1), enrol_sample_device(db, 2)
        assert consume_ticket(db, TICKET_ID, sample_act(at=2), keys=b"1", device_id=first.id)
        assert not consume_ticket(db, TICKET_ID, sample_act(at=3), keys=b"2", device_id=second.id)
        used = find_ticket(db, TICKET_ID)
        assert used is not None
        assert used.device_id == first.id


def test_expired_ticket_is_not_used() -> None:
    with fleet_in_memory() as (db, _):
        ticket = add(db)
        device = enrol_sample_device(db, 1)
        assert not consume_ticket(db, TICKET_ID, sample_act(at=TICKET.expires_at), keys=b"K", device_id=device.id)
        assert find_ticket(db, TICKET_ID) == ticket


def test_withdrawn_ticket_is_not_used() -> None:
    with fleet_in_memory() as (db, _):
        add(db)
        change_record(db, TICKETS, TICKET.id, 1, {"withdrawn_at": 2}, sample_act(at=2))
        device = enrol_sample_device(db, 1)
        assert not consume_ticket(db, TICKET_ID, sample_act(at=3), keys=b"K", device_id=device.id)


def test_use_of_a_ticket_is_a_change_of_its_record() -> None:
    with fleet_in_memory() as (db, _):
        add(db)
        device = enrol_sample_device(db, 1)
        consume_ticket(db, TICKET_ID, sample_act(at=2, actor="device"), keys=b"K", device_id=device.id)
        used = find_ticket(db, TICKET_ID)
        assert used is not None
        assert (used.version, used.updated_at, used.updated_by, used.used_at) == (2, 2, "device", 2)
        assert used.state(2) is TicketState.USED


@pytest.mark.parametrize("state", TicketState)
def test_list_is_filtered_by_the_state_that_the_record_derives(state: TicketState) -> None:
    with fleet_in_memory() as (db, _):
        device = enrol_sample_device(db, 1)
        late, now = sample_act().at + 10**9, sample_act().at
        for number, values in enumerate(
            (
                {"expires_at": late},
                {"expires_at": now - 10},
                {"expires_at": late, "withdrawn_at": now},
                {"expires_at": now - 10, "withdrawn_at": now - 20},
                {"expires_at": now - 10, "used_at": now - 20, "used_keys": b"K", "device_id": device.id},
                {"expires_at": late, "used_at": now - 20, "used_keys": b"K", "device_id": device.id},
            )
        ):
            add_record(db, TICKETS, attrs.evolve(TICKET, id=f"{number:016x}", **values), sample_act())
        found = list_page(db, TICKETS, Query(filters={"state": state.value})).items
        everything = list_page(db, TICKETS, Query()).items
        assert {t.id for t in found} == {t.id for t in everything if t.state(now) is state} != set()
        assert {TICKETS.view(ticket)["state"] for ticket in found} == {state.value}
        assert count_records(db, TICKETS, Query(filters={"state": state.value})) == len(found)


async def test_of_many_racing_claims_one_wins(tmp_path: Path) -> None:
    won: list[int] = []

    def claim(db: Database, number: int) -> bool:
        device = enrol_sample_device(db, number)
        return consume_ticket(db, TICKET_ID, sample_act(at=2), keys=b"%d" % number, device_id=device.id)

    async with open_helm(tmp_path) as helm:
        await helm.store.run(add)

        async def race(number: int) -> None:
            if await helm.store.run(claim, number):
                won.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(race, number)
        (winner,) = won
        used = await helm.store.run(find_ticket, TICKET_ID)
        assert used is not None
        assert used.used_keys == b"%d" % winner


def test_secrets_of_a_ticket_do_not_print() -> None:
    assert "wrapped" not in repr(TICKET)
    assert "PPPP" not in repr(TICKET)


async def test_ticket_survives_a_restart(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ticket = await helm.store.run(add)
    with open_store(tmp_path) as store:
        assert await store.run(find_ticket, TICKET_ID) == ticket
