"""Whether a machine will do, from what was found on it."""

from __future__ import annotations

from typing import Final

import attrs

from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.wish import Wish
from pharos.helm.onboard.remote import Facts
from pharos.wire.units import MIB

SUPPORTED: Final = {("debian", "12"): "Debian 12", ("debian", "13"): "Debian 13", ("ubuntu", "24.04"): "Ubuntu 24.04"}
ARCHITECTURES: Final = ("amd64", "arm64")
# A package unpacked with its byte code is 70 MiB, Python's own are 40 more where it is missing.
NEEDED: Final = {"/usr": 150 * MIB, "/var": 60 * MIB}
EACH_MORE: Final = 80 * MIB


@attrs.frozen(kw_only=True)
class Standing:
    """What an agent on the machine says of itself."""

    id: str
    fleet: str


def find_problems(facts: Facts, wish: Wish, fleet: str, standing: dict[Part, Standing]) -> list[str]:
    """Return what is against it, a sentence each; none: it will do."""
    found = [*_system(facts), *_room(facts, wish), *_taken(facts, wish)]
    for part, stands in standing.items():
        if stands.fleet != fleet:
            found.append(
                f"it is a {part.agent.is_called} of another fleet ({stands.fleet}); if that is over,"
                f" apt-get purge {part.agent.package} there makes it bare again"
            )
    return found


def _system(facts: Facts) -> list[str]:
    found = []
    if (facts.distribution, facts.release) not in SUPPORTED:
        known = ", ".join(list(SUPPORTED.values())[:-1]) + f" or {list(SUPPORTED.values())[-1]}"
        why = " (its Python is 3.10, and 3.11 is needed)" if facts.release == "22.04" else ""
        found.append(f"it runs {facts.distribution} {facts.release}".rstrip() + f"{why}; Pharos takes {known}")
    if facts.arch not in ARCHITECTURES:
        found.append(f"its architecture is {facts.arch}; Pharos takes {' or '.join(ARCHITECTURES)}")
    return found


def _room(facts: Facts, wish: Wish) -> list[str]:
    lacking = [part for part in wish.parts if not is_installed(facts, part)]
    if not lacking:
        return []
    found = []
    for path, least in NEEDED.items():
        needed = least + EACH_MORE * (len(lacking) - 1 if path == "/usr" else 0)
        free = facts.free.get(path, needed)
        if free < needed:
            found.append(
                f"its disk is full: {free // MIB} MiB are free below {path}, and {needed // MIB} MiB are needed"
            )
    return found


def _taken(facts: Facts, wish: Wish) -> list[str]:
    ours = frozenset().union(*(part.agent.processes for part in Part))
    here = any(package in facts.packages for package in ("pharos-buoy", "pharos-beacon"))
    found = []
    for port in wish.all_ports:
        process = facts.taken.get(str(port))
        # The kernel's own tunnels listen without a process.
        if process is None or (here and (process in ours or not process)):
            continue
        found.append(
            f"{port.protocol.upper()} {port.number} is taken by {process or 'the kernel'}, and is where"
            f" {port.of} are to come in; stop it, or give it another port"
        )
    return found


def is_installed(facts: Facts, part: Part) -> bool:
    """Tell whether a part's package is wholly there."""
    return facts.packages.get(part.agent.package, ("", ""))[1] == "installed"


def is_broken(facts: Facts, part: Part) -> bool:
    """Tell whether an installation of it began and did not end."""
    state = facts.packages.get(part.agent.package, ("", "not-installed"))[1]
    return state not in ("installed", "not-installed", "config-files")
