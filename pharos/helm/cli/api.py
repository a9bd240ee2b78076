"""How commands reach helm: by its Unix socket while it runs, else by the same application in this process."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pharos.helm.config import SOCKET_NAME
from pharos.wire.console import CommandError, Exit
from pharos.wire.files import open_state_directory
from pharos.wire.units import SECONDS

# The two take a third of a second to import, and `--help` or an argument that is wrong needs neither.
if TYPE_CHECKING:
    import httpx

# An act is one durable transaction; a busy disk may take seconds.
TIMEOUT: Final = 30 * SECONDS
BASE: Final = "http://helm"

_CODES: Final = {
    HTTPStatus.CONFLICT: Exit.CONFLICT,
    HTTPStatus.FORBIDDEN: Exit.REFUSED,
    HTTPStatus.UNAUTHORIZED: Exit.REFUSED,
    HTTPStatus.SERVICE_UNAVAILABLE: Exit.UNREACHABLE,
}


def call(
    state: Path, method: str, path: str, body: dict[str, Any] | None = None, *, version: int | None = None
) -> dict[str, Any]:
    """Ask helm of this state directory for one act; blocks. ``version`` is that of the record that the act is about.

    Raises: CommandError — helm said no or went away, with the exit code that fits. NotInitialisedError — no fleet.
    """
    import trio

    return trio.run(ask, state, method, path, body, version)


async def ask(
    state: Path, method: str, path: str, body: dict[str, Any] | None = None, version: int | None = None
) -> dict[str, Any]:
    """Do as ``call``, in a program that runs Trio already.

    Raises: CommandError, NotInitialisedError.
    """
    return _read(await _answer(open_state_directory(state), method, path, body, version))


async def ask_running(state: Path, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Do as ``ask``, of a helm that runs and of nobody in its stead: for what only such a one can know.

    Raises: CommandError — none runs, too; NotInitialisedError.
    """
    response = await _from_running(open_state_directory(state), method, path, body, None)
    if response is None:
        raise CommandError("helm has to run for this, and does not: helm run", Exit.UNREACHABLE)
    return _read(response)


def _read(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"helm answered {response.status_code}"
    raise CommandError(detail, _CODES.get(HTTPStatus(response.status_code), Exit.FAILED))


async def _answer(
    state: Path, method: str, path: str, body: dict[str, Any] | None, version: int | None
) -> httpx.Response:
    response = await _from_running(state, method, path, body, version)
    if response is not None:
        return response
    # A helm that does not run is asked in this process. Its web stack takes longer to import than most acts take, so
    # only who needs it pays.
    from pharos.helm.cli.offline import open_offline

    async with open_offline(state) as transport:
        return await _send(transport, method, path, body, version)


async def _from_running(
    state: Path, method: str, path: str, body: dict[str, Any] | None, version: int | None
) -> httpx.Response | None:
    """Return the answer of a helm that runs; None if none does. A helm that was killed leaves its socket."""
    import httpx

    socket = state / SOCKET_NAME
    if not socket.is_socket():
        return None
    # A Unix socket has no TLS; to read whom this machine trusts, as httpx does, would take longer than the asking.
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=nobody)
    try:
        return await _send(transport, method, path, body, version)
    except httpx.ConnectError:
        # Who asks in this process takes a lock, which tells whether one lives after all.
        return None
    except httpx.TransportError as error:
        # It may have acted, so the act is not repeated behind the operator's back.
        why = f"helm went away before it answered ({error}); see what it did, then try again"
        raise CommandError(why, Exit.UNREACHABLE) from error


async def _send(
    transport: httpx.AsyncBaseTransport, method: str, path: str, body: dict[str, Any] | None, version: int | None
) -> httpx.Response:
    import httpx

    headers = {} if version is None else {"If-Match": f'"{version}"'}
    async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=TIMEOUT) as client:
        return await client.request(method, path, json=body, headers=headers)
