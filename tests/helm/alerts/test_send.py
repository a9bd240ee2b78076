"""Handing a message to a service: what is taken for one, what it says, and what is never said."""

from __future__ import annotations

import functools

import pytest
import trio

from pharos.helm.alerts.message import TEST, Message
from pharos.helm.alerts.send import MAX_URL, MOST_ROOM, send, service_of
from pharos.helm.errors import InvalidRequestError
from tests.support.webhook import running_mail_server, running_webhook


def a_test(_room: int) -> Message:
    return TEST


@pytest.mark.parametrize("url", ["json://example.org/x", "JSONS://u:p@example.org/x", "discord://1/2"])
def test_service_is_known_by_its_scheme(url: str) -> None:
    assert service_of(url) == url.partition(":")[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "canary://canary-token/x",
        "slack://canary-token",
        "jsons://example.org/" + "x" * MAX_URL,
        "jsons://example.org/\n",
        "syslog://canary-token",
        "dbus://canary-token",
        "windows://canary-token",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_service_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        service_of(url)
    assert "canary-token" not in str(refused.value)
    assert "passwd" not in str(refused.value)


async def test_message_is_as_long_as_the_service_takes() -> None:
    rooms: list[int] = []

    def compose(room: int) -> Message:
        rooms.append(room)
        return TEST

    async with running_webhook() as hook:
        assert await trio.to_thread.run_sync(send, hook.url, compose) == ""
    assert rooms == [MOST_ROOM]
    assert (hook.received[0]["title"], hook.received[0]["type"]) == (TEST.title, "info")


async def test_mail_arrives() -> None:
    async with running_mail_server() as (port, messages):
        url = (
            f"mailto://user:word@127.0.0.1:{port}?smtp=127.0.0.1&from=helm@example.org&to=ops@example.org&mode=insecure"
        )
        with trio.fail_after(20):
            assert await trio.to_thread.run_sync(send, url, a_test) == ""
    (message,) = messages
    assert "Subject: Pharos: a test" in message
    assert "To: ops@example.org" in message


async def test_service_that_sends_elsewhere_is_not_followed() -> None:
    async with running_webhook(status=307) as hook:
        reason = await trio.to_thread.run_sync(functools.partial(send, hook.url, a_test))
    assert "307" in reason
    assert len(hook.received) == 1


def test_bug_of_a_service_is_a_reason_and_ends_nothing() -> None:
    def broken(_room: int) -> Message:
        return Message(title=None, body=None, tone=TEST.tone)  # type: ignore[arg-type]

    assert send("json://127.0.0.1:9/", broken) != ""
