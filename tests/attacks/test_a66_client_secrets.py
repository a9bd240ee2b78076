"""Row 66. Position: somebody who reads what a client says: its log, output, status, events, errors. Wants: its secrets.

A device joins, connects by both protocols, syncs, is looked at by every command that looks, and fails in the ways that
people meet, with everything logged that can be. None of its keys, of what it derives of them, or of its ticket may turn
up, neither as octets nor as text. Countermeasure: secrets are in types that do not print themselves.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from pharos.caravel.cli import main
from pharos.caravel.enrolment import enroll
from pharos.caravel.errors import CaravelError
from pharos.caravel.profiles.store import DeviceSecrets
from pharos.caravel.running import SOCKET_NAME, open_control, running_tunnel
from pharos.caravel.tunnel import amnezia
from pharos.wire.profile import AMNEZIAWG
from pharos.wire.seal.blind import derive_psk
from pharos.wire.seal.ticket import TicketLink
from tests.attacks.test_a59_blind_helm import secrets_of as derived_secrets_of
from tests.attacks.test_a59_blind_helm import spellings
from tests.support.fleet import Fleet, running_fleet

PAIRS = ("sealing", "derive", "noise", "awg")
COMMANDS = (("status",), ("profiles", "--no-sync"), ("doctor", "--count", "1"), ("fleets",))


@pytest.fixture(params=[False, True], ids=["as built", "weakened"])
def weakened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether what a way in is made of is logged: then the attack succeeds."""
    weak: bool = request.param
    if weak:

        def chatty(*arguments: object, **words: object) -> bytes:
            psk = derive_psk(*arguments, **words)  # type: ignore[arg-type]
            logging.getLogger("pharos.caravel").debug("derived %s", psk.hex())
            return psk

        monkeypatch.setattr(amnezia, "derive_psk", chatty)
    return weak


def secrets_of(fleet: Fleet, ticket: TicketLink) -> dict[str, bytes]:
    """Return everything that nobody else may learn, by what it is."""
    store = fleet.device_store("laptop")
    own: DeviceSecrets = store.enrolled().secrets
    found = {name: getattr(own, name).private_bytes() for name in PAIRS}
    return found | derived_secrets_of(store) | {"tls": own.tls, "ticket": ticket.secret}


def told(secret: bytes) -> set[bytes]:
    """Return how a secret may be written, as a Python literal besides."""
    return {*spellings(secret), repr(secret)[2:-1].encode()}


async def commands(fleet: Fleet) -> str:
    state = ["--state", str(fleet.folder / "device-laptop")]
    said = []
    for words in COMMANDS:
        for form in ((), ("--json",)):
            arguments = [*words, *form, *state]
            done = await trio.to_thread.run_sync(lambda arguments=arguments: CliRunner().invoke(main, arguments))
            said.append(done.output)
    return "\n".join(said)


@pytest.mark.red_inside
async def test_a66_nothing_that_a_client_says_has_a_secret_in_it(
    tmp_path: Path, weakened: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with running_fleet(tmp_path, timeout=120) as fleet:
        ticket = await fleet.invite()
        store = fleet.device_store("laptop")
        await enroll(store, ticket)
        await fleet.wait_settled(peers=1)
        said.append(await commands(fleet))
        async with fleet.client() as client:
            said += [repr(client), repr(client.profiles()), repr(store.enrolled()), repr(client.store)]
            async with client.connect(protocol=AMNEZIAWG, inner="netstack") as tunnel:
                watch = tunnel.watch()
                running = running_tunnel(tunnel, {}, {})
                async with open_control(store.path / SOCKET_NAME, running):
                    await tunnel.wait_up(20)
                    said += [repr(tunnel.status()), json.dumps(running.status()), await commands(fleet)]
                watch.close()
                said += [repr(event.as_json()) async for event in watch]
            await client.sync()
            # What people meet: nobody answers, and a ticket that is used up.
            await fleet.buoys["a"].stop()
            try:
                async with client.connect(inner="netstack") as tunnel:
                    await tunnel.wait_up(3)
            except CaravelError as error:
                said.append(repr(error))
            try:
                await enroll(fleet.device_store("second"), ticket)
            except CaravelError as error:
                said.append(repr(error))
        secrets = secrets_of(fleet, ticket)
    # helm's and the nodes' own lines are there as well: they know none of it.
    heard = "\n".join([*said, *(record.getMessage() for record in caplog.records), caplog.text]).encode()
    found = sorted(name for name, secret in secrets.items() if any(text in heard for text in told(secret)))
    assert bool(found) is weakened, found
