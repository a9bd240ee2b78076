"""What commands do at the desk: sign in, look at the fleet at a glance, and the few acts that cannot wait."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import attrs

from pharos.caravel.admin.kept import LIFETIME, SESSION_COOKIE, SignedIn
from pharos.caravel.admin.link import Headers, Lane, Request
from pharos.caravel.errors import DeskError, NoAnswerError, NotSignedInError
from pharos.wire.units import MIB
from pharos.wire.world import utc_now

API: Final = "/api/v1"
AGENT: Final = "caravel admin"
MAX_ANSWER: Final = 16 * MIB
"""A page of 500 devices is a third of one."""
_PAGE: Final = 500
Json = dict[str, Any]


@attrs.frozen(kw_only=True)
class _Answered:
    status: int
    headers: Headers
    body: Json


class DeskSession:
    """Somebody at the desk, by one call.

    Everything raises DeskError where helm says no, NotSignedInError where it wants another sign-in, and what a
    lane raises.
    """

    def __init__(self, lane: Lane, signed: SignedIn) -> None:
        self._lane = lane
        self._signed = signed

    async def get(self, path: str, **query: str) -> Json:
        """Read."""
        return await self._ask("GET", f"{API}/{path}" + (f"?{urlencode(query)}" if query else ""))

    async def glance(self) -> Json:
        """Return the fleet at a glance."""
        picture = await self.get("status")
        alerts = await self.get("alerts", state="open", limit="20", sort="-created_at")
        sessions = await self.get("sessions", live="true", limit="1")
        return {
            "fleet": picture["fleet"]["id"],
            "version": picture["version"],
            "nodes": _counted(picture["nodes"]),
            "relays": _counted(picture["relays"]),
            "open_alerts": alerts["total"],
            "alerts": [{name: alert[name] for name in ("severity", "kind", "text")} for alert in alerts["items"]],
            "sessions": sessions["total"],
        }

    async def devices(self) -> list[Json]:
        """Return every device."""
        found: list[Json] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get("devices", limit=str(_PAGE), **cursor)
            found += page["items"]
            if not page["cursor"]:
                return found
            cursor = {"cursor": page["cursor"]}

    async def move(self, wanted: str, verb: str) -> Json:
        """Disable, enable or revoke the device with that id or name.

        Raises: DeskError — there is none, or there are several, or its state does not allow it.
        """
        found = (await self.get("devices", id=wanted))["items"] or (await self.get("devices", name=wanted))["items"]
        live = [device for device in found if device["state"] != "revoked"] or found
        if not live:
            raise DeskError(404, f"there is no device {wanted!r}; see: caravel admin devices")
        if len(live) > 1:
            ids = ", ".join(device["id"] for device in live)
            raise DeskError(409, f"{wanted!r} is the name of {len(live)} devices: {ids}")
        return await self._ask(
            "POST",
            f"{API}/devices/{quote(live[0]['id'], safe='')}/{verb}",
            ("if-match", f'"{live[0]["version"]}"'),
        )

    async def invite(self, name: str, *, user: str | None, seconds: int) -> Json:
        """Write a ticket for a new device; its link is in the answer, and is shown once."""
        body: Json = {"device_name": name, "seconds": seconds}
        if user is not None:
            body["user"] = await self._user(user)
        return await self._ask("POST", f"{API}/tickets", body=body)

    async def _user(self, wanted: str) -> str:
        alike = (await self.get("users", q=wanted, limit=str(_PAGE)))["items"]
        found = [user["id"] for user in alike if user["name"] == wanted]
        # Names are unique. What is no name is an id, and helm says if it is none.
        return found[0] if found else wanted

    async def sign_out(self) -> None:
        """End the session; a token goes on."""
        if not self._signed.token:
            await self._ask("DELETE", f"{API}/session")

    async def _ask(self, method: str, target: str, *headers: tuple[str, str], body: Json | None = None) -> Json:
        return (await _ask(self._lane, method, target, (*self._signed.headers, *headers), body)).body


async def sign_in(lane: Lane, name: str, password: str, code: str) -> SignedIn:
    """Sign in with name, password and TOTP code.

    Raises: NotSignedInError — one of them is wrong. DeskError.
    """
    answered = await _ask(lane, "POST", f"{API}/session", (), {"name": name, "password": password, "code": code})
    cookies = (value.partition(";")[0].partition("=") for header, value in answered.headers if header == "set-cookie")
    cookie = next((value for cookie_name, _, value in cookies if cookie_name == SESSION_COOKIE), "")
    if not cookie:
        raise NoAnswerError("helm signed this device in and gave no session")
    return SignedIn(
        name=answered.body["name"],
        role=answered.body["role"],
        until=_until(),
        cookie=cookie,
        csrf=answered.body["csrf"],
    )


async def by_token(lane: Lane, token: str) -> SignedIn:
    """Take an API token, once helm has accepted it.

    Raises: NotSignedInError — it is unknown, revoked or expired. DeskError — it is another admin's.
    """
    signed = SignedIn(name="", role="", until=_until(), token=token)
    try:
        # Not what it may do is asked, but whether it is one and whose: of what is not there, nobody is refused.
        await _ask(lane, "GET", "/api/", signed.headers)
    except DeskError as error:
        if error.status != 404:
            raise
    return signed


def _until() -> datetime.datetime:
    return utc_now() + LIFETIME


async def _ask(lane: Lane, method: str, target: str, headers: Headers, body: Json | None = None) -> _Answered:
    content = b"" if body is None else json.dumps(body).encode()
    kind: Headers = () if body is None else (("content-type", "application/json"),)
    request = Request(
        method=method,
        target=target,
        headers=(*headers, *kind, ("user-agent", AGENT), ("accept", "application/json")),
        body=content,
    )
    head = await lane.ask(request)
    received = bytearray()
    async for piece in lane.read_body():
        received += piece
        if len(received) > MAX_ANSWER:
            raise NoAnswerError("helm's answer is too long")
    try:
        read = json.loads(received) if received else {}
    except ValueError as error:
        raise NoAnswerError(f"helm answered {head.status}, and no JSON") from error
    if not isinstance(read, dict):
        raise NoAnswerError(f"helm answered {head.status}, and no JSON object")
    if head.status == 401:
        raise NotSignedInError(f"helm says: {read.get('detail', 'sign in')}; run: caravel admin login")
    if head.status >= 400:
        raise DeskError(head.status, str(read.get("detail", f"helm answered {head.status}")))
    return _Answered(status=head.status, headers=head.headers, body=read)


def _counted(members: list[Mapping[str, Any]]) -> Json:
    """Return how many links are up, and the names of those that are not."""
    down = [member["name"] for member in members if member["link"] != "up"]
    return {"up": len(members) - len(down), "down": down}
