"""Read one frozen configuration class from TOML, once, with clear errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import attrs

from pharos.wire.errors import ConfigError

T = TypeVar("T")


def read_config(kind: type[T], path: Path | None, overrides: Mapping[str, Any]) -> T:
    """Build ``kind`` from a TOML file and then from ``overrides`` that are not None.

    No file is read where ``path`` is None. Values have to have the types of the class's fields: nothing is guessed.

    Raises: ConfigError — the file, a key or a value does not fit; the message names it.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error.strerror}); name another file with --config") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
    fields = {field.name for field in attrs.fields(kind)}  # type: ignore[arg-type]  # every config is an attrs class
    unknown = sorted(values.keys() - fields)
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(sorted(fields))}")
    values |= {key: value for key, value in overrides.items() if value is not None}
    hints = get_type_hints(kind)
    for key, value in values.items():
        if hints[key] is Path and isinstance(value, str):
            try:
                values[key] = Path(value).expanduser()
            except RuntimeError as error:  # ~name of nobody
                raise ConfigError(f"{path or 'command line'}: {key} = {value!r}: {error}") from error
        elif not _fits(value, hints[key]):
            raise ConfigError(f"{path or 'command line'}: {key} = {value!r} is not of type {hints[key].__name__}")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path or 'command line'}: {error}") from error


def _fits(value: object, kind: object) -> bool:
    # bool is an int to Python, but `port = true` is a slip.
    if not isinstance(kind, type):
        return True
    return isinstance(value, kind) and isinstance(value, bool) is (kind is bool)


def check_port(_instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    """Validate a port number; 0 lets the system choose."""
    if not 0 <= value <= 65535:
        raise ValueError(f"{attribute.name} = {value} is not a port (0 to 65535)")
