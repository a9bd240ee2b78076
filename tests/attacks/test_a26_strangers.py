"""Row 26. Position: anybody on the Internet, without a certificate. Wants: to call more than he may.

Countermeasure: the beacon compares the whole path; a peer without a certificate opens the enrolment or the login
passage and nothing else, sends 32 kB in it at most, and has little time. For rates and times see
tests/beacon/test_ingress.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from pharos.beacon.sanitize import PASSAGE_PATH
from pharos.caravel.relays import open_as_stranger
from pharos.helm.relay import link as links
from pharos.wire.errors import LinkLostError
from pharos.wire.gen.pharos.account.v1 import account_grpc, account_pb2
from pharos.wire.gen.pharos.relay.v1 import orders_pb2
from pharos.wire.passage.client import open_passage
from pharos.wire.passage.metadata import PURPOSE_HEADER, Purpose
from pharos.wire.passage.notes import Note
from pharos.wire.rpc.client import Channel
from pharos.wire.rpc.h2core import Accept
from pharos.wire.rpc.h2stream import H2Stream, Headers
from tests.attacks.test_a18_own_fingerprint import Unlimited
from tests.support.evilbeacon import RelayFleet, fleet_behind
from tests.support.frameforward import message
from tests.support.rawrequest import Request, ask
from tests.support.relay import passage_headers
from tests.support.rpc import frame

TICKET = "enrol.0123456789abcdef"
ORDERS = "/pharos.relay.v1.Orders/Follow"
INVALID, UNIMPLEMENTED, UNAUTHENTICATED = "3", "12", "16"

OTHER_PATHS = [
    *("/X/ClaimEnrollment/..", f"{PASSAGE_PATH}/..", f"{PASSAGE_PATH}/../Open", f"{PASSAGE_PATH}/", f"/{PASSAGE_PATH}"),
    *(f"{PASSAGE_PATH}?x-passage=device", f"{PASSAGE_PATH}#", f"{PASSAGE_PATH}%00", f"{PASSAGE_PATH};a=b"),
    *(PASSAGE_PATH.lower(), PASSAGE_PATH.replace("/O", "%2fO"), PASSAGE_PATH.replace("/O", "\\O"), f"/X{PASSAGE_PATH}"),
    *("/pharos.relay.v1.Passage/OpenMore", "/pharos.relay.v1.Passage/", "/pharos.account.v1.Enrolment/Claim"),
    *("/pharos.account.v1.Account/Sync", ORDERS, "/grpc.health.v1.Health/Check", "/", "*"),
]


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path of every call that reaches helm."""
    paths: list[str] = []
    make = links.accept_relay

    def accept_relay(*arguments: Any) -> Accept:
        accept = make(*arguments)

        async def listen(stream: H2Stream) -> None:
            paths.append(dict(stream.headers or [])[":path"])
            await accept(stream)

        return listen

    monkeypatch.setattr(links, "accept_relay", accept_relay)
    return paths


def changed(headers: Headers, **pseudo: str) -> Headers:
    return [(name, pseudo.get(name.removeprefix(":"), value)) for name, value in headers]


async def fate(fleet: RelayFleet, headers: Headers, body: bytes = b"") -> str:
    return await ask(fleet, Request(headers=headers, body=body))


async def test_a26_no_other_path_leads_anywhere(tmp_path: Path, reached: list[str]) -> None:
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        for path in OTHER_PATHS:
            assert await fate(fleet, changed(passage_headers(TICKET), path=path)) == UNIMPLEMENTED, path
        for method in ("GET", "PUT", "OPTIONS", "post", "POST "):
            answer = await fate(fleet, changed(passage_headers(TICKET), method=method))
            assert answer in {UNIMPLEMENTED, "goodbye", "405"}, method
        assert reached == []


async def test_a26_no_other_purpose_is_a_strangers(tmp_path: Path, reached: list[str]) -> None:
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        assert await fate(fleet, passage_headers("device")) == UNAUTHENTICATED
        for purpose in ("", "enrol", "enrol.", "enrol.ABCDEF0123456789", f"{TICKET}0", "admin", "login.", "Login"):
            assert await fate(fleet, passage_headers(purpose)) == INVALID, purpose
        both = [*passage_headers("device"), (PURPOSE_HEADER, TICKET)]
        for headers in (both, [*passage_headers(TICKET), (PURPOSE_HEADER, "device")], both[:-2]):
            assert await fate(fleet, headers) == INVALID
        assert reached == []


@pytest.mark.parametrize("kind", ["text/html", "application/grpc-web", "application/json", "application/grpcx", ""])
async def test_a26_what_is_no_grpc_opens_no_passage(tmp_path: Path, kind: str) -> None:
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        headers = [(n, kind if n == "content-type" else v) for n, v in passage_headers(TICKET)]
        assert await fate(fleet, headers, message(b"junk")) not in {"open", "0"}
        assert fleet.refusals() == [], "nobody looked at its first message"


@asynccontextmanager
async def itself(channel: Channel) -> AsyncIterator[Channel]:
    """Open nothing over a channel."""
    yield channel


async def is_heard_after(fleet: RelayFleet, notes: int) -> bool:
    """Open a login passage, send frames of 277 octets in it, and tell whether helm still answers a call."""
    link = await fleet.invite()
    async with open_as_stranger(link.beacons, fleet=link.fleet, root_hash=link.root_hash, use=itself) as outer:
        try:
            async with open_passage(outer, purpose=Purpose.LOGIN, fleet=link.fleet, helm_key=link.helm_key) as passage:
                for number in range(notes):
                    await passage.send_note(Note(1, number))
                async with passage.channel() as inner:
                    await account_grpc.AccountStub(inner).Sync(account_pb2.SyncRequest(), timeout=5)
        except GRPCError as error:
            return error.status is Status.UNIMPLEMENTED
        except (LinkLostError, StreamTerminatedError, trio.BrokenResourceError):
            return False
    return True


@pytest.mark.red_inside
async def test_a26_stranger_is_heard_32_kb_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        assert await is_heard_after(fleet, 100)
        assert not await is_heard_after(fleet, 200)
        monkeypatch.setattr("pharos.beacon.ingress.STRANGER_OCTETS", 2**40)
        assert await is_heard_after(fleet, 200)


def hand_on_everything(headers: Headers, *, fingerprint: str | None) -> Headers:
    """Weakened: a beacon that forwards what it is asked for."""
    return [*headers]


async def test_a26_turns_red_where_the_beacon_forwards_what_it_is_asked_for(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger speaks to helm in the beacon's own name then."""
    monkeypatch.setattr("pharos.beacon.ingress.forwarded_headers", hand_on_everything)
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        headers = changed(passage_headers("login"), path=ORDERS)
        answer = await ask(fleet, Request(headers=headers, body=frame(orders_pb2.Report()), ends=False))
        assert answer == "open"
        assert reached == [ORDERS]
