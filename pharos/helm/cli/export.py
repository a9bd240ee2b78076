"""helm export."""

from __future__ import annotations

from pathlib import Path

import click

from pharos.helm.cli.api import call
from pharos.helm.cli.options import json_option, state_option
from pharos.helm.cli.records import API
from pharos.wire.console import CommandError, Exit, print_json, reports_errors
from pharos.wire.files import write_atomic

_FILES = (".yaml", ".yml")


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@state_option
@click.option(
    "--full", is_flag=True, help="Also what changes by itself: times, versions, certificates, tickets, alerts."
)
@json_option
@reports_errors
def export(target: Path, state: Path, *, full: bool, as_json: bool) -> None:
    """Write the record as YAML, without its secrets: a file a noun in a folder, or one FILE.yaml; - is standard output.

    Nothing of it changes unless the record does, so a folder under git shows who and what came and went. It is no
    backup: helm backup makes one.

    \b
    Example:
      helm export ~/fleet && git -C ~/fleet commit -am "$(date +%F)"
      helm export fleet.yaml
      helm export - --full
    """
    # YAML's library is for this command alone, and the others need not wait for it.
    from pharos.helm.export.texts import many_texts, one_text

    if target.suffix not in _FILES and str(target) != "-" and target.exists() and not target.is_dir():
        raise CommandError(f"{target} is no folder; name one, or a file that ends in .yaml", Exit.USAGE)
    document = call(state, "GET", f"{API}/export?full={'true' if full else 'false'}")
    if str(target) == "-":
        click.echo(one_text(document), nl=False)
        return
    if target.suffix in _FILES:
        texts = {target.name: one_text(document)}
        folder = target.parent
    else:
        texts, folder = many_texts(document), target
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomic(folder / name, text.encode("utf-8"))
    written = [str(folder / name) for name in texts]
    if as_json:
        print_json({"files": written, "full": full})
    else:
        click.echo(f"{len(written)} files in {folder}" if len(written) > 1 else written[0])
