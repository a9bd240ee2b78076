"""An invitation: whoever takes it first has the device."""

from __future__ import annotations

from pathlib import Path

import attrs
import trio

from pharos.caravel.enrolment import ENROLMENT_TIMEOUT, enroll
from pharos.caravel.errors import NoAnswerError
from pharos.caravel.sources.base import Choices, Preview, SourceKind, Taken
from pharos.caravel.sources.joining import check_managed, store_to_join
from pharos.wire.seal.ticket import TicketLink
from pharos.wire.seal.words import fleet_words


@attrs.frozen
class TicketSource:
    """A ticket's link."""

    link: TicketLink

    @property
    def kind(self) -> SourceKind:
        return SourceKind.TICKET

    def preview(self) -> Preview:
        return Preview(
            kind=self.kind,
            title="an invitation into a fleet",
            fleet=self.link.fleet,
            words=fleet_words(self.link.root_hash),
            does="This device would join the fleet, and use up the invitation. Nothing is connected by that.",
            warnings=("Whoever sees the link can take the invitation in your place, once.",),
        )

    async def take(self, path: Path, choices: Choices) -> Taken:
        check_managed(choices, self.kind)
        store = store_to_join(path, self.link.fleet, choices)
        with trio.move_on_after(ENROLMENT_TIMEOUT):
            enrolled = await enroll(store, self.link, device_name=choices.device_name)
            return Taken(kind=self.kind, enrolled=enrolled)
        raise NoAnswerError(f"no relay of the fleet let us in within {ENROLMENT_TIMEOUT:.0f} s; try again")
