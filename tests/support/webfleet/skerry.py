"""Skerry Works, the invented company whose fleet the pictures of README and docs show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from pharos.helm.model.fleet import Posture
from tests.support.webfleet.plan import Plan, PlannedDevice, PlannedNode, PlannedUser

GIB: Final = 2**30
TIB: Final = 2**40
MBIT: Final = 1_000_000
SEED: Final = 418

# Name, place, degrees north and east, region, REALITY's engine, load, sessions and Mbit/s.
_NODES: Final = (
    ("fra-1", "Frankfurt", 50.11, 8.68, "europe", "xray", 0.41, 118, 1240),
    ("fra-2", "Frankfurt", 50.08, 8.74, "europe", "xray", 0.39, 112, 1180),
    ("ams-1", "Amsterdam", 52.37, 4.9, "europe", "embedded", 0.36, 96, 1020),
    ("lon-1", "London", 51.51, -0.13, "europe", "xray", 0.31, 78, 790),
    ("hel-1", "Helsinki", 60.17, 24.94, "europe", "embedded", 0.14, 36, 310),
    ("nyc-1", "New York", 40.71, -74.01, "america", "xray", 0.33, 92, 960),
    ("sjc-1", "San Jose", 37.34, -121.89, "america", "embedded", 0.27, 63, 610),
    ("sao-1", "São Paulo", -23.55, -46.63, "america", "embedded", 0.96, 42, 220),
    ("jnb-1", "Johannesburg", -26.2, 28.05, "africa", "embedded", 0.12, 24, 140),
    ("dxb-1", "Dubai", 25.2, 55.27, "asia", "xray", 0.19, 30, 260),
    ("bom-1", "Mumbai", 19.08, 72.88, "asia", "embedded", 0.03, 0, 0),
    ("sin-1", "Singapore", 1.35, 103.82, "asia", "xray", 0.46, 84, 830),
    ("tyo-1", "Tokyo", 35.68, 139.69, "asia", "xray", 0.29, 66, 720),
    ("syd-1", "Sydney", -33.87, 151.21, "asia", "embedded", 0.2, 0, 0),
)
DRAINED: Final = "bom-1"
SILENT: Final = "syd-1"
EVERYWHERE: Final = ("europe", "america", "africa", "asia")

_FIRST: Final = (
    *("Lena", "Mara", "Petra", "Ines", "Jo", "Ravi", "Sam", "Amal", "Dmitri", "Kaori"),
    *("Aiko", "Tomas", "Noor", "Ida", "Elif", "Hugo", "Maja", "Oskar", "Yuki", "Priya"),
    *("Diego", "Ana", "Kofi", "Zola", "Lars", "Freya", "Mateo", "Nadia", "Omar", "Wen"),
)
_LAST: Final = (
    *("Voss", "Lindqvist", "Novak", "Okafor", "Halvorsen", "Menon", "Whitlock", "Rahmani", "Saar", "Abe"),
    *("Tan", "Adeyemi", "Berg", "Castro", "Dahl", "Fuchs", "Holm", "Ito", "Kaya", "Lund"),
    *("Moreau", "Oduya", "Quist", "Rossi", "Tamm", "Varga", "Weber", "Zhou"),
)
_KINDS: Final = ("mbp", "iphone", "pixel", "thinkpad", "ipad", "xps", "galaxy", "surface", "zen", "air")

# What the first screen of the devices page shows.
_NAMED: Final = (
    ("Lena Voss", "air-lena", "fra-1", 412 * GIB, TIB),
    ("CI machines", "build-07", "fra-1", 7884 * GIB, 10 * TIB),
    ("Aiko Tan", "galaxy-aiko", "fra-2", 61 * GIB, 500 * GIB),
    ("Reception", "imac-front", "", 15 * GIB, 500 * GIB),
    ("Studio", "ipad-studio", "ams-1", 142 * GIB, 500 * GIB),
    ("Mara Lindqvist", "iphone-mara", "ams-1", 46 * GIB, 500 * GIB),
    ("Petra Novak", "lap-0412", "", 8 * GIB, 500 * GIB),
    ("Ines Okafor", "mbp-ines", "tyo-1", 563 * GIB, TIB),
    ("Studio", "mini-edit-2", "fra-1", 1843 * GIB, 2 * TIB),
    ("Reception", "nuc-lobby", "lon-1", 2 * GIB, 500 * GIB),
    ("Jo Halvorsen", "old-tablet", "", 0, 500 * GIB),
    ("Ravi Menon", "pixel-ravi", "sin-1", 90 * GIB, 500 * GIB),
    ("Sam Whitlock", "pixel-sam", "", GIB, 500 * GIB),
    ("Amal Rahmani", "surface-amal", "dxb-1", 167 * GIB, 500 * GIB),
    ("Jo Halvorsen", "thinkpad-jo", "fra-2", 122 * GIB, 500 * GIB),
    ("Harbour gate", "watch-post-3", "hel-1", 31 * GIB, 500 * GIB),
    ("Dmitri Saar", "xps-dmitri", "fra-1", 192 * GIB, 500 * GIB),
    ("Kaori Abe", "zen-kaori", "tyo-1", 73 * GIB, 500 * GIB),
)
_STATES: Final = {"old-tablet": "revoked", "pixel-sam": "disabled"}
_HOURS_AGO: Final = {"imac-front": 3.4, "lap-0412": 216.0, "old-tablet": 984.0, "pixel-sam": 144.0}
ADMINS: Final = (("Mara Lindqvist", "owner"), ("Tomas Adeyemi", "admin"), ("Jo Halvorsen", "operator"))


def skerry_works() -> Plan:
    """Return the fleet; it is the same each time."""
    chance = random.Random(SEED)
    users = {name: list[PlannedDevice]() for name, *_ in _NAMED}
    here = {node[0]: node[7] for node in _NODES}
    for owner, name, node, used, quota in _NAMED:
        here[node] = here.get(node, 0) - 1
        users[owner].append(
            PlannedDevice(
                name=name,
                node=node,
                protocol="reality" if name in ("pixel-ravi", "xps-dmitri") else "amneziawg",
                **_rates(chance, node),
                state=_STATES.get(name, "active"),
                used_bytes=used,
                quota_bytes=quota,
                last_seen_hours=_HOURS_AGO.get(name),
            )
        )
    for owner, device in _crowd(chance, here):
        users.setdefault(owner, []).append(device)
    return Plan(
        posture=Posture.ENTERPRISE,
        with_past=True,
        nodes=tuple(_node(*facts) for facts in _NODES),
        groups={"Staff": EVERYWHERE, "Europe": ("europe",)},
        users=tuple(
            PlannedUser(
                name=name,
                email=name.lower().replace(" ", ".") + "@skerry.example",
                groups=("Staff",),
                devices=tuple(devices),
                quota_bytes=2 * TIB if name not in ("CI machines", "Studio") else 20 * TIB,
            )
            for name, devices in sorted(users.items())
        ),
    )


def _node(
    name: str, place: str, north: float, east: float, region: str, driver: str, load: float, _sessions: int, _rate: int
) -> PlannedNode:
    return PlannedNode(
        name=name,
        address=f"{name}.skerry.example",
        place=place,
        latitude=north,
        longitude=east,
        tags=(region,),
        engines=(("amneziawg", "userspace" if name == "sao-1" else "kernel"), ("reality", driver)),
        load=load,
    )


def _rates(chance: random.Random, node: str) -> dict[str, Any]:
    """Return what a device of this node gets and sends: together as much as the node carries, about."""
    found = next((facts for facts in _NODES if facts[0] == node and facts[7]), None)
    if found is None:
        return {"down": 0, "up": 0}
    mean = found[8] * MBIT / found[7]
    return {"down": round(mean * 0.82 * chance.uniform(0.2, 1.8)), "up": round(mean * 0.18 * chance.uniform(0.2, 1.8))}


def _crowd(chance: random.Random, here: dict[str, int]) -> Iterator[tuple[str, PlannedDevice]]:
    """Yield everybody else: whose it is, and the device; so many that each node has its sessions, and as many apart."""
    places = [node for node, count in here.items() if node for _ in range(count)]
    places += [""] * (len(places) // 3)
    chance.shuffle(places)
    names = {name for _, name, *_ in _NAMED}
    for node in places:
        first, last, kind = chance.choice(_FIRST), chance.choice(_LAST), chance.choice(_KINDS)
        name, number = f"{kind}-{first.lower()}", 1
        while name in names:
            number += 1
            name = f"{kind}-{first.lower()}-{number}"
        names.add(name)
        used = round(chance.lognormvariate(3.4, 1.2) * GIB)
        yield (
            f"{first} {last}",
            PlannedDevice(
                name=name,
                node=node,
                protocol="reality" if chance.random() < 0.3 else "amneziawg",
                **_rates(chance, node),
                used_bytes=min(used, 480 * GIB),
                quota_bytes=500 * GIB,
                last_seen_hours=None if node else chance.uniform(0.5, 400),
            ),
        )
