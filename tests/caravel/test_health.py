"""A node that is silent after data is asked, and taken for gone within three seconds; an idle one is left in peace."""

from __future__ import annotations

import attrs

from pharos.caravel.tunnel.health import GONE_AFTER, IDLE_ASK, LOOK_EVERY, Health, Sign
from pharos.wire.awg.events import PeerStatus

WELL = PeerStatus(
    public_key=b"k" * 32,
    endpoint=("203.0.113.7", 443),
    last_handshake_ns=1,
    session_age=1.0,
    received_bytes=1000,
    sent_bytes=1000,
)
SILENT = attrs.evolve(WELL, unanswered=True)


def looks(health: Health, status: PeerStatus, *, begin: float, seconds: float) -> list[tuple[float, Sign]]:
    """Look for so long, and return what was not `Sign.WELL`, and when."""
    found = []
    for number in range(1, round(seconds / LOOK_EVERY) + 1):
        now = begin + number * LOOK_EVERY
        sign = health.look(status, now)
        if sign is not Sign.WELL:
            found.append((now - begin, sign))
    return found


def test_node_that_is_silent_after_data_is_asked_and_then_gone() -> None:
    found = looks(Health(WELL, 0.0), SILENT, begin=0.0, seconds=4)
    signs = [sign for _, sign in found]
    assert signs[:2] == [Sign.ASK, Sign.ASK]
    assert signs.count(Sign.KNOCK) == 1
    first = next(at for at, sign in found if sign is Sign.GONE)
    assert first <= LOOK_EVERY + GONE_AFTER


def test_answer_ends_the_silence() -> None:
    health = Health(WELL, 0.0)
    looks(health, SILENT, begin=0.0, seconds=2.5)
    heard = attrs.evolve(WELL, received_bytes=1100)
    assert health.look(heard, 3.0) is Sign.WELL
    assert health.heard_at == 3.0
    assert looks(health, heard, begin=3.0, seconds=20) == []


def test_idle_line_is_asked_now_and_then_and_no_more() -> None:
    health = Health(WELL, 0.0)
    found = looks(health, WELL, begin=0.0, seconds=2 * IDLE_ASK + 1)
    assert found == [(IDLE_ASK, Sign.ASK), (2 * IDLE_ASK, Sign.ASK)]


def test_peer_that_cannot_be_asked_is_only_knocked_at() -> None:
    health = Health(WELL, 0.0, asks=False)
    assert looks(health, WELL, begin=0.0, seconds=100) == []
    assert {sign for _, sign in looks(health, SILENT, begin=100.0, seconds=4)} == {Sign.KNOCK, Sign.GONE}


def test_peer_that_was_dialled_anew_has_said_nothing_yet() -> None:
    health = Health(WELL, 0.0)
    health.restart()
    anew = attrs.evolve(WELL, received_bytes=0, sent_bytes=0, session_age=None)
    assert looks(health, anew, begin=0.0, seconds=4)[-1][1] is Sign.GONE
    # As many octets as before, by chance, and all of them are news.
    assert health.look(attrs.evolve(anew, received_bytes=1000, session_age=0.0), 5.0) is Sign.WELL


def test_after_a_change_of_network_an_answer_is_due() -> None:
    health = Health(WELL, 0.0)
    health.expect(0.0)
    assert looks(health, WELL, begin=0.0, seconds=GONE_AFTER)[-1][1] is Sign.GONE
