"""Which drivers a buoy's settings ask for, made and ready to be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pharos.buoy.config import BuoyConfig
from pharos.buoy.dataplane.base import AwgDriver, OnEvent, RealityDriver
from pharos.buoy.dataplane.embedded import open_embedded_awg
from pharos.buoy.dataplane.reality import make_embedded, make_userspace
from pharos.buoy.dataplane.realityplan import Place, hosts_of


@contextmanager
def open_awg(config: BuoyConfig, *, on_event: OnEvent) -> Iterator[AwgDriver]:
    """Have the AmneziaWG driver while the block lasts.

    Raises: EngineError — the one that was asked for is not there. OSError — a port cannot be had.
    """
    with open_embedded_awg(
        host=config.host, port=config.awg_port, on_event=on_event, interface=config.embedded_interface
    ) as driver:
        yield driver


@contextmanager
def open_reality(config: BuoyConfig, *, on_event: OnEvent) -> Iterator[RealityDriver]:
    """Have the REALITY driver while the block lasts.

    Raises: EngineError — the one that was asked for is not there.
    """
    place = Place(hosts=hosts_of(config.host), allowed=config.reality_allowed)
    if config.reality_driver == "userspace":
        yield make_userspace(place=place, on_event=on_event)
    else:
        yield make_embedded(place=place, on_event=on_event)
