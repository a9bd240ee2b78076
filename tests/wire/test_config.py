"""Configuration is read strictly: nothing is guessed, and the message names file, key and value."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from pharos.wire.config import check_port, read_config
from pharos.wire.errors import ConfigError


@attrs.frozen(kw_only=True)
class SampleConfig:
    state: Path = Path("/var/lib/sample")
    host: str = "127.0.0.1"
    port: int = attrs.field(default=80, validator=check_port)
    quiet: bool = False


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sample.toml"
    path.write_text(text)
    return path


def test_defaults_hold_without_a_file() -> None:
    assert read_config(SampleConfig, None, {}) == SampleConfig()


def test_file_wins_over_defaults_and_options_over_the_file(tmp_path: Path) -> None:
    path = toml(tmp_path, 'host = "::1"\nport = 1\nquiet = true\nstate = "/srv/x"')
    options = {"host": None, "port": 2, "state": None}
    assert read_config(SampleConfig, path, options) == SampleConfig(
        host="::1", port=2, quiet=True, state=Path("/srv/x")
    )


def test_home_is_expanded_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_config(SampleConfig, toml(tmp_path, 'state = "~/x"'), {}).state == tmp_path / "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown key 'prot'; known are host, port, quiet, state"),
        ("[table]\nport = 1", "unknown key 'table'"),
        ('port = "80"', "port = '80' is not of type int"),
        ("port = true", "port = True is not of type int"),
        ("port = 80.0", "port = 80.0 is not of type int"),
        ("quiet = 1", "quiet = 1 is not of type bool"),
        ("host = 1", "host = 1 is not of type str"),
        ("state = 1", "state = 1 is not of type Path"),
        ('state = "~nobody-of-that-name/x"', "state"),
        ("port = 65536", "port = 65536 is not a port"),
        ("port = -1", "port = -1 is not a port"),
        ("port", "not TOML"),
        ("port = 1\nport = 2", "not TOML"),
    ],
)
def test_value_that_does_not_fit_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(SampleConfig, path, {})
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.toml"
    path.write_bytes(b'host = "\xff"')
    with pytest.raises(ConfigError, match="not TOML"):
        read_config(SampleConfig, path, {})


def test_missing_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml cannot be read.*--config"):
        read_config(SampleConfig, tmp_path / "missing.toml", {})


def test_option_that_does_not_fit_is_refused_without_a_file() -> None:
    with pytest.raises(ConfigError, match="command line: port = 70000 is not a port"):
        read_config(SampleConfig, None, {"port": 70000})
