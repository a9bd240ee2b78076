"""The operator's application without a running helm: over the same store, in this process, under the same lock."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx

from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import open_vault
from pharos.helm.context import HelmContext
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.hub import Hub
from pharos.helm.store.database import open_store
from pharos.helm.web.app import make_operator_app
from pharos.wire.files import lock_state_directory


@asynccontextmanager
async def open_offline(state: Path) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Yield a transport that leads to the operator's application.

    Raises: StateFileError — a helm runs here but its socket does not answer. NotInitialisedError — there is no fleet.
    """
    with lock_state_directory(state), open_store(state) as store:
        vault = open_vault(state)
        hub = Hub()
        authority = await store.run(load_authority, vault, now=datetime.datetime.now(datetime.UTC))
        context = HelmContext(
            store=store,
            authorities=LiveAuthority(authority),
            vault=vault,
            board=Board(hub),
            hub=hub,
            started_at=now_us(),
        )
        # Quart types its own ASGI messages more narrowly than httpx does.
        yield httpx.ASGITransport(cast(Any, make_operator_app(context)))
