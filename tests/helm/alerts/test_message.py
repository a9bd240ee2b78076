"""One message of however many alerts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pharos.helm.alerts.message import MOST_LINES, Tone, compose
from pharos.helm.model.alerts import News, Severity
from tests.support.alerts import sample_alert, sample_pending


def test_single_alert_is_its_own_title() -> None:
    message = compose([sample_pending(1)], 1000)
    assert message.title == "Pharos: critical: node n1 does not answer"
    assert message.body == "CRITICAL node n1 does not answer (unreachable, 2027-01-15T08:00Z, alert-001)"
    assert message.tone is Tone.FAILURE


def test_gravest_is_first_and_what_is_over_is_last() -> None:
    items = [
        sample_pending(1, News.RESOLVED),
        sample_pending(2, alert=sample_alert(2, severity=Severity.INFO)),
        sample_pending(3, alert=sample_alert(3, severity=Severity.WARNING)),
        sample_pending(4),
    ]
    message = compose(items, 10_000)
    assert message.title == "Pharos: 3 alerts, 1 resolved"
    assert [line.split()[0] for line in message.body.splitlines()] == ["CRITICAL", "WARNING", "INFO", "RESOLVED"]


def test_alert_that_is_over_already_is_told_as_over_only() -> None:
    message = compose([sample_pending(1), sample_pending(1, News.RESOLVED)], 1000)
    assert (message.title, message.tone) == ("Pharos: resolved: node n1 does not answer", Tone.SUCCESS)
    assert message.body.count("\n") == 0


def test_thousand_alerts_are_a_screen_and_a_number() -> None:
    message = compose([sample_pending(number) for number in range(1000)], 10**6)
    assert message.title == "Pharos: 1000 alerts"
    assert message.body.splitlines()[-1] == f"… {1000 - MOST_LINES} more: helm alerts list"


def test_name_of_a_node_breaks_no_line() -> None:
    message = compose([sample_pending(1, alert=sample_alert(1, text="node a\r\nBcc: b@example.org"))], 1000)
    assert "\n" not in message.title + message.body


@given(count=st.integers(1, 60), room=st.integers(0, 5_000), text=st.text(max_size=400))
def test_message_has_no_more_characters_than_its_reader_takes(count: int, room: int, text: str) -> None:
    items = [sample_pending(number, alert=sample_alert(number, text=text)) for number in range(count)]
    message = compose(items, room)
    assert len(message.title) + len(message.body) <= room
