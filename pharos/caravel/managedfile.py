"""Reads what an organisation decides for a device (`pharos.caravel.managed`), from files that only root can write.

A file that cannot be read, is not root's, or has a key that we do not know refuses everything: what an organisation
wants is not guessed.
"""

from __future__ import annotations

import enum
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_type_hints

import attrs

from pharos.caravel.managed import Managed
from pharos.wire.errors import ConfigError
from pharos.wire.units import KIB

MANAGED_FILE: Final = Path("/etc/pharos/managed.toml")
"""On Linux. For other systems docs/guide/managed.md names places, and a host hands the file over itself."""
DROP_INS: Final = "managed.d"
"""Beside it; ``*.toml`` in the order of their names, later ones win, key by key."""
MAX_DROP_INS: Final = 64
MAX_MANAGED: Final = 256 * KIB
"""Octets a file: a thousand routes and domains have 40 KiB."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH

T = TypeVar("T")


def read_managed(path: Path = MANAGED_FILE, *, owner: int = 0) -> Managed | None:
    """Return what an organisation decides; None where there is no such file.

    ``owner`` is the numeric id of the only user who may have written it.

    Raises: ConfigError — it cannot be trusted, or not be read; the message names file and key.
    """
    texts: list[tuple[Path, bytes]] = []
    try:
        main = _read_trusted(path, owner)
    except FileNotFoundError:
        return None
    texts.append((path, main))
    folder = path.with_name(DROP_INS)
    drop_ins = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    if drop_ins:
        _check_trusted(folder, folder.lstat(), owner, folder=True)
    if len(drop_ins) > MAX_DROP_INS:
        raise ConfigError(f"{folder} has more than {MAX_DROP_INS} files; put them together")
    texts += [(one, _read_trusted(one, owner)) for one in drop_ins]
    merged: dict[str, Any] = {}
    for place, raw in texts:
        _merge(merged, parse_document(raw, place), place)
    return _build(Managed, merged, path, "")


def parse_document(raw: bytes, place: Path) -> dict[str, Any]:
    """Read a file's TOML, and see that each of its keys is known. Raises: ConfigError."""
    try:
        document = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place} is not TOML: {error}") from error
    _check_keys(Managed, document, place, "")
    return document


def check_file(path: Path) -> Managed:
    """Read a file for who writes it, whoever owns it. Raises: ConfigError."""
    try:
        raw = path.read_bytes()[: MAX_MANAGED + 1]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_MANAGED:
        raise ConfigError(f"{path} is larger than {MAX_MANAGED // KIB} KiB")
    return _build(Managed, parse_document(raw, path), path, "")


def _read_trusted(path: Path, owner: int) -> bytes:
    """Return what is in a file that nobody but ``owner`` could have written or put there.

    Raises: FileNotFoundError, ConfigError.
    """
    try:
        # What a name leads to may change between a look and the reading of it; a descriptor stays.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | _NO_WAIT)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; it must be a file of root's") from error
    try:
        _check_trusted(path, os.fstat(descriptor), owner, folder=False)
        _check_trusted(path.parent, path.parent.stat(), owner, folder=True)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            raw = file.read(MAX_MANAGED + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MAX_MANAGED:
        raise ConfigError(f"{path} is larger than {MAX_MANAGED // KIB} KiB")
    return raw


_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)


def _check_trusted(path: Path, found: os.stat_result, owner: int, *, folder: bool) -> None:
    is_right = stat.S_ISDIR(found.st_mode) if folder else stat.S_ISREG(found.st_mode)
    if not is_right:
        raise ConfigError(f"{path} is not a {'directory' if folder else 'file'}; nothing of it is believed")
    if found.st_uid != owner or found.st_mode & _OTHERS_WRITE:
        raise ConfigError(
            f"{path} could have been written by others than root (owner {found.st_uid}, mode"
            f" {stat.S_IMODE(found.st_mode):04o}), so nothing of it is believed;"
            f" run: chown root {path} && chmod go-w {path}"
        )


def _merge(into: dict[str, Any], document: Mapping[str, Any], place: Path) -> None:
    for key, value in document.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value, place)
        else:
            into[key] = value


def _check_keys(kind: type, document: Mapping[str, Any], place: Path, under: str) -> None:
    hints = get_type_hints(kind)
    for key, value in document.items():
        if key not in hints:
            raise ConfigError(f"{place}: unknown key {under + key!r}; known are {', '.join(sorted(hints))}")
        table = _table_of(hints[key])
        if table is not None:
            if not isinstance(value, dict):
                raise ConfigError(f"{place}: {under + key} must be a table")
            _check_keys(table, value, place, f"{under}{key}.")


def _build(kind: type[T], document: Mapping[str, Any], place: Path, under: str) -> T:
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, place, under + key) for key, value in document.items()}
    try:
        return kind(**values)
    except TypeError:
        raise ConfigError(f"{place}: {under}organisation must be there: every refusal names it") from None
    except ValueError as error:
        raise ConfigError(f"{place}: {under}{error}") from error


def _value(hint: Any, value: Any, place: Path, key: str) -> Any:
    table = _table_of(hint)
    if table is not None:
        return _build(table, value, place, f"{key}.")
    kinds = get_args(hint) if not isinstance(hint, type) and type(None) in get_args(hint) else (hint,)
    for kind in kinds:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is str and isinstance(value, str) and value.isprintable():
            return value
        if kind is Path and isinstance(value, str) and value.isprintable():
            return Path(value)
        if kind == tuple[str, ...] and isinstance(value, list) and all(map(_is_text, value)):
            return tuple(value)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            known = [member.value for member in kind]
            if value in known:
                return kind(value)
            raise ConfigError(f"{place}: {key} = {value!r}; must be one of {', '.join(known)}")
    raise ConfigError(f"{place}: {key} = {value!r} is not of the right type")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _table_of(hint: Any) -> type | None:
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and attrs.has(kind)]
    return kinds[0] if kinds else None
