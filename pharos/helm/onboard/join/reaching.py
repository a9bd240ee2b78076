"""Whether those who are to come in can: dialled from here, which is outside as the machine sees it."""

from __future__ import annotations

from typing import Final

import trio

from pharos.helm.onboard.join.errors import StepError
from pharos.helm.onboard.join.parts import Part, Port
from pharos.helm.onboard.join.site import Outcome, Site, listed
from pharos.wire.units import SECONDS

# TCP's first answer comes in one round trip; the first SYN may be lost, and the second follows after a second.
CONNECT_TIMEOUT: Final = 5 * SECONDS
# A service that has just said that it is ready listens; an engine begins when helm has told it what to serve.
PORTS_WAIT: Final = 10 * SECONDS
ORDERS_WAIT: Final = 30 * SECONDS
POLL: Final = 0.25 * SECONDS


async def check_ports(site: Site) -> Outcome:
    """Connect to where helm comes in, and to a relay's ingress; a node's ports for devices open when it has orders.

    Raises: StepError — one does not answer.
    """
    reached = []
    for part in site.wish.parts:
        for port in site.wish.ports_of(part):
            if port.protocol == "tcp" and (port.of == "helm" or part is Part.BEACON):
                await _connect(site, port)
                reached.append(f"TCP {port.number}")
    return Outcome(f"{listed(reached)} can be reached from here", changed=False)


async def see(site: Site) -> Outcome:
    """Dial the agents over mTLS as helm does, and wait until a node serves what it was told.

    Raises: StepError — one does not answer or is not itself, or devices cannot get in.
    """
    said = []
    for part, adopted in site.adopted.items():
        seen = await site.desk.see(part, adopted.id)
        said.append(f"{part.agent.program} {seen.version} answers".replace("  ", " "))
        if part is not Part.BUOY:
            # Until helm itself has come, the relay turns devices away; it may be waiting for its next try.
            with trio.move_on_after(ORDERS_WAIT):
                while site.desk.running and not seen.ordered:
                    await trio.sleep(POLL)
                    seen = await site.desk.see(part, adopted.id)
            continue
        if not site.desk.running:
            said.append("it serves devices when helm runs (helm run)")
            continue
        if not seen.ordered:
            await site.desk.nudge(part, adopted.id)
        with trio.move_on_after(ORDERS_WAIT):
            while not seen.ordered or seen.troubles or not seen.reality_port:
                await trio.sleep(POLL)
                seen = await site.desk.see(part, adopted.id)
        if seen.reality_port:
            await _connect(site, Port(number=seen.reality_port, protocol="tcp", of="devices"))
        said += seen.troubles if seen.ordered else ["it waits for helm's orders: helm nodes list"]
        if seen.ordered and not seen.troubles:
            said.append(f"UDP {site.wish.port('awg_port')} and TCP {seen.reality_port} are served")
    return Outcome("; ".join(said), changed=False)


async def _connect(site: Site, port: Port) -> None:
    address = site.wish.address
    until = trio.current_time() + PORTS_WAIT
    while True:
        why: str
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                stream = await trio.open_tcp_stream(address, port.number)
        except trio.TooSlowError:
            why = "does not answer"
        except OSError as error:
            why = f"cannot be reached ({error.strerror or error})"
        else:
            await stream.aclose()
            return
        if trio.current_time() >= until:
            break
        await trio.sleep(POLL)
    raise StepError(
        f"the service runs, and TCP {port.number} of {address} {why} from here",
        f"Open TCP {port.number} for {'helm' if port.of == 'helm' else 'everybody'} in the machine's firewall and in"
        " its provider's, then run the same command again: it goes on from here.",
    )
