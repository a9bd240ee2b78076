"""helm, and a node that it can speak to over real TLS."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import trio

from pharos.buoy.control import serve_control
from pharos.buoy.events import EventFeed
from pharos.helm.model.nodes import Node
from pharos.wire.agent import AgentKeys
from pharos.wire.pki.roles import Role
from tests.support.buoy import SampleBuoy, make_buoy
from tests.support.helm import SampleHelm, adopt_sample_node, now
from tests.support.nouns import API, operator


@attrs.frozen
class Fleet:
    helm: SampleHelm
    client: httpx.AsyncClient
    node: Node
    buoy: SampleBuoy

    async def ask(self, act: str, **body: str) -> httpx.Response:
        return await self.client.post(f"{API}/nodes/{self.node.id}/{act}", json=body)


@asynccontextmanager
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """helm, and a node that serves its control port where the record says."""
    for name in ("helm", "buoy"):
        (tmp_path / name).mkdir(mode=0o700)
    async with operator(tmp_path / "helm") as (helm, client), trio.open_nursery() as nursery:
        keys = AgentKeys(tmp_path / "buoy", Role.NODE)
        node, grant = await helm.store.run(adopt_sample_node, helm.authority, request=keys.make_request())
        buoy = make_buoy(tmp_path / "buoy", keys=keys, membership=keys.install(grant, now=now()))
        serve = functools.partial(serve_control, buoy.node, EventFeed(), host="127.0.0.1", port=0)
        host, port = await nursery.start(serve)
        body = {"address": host, "control_port": port}
        headers = {"If-Match": f'"{node.version}"'}
        assert (await client.patch(f"{API}/nodes/{node.id}", json=body, headers=headers)).status_code == 200
        yield Fleet(helm, client, node, buoy)
        nursery.cancel_scope.cancel()
