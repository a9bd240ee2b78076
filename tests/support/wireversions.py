"""What each released version can say on the wire, frozen as descriptors, and what today's protos may change of it.

``tests/wire/descriptors/v0_1/`` holds a FileDescriptorSet for each proto file of 0.1, without comments; ``python -m
tests.freeze_wire`` writes the folder of a release, and nothing changes it afterwards.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import pharos.wire.gen

FOLDER: Final = Path(__file__).parents[1] / "wire" / "descriptors"


def todays() -> FileDescriptorSet:
    """Return the descriptors of the generated stubs, in the order of their names."""
    found = FileDescriptorSet()
    for module in pkgutil.walk_packages(pharos.wire.gen.__path__, "pharos.wire.gen."):
        if module.name.endswith("_pb2"):
            importlib.import_module(module.name).DESCRIPTOR.CopyToProto(found.file.add())
    found.file.sort(key=lambda file: file.name)
    return found


def frozen(version: str) -> FileDescriptorSet:
    """Return the descriptors of a release by the name of its folder."""
    whole = FileDescriptorSet()
    for path in sorted((FOLDER / version).glob("*.binpb")):
        whole.MergeFromString(path.read_bytes())
    return whole


def frozen_versions() -> list[str]:
    """Return the releases that are frozen, oldest first."""
    folders = [path.name for path in FOLDER.iterdir() if path.is_dir()]
    return sorted(folders, key=lambda name: tuple(map(int, name.removeprefix("v").split("_"))))


def freeze(version: str) -> list[Path]:
    """Write today's descriptors as those of a release, which must not be frozen yet."""
    folder = FOLDER / version
    folder.mkdir(parents=True)
    written = []
    for file in todays().file:
        path = folder / f"{file.package}.{Path(file.name).stem}.binpb"
        path.write_bytes(FileDescriptorSet(file=[file]).SerializeToString(deterministic=True))
        written.append(path)
    return written


# -- what may change


def broken_promises(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return what a peer of the old version would misread, or miss, at one of the new; nothing is well.

    A field keeps its number, name, type, presence and oneof; one that goes leaves its number reserved. Messages, values
    of enums, services and methods stay. All else may be added.
    """
    return list(_broken(old, new))


def _broken(old: FileDescriptorSet, new: FileDescriptorSet) -> Iterator[str]:
    messages, enums, services = (dict(_named(new, kind)) for kind in (_messages, _enums, _services))
    for name, message in _named(old, _messages):
        if name not in messages:
            yield f"message {name} is gone"
        else:
            yield from _broken_fields(name, message, messages[name])
    for name, enum in _named(old, _enums):
        values = {value.number: value.name for value in enums[name].value} if name in enums else {}
        for value in enum.value:
            if values.get(value.number) != value.name:
                yield f"enum {name}: {value.number} was {value.name}, and is {values.get(value.number, 'gone')}"
    for name, service in _named(old, _services):
        methods = {method.name: method for method in services[name].method} if name in services else {}
        for method in service.method:
            if method.name not in methods:
                yield f"method {name}/{method.name} is gone"
            elif methods[method.name] != method:
                yield f"method {name}/{method.name} takes or gives something else"


def _broken_fields(name: str, old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    fields = {field.number: field for field in new.field}
    for field in old.field:
        now = fields.get(field.number)
        if now is None:
            if not any(kept.start <= field.number < kept.end for kept in new.reserved_range):
                yield f"{name}: field {field.number} ({field.name}) is gone and its number is not reserved"
        elif now.name != field.name:
            yield f"{name}: number {field.number} was {field.name} and is {now.name}"
        elif _shape(new, now) != _shape(old, field):
            yield f"{name}: field {field.number} ({field.name}) was {_shape(old, field)} and is {_shape(new, now)}"
    for kept in old.reserved_range:
        for field in new.field:
            if kept.start <= field.number < kept.end:
                yield f"{name}: field {field.number} ({field.name}) has a number that was reserved"


def _shape(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[str, str, str, bool, str]:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    label, kind = FieldDescriptorProto.Label.Name(field.label), FieldDescriptorProto.Type.Name(field.type)
    return label, kind, field.type_name, field.proto3_optional, oneof


def _named(files: FileDescriptorSet, kind: Any) -> Iterator[tuple[str, Any]]:
    for file in files.file:
        yield from kind(file)


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    waiting = [(f"{file.package}.{message.name}", message) for message in file.message_type]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        waiting += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]


def _enums(file: FileDescriptorProto) -> Iterator[tuple[str, EnumDescriptorProto]]:
    yield from ((f"{file.package}.{enum.name}", enum) for enum in file.enum_type)
    for name, message in _messages(file):
        yield from ((f"{name}.{enum.name}", enum) for enum in message.enum_type)


def _services(file: FileDescriptorProto) -> Iterator[tuple[str, ServiceDescriptorProto]]:
    yield from ((f"{file.package}.{service.name}", service) for service in file.service)


# -- speaking as a version does


class Vocabulary:
    """The messages and methods of one version, as classes that have nothing to do with the generated ones."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self._pool = DescriptorPool()
        waiting = list(files.file)
        while waiting:
            file = waiting.pop(0)
            if any(other.name in file.dependency for other in waiting):
                waiting.append(file)
            else:
                self._pool.Add(file)
        self.names = sorted(name for name, _ in _named(files, _messages))
        """Of all messages."""
        self._methods = {
            f"/{name}/{method.name}" for name, service in _named(files, _services) for method in service.method
        }

    def class_of(self, name: str) -> type[Message]:
        """Return the class of a message."""
        return GetMessageClass(self._pool.FindMessageTypeByName(name))

    def knows(self, path: str) -> bool:
        """Return whether a method is in it, ``/package.Service/Method``."""
        return path in self._methods

    def without_the_unknown(self, message: Message) -> bytes:
        """Return what is left of a message once it went through a program of this version that makes its own of it."""
        known = self.class_of(message.DESCRIPTOR.full_name)()
        known.MergeFromString(message.SerializeToString())
        known.DiscardUnknownFields()
        return known.SerializeToString()


def without(files: FileDescriptorSet, *gone: str) -> FileDescriptorSet:
    """Return an older version: without ``package.Message.field``, ``package.Service/Method`` and the like."""
    older = FileDescriptorSet()
    older.CopyFrom(files)
    left = set(gone)
    for name, message in _named(older, _messages):
        for field in [field for field in message.field if f"{name}.{field.name}" in left]:
            message.field.remove(field)
            left.remove(f"{name}.{field.name}")
    for name, service in _named(older, _services):
        for method in [method for method in service.method if f"{name}/{method.name}" in left]:
            service.method.remove(method)
            left.remove(f"{name}/{method.name}")
    assert not left, f"no version has {sorted(left)}"
    return older
