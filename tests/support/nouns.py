"""Asking helm's REST API as the operator does, record by record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from pharos.helm.web.app import make_operator_app
from tests.support.helm import SampleHelm, node_request, open_helm, relay_request
from tests.support.http import asking

API = "/api/v1"


@asynccontextmanager
async def operator(tmp_path: Path) -> AsyncIterator[tuple[SampleHelm, httpx.AsyncClient]]:
    """Open a helm, and ask it as who holds the Unix socket."""
    async with open_helm(tmp_path) as helm, asking(make_operator_app(helm.context)) as client:
        yield helm, client


def match(version: int) -> dict[str, str]:
    """The version that was seen."""
    return {"If-Match": f'"{version}"'}


def node_body(**changes: Any) -> dict[str, Any]:
    """A machine that asks to become a node."""
    return {
        "request": node_request().render(),
        "name": "amsterdam",
        "address": "203.0.113.7",
        "control_port": 7443,
        "awg_port": 443,
        "tags": ["eu"],
    } | changes


def relay_body(**changes: Any) -> dict[str, Any]:
    """A machine that asks to become a relay."""
    return {
        "request": relay_request().render(),
        "name": "gate",
        "address": "gate.example",
        "ingress_port": 443,
        "tunnel_port": 7444,
    } | changes


async def names(client: httpx.AsyncClient, noun: str, **query: Any) -> list[str]:
    """Return the names of a list, which is one page."""
    answer = await client.get(f"{API}/{noun}", params=query)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["cursor"] is None
    assert page["total"] == len(page["items"])
    return [item["name"] for item in page["items"]]
