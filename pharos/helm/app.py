"""helm's task tree, whole: store ⊃ hub ⊃ links ⊃ edges; nesting is order of death."""

from __future__ import annotations

import functools
import logging

import trio

from pharos.helm.alerts.deliver import run_deliveries
from pharos.helm.alerts.disk import store_alarm
from pharos.helm.alerts.watch import run_alerts
from pharos.helm.anomalies.watch import run_anomalies
from pharos.helm.audit.checkpoints import run_checkpoints
from pharos.helm.audit.pruning import run_pruning
from pharos.helm.backup.reading import FirstReading
from pharos.helm.backup.scratch import sweep
from pharos.helm.ca.authority import load_authority
from pharos.helm.ca.live import LiveAuthority
from pharos.helm.ca.vault import open_vault
from pharos.helm.config import HelmConfig
from pharos.helm.context import HelmContext
from pharos.helm.fleet.care import NodeCare
from pharos.helm.fleet.desired import DesiredFleet
from pharos.helm.fleet.endpoints import run_endpoints
from pharos.helm.fleet.expiry import run_expiry
from pharos.helm.fleet.lease import Lease
from pharos.helm.fleet.link import NodeLinks
from pharos.helm.fleet.reach import run_reach
from pharos.helm.fleet.reissue import run_reissues
from pharos.helm.fleet.supervisor import run_supervisor
from pharos.helm.fleet.trust import TrustSource
from pharos.helm.fleet.wake import Wakes
from pharos.helm.live.board import Board, now_us
from pharos.helm.live.follow import run_feed
from pharos.helm.live.hub import Hub
from pharos.helm.onboard.upgrade.health import HelmDesk
from pharos.helm.onboard.upgrade.runs import helm_connect
from pharos.helm.profiles.leases import run_leases
from pharos.helm.profiles.outdated import run_outdated
from pharos.helm.profiles.reseal import run_reseal
from pharos.helm.relay.aboard import come_aboard
from pharos.helm.relay.adminweb import Desk
from pharos.helm.relay.cuts import run_cuts
from pharos.helm.relay.edge import PassageEdge
from pharos.helm.relay.link import RelayLinks
from pharos.helm.siem.ship import run_sinks
from pharos.helm.store.copies import run_copies
from pharos.helm.store.database import open_store
from pharos.helm.store.fleet import get_fleet
from pharos.helm.store.reissues import previous_endpoints
from pharos.helm.store.settings import setting
from pharos.helm.store.watch import watch_store
from pharos.helm.telemetry import retention as telemetry
from pharos.helm.trust.renewals import run_own_renewal
from pharos.helm.trust.rotation import run_rotation
from pharos.helm.web.app import desk_app, make_loopback_app, make_operator_app, serve_operator, serve_page
from pharos.wire.files import lock_state_directory, open_state_directory
from pharos.wire.world import utc_now

log = logging.getLogger(__name__)


async def run_helm(
    config: HelmConfig, *, edges: bool = True, task_status: trio.TaskStatus[HelmContext] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run helm until cancelled. ``started`` is called with what it runs on when its web edge answers.

    Links come up as they can. Without ``edges`` neither its page nor the operator's socket is served: so several can
    live in one process, and on virtual time, which waits for no real socket.

    Raises: StateFileError — another helm runs here, or a state file is damaged. NotInitialisedError.
    """
    state = open_state_directory(config.state)
    with lock_state_directory(state), open_store(state) as store:
        sweep(state)
        vault = open_vault(state)
        authority = await store.run(load_authority, vault, now=utc_now())
        authorities = LiveAuthority(authority)
        fleet = await store.run(get_fleet)
        lease = await store.run(Lease.take)
        hub = Hub()
        board = Board(hub)
        plan = config.aboard(fleet.posture)
        context = HelmContext(
            store=store,
            authorities=authorities,
            vault=vault,
            board=board,
            hub=hub,
            started_at=now_us(),
            beacon_warning="" if plan is None else plan.warning,
        )
        trust = TrustSource(store, authorities)
        first = FirstReading(store, authorities, epoch=fleet.epoch)
        node_links = NodeLinks(
            store=store,
            authorities=authorities,
            desired=DesiredFleet(store, previous_of=previous_endpoints),
            board=board,
            hub=hub,
            ingest=context.ingest,
            lease=lease,
            epoch=lambda: first.epoch,
            trust=trust.current,
            first=first,
            care=NodeCare(store, authorities),
        )
        wakes = Wakes()
        page = make_loopback_app(context, config.web_hosts, tls=config.web_tls)
        desk = Desk(store, desk_app(page, context, config), config.desk_host)
        passages = PassageEdge(context, desk)
        aboard = await come_aboard(plan, state=state, context=context)
        relay_links = RelayLinks(authorities=authorities, edge=passages, board=board, aboard=aboard)
        async with trio.open_nursery() as feed_nursery:
            await feed_nursery.start(run_feed, store, hub)
            await feed_nursery.start(run_cuts, store, passages.online, desk)
            feed_nursery.start_soon(context.ingest.run, store)
            feed_nursery.start_soon(context.pulse.run)
            feed_nursery.start_soon(telemetry.run_pruning, store)
            feed_nursery.start_soon(watch_store, store, store_alarm(store, hub))
            feed_nursery.start_soon(run_copies, store, functools.partial(store.read, setting, "copies.hourly"))
            feed_nursery.start_soon(run_anomalies, store, context.tries, config.geoip)
            feed_nursery.start_soon(run_expiry, store, wakes)
            feed_nursery.start_soon(run_deliveries, store, vault)
            feed_nursery.start_soon(run_sinks, store, vault)
            feed_nursery.start_soon(run_checkpoints, store, authorities)
            feed_nursery.start_soon(run_pruning, store, authorities)
            async with trio.open_nursery() as link_nursery:
                link_nursery.start_soon(
                    functools.partial(
                        run_supervisor,
                        store,
                        board,
                        dial_node=node_links.dial,
                        dial_relay=relay_links.dial,
                        wakes=wakes,
                    )
                )
                link_nursery.start_soon(node_links.stir.run, store, authorities, node_links.desired, board)
                link_nursery.start_soon(node_links.acks.run, store)
                link_nursery.start_soon(wakes.run)
                link_nursery.start_soon(run_reissues, store)
                link_nursery.start_soon(run_endpoints, store, board)
                link_nursery.start_soon(run_leases, store)
                link_nursery.start_soon(run_reseal, store, authorities, passages)
                link_nursery.start_soon(run_outdated, store)
                link_nursery.start_soon(run_own_renewal, store, authorities, context.vault, wakes)
                link_nursery.start_soon(run_rotation, store, authorities, context.vault)
                link_nursery.start_soon(run_reach, board, wakes)
                link_nursery.start_soon(run_alerts, store, board, wakes)
                await link_nursery.start(context.onboardings.run, store, authorities, context.board, state)
                link_nursery.start_soon(context.upgrades.run, HelmDesk(context), helm_connect(state))
                async with trio.open_nursery() as edge_nursery:
                    if edges:
                        await edge_nursery.start(serve_operator, make_operator_app(context), state)
                        await edge_nursery.start(serve_page, page, context, config)
                        address = f"{config.scheme}://{config.web_host}:{config.web_port}"
                        log.info("helm of fleet %s: %s", fleet.id, address)
                    task_status.started(context)
