"""From a request of an admin's device to the ASGI scope of helm's page: what may be said, and nothing else.

caravel has met the browser and judged its Host and Origin (`pharos.caravel.admin.guard`). A device is free to be
another program, so what it says is judged again here: helm names the host itself, and passes on no header that is not
listed.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pharos.helm.model.desk import EXTENSION, AdminDevice
from pharos.wire.gen.pharos.account.v1 import admin_pb2 as pb
from pharos.wire.units import KIB

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
HEADERS: Final = frozenset(
    {
        *("accept", "accept-language", "authorization", "content-type", "cookie", "user-agent"),
        *("if-match", "if-none-match", "idempotency-key", "x-pharos-csrf"),
        *("sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"),
    }
)
"""What helm's page and API read. No Host, no Forwarded of any kind, no Connection and no length: those are helm's."""
COOKIES: Final = "pharos_"
"""What the names of helm's own cookies begin with: the browser sends those of every port of its machine."""
MAX_BODY: Final = 256 * KIB
"""As on loopback."""
MAX_TARGET: Final = 8 * KIB
MAX_VALUE: Final = 8 * KIB
_TARGET: Final = re.compile(r"/[!-~]*")
_VALUE: Final = re.compile(r"[ -~\x80-\xff\t]*")


def make_scope(request: pb.HttpRequest, device: AdminDevice, host: str) -> dict[str, Any]:
    """Return the scope of a request that came over the passage of ``device``, as one to ``host``.

    Raises: GRPCError — INVALID_ARGUMENT: no such request is ours to serve.
    """
    method, target = request.method, request.target
    if method not in METHODS or (request.websocket and method != "GET"):
        raise _refusal("this method is none of the desk's")
    if len(target) > MAX_TARGET or not _TARGET.fullmatch(target) or "#" in target:
        raise _refusal("this target is no path of the desk's")
    if len(request.body) > MAX_BODY or (request.websocket and request.body):
        raise _refusal(f"a body has at most {MAX_BODY} octets")
    path, _, query = target.partition("?")
    name, _, port = host.partition(":")
    scope: dict[str, Any] = {
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", host.encode()), *_headers(request)],
        "client": (str(device.device_id), 0),
        "server": (name, int(port)),
        "state": {"browser_certificate": device.bound},
        "extensions": {EXTENSION: device},
    }
    if request.websocket:
        scope["extensions"]["websocket.http.response"] = {}
        return scope | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    length = [(b"content-length", str(len(request.body)).encode())] if request.body else []
    return scope | {"type": "http", "scheme": "http", "method": method, "headers": scope["headers"] + length}


def _headers(request: pb.HttpRequest) -> list[tuple[bytes, bytes]]:
    kept: dict[str, str] = {}
    for header in request.headers:
        if header.name not in HEADERS or header.name in kept:
            continue
        if len(header.value) > MAX_VALUE or not _VALUE.fullmatch(header.value):
            raise _refusal(f"header {header.name} does not fit")
        value = _own_cookies(header.value) if header.name == "cookie" else header.value
        if value:
            kept[header.name] = value
    return [(name.encode(), value.encode("latin-1")) for name, value in kept.items()]


def _own_cookies(value: str) -> str:
    return "; ".join(part for part in map(str.strip, value.split(";")) if part.startswith(COOKIES))


def _refusal(why: str) -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, why)
