"""Row 67. Position: somebody who has a ticket link as well, or a machine that loses power. Wants: two devices of one.

Countermeasure: a claim is one transaction, in which one conditional UPDATE uses the ticket up. That a restored helm
knows no open ticket, see tests/fleet/test_restore.py; that wrong tries burn none, test_a24_stolen_ticket.py.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from pharos.helm.accounts import claim as claims
from pharos.helm.accounts.claim import DeviceClaim, claim_ticket
from pharos.helm.accounts.tickets import invite_device
from pharos.helm.ca.authority import Authority
from pharos.helm.ca.vault import Vault
from pharos.helm.errors import HelmError
from pharos.helm.store.database import Database, open_store
from pharos.helm.store.devices import list_devices
from pharos.helm.store.tickets import find_ticket
from pharos.wire.pki.csr import make_csr
from pharos.wire.pki.keys import generate_key, key_from_der, key_to_der
from pharos.wire.seal.ticket import TicketLink
from tests.support.helm import SampleHelm, adopt_sample_relay, open_helm, sample_act, sample_keys

PARALLEL = 1_000
ROOT = Path(__file__).parents[2]

# Claims a ticket as helm does, and kills itself at the call of one function: when the device is written and the ticket
# not used up, when all is written and nothing committed, and after that.
CLAIMS = """
import datetime, os, signal, sys, trio
from pathlib import Path
from pharos.helm.accounts import claim
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.store.database import open_store
from pharos.wire.seal.ticket import TicketLink
from tests.attacks.test_a67_ticket_race import claim_of, sample_act
from pharos.wire.pki.keys import key_from_der

state, link, key, where = sys.argv[1:]

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    with open_store(Path(state)) as store:
        authority = await store.run(load_authority, open_vault(Path(state)), now=datetime.datetime.now(datetime.UTC))
        wanted = claim_of(TicketLink.parse(link), 1, csr_key=bytes.fromhex(key))
        if where != "the reply":
            setattr(claim, where, die)
        await store.run(claim.claim_ticket, sample_act(), authority, wanted)
        die()

trio.run(main)
"""


def invited(db: Database, authority: Authority, vault: Vault) -> TicketLink:
    adopt_sample_relay(db, authority)
    hour = datetime.timedelta(hours=1)
    return TicketLink.parse(invite_device(db, sample_act(), authority, vault, device_name="laptop", lifetime=hour).link)


def claim_of(link: TicketLink, number: int, *, csr_key: bytes) -> DeviceClaim:
    return DeviceClaim(
        ticket_id=link.ticket_id,
        proof=link.keys().proof,
        csr=make_csr(key_from_der(csr_key)),
        keys=sample_keys(number),
        device_name="",
    )


async def race(helm: SampleHelm, count: int) -> Counter[str]:
    """Claim one ticket with so many devices at once."""
    link = await helm.store.run(invited, helm.authority, helm.vault)
    key = key_to_der(generate_key())
    wanted = [claim_of(link, number, csr_key=key) for number in range(count)]
    fates: Counter[str] = Counter()

    async def try_it(one: DeviceClaim) -> None:
        try:
            await helm.store.run(claim_ticket, sample_act(), helm.authority, one)
        except HelmError as error:
            fates[str(error)] += 1
        else:
            fates["enrolled"] += 1

    async with trio.open_nursery() as nursery:
        for one in wanted:
            nursery.start_soon(try_it, one)
    return fates


async def test_a67_of_a_thousand_claims_at_once_one_wins(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        assert await race(helm, PARALLEL) == {"enrolled": 1, claims.REFUSED: PARALLEL - 1}
        assert len(await helm.store.run(list_devices)) == 1


async def test_a67_turns_red_where_the_ticket_is_not_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "consume_ticket", lambda *_args, **_kwargs: True)
    # One key for all certificates is another rule's business.
    monkeypatch.setattr(claims, "bind_certificate", lambda *_args, **_kwargs: None)
    async with open_helm(tmp_path) as helm:
        assert await race(helm, 10) == {"enrolled": 10}


@pytest.mark.parametrize("where", ["consume_ticket", "next_revision", "the reply"])
async def test_a67_helm_that_is_killed_inside_a_claim_has_one_device_or_none(tmp_path: Path, where: str) -> None:
    key = key_to_der(generate_key())
    async with open_helm(tmp_path) as helm:
        link = await helm.store.run(invited, helm.authority, helm.vault)
    words = [sys.executable, "-c", CLAIMS, str(tmp_path), link.render(), key.hex(), where]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await trio.run_process(words, env=environment, check=False, capture_stderr=True)
    assert done.returncode == -9, done.stderr.decode()
    with open_store(tmp_path) as store:
        devices, ticket = await store.read(list_devices), await store.read(find_ticket, link.ticket_id)
        assert ticket is not None
        assert len(devices) == (1 if where == "the reply" else 0)
        assert (ticket.used_keys is not None) == bool(devices), "the ticket is used up with the device, or not at all"
        # The device has its keys still, and asks again.
        wanted = claim_of(link, 1, csr_key=key)
        device, _ = await store.run(claim_ticket, sample_act(), helm.authority, wanted)
        assert await store.read(list_devices) == [device]
