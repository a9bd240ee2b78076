"""What this device remembers of networks: which ways worked there. A file that may be lost at any time.

Which networks those are the file does not tell: each is named by a hash that is keyed with a salt of the file's own, so
that neither a gateway's address nor an interface can be read off it, nor compared with another device's file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from pharos.caravel.tunnel.select import Experience, Memory, WayKey
from pharos.wire.files import PRIVATE_FILE
from pharos.wire.units import DAYS, MIB
from pharos.wire.world import random_bytes, this_world

log = logging.getLogger(__name__)

FILE_NAME: Final = "networks.json"
MAX_NETWORKS: Final = 64
"""Of a person who travels; the one that was visited longest ago is forgotten."""
MAX_WAYS: Final = 256
"""Of a network: a fleet of a hundred nodes has two hundred."""
FORGET_AFTER: Final = 90 * DAYS
MAX_FILE: Final = 4 * MIB
"""Four times what so many networks and ways take."""
_SALT_OCTETS: Final = 16
_VERSION: Final = 1


@attrs.define
class _Network:
    seen_at: float
    ways: dict[WayKey, Experience] = attrs.field(factory=dict)


class NetworkMemory:
    """Reads the file once, and writes it at each news: some kilobytes, not synced, for nothing depends on it."""

    def __init__(self, path: Path | None = None) -> None:
        """``path`` is the file; None remembers until the program ends."""
        self._path = path
        self._salt = random_bytes(_SALT_OCTETS)
        self._networks: dict[str, _Network] = {}
        if path is not None:
            self._load(path)

    def of(self, network: str) -> Memory:
        """Return how each way did on a network, by its description."""
        kept = self._networks.get(self._name(network))
        return {} if kept is None else dict(kept.ways)

    def note_worked(self, network: str, way: WayKey, now: float, seconds: float) -> None:
        """Remember that a way was up after so many seconds. ``now`` is Unix seconds."""
        self._put(network, now, {way: self.of(network).get(way, Experience()).worked(now, seconds)})

    def note_failed(self, network: str, ways: set[WayKey], now: float) -> None:
        """Remember that these did not lead in, where another did: then it was not the network that was down."""
        memory = self.of(network)
        self._put(network, now, {way: memory.get(way, Experience()).failed(now) for way in ways})

    def _put(self, network: str, now: float, found: Mapping[WayKey, Experience]) -> None:
        name = self._name(network)
        kept = self._networks.pop(name, None) or _Network(seen_at=now)
        kept.seen_at = now
        for way, experience in found.items():
            kept.ways.pop(way, None)
            kept.ways[way] = experience
        while len(kept.ways) > MAX_WAYS:
            kept.ways.pop(next(iter(kept.ways)))
        # The last visited stands last.
        self._networks[name] = kept
        for old in [name for name, one in self._networks.items() if not 0 <= now - one.seen_at < FORGET_AFTER]:
            del self._networks[old]
        while len(self._networks) > MAX_NETWORKS:
            del self._networks[next(iter(self._networks))]
        self._save()

    def _name(self, network: str) -> str:
        return hashlib.blake2b(network.encode(), key=self._salt, digest_size=16).hexdigest()

    def _load(self, path: Path) -> None:
        try:
            if path.stat().st_size > MAX_FILE:
                return
            body = json.loads(path.read_bytes())
            if body["v"] != _VERSION:
                return
            salt = bytes.fromhex(body["salt"])
            networks = {str(name): _network_from(one) for name, one in body["networks"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.info("what was remembered of networks is lost: %s", type(error).__name__)
            return
        if len(salt) == _SALT_OCTETS:
            self._salt, self._networks = salt, networks

    def _save(self) -> None:
        if self._path is None:
            return
        body = {
            "v": _VERSION,
            "salt": self._salt.hex(),
            "networks": {name: _network_to(one) for name, one in self._networks.items()},
        }
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            _write(beside, json.dumps(body).encode())
            this_world().replace(beside, self._path)
        except OSError as error:
            # A full disk keeps nobody from connecting.
            log.info("networks are not remembered: %s", error)


def _write(path: Path, data: bytes) -> None:
    world = this_world()
    descriptor = world.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
    try:
        view = memoryview(data)
        while view:
            view = view[world.write(descriptor, view) :]
    finally:
        world.close(descriptor)


def _network_to(network: _Network) -> dict[str, Any]:
    return {
        "seen_at": network.seen_at,
        "ways": [
            [node, protocol, one.worked_at, one.failed_at, one.seconds]
            for (node, protocol), one in network.ways.items()
        ],
    }


def _network_from(body: Mapping[str, Any]) -> _Network:
    return _Network(
        seen_at=float(body["seen_at"]),
        ways={
            (str(node), str(protocol)): Experience(
                worked_at=float(worked_at), failed_at=float(failed_at), seconds=float(seconds)
            )
            for node, protocol, worked_at, failed_at, seconds in body["ways"]
        },
    )
