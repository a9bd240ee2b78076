"""The command that says where a machine stands, alike for nodes and relays."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import change, read_one
from pharos.helm.cli.states import print_shown
from pharos.wire.console import reports_errors


def add_place_command(group: click.Group, noun: str, sample: str) -> None:
    """Give a noun's group its ``place``."""

    @group.command(
        "place",
        help=f"""Say where a {noun.removesuffix("s")} stands, for lists and the map of the overview.

        What is said replaces what was; an empty PLACE without --at takes it back.

        \b
        Example:
          helm {noun} place {sample} "Frankfurt, DE" --at 50.11,8.68
          helm {noun} place {sample} ""
        """,
    )
    @click.argument("record")
    @click.argument("place")
    @click.option("--at", "coordinates", metavar="LAT,LON", help="Degrees north and east; -33.87 is in the south.")
    @state_option
    @json_option
    @reports_errors
    def command(record: str, place: str, state: Path, *, coordinates: str | None, as_json: bool) -> None:
        from pharos.helm.fleet.places import read_coordinates

        latitude, longitude = (None, None) if coordinates is None else read_coordinates(coordinates)
        values = {"place": place, "latitude": latitude, "longitude": longitude}
        print_shown(change(state, noun, read_one(state, noun, record), values), as_json=as_json)
