"""What is frozen: the help of every command, the shape of every message on the wire, a node's firewall.

``python -m tests.update_snapshots`` writes them anew; the difference is then read like any other change.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import click
import platformdirs
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor

import pharos.wire.gen
from tests.support.commandindex import render_index
from tests.support.netplans import render_document

TESTS = Path(__file__).resolve().parent.parent
INDEX = TESTS.parent / "docs" / "guide" / "commands.md"
# A program and the module of its `main`; a new one is one line.
PROGRAMS = {
    "helm": "pharos.helm.cli",
    "buoy": "pharos.buoy.cli",
    "beacon": "pharos.beacon.cli",
    "caravel": "pharos.caravel.cli",
}
# The tunnel's own commands, which are no programs of the fleet.
TUNNEL = {"pharos awg": "pharos.wire.awg.cli", "pharos-awg": "pharos.wire.awg.process"}
# So wide that no line is wrapped where another machine's home directory has another length.
WIDTH = 240


@attrs.frozen
class Snapshot:
    """A file, and what it has to say."""

    path: Path
    render: Callable[[], str]

    @property
    def name(self) -> str:
        return self.path.relative_to(TESTS.parent).as_posix()


def all_snapshots() -> list[Snapshot]:
    """Return every snapshot there is."""
    helps = [
        Snapshot(TESTS / name / "snapshots" / "cli.txt", functools.partial(render_help, name, module))
        for name, module in PROGRAMS.items()
    ]
    tunnel = Snapshot(TESTS / "wire" / "awg" / "snapshots" / "cli.txt", render_tunnel_help)
    wire = TESTS / "wire" / "snapshots"
    index = Snapshot(INDEX, functools.partial(render_index, PROGRAMS))
    return [
        *helps,
        index,
        tunnel,
        Snapshot(wire / "proto.txt", render_protos),
        Snapshot(wire / "nft.txt", render_document),
    ]


def render_tunnel_help() -> str:
    """Return the help of the tunnel's commands."""
    return "\n".join(render_help(name, module) for name, module in TUNNEL.items())


def render_help(name: str, module: str) -> str:
    """Return the help of a program and of all its commands, one after the other."""
    main: click.Command = importlib.import_module(module).main
    context = click.Context(
        main, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH, **main.context_settings
    )
    pages = "\n".join(f"$ {ctx.command_path} --help\n{ctx.get_help()}\n" for ctx in _contexts(context))
    text = pages.replace(str(platformdirs.user_data_path()), "<user data>")
    return "\n".join(line.rstrip() for line in text.split("\n"))


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _contexts(
                click.Context(child, info_name=name, parent=context, terminal_width=WIDTH, max_content_width=WIDTH)
            )


def render_protos() -> str:
    """Return every message, enum and service of the generated stubs, with the numbers that travel."""
    names = (
        module.name
        for module in pkgutil.walk_packages(pharos.wire.gen.__path__, "pharos.wire.gen.")
        if module.name.endswith("_pb2")
    )
    files: list[FileDescriptor] = [importlib.import_module(name).DESCRIPTOR for name in sorted(names)]
    return "\n".join("\n".join(_file_lines(file)) + "\n" for file in files)


def _file_lines(file: FileDescriptor) -> Iterator[str]:
    yield f"package {file.package}"
    for message in file.message_types_by_name.values():
        yield from _message_lines(message)
    for enum in file.enum_types_by_name.values():
        yield from _enum_lines(enum)
    for service in file.services_by_name.values():
        yield from _service_lines(service)


def _message_lines(message: Descriptor) -> Iterator[str]:
    yield f"message {message.full_name}"
    for field in sorted(message.fields, key=lambda field: field.number):
        yield f"  {field.number} {_type_of(field)} {field.name}"
    for nested in message.nested_types:
        yield from _message_lines(nested)
    for enum in message.enum_types:
        yield from _enum_lines(enum)


def _type_of(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    # TYPE_UINT64 and its like are attributes of the class.
    kinds = {getattr(FieldDescriptor, name): name for name in dir(FieldDescriptor) if name.startswith("TYPE_")}
    kind = named.full_name if named else kinds[field.type].removeprefix("TYPE_").lower()
    repeated = "repeated " if field.is_repeated else ""
    optional = "optional " if field.has_presence and not named and field.containing_oneof is None else ""
    oneof = f"oneof {field.containing_oneof.name} " if field.containing_oneof else ""
    return f"{oneof}{repeated}{optional}{kind}"


def _enum_lines(enum: EnumDescriptor) -> Iterator[str]:
    yield f"enum {enum.full_name}"
    for value in enum.values:
        yield f"  {value.number} {value.name}"


def _service_lines(service: ServiceDescriptor) -> Iterator[str]:
    yield f"service {service.full_name}"
    for method in service.methods:
        asks = "stream " if method.client_streaming else ""
        answers = "stream " if method.server_streaming else ""
        yield f"  {method.name}({asks}{method.input_type.full_name}) -> {answers}{method.output_type.full_name}"
