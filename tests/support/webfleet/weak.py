"""What a helm can be without, so that a test sees what would happen then: for the process of a fleet only."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pharos.helm.web.app
from pharos.helm.web import guard
from pharos.helm.web.spa import make_spa_blueprint

POLICY = "Content-Security-Policy"
TRUSTED_TYPES = re.compile(r"; require-trusted-types-for 'script'; trusted-types [^;]*")


def weaken(*, page: str = "", without: str = "") -> None:
    """Serve another folder as the page; serve it without ``trusted-types``, or without any ``policy``."""
    if page:
        another = functools.partial(make_spa_blueprint, Path(page))
        pharos.helm.web.app.make_spa_blueprint = another  # type: ignore[attr-defined]
    if without == "policy":
        del guard.HEADERS[POLICY]
    elif without == "trusted-types":
        guard.HEADERS[POLICY], found = TRUSTED_TYPES.subn("", guard.HEADERS[POLICY])
        assert found == 1, "the policy asks for trusted types"
