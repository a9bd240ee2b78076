"""All members of an upgrade: the canaries, then some at once, and nobody any more once one has failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio

from pharos.helm.errors import InvalidRequestError, NotFoundError
from pharos.helm.onboard.join.parts import Part
from pharos.helm.onboard.upgrade.desk import Desk, Member
from pharos.helm.onboard.upgrade.events import Emit, Ended, MemberEnded, Outcome
from pharos.helm.onboard.upgrade.member import Connect, Options, upgrade_member
from pharos.helm.onboard.upgrade.plan import AT_ONCE, Rollout
from pharos.wire.console import CommandError
from pharos.wire.rpc.status import leaves

LEFT: Final = "another one failed, so its turn did not come; run the same command again when that one is well"


async def choose(desk: Desk, part: Part, names: Sequence[str]) -> list[Member]:
    """Return the members with these names or ids, or with none all that can be reached by ssh.

    Raises: NotFoundError — one is none. InvalidRequestError — nobody has said how ssh reaches it.
    """
    members = await desk.members(part)
    if not names:
        return [member for member in members if member.destination]
    chosen: dict[str, Member] = {}
    for name in names:
        found = [member for member in members if name in (member.id, member.name)]
        if not found:
            raise NotFoundError(f"there is no {part.agent.is_called} {name!r}; see: helm {part.agent.noun} list")
        (member,) = found
        if not member.destination:
            raise InvalidRequestError(
                f"nobody has said how ssh reaches {member.name}, for it joined by a file; see docs/guide/upgrade.md"
            )
        chosen[member.id] = member
    return list(chosen.values())


async def upgrade(
    members: Sequence[Member],
    *,
    connect: Connect,
    desk: Desk,
    options: Options,
    emit: Emit,
    canaries: int = 0,
    at_once: int = AT_ONCE,
) -> Ended:
    """Upgrade members until all have the version or one has failed; those under way are brought to an end.

    Raises: InvalidRequestError — the numbers do not fit. CommandError — helm itself does not answer.
    """
    rollout = Rollout.of(members, canaries=canaries, at_once=at_once)
    begun, failure = trio.current_time(), None
    ended, due = trio.open_memory_channel[tuple[Member, Outcome]](len(members))

    async def one(member: Member) -> None:
        outcome = await upgrade_member(member, connect=connect, desk=desk, options=options, emit=emit)
        ended.send_nowait((member, outcome))

    try:
        async with trio.open_nursery() as member_nursery:
            while not rollout.over:
                for member in rollout.begin():
                    member_nursery.start_soon(one, member)
                member, outcome = await due.receive()
                for left in rollout.end(member, outcome):
                    emit(MemberEnded(member=left.name, outcome=Outcome.LEFT, says=LEFT, seconds=0.0))
    except* CommandError as group:
        failure = next(leaf for leaf in leaves(group) if isinstance(leaf, CommandError))
    if failure is not None:
        # It is helm that failed, and for all alike.
        raise failure
    done = Ended(outcomes=dict(rollout.outcomes), seconds=trio.current_time() - begun)
    emit(done)
    return done
