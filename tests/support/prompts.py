"""Somebody who answers what ssh asks as a test says, and remembers what was asked."""

from __future__ import annotations

import attrs

from pharos.helm.onboard.remote import Destination
from pharos.helm.onboard.ssh import HostKey


@attrs.define
class Person:
    """Has compared the host key, and knows the answers, one after the other."""

    confirms: bool = True
    knows: list[str] = attrs.field(factory=list)
    shown: list[str] = attrs.field(factory=list)
    """Fingerprints."""
    asked: list[tuple[str, bool]] = attrs.field(factory=list)
    """Questions, and whether the answer is hidden."""
    told: list[str] = attrs.field(factory=list)
    answers: bool = True

    async def confirm_host_key(self, destination: Destination, key: HostKey) -> bool:
        self.shown.append(key.fingerprint)
        return self.confirms

    async def ask(self, question: str, *, hidden: bool) -> str | None:
        self.asked.append((question, hidden))
        return self.knows.pop(0) if self.knows else None

    async def tell(self, text: str) -> None:
        self.told.append(text)
