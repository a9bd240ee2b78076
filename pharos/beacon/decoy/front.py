"""The decoy as a beacon's listeners use it: what makes their streams, and what serves those of strangers."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable

import attrs
import trio

from pharos.beacon.config import BeaconConfig
from pharos.beacon.decoy.certificate import operators_certificate, own_certificate
from pharos.beacon.decoy.door import DecoyStream, Door
from pharos.beacon.decoy.http1 import last_answer
from pharos.beacon.decoy.site import Site, load_site
from pharos.beacon.decoy.visits import show_site
from pharos.wire.rpc.secure import SecureStream
from pharos.wire.world import wall_seconds

log = logging.getLogger(__name__)


@attrs.frozen
class Decoy:
    """An ordinary HTTPS site, for all ports of one beacon together."""

    transport: Door
    """For `serve_tls`."""
    site: Site

    async def serve(self, stream: SecureStream) -> bool:
        """Serve the visit if this is a stranger's; False if it is the fleet's business."""
        if not isinstance(stream, DecoyStream):
            return False
        await show_site(stream, self.site)
        return True


def make_decoy(config: BeaconConfig, *, own_name: str, wall: Callable[[], datetime.datetime]) -> Decoy:
    """Read what the decoy shows; members ask for ``own_name``. Blocks on files.

    Raises: ConfigError — the site or the operator's certificate cannot be read. StateFileError — our own is damaged.
    """
    site = load_site(config.decoy_site, server=config.decoy_server)
    now = trio.current_time()
    if config.decoy_certificate:
        certificate = operators_certificate(config.decoy_certificate, config.decoy_key, now=now)
    else:
        certificate = own_certificate(config.state, wall=wall, now=now)
    log.info("strangers are shown a site of %d pages", len(site.pages))
    door = Door(
        own_name,
        lambda: certificate.context(trio.current_time()),
        plain_answer=lambda: last_answer(site.error(400, now=wall_seconds())),
    )
    return Decoy(door, site)
