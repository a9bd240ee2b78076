"""Options that the commands share."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.config import DEFAULT_STATE, PACKAGED_STATE

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE,
    show_default=True,
    help="State directory.",
)
# Bytes that are no text become signs that no document has, so that the file is refused as what it is not.
request_file_type = click.File("r", encoding="utf-8", errors="replace")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def how_to_run(state: Path) -> str:
    """Return the command that runs the helm of a state directory."""
    if state == PACKAGED_STATE:
        return "systemctl start pharos-helm"
    return "helm run" if state == DEFAULT_STATE else f"helm run --state {state}"
