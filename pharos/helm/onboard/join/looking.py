"""What the machine is by now, and whether it will do."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import trio

from pharos.helm.errors import NotFoundError
from pharos.helm.onboard.agents import check_name
from pharos.helm.onboard.debs import Deb, find_deb
from pharos.helm.onboard.errors import RemoteCommandError
from pharos.helm.onboard.join.errors import RefusedMachineError, StepError
from pharos.helm.onboard.join.judge import SUPPORTED, Standing, find_problems, is_broken, is_installed
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.join.settings import set_keys
from pharos.helm.onboard.join.site import Outcome, Site, listed
from pharos.helm.onboard.join.traces import open_traces, read_traces
from pharos.helm.onboard.join.wish import Wish, name_of
from pharos.wire.world import in_thread


async def look(site: Site, *, changes: bool = True) -> Outcome:
    """Learn what is there. ``changes``: leave a folder for traces, too.

    Raises: RefusedMachineError — it will not do.
    """
    facts, wish = site.remote.facts, site.wish
    site.fleet = await site.desk.fleet()
    for part in wish.parts:
        if is_installed(facts, part):
            standing = await _standing(site, part)
            if standing is not None:
                site.standing[part] = standing
    problems = find_problems(facts, wish, site.fleet, site.standing)
    if problems:
        raise RefusedMachineError(f"{wish.destination} will not do: {'; '.join(problems)}")
    site.wish = wish = await settle(site)
    site.traces = await read_traces(site.remote)
    await _check_record(site)
    for part in wish.parts:
        if await _is_unset(site, part):
            site.unset.add(part)
        deb = await _deb(site, part)
        if deb is not None and not await is_new_enough(site, part, deb):
            site.debs[part] = deb
    if changes:
        site.traces = await open_traces(site.remote)
        await site.traces.note_name(wish.name)
    system = SUPPORTED[facts.distribution, facts.release]
    here = [
        f"{part.agent.package} {facts.packages[part.agent.package][0]}"
        for part in wish.parts
        if is_installed(facts, part)
    ]
    has = f", with {listed(here)}" if here else ""
    return Outcome(f"{wish.name} at {wish.address} is {system} on {facts.arch}{has}", changed=False)


async def _is_unset(site: Site, part: Part) -> bool:
    values = site.wish.settings(part)
    if not values or not is_installed(site.remote.facts, part):
        return bool(values)
    text = await site.root("cat", part.agent.settings)
    return set_keys(text, values) != text


async def _deb(site: Site, part: Part) -> Deb | None:
    """Return the package for a part; None where helm came without one and the machine has it already."""
    facts, deb = site.remote.facts, _override(site.wish.deb, part)
    try:
        return await in_thread(find_deb, part.agent.package, facts.arch, deb)
    except NotFoundError:
        if deb is None and is_installed(facts, part):
            return None
        raise


async def is_new_enough(site: Site, part: Part, deb: Deb) -> bool:
    """Tell whether what is installed need not be replaced by this package."""
    facts = site.remote.facts
    if not is_installed(facts, part) or is_broken(facts, part):
        return False
    have = facts.packages[part.agent.package][0]
    return have == deb.version or await site.holds("dpkg", "--compare-versions", have, "ge", deb.version)


async def _standing(site: Site, part: Part) -> Standing | None:
    if not await site.holds("test", "-e", part.agent.identity):
        return None
    try:
        said = json.loads(await site.root(part.agent.program, "status", "--json"))
        return Standing(id=str(said["id"]), fleet=str(said["fleet"]))
    except RemoteCommandError:
        # It has asked for a place, and has none yet.
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StepError(f"`{part.agent.program} status --json` there does not say who it is") from error


async def settle(site: Site) -> Wish:
    """Return the wish with a name and an address, said or found."""
    wish = site.wish
    name = wish.name
    if not name:
        name = name_of(wish.destination, (await site.remote.run("hostname")).decode(errors="replace"))
    check_name(name)
    address = wish.address or wish.destination.host
    if not wish.address:
        try:
            await trio.socket.getaddrinfo(address, None)
        except OSError as error:
            raise StepError(
                f"{address!r} is a name of your ssh configuration alone",
                "Say by which name or address helm and devices reach the machine: --address.",
            ) from error
    return attrs.evolve(wish, name=name, address=address)


async def _check_record(site: Site) -> None:
    """A name that another machine has is better known of now than when everything is installed."""
    if site.wish.readopts:
        return
    for part in site.wish.parts:
        record = await site.desk.find(part, site.wish.name)
        if record is None:
            continue
        standing = site.standing.get(part)
        # Who is no member yet and is in the record all the same was on the way there when a try ended.
        if not (site.trace.has("record", part) if standing is None else standing.id == record["id"]):
            noun, name = part.agent.noun, site.wish.name
            raise StepError(
                f"another {part.agent.is_called} is called {name}",
                f"Choose another name with --name; if it is that machine, installed anew: helm {noun} readopt {name}.",
            )
        if record["state"] == "revoked":
            raise StepError(
                f"{site.wish.name} is revoked, for ever",
                f"Remove the record (helm {part.agent.noun} remove {site.wish.name}), and purge"
                f" {part.agent.package} there if it is to come back as a new one.",
            )


def _override(deb: Path | None, part: Part) -> Path | None:
    """Return the operator's own package; with two parts it is of the one that its name says."""
    if deb is None or deb.name.startswith(part.agent.package) or not deb.name.startswith("pharos-"):
        return deb
    return None
