"""The three steps of docs/adr/0016, carried by SSH: the machine asks, helm signs, the machine keeps the answer."""

from __future__ import annotations

from typing import Final

from pharos.helm.onboard.errors import RemoteCommandError
from pharos.helm.onboard.join.errors import StepError
from pharos.helm.onboard.join.site import Outcome, Site, explain, listed
from pharos.wire.agent import AgentRequest
from pharos.wire.errors import WireError
from pharos.wire.units import SECONDS

# Ready in half a second on a machine of today; a slow disk and byte code that is not there yet take their time.
START_TIMEOUT: Final = 90 * SECONDS
JOURNAL_LINES: Final = "5"


async def ask(site: Site) -> Outcome:
    """Have the machine make its keys, which never leave it, and its request."""
    made = []
    for part in site.wish.parts:
        agent = part.agent
        if not await site.holds("test", "-e", agent.identity):
            await site.trace.note("identity", part)
            made.append(agent.is_called)
        try:
            text = await site.root(agent.program, "csr")
        except RemoteCommandError as error:
            raise explain(error) from error
        try:
            AgentRequest.parse(text)
        except WireError as error:
            raise StepError(f"`{agent.program} csr` there printed no request: {error}") from error
        site.requests[part] = text
    return Outcome(f"keys of the {listed(made)} are made" if made else "its keys are there", changed=bool(made))


async def adopt(site: Site) -> Outcome:
    """Have helm sign, and record the machine."""
    known = 0
    for part in site.wish.parts:
        if site.wish.readopts:
            site.adopted[part] = await site.desk.readopt(
                part, site.wish.readopts, site.requests[part], new_keys=site.wish.new_keys
            )
            way = str(site.wish.destination), site.remote.host_key
            await site.desk.remember(part, site.wish.readopts, *way)
            continue
        if part in site.standing:
            known += 1
        else:
            await site.trace.note("record", part)
        record = site.wish.record(part) | {
            "request": site.requests[part],
            "ssh_host_key": site.remote.host_key,
        }
        site.adopted[part] = await site.desk.adopt(part, record)
    if site.wish.readopts:
        return Outcome(f"{site.wish.name} is certified anew", changed=True)
    ids = [f"{part.agent.is_called} {adopted.id}" for part, adopted in site.adopted.items()]
    return Outcome(f"it is {listed(ids)}", changed=known < len(site.wish.parts))


async def grant(site: Site) -> Outcome:
    """Have the machine check and keep what helm answered."""
    kept = []
    for part, adopted in site.adopted.items():
        standing = site.standing.get(part)
        if standing is not None and standing.id == adopted.id and not site.wish.readopts:
            continue
        try:
            await site.root(part.agent.program, "csr", "--install", "-", stdin=adopted.grant.encode())
        except RemoteCommandError as error:
            raise explain(error) from error
        site.stale.add(part)
        kept.append(part.agent.is_called)
    return Outcome(f"its certificate is installed ({listed(kept)})" if kept else "it is installed", changed=bool(kept))


async def start(site: Site) -> Outcome:
    """Start the services, or start those again that run with what was before."""
    started = []
    for part in site.wish.parts:
        unit = f"{part.agent.package}.service"
        if part not in site.stale and await site.holds("systemctl", "--quiet", "is-active", unit):
            continue
        try:
            await site.root("systemctl", "--quiet", "enable", unit)
            await site.root("systemctl", "restart", unit, timeout=START_TIMEOUT)
        except RemoteCommandError as error:
            said = await site.root("journalctl", "--unit", unit, "--lines", JOURNAL_LINES, "--output", "cat")
            last = said.strip().splitlines()[-1:] or [error.stderr]
            raise StepError(
                f"{unit} does not start there: {last[0]}",
                f"See journalctl -u {part.agent.package} there, then run the same command again: it goes on from here.",
            ) from error
        started.append(part.agent.package)
    site.stale.clear()
    return Outcome(f"started {listed(started)}" if started else "it runs", changed=bool(started))


async def undo_start(site: Site) -> str:
    """Stop the services of an identity that is taken back."""
    stopped = []
    for part in site.wish.parts:
        # Where the package is not there, there is nothing to stop.
        if site.trace.has("identity", part) and await site.holds("systemctl", "stop", f"{part.agent.package}.service"):
            stopped.append(part.agent.package)
    return f"stopped {listed(stopped)}" if stopped else ""


async def undo_adopt(site: Site) -> str:
    """Take back the certificate and the record, if they came of this onboarding."""
    forgotten = []
    for part in site.wish.parts:
        if not site.trace.has("record", part):
            continue
        record = await site.desk.find(part, site.wish.name)
        if record is not None and record["ssh_destination"] == str(site.wish.destination):
            await site.desk.forget(part, record["id"])
            forgotten.append(part.agent.is_called)
    return f"the {listed(forgotten)} is revoked and removed from the record" if forgotten else ""


async def undo_ask(site: Site) -> str:
    """Remove keys that were made by us."""
    gone = []
    for part in site.wish.parts:
        if site.trace.has("identity", part):
            await site.root("sh", "-c", 'rm -rf -- "$1"/*', "sh", part.agent.state)
            gone.append(part.agent.is_called)
    return f"keys of the {listed(gone)} are deleted" if gone else ""
