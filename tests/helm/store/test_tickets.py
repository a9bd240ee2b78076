"""A ticket is used once, in time, whoever races for it."""

from __future__ import annotations

from pathlib import Path

import trio

from pharos.helm.model.tickets import Ticket
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.tickets import add_ticket, consume_ticket, find_ticket
from pharos.wire.ids import TicketId
from tests.support.helm import enrol_sample_device, fleet_in_memory, open_helm

TICKET = Ticket(
    id=TicketId(b"12345678"),
    device_name="Ada's phone",
    psk=b"wrapped",
    proof=b"P" * 32,
    expires_at=1000,
    used_keys=None,
    device_id=None,
)


def test_ticket_is_found_used_or_not() -> None:
    with fleet_in_memory() as (db, _):
        add_ticket(db, TICKET, at=1, actor="a")
        assert find_ticket(db, TICKET.id) == TICKET
        assert find_ticket(db, TicketId(bytes(8))) is None
        device = enrol_sample_device(db, 1)
        assert consume_ticket(db, TICKET.id, keys=b"K", device_id=device.id, at=999)
        used = find_ticket(db, TICKET.id)
        assert used is not None
        assert (used.used_keys, used.device_id) == (b"K", device.id)


def test_ticket_is_used_once_and_keeps_its_first_user() -> None:
    with fleet_in_memory() as (db, _):
        add_ticket(db, TICKET, at=1, actor="a")
        first, second = enrol_sample_device(db, 1), enrol_sample_device(db, 2)
        assert consume_ticket(db, TICKET.id, keys=b"1", device_id=first.id, at=2)
        assert not consume_ticket(db, TICKET.id, keys=b"2", device_id=second.id, at=3)
        used = find_ticket(db, TICKET.id)
        assert used is not None
        assert used.device_id == first.id


def test_expired_ticket_is_not_used() -> None:
    with fleet_in_memory() as (db, _):
        add_ticket(db, TICKET, at=1, actor="a")
        device = enrol_sample_device(db, 1)
        assert not consume_ticket(db, TICKET.id, keys=b"K", device_id=device.id, at=TICKET.expires_at)
        assert find_ticket(db, TICKET.id) == TICKET


async def test_of_many_racing_claims_one_wins(tmp_path: Path) -> None:
    won: list[int] = []

    def claim(db: Database, number: int) -> bool:
        device = enrol_sample_device(db, number)
        return consume_ticket(db, TICKET.id, keys=b"%d" % number, device_id=device.id, at=2)

    async with open_helm(tmp_path) as helm:
        await helm.store.run(add_ticket, TICKET, at=1, actor="a")

        async def race(number: int) -> None:
            if await helm.store.run(claim, number):
                won.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(race, number)
        (winner,) = won
        used = await helm.store.run(find_ticket, TICKET.id)
        assert used is not None
        assert used.used_keys == b"%d" % winner


def test_secrets_of_a_ticket_do_not_print() -> None:
    assert "wrapped" not in repr(TICKET)
    assert "PPPP" not in repr(TICKET)


async def test_ticket_survives_a_restart(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        await helm.store.run(add_ticket, TICKET, at=1, actor="a")
    with open_store(tmp_path) as store:
        assert await store.run(find_ticket, TICKET.id) == TICKET
