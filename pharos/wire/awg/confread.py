"""Reads the configuration file of `awg-quick` and `wg-quick`; what is not understood is an error, never passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import attrs

from pharos.wire.awg.conf import Hook, HookTime, InterfaceSection, PeerSection, TunnelConf
from pharos.wire.awg.confkeys import INTERFACE_KEYS, PARAMETER_KEYS, PARAMETER_NAMES, PEER_KEYS, Key
from pharos.wire.awg.findings import Finding, Severity, quote
from pharos.wire.awg.params import ObfuscationParameters, UncheckedParameters
from pharos.wire.awg.ranges import Range
from pharos.wire.awg.rules import violations
from pharos.wire.errors import ParameterError

# 10,000 peers of 300 characters, and five I packets of the largest size: 3 + 2.6 million.
MAX_CONF_CHARACTERS: Final = 8_000_000

_SECTION: Final = re.compile(r"\[\s*(interface|peer)\s*\]", re.IGNORECASE | re.ASCII)
_HOOKS: Final = {time.value.lower(): time for time in HookTime}


@attrs.frozen(kw_only=True)
class Reading:
    """What came of a file."""

    conf: TunnelConf | None
    """None if there is an error."""
    findings: tuple[Finding, ...]
    """The errors, in the order of the file."""
    lines: dict[str, int] = attrs.Factory(dict)
    """Where each key of [Interface] was, by lower-case name."""
    peer_lines: tuple[int, ...] = ()
    """Where each [Peer] began."""


def parse(text: str, *, hooks: bool = False) -> TunnelConf:
    """Read a file; with ``hooks``, its commands for root's shell as well.

    Raises: ParameterError — the first error, with line, key, value and rule.
    """
    reading = read(text, hooks=hooks)
    if reading.conf is None:
        raise ParameterError(str(reading.findings[0]))
    return reading.conf


def read(text: str, *, hooks: bool = False) -> Reading:
    """Read a file and gather every error in it."""
    return _Reader(hooks=hooks).read(text)


class _Section:
    """A section as it is gathered: values by field, and the line of each key."""

    def __init__(self, name: str, line: int) -> None:
        keys = PEER_KEYS if name == "peer" else (*INTERFACE_KEYS, *PARAMETER_KEYS)
        self.name = name
        self.line = line
        self.keys = {key.name.lower(): key for key in keys}
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}


class _Reader:
    def __init__(self, *, hooks: bool) -> None:
        self._allow_hooks = hooks
        self._hooks: list[Hook] = []
        self._findings: list[Finding] = []
        self._sections: list[_Section] = []

    def read(self, text: str) -> Reading:
        if len(text) > MAX_CONF_CHARACTERS:
            self._error(0, "file", f"{len(text)} characters", f"must have at most {MAX_CONF_CHARACTERS}")
            return Reading(conf=None, findings=tuple(self._findings))
        # Only a line feed ends a line for WireGuard's tools; splitlines() knows ten more characters.
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            stripped = line.partition("#")[0].strip()
            if stripped:
                self._line(number, stripped)
        interface, lines = self._interface()
        peers = tuple(self._peers())
        findings = tuple(sorted(self._findings, key=lambda finding: finding.line))
        if findings or interface is None:
            return Reading(conf=None, findings=findings, lines=lines)
        peer_lines = tuple(section.line for section in self._sections if section.name == "peer")
        return Reading(
            conf=TunnelConf(interface=interface, peers=peers), findings=(), lines=lines, peer_lines=peer_lines
        )

    def _line(self, number: int, line: str) -> None:
        heading = _SECTION.fullmatch(line)
        if heading is not None:
            self._sections.append(_Section(heading[1].lower(), number))
            return
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            self._error(number, quote(line), "", "must be [Interface], [Peer] or Key = value")
        elif not self._sections:
            self._error(number, quote(name), "", "must stand in a section, [Interface] or [Peer]")
        elif name.lower() in _HOOKS and self._sections[-1].name == "interface":
            self._hook(number, _HOOKS[name.lower()], value)
        else:
            self._value(number, self._sections[-1], name, value)

    def _value(self, number: int, section: _Section, name: str, value: str) -> None:
        key = section.keys.get(name.lower())
        if key is None:
            self._error(number, quote(name), "", f"is no key of [{section.name.capitalize()}]")
        elif key.many:
            # Allowed IPs may be empty, which is none at all.
            texts = [one.strip() for one in value.split(",")] if value else []
            for one in texts:
                self._read(number, section, key, one)
            section.values.setdefault(key.field, ())
        elif name.lower() in section.lines:
            self._error(
                number, key.name, key.show(value), f"must be said once, and line {section.lines[name.lower()]} did"
            )
        else:
            self._read(number, section, key, value)
        section.lines.setdefault(name.lower(), number)

    def _read(self, number: int, section: _Section, key: Key, text: str) -> None:
        try:
            value = key.read(text)
        except ValueError as error:
            self._error(number, key.name, key.show(text), str(error))
            return
        if key.many:
            value = (*section.values.get(key.field, ()), value)
        section.values[key.field] = value

    def _hook(self, number: int, time: HookTime, command: str) -> None:
        if not self._allow_hooks:
            self._error(number, time.value, quote(command), "must be asked for, since root's shell runs it")
            return
        try:
            self._hooks.append(Hook(time, command))
        except ParameterError as error:
            name, _, rule = str(error).partition(": ")
            self._error(number, name, "", rule)

    def _interface(self) -> tuple[InterfaceSection | None, dict[str, int]]:
        section = _Section("interface", 0)
        for index, found in enumerate(one for one in self._sections if one.name == "interface"):
            if index:
                self._error(found.line, "[Interface]", "", "must be there once")
            else:
                section = found
        values = section.values
        own = {key.field: values[key.field] for key in INTERFACE_KEYS if key.field in values}
        parameters = self._parameters(section)
        if parameters is None or self._findings:
            return None, section.lines
        return InterfaceSection(**own, parameters=parameters, hooks=tuple(self._hooks)), section.lines

    def _parameters(self, section: _Section) -> ObfuscationParameters | None:
        # Zero and nothing mean WireGuard's own value, as in every tool.
        fields = [key.field for key in PARAMETER_KEYS]
        values = {field: section.values[field] for field in fields if not _is_default(section.values.get(field))}
        found = list(violations(UncheckedParameters(**values)))
        for violation in found:
            name = PARAMETER_NAMES[violation.key]
            self._error(section.lines.get(name.lower(), section.line), name, violation.value, violation.rule)
        return None if found else ObfuscationParameters(**values)

    def _peers(self) -> Iterator[PeerSection]:
        seen: dict[bytes, int] = {}
        for section in self._sections:
            if section.name != "peer":
                continue
            public_key = section.values.get("public_key")
            if public_key is None:
                if "publickey" not in section.lines:
                    self._error(section.line, "[Peer]", "", "must have a PublicKey")
                continue
            if public_key in seen:
                self._error(
                    section.line, "[Peer]", "", f"must have another PublicKey than the peer of line {seen[public_key]}"
                )
            seen.setdefault(public_key, section.line)
            if not self._findings:
                yield PeerSection(**section.values)

    def _error(self, line: int, key: str, value: str, rule: str) -> None:
        self._findings.append(Finding(severity=Severity.ERROR, key=key, value=value, rule=rule, line=line))


def _is_default(value: object) -> bool:
    return value is None or value in (0, "", bytes(32), Range(0, 0))
