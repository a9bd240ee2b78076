"""What makes shells complete the programs, as ``helm completion bash`` prints it, where each shell looks by itself."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class
from manpages import load

# Debian's folders, below /usr/share. The names are those that each shell derives of the command it is to complete.
PLACES: Final = {
    "bash": "bash-completion/completions/{program}",
    "zsh": "zsh/vendor-completions/_{program}",
    "fish": "fish/vendor_completions.d/{program}.fish",
}


def scripts(program: str, module: str | None = None) -> dict[str, str]:
    """Return the script of each shell; none for a program without commands."""
    command = load(program, module)
    return {shell: _script(program, command, shell) for shell in PLACES} if isinstance(command, click.Group) else {}


def completions(program: str, module: str | None = None) -> dict[str, bytes]:
    """Return the scripts where a package of Debian has them, by the path below the system's root."""
    return {
        f"usr/share/{PLACES[shell].format(program=program)}": script.encode()
        for shell, script in scripts(program, module).items()
    }


def _script(program: str, command: click.Command, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None, "click knows each of these shells"
    # Bash's own looks at the version of the bash that is here, which is not where it will be used.
    return ShellComplete.source(kind(command, {}, program, f"_{program.upper()}_COMPLETE"))
