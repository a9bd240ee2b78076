"""Row 18. Position: a client, with or without a certificate. Wants: to be another device, by saying its fingerprint.

Countermeasure: the beacon makes helm's metadata out of a list of what may pass, to which its own fingerprint comes; a
list of what may not pass would have to know every spelling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pharos.beacon import sanitize
from pharos.beacon.limiter import PassageLimiter
from pharos.wire.passage import server
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER, read_metadata
from pharos.wire.rpc.h2stream import Headers
from tests.attacks.test_a17_another_fingerprint import fingerprint_of
from tests.beacon.test_sanitize import FORGED, SPELLINGS
from tests.support.evilbeacon import HonestBeacon, RelayFleet, fleet_behind
from tests.support.frameforward import message
from tests.support.rawrequest import Request, ask
from tests.support.relay import NO_RATES, passage_headers

TICKET = "enrol.0123456789abcdef"
REFUSED_BY_HELM = "16"
"""UNAUTHENTICATED: it got there, and the first message was junk."""


class Unlimited(HonestBeacon):
    """A beacon that bears as many tries as a test makes."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.limiter = PassageLimiter(NO_RATES)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Headers]:
    """The metadata of every passage that reaches helm."""
    calls: list[Headers] = []

    def listen(metadata: Any, fleet: Any) -> Any:
        calls.append(list(metadata.items()))
        return read_metadata(metadata, fleet)

    monkeypatch.setattr(server, "read_metadata", listen)
    return calls


async def says(
    fleet: RelayFleet, spelling: str, purpose: str, *, as_device: str | None, in_trailers: bool = False
) -> str:
    """Open a passage with a fingerprint of one's own, and a first message that helm refuses; return its fate."""
    own = [(spelling, FORGED)]
    request = Request(
        headers=passage_headers(purpose) + ([] if in_trailers else own),
        body=message(b"junk"),
        trailers=own if in_trailers else None,
    )
    credentials = None if as_device is None else fleet.device(as_device).enrolled().credentials()
    return await ask(fleet, request, credentials)


def allow_all_but_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weakened: a list of what may not pass, in the one spelling that is ours."""

    class AllBut(frozenset[str]):
        def __contains__(self, name: object) -> bool:
            return name != FINGERPRINT_HEADER and not str(name).startswith(":")

    monkeypatch.setattr(sanitize, "_ALLOWED", AllBut())


async def test_a18_device_is_known_by_its_certificate_whatever_it_says(tmp_path: Path, heard: list[Headers]) -> None:
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        alice = await fleet.enrol("alice")
        heard.clear()
        fates = [await says(fleet, spelling, "device", as_device="alice") for spelling in SPELLINGS]
        for spelling in (FINGERPRINT_HEADER, f"{FINGERPRINT_HEADER}-bin"):
            fates.append(await says(fleet, spelling, "device", as_device="alice", in_trailers=True))
        # The rest are no names of headers to HTTP/2, and cost their connection.
        reached = fates.count(REFUSED_BY_HELM)
        assert (reached, fates.count("goodbye")) == (21, len(fates) - 21)
        assert heard == [[(PURPOSE_HEADER, "device"), (FINGERPRINT_HEADER, fingerprint_of(alice))]] * reached


async def test_a18_stranger_is_known_by_nothing_whatever_it_says(tmp_path: Path, heard: list[Headers]) -> None:
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        fates = [await says(fleet, spelling, TICKET, as_device=None) for spelling in SPELLINGS]
        assert heard == [[(PURPOSE_HEADER, TICKET)]] * fates.count(REFUSED_BY_HELM)
        assert len(heard) == 19


async def test_a18_turns_red_with_a_list_of_what_may_not_pass(
    tmp_path: Path, heard: list[Headers], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_all_but_the_fingerprint(monkeypatch)
    async with fleet_behind(tmp_path, Unlimited) as fleet:
        for spelling in SPELLINGS:
            await says(fleet, spelling, TICKET, as_device=None)
        forged = [name for call in heard for name, value in call if value == FORGED]
        # gRPC keeps `grpc-…` to itself, and decodes `…-bin`.
        assert len(forged) >= 15
        assert {"x_pharos_device_fp", f"{FINGERPRINT_HEADER}-1", f"http-{FINGERPRINT_HEADER}"} < set(forged)
