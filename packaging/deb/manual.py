"""The man pages of a package's commands, and what makes shells complete them: made of the commands' own help."""

from __future__ import annotations

import os
from pathlib import Path

from completions import completions
from deb.package import Package
from deb.values import put
from manpages import manpages


def put_manual(package: Package, tree: Path) -> None:
    """Add the pages and scripts of each command."""
    # A default that a page shows is the one that the packaged command has.
    os.environ.update(package.environment)
    for command, module in package.commands:
        for path, content in (manpages(command, module) | completions(command, module)).items():
            put(tree / path, content)
