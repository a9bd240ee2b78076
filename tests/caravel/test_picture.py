"""What a terminal shows of a connection."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rich.console import Console

from pharos.caravel.cli.picture import Rates, duration, octets, rate, render_status, sentence
from pharos.wire.profile import AMNEZIAWG, VLESS_REALITY

UP: dict[str, Any] = {
    "phase": "up",
    "name": "amsterdam",
    "protocol": AMNEZIAWG,
    "endpoint": ["2001:db8::7", 443],
    "addresses": ["10.90.0.2/16"],
    "handshake_age": 12.0,
    "received": 1_234_567,
    "sent": 999,
    "receive_rate": 1_500_000.0,
    "send_rate": 125.0,
}


def shown(status: dict[str, Any], rates: Rates | None = None) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(render_status(status, rates))
    return capture.get()


def test_connection_that_is_up_says_where_it_goes_and_how_much() -> None:
    text = shown({**UP, "since": time.time() - 3_700})
    assert "Connected to amsterdam by AmneziaWG" in text
    assert "[2001:db8::7]:443" in text
    assert "1 h 1 min" in text
    assert "12.0 Mbit/s   1.2 MB in all" in text
    assert "1.0 kbit/s   999 B in all" in text


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        ("connecting", "Connecting"),
        ("waiting", "No node answers"),
        ("offline", "No network"),
        ("captive", "log in"),
        ("down", "Not connected"),
    ],
)
def test_other_phases_say_what_they_are(phase: str, says: str) -> None:
    text = shown({**UP, "phase": phase, "detail": "because"})
    assert says in text
    assert "because" in text
    assert "amsterdam" not in text


def test_kill_switch_is_told_of_a_whole_machine_alone() -> None:
    assert "kill switch" not in shown(UP)
    assert "nothing leaves outside the tunnel" in shown({**UP, "system": True, "kill_switch": True})


def test_rates_become_bars_on_one_scale() -> None:
    rates = Rates()
    for value in (0, 50, 100):
        rates.take({"receive_rate": value, "send_rate": value / 2})
    assert rates.lines() == (" ▅█", " ▃▅")
    assert "▅█" in shown(UP, rates)


def test_numbers_are_as_people_say_them() -> None:
    assert [rate(each) for each in (0, 124, 1_250, 12_500_000, 1.25e9)] == [
        "0 bit/s",
        "992 bit/s",
        "10.0 kbit/s",
        "100 Mbit/s",
        "10.0 Gbit/s",
    ]
    assert [octets(each) for each in (0, 999, 1_500, 150_000, 2_000_000_000_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "150 kB",
        "2.0 TB",
    ]
    assert [duration(each) for each in (-1, 59, 61, 7_260, 90_000)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "2 h 1 min",
        "1 d 1 h",
    ]


def test_events_are_sentences() -> None:
    reality = {"name": "oslo", "protocol": VLESS_REALITY}
    assert sentence({"kind": "connected", **reality, "seconds": 0.25}) == "oslo lets us in by REALITY, after 250 ms"
    assert sentence({"kind": "failed", **reality, "why": "no answer"}) == "oslo by REALITY did not work: no answer"
    assert sentence({"kind": "lost", **reality, "why": "it is silent"}) == "Lost oslo: it is silent"
    assert "caravel up --node NAME" in sentence({"kind": "unknown-node", "names": ["x"]})
    assert sentence({"kind": "of-a-later-version"}) == "of-a-later-version"
