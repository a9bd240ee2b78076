"""Writes the requests of a node's control socket, and reads its replies and events: the manager's side."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

import attrs

from pharos.wire.errors import RemoteProtocolError
from pharos.wire.reality.control import Change, UserChange, told_lines, write_flow, write_place
from pharos.wire.reality.controlread import MAX_REQUEST
from pharos.wire.reality.events import Event, UserConnected, UserDisconnected

END: Final = b"\n\n"
GET: Final = b"get=1\n\n"
WATCH: Final = b"watch=1\n\n"
MAX_REPLY: Final = MAX_REQUEST
"""Octets; a user has 200 of them in a state, and fewer in a request."""


@attrs.frozen(kw_only=True)
class UserCounters:
    """A user in a reply to `get`; what else it says of him is what he was told to be."""

    name: str
    sessions: int
    received_bytes: int
    sent_bytes: int


@attrs.frozen(kw_only=True)
class Seen:
    """What a manager wants to know of a reply to `get`."""

    started_ns: int
    """Of the server; another number is another server, which counts from nothing."""
    listening: tuple[str, ...]
    users: tuple[UserCounters, ...]


def render_change(change: Change) -> bytes:
    """Write a request `set`."""
    return ("\n".join(("set=1", *_lines(change))) + "\n\n").encode()


def parse_errno(reply: bytes) -> int:
    """Return the errno of a whole reply, positive.

    Raises: RemoteProtocolError — there is none.
    """
    _, found, number = reply.removesuffix(END).rpartition(b"errno=")
    if not found or not number.removeprefix(b"-").isdigit():
        raise RemoteProtocolError("control: the reply has no errno at its end")
    return abs(int(number))


def parse_state(reply: bytes) -> Seen:
    """Read a whole reply to `get`; keys of a newer engine are passed over.

    Raises: RemoteProtocolError — a value does not fit.
    """
    listening: tuple[str, ...] = ()
    started_ns = "0"
    users: list[dict[str, str]] = []
    for line in reply.decode("ascii", "replace").splitlines():
        key, _, value = line.partition("=")
        if key == "user":
            users.append({"user": value})
        elif users:
            users[-1][key] = value
        elif key == "started_ns":
            started_ns = value
        elif key == "listen":
            listening = tuple(value.split(",")) if value else ()
    try:
        return Seen(
            started_ns=int(started_ns),
            listening=listening,
            users=tuple(
                UserCounters(
                    name=user["user"],
                    sessions=int(user["sessions"]),
                    received_bytes=int(user["rx_bytes"]),
                    sent_bytes=int(user["tx_bytes"]),
                )
                for user in users
            ),
        )
    except (KeyError, ValueError) as error:
        raise RemoteProtocolError(f"control: a user of the reply does not fit: {error}") from error


def parse_event(text: bytes) -> Event | None:
    """Read one event, without the empty line behind it; None for one of a newer engine.

    Raises: RemoteProtocolError — a value does not fit.
    """
    values = dict(line.partition("=")[::2] for line in text.decode("ascii", "replace").splitlines())
    try:
        match values.get("event"):
            case "connected":
                return UserConnected(
                    name=values["user"],
                    session=int(values["session"]),
                    source=values["source"],
                    at_ns=int(values["at_ns"]),
                )
            case "disconnected":
                return UserDisconnected(
                    name=values["user"],
                    session=int(values["session"]),
                    received_bytes=int(values["rx_bytes"]),
                    sent_bytes=int(values["tx_bytes"]),
                    kicked=values["kicked"] == "true",
                    at_ns=int(values["at_ns"]),
                )
            case _:
                return None
    except (KeyError, ValueError) as error:
        raise RemoteProtocolError(f"control: a value of an event does not fit: {error}") from error


def _lines(change: Change) -> Iterator[str]:
    if change.private_key is not None:
        yield f"private_key={change.private_key.hex()}"
    if change.mldsa65_seed is not None:
        yield f"mldsa65_seed={change.mldsa65_seed.hex()}"
    yield from told_lines(change)
    if change.listen is not None:
        yield f"listen={','.join(map(write_place, change.listen))}"
    if change.replace_users:
        yield "replace_users=true"
    for user in change.users:
        yield from _user_lines(user)


def _user_lines(user: UserChange) -> Iterator[str]:
    yield f"user={user.name}"
    if user.user_id is not None:
        yield f"id={uuid.UUID(bytes=user.user_id)}"
    if user.flow is not None:
        yield f"flow={write_flow(user.flow)}"
    for key in ("send_rate", "receive_rate"):
        if (rate := getattr(user, key)) is not None:
            yield f"{key}={rate}"
    for key in ("remove", "kick"):
        if getattr(user, key):
            yield f"{key}=true"
