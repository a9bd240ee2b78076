"""Typed values as JSON, and back: what a type does not allow is refused, and so is a second spelling of anything.

A record is an object with exactly its fields, a union an object that names its member, bytes are base64, IP addresses
and networks their usual text, an enum its value. The types say all; no act needs code of its own here. What a type
needs is found out once: ten thousand peers pass in a fraction of a second.
"""

from __future__ import annotations

import base64
import enum
import functools
import re
import types
import typing
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import attrs

from pharos.buoy.roothelper.checks import IPAddress, IPInterface, IPNetwork
from pharos.wire.awg.params import ObfuscationParameters
from pharos.wire.errors import ParameterError
from pharos.wire.netpolicy import NetworkPlan

KIND: Final = "kind"
"""The name by which a member of a union is told from the others."""
# Python's own readers take masks, scopes and other alphabets' digits as well.
_ADDRESS: Final = re.compile(r"[0-9a-f.:]{2,45}(?:/[0-9]{1,3})?", re.ASCII)
_ADDRESSES: Final[dict[object, Any]] = {IPAddress: ip_address, IPInterface: ip_interface, IPNetwork: ip_network}

Convert: TypeAlias = Callable[[Any], Any]


def to_json(value: object, kind: Any) -> Any:
    """Return a value of a type as what JSON can say."""
    return _writer(kind)(value)


def from_json(body: object, kind: Any) -> Any:
    """Return the value of a type that JSON says.

    Raises: ValueError — it says none; what its record refuses included.
    """
    return _reader(kind)(body)


@functools.cache
def _writer(kind: Any) -> Convert:
    if kind in _ADDRESSES:
        return str
    if get_origin(kind) in (Union, types.UnionType):
        return _union_writer(_members(kind)[1])
    if get_origin(kind) is tuple:
        write_one = _writer(get_args(kind)[0])
        return lambda values: [write_one(value) for value in values]
    if kind in (int, bool, str):
        return lambda value: value
    if kind is bytes:
        return lambda value: base64.b64encode(value).decode()
    if issubclass(kind, enum.Enum):
        return lambda value: value.value
    if kind is ObfuscationParameters:
        return ObfuscationParameters.as_mapping
    if kind is NetworkPlan:
        return NetworkPlan.as_json
    writers = {name: _writer(field) for name, field in _fields(kind).items()}
    return lambda value: {name: write(getattr(value, name)) for name, write in writers.items()}


def _union_writer(members: list[Any]) -> Convert:
    writers = {member: _writer(member) for member in members}
    if len(members) == 1:
        return lambda value: None if value is None else writers[members[0]](value)
    return lambda value: None if value is None else {KIND: type(value).__name__, **writers[type(value)](value)}


@functools.cache
def _reader(kind: Any) -> Convert:
    if kind in _ADDRESSES:
        return functools.partial(_read_address, _ADDRESSES[kind])
    if get_origin(kind) in (Union, types.UnionType):
        return _union_reader(*_members(kind))
    if get_origin(kind) is tuple:
        return functools.partial(_read_list, _reader(get_args(kind)[0]))
    if kind in (int, bool, str):
        return functools.partial(_read_plain, kind)
    if kind is bytes:
        return _read_bytes
    if issubclass(kind, enum.Enum):
        return functools.partial(_read_word, kind)
    if kind is ObfuscationParameters:
        return functools.partial(_read_mapping, kind.from_mapping, kind.as_mapping)
    if kind is NetworkPlan:
        return functools.partial(_read_mapping, kind.from_json, kind.as_json)
    readers = {name: _reader(field) for name, field in _fields(kind).items()}
    return functools.partial(_read_record, kind, readers)


def _union_reader(optional: bool, members: list[Any]) -> Convert:
    if len(members) == 1:
        read_member = _reader(members[0])
    else:
        read_member = functools.partial(_read_member, {member.__name__: _reader(member) for member in members})
    return lambda body: None if optional and body is None else read_member(body)


def _members(kind: Any) -> tuple[bool, list[Any]]:
    """Whether a union allows None, and what else."""
    members = get_args(kind)
    return types.NoneType in members, [member for member in members if member is not types.NoneType]


def _fields(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in attrs.fields(kind)}


def _read_record(kind: type, readers: dict[str, Convert], body: object) -> object:
    if type(body) is not dict or body.keys() != readers.keys():
        raise ValueError(f"{kind.__name__} has the fields {', '.join(readers) or '(none)'}, and these only")
    try:
        return kind(**{name: read(body[name]) for name, read in readers.items()})
    except TypeError as error:
        raise ValueError(f"{kind.__name__}: {error}") from None


def _read_member(readers: dict[str, Convert], body: object) -> object:
    if type(body) is not dict or type(body.get(KIND)) is not str:
        raise ValueError(f"an object with a {KIND} was expected")
    read = readers.get(body[KIND])
    if read is None:
        raise ValueError(f"there is no such {KIND}")
    return read({name: value for name, value in body.items() if name != KIND})


def _read_list(read_one: Convert, body: object) -> tuple[object, ...]:
    if type(body) is not list:
        raise ValueError("a list was expected")
    return tuple(map(read_one, body))


def _read_plain(kind: type, body: object) -> object:
    # Not isinstance: True is an int to Python.
    if type(body) is not kind:
        raise ValueError(f"{kind.__name__} was expected")
    return body


def _read_bytes(body: object) -> bytes:
    if type(body) is not str:
        raise ValueError("base64 was expected")
    found = base64.b64decode(body, validate=True)
    if base64.b64encode(found).decode() != body:
        raise ValueError("base64 has one spelling")
    return found


def _read_word(kind: type[enum.Enum], body: object) -> enum.Enum:
    if type(body) is not str:
        raise ValueError("one of a few words was expected")
    return kind(body)


def _read_address(read: Convert, body: object) -> object:
    if type(body) is not str or _ADDRESS.fullmatch(body) is None:
        raise ValueError("an IP address or network was expected")
    found = read(body)
    if str(found) != body:
        raise ValueError("an IP address or network has one spelling")
    return found


def _read_mapping(read: Convert, write: Convert, body: object) -> object:
    if type(body) is not dict:
        raise ValueError("an object was expected")
    try:
        found = read(body)
    except (ParameterError, TypeError) as error:
        raise ValueError(str(error)) from None
    if write(found) != body:
        raise ValueError("an object has one spelling")
    return found
