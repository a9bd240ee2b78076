"""HTTP/2 settings at a tenth of h2's memory, and closed to what a peer may invent."""

from typing import Any, Final

from h2.settings import SettingCodes, Settings

# RFC 9113 §6.5.2. A larger table is the peer's offer, not a duty; 4,096 holds the fields of every call we make.
_LARGEST_HEADER_TABLE: Final = 4096
_KNOWN: Final = frozenset(int(code) for code in SettingCodes)


class CompactSettings(Settings):
    """Settings that keep a list per value, where h2 keeps a deque of 760 bytes (12 KB per connection)."""

    def __init__(self, *, client: bool, initial_values: dict[SettingCodes, int] | None = None) -> None:
        super().__init__(client=client, initial_values=initial_values)
        values: dict[Any, Any] = self._settings
        for code, queue in values.items():
            values[code] = _Values(queue)

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        if key not in _KNOWN:
            # RFC 9113 §6.5.2: unknown settings are ignored. h2 would remember all 65,536 that a peer can send.
            return
        if key == SettingCodes.HEADER_TABLE_SIZE:
            value = min(value, _LARGEST_HEADER_TABLE)
        values: dict[Any, Any] = self._settings
        values.setdefault(key, _Values([None]))
        super().__setitem__(key, value)


class _Values(list[Any]):
    """The current value of a setting and those not yet acknowledged."""

    def popleft(self) -> Any:
        return self.pop(0)
