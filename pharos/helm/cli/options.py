"""Options that the commands share."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.config import DEFAULT_STATE

state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=DEFAULT_STATE,
    show_default=True,
    help="State directory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
