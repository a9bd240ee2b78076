"""One name for the page: browsers that came by an address go on as localhost, for passkeys belong to names."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final

from quart import Response, request
from quart_trio import QuartTrio

NAME: Final = "localhost"


def prefer_name(app: QuartTrio, hosts: Collection[str], *, scheme: str = "http") -> None:
    """Send a browser that opens the page at an address to the same page at ``localhost``, if that is ours as well.

    What stands behind ``#``, a one-time link for instance, browsers carry over by themselves (Fetch §4.4).
    """

    @app.before_request
    async def go_on() -> Response | None:
        # Programs and the page's own requests stay where they are: only a person's navigation changes its address.
        if request.endpoint != "spa.spa" or request.headers.get("Sec-Fetch-Mode") != "navigate":
            return None
        name, _, port = request.host.rpartition(":")
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return None
        if f"{NAME}:{port}" not in hosts:
            return None
        path = request.full_path if request.query_string else request.path
        return Response(b"", status=307, headers={"Location": f"{scheme}://{NAME}:{port}{path}"})
