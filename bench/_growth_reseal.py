"""How long it takes to seal all profiles of a fleet anew, outside a helm that has other things to do."""

from __future__ import annotations

import datetime
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from bench._fleet_record import Nobody, prepare, rename_nodes
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import open_vault
from pharos.helm.profiles.reseal import reseal
from pharos.helm.store.database import open_store

NODES: Final = 10


def measure_reseal(bundles: int) -> float:
    """Return the seconds of sealing so many bundles, after a node of everybody's was renamed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, nodes=NODES, devices=bundles)
        return trio.run(_reseal, folder / "helm")


async def _reseal(state: Path) -> float:
    with open_store(state) as store:
        now = datetime.datetime.now(datetime.UTC)
        authorities = LiveAuthority(await store.run(load_authority, open_vault(state), now=now))
        await store.run(rename_nodes)
        began = time.perf_counter()
        await reseal(store, authorities, Nobody())
        return time.perf_counter() - began
