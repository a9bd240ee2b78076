"""helm's task tree, whole: store ⊃ hub ⊃ links ⊃ edges; nesting is order of death."""

from __future__ import annotations

import datetime
import functools
import logging

import trio

from pharos.helm.alerts.disk import store_alarm
from pharos.helm.audit.checkpoints import run_checkpoints
from pharos.helm.audit.pruning import run_pruning
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.vault import open_vault
from pharos.helm.config import HelmConfig
from pharos.helm.context import HelmContext
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.expiry import run_expiry
from pharos.helm.fleet.link import NodeLinks
from pharos.helm.fleet.supervisor import run_supervisor
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.follow import run_feed
from pharos.helm.live.hub import Hub
from pharos.helm.relay.cuts import run_cuts
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.relay.link import RelayLinks
from pharos.helm.store.copies import run_copies
from pharos.helm.store.database import open_store
from pharos.helm.store.fleet import get_fleet, next_term
from pharos.helm.store.watch import watch_store
from pharos.helm.telemetry import retention as telemetry
from pharos.helm.web.app import make_loopback_app, make_operator_app, serve_loopback, serve_operator
from pharos.wire.files import lock_state_directory, open_state_directory

log = logging.getLogger(__name__)


async def run_helm(config: HelmConfig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run helm until cancelled. ``started`` is called when its web edge answers; links come up as they can.

    Raises: StateFileError — another helm runs here, or a state file is damaged. NotInitialisedError.
    """
    state = open_state_directory(config.state)
    with lock_state_directory(state), open_store(state) as store:
        authority = await store.run(load_authority, open_vault(state), now=datetime.datetime.now(datetime.UTC))
        fleet = await store.run(get_fleet)
        term = await store.run(next_term)
        hub = Hub()
        board = Board(hub)
        context = HelmContext(
            store=store, authority=authority, vault=open_vault(state), board=board, hub=hub, started_at=now_us()
        )
        node_links = NodeLinks(
            store=store,
            authority=authority,
            desired=DesiredFleet(store),
            board=board,
            hub=hub,
            ingest=context.ingest,
            epoch=fleet.epoch,
            term=term,
        )
        passages = PassageEdge(context)
        relay_links = RelayLinks(authority=authority, edge=passages, board=board)
        async with trio.open_nursery() as feed_nursery:
            await feed_nursery.start(run_feed, store, hub)
            await feed_nursery.start(run_cuts, store, passages.online)
            feed_nursery.start_soon(context.ingest.run, store)
            feed_nursery.start_soon(telemetry.run_pruning, store)
            feed_nursery.start_soon(watch_store, store, store_alarm(store, hub))
            feed_nursery.start_soon(run_copies, store, fleet.posture)
            feed_nursery.start_soon(run_expiry, store)
            feed_nursery.start_soon(run_checkpoints, store, authority)
            feed_nursery.start_soon(run_pruning, store, authority, fleet.posture)
            async with trio.open_nursery() as link_nursery:
                link_nursery.start_soon(
                    functools.partial(
                        run_supervisor, store, board, dial_node=node_links.dial, dial_relay=relay_links.dial
                    )
                )
                async with trio.open_nursery() as edge_nursery:
                    hosts = {f"{name}:{config.web_port}" for name in ("localhost", "127.0.0.1", "[::1]")}
                    await edge_nursery.start(serve_operator, make_operator_app(context), state)
                    await edge_nursery.start(
                        serve_loopback, make_loopback_app(context, hosts), config.web_host, config.web_port
                    )
                    log.info("helm of fleet %s: http://%s:%d", fleet.id, config.web_host, config.web_port)
                    task_status.started()
