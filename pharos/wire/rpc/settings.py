"""HTTP/2 settings at a tenth of h2's memory, and closed to what a peer may invent."""

from __future__ import annotations

import functools
from struct import Struct
from typing import Any, Final

from h2.settings import ChangedSetting, SettingCodes, Settings, _validate_setting

# RFC 9113 §6.5.2. A larger table is the peer's offer, not a duty; 4,096 holds the fields of every call we make.
_LARGEST_HEADER_TABLE: Final = 4096
_SETTING: Final = Struct(">HL")
# Of all that are known, each once.
_LARGEST_PAYLOAD: Final = len(SettingCodes) * _SETTING.size
_KNOWN: Final = frozenset(int(code) for code in SettingCodes)


class CompactSettings(Settings):
    """Settings that keep a list per value, where h2 keeps a deque of 760 bytes (12 KB per connection)."""

    def __init__(self, *, client: bool, initial_values: dict[SettingCodes, int] | None = None) -> None:
        super().__init__(client=client, initial_values=initial_values)
        values: dict[Any, Any] = self._settings
        for code, queue in values.items():
            values[code] = _Values(queue)

    def receive(self, changed: dict[SettingCodes, int]) -> list[ChangedSetting]:
        """Put a peer's settings, which are known and valid, in force at once; return what they were before.

        As h2's ``update`` and ``acknowledge``, where nothing else waits to be acknowledged.
        """
        values: dict[Any, Any] = self._settings
        changes = []
        for code, value in changed.items():
            before = self.get(code)
            changes.append(ChangedSetting(code, before, value))
            if code == SettingCodes.HEADER_TABLE_SIZE:
                value = min(value, _LARGEST_HEADER_TABLE)
            values[code] = _Values((value,))
        return changes

    def copy(self) -> CompactSettings:
        """Return settings of their own with the same values."""
        twin = CompactSettings.__new__(CompactSettings)
        twin._client = self._client
        values: dict[Any, Any] = {code: _Values(queue) for code, queue in self._settings.items()}
        twin._settings = values
        return twin

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        if key not in _KNOWN:
            # RFC 9113 §6.5.2: unknown settings are ignored. h2 would remember all 65,536 that a peer can send.
            return
        if key == SettingCodes.HEADER_TABLE_SIZE:
            value = min(value, _LARGEST_HEADER_TABLE)
        values: dict[Any, Any] = self._settings
        values.setdefault(key, _Values([None]))
        super().__setitem__(key, value)


def parse_settings(payload: bytes, *, client: bool) -> dict[SettingCodes, int] | None:
    """Return what the body of a SETTINGS frame from a peer in this role says, or None if anything about it is odd."""
    if len(payload) > _LARGEST_PAYLOAD:
        return None
    return _parse_settings(bytes(payload), client)


# Peers of ours have a handful of limits between them.
@functools.lru_cache(maxsize=32)
def _parse_settings(payload: bytes, client: bool) -> dict[SettingCodes, int] | None:
    changed: dict[SettingCodes, int] = {}
    if len(payload) % _SETTING.size:
        return None
    for code, value in _SETTING.iter_unpack(payload):
        if code not in _KNOWN or _validate_setting(code, value, client=client):
            return None
        changed[SettingCodes(code)] = value
    return changed


class _Values(list[Any]):
    """The current value of a setting and those not yet acknowledged."""

    def popleft(self) -> Any:
        return self.pop(0)
