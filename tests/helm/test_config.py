"""helm's settings of its page: by what names and by what scheme browsers reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pharos.helm.config import MAX_ORIGINS, HelmConfig
from pharos.wire.config import read_config
from pharos.wire.errors import ConfigError


def read(tmp_path: Path, text: str, **options: object) -> HelmConfig:
    path = tmp_path / "helm.toml"
    path.write_text(text)
    return read_config(HelmConfig, path, options)


def test_page_has_loopbacks_names_and_those_that_are_set(tmp_path: Path) -> None:
    own = frozenset({"localhost:8440", "127.0.0.1:8440", "[::1]:8440"})
    assert HelmConfig().web_hosts == own
    config = read(tmp_path, 'web_tls = true\nweb_origins = ["https://localhost:9000", "https://helm.example"]')
    assert (config.scheme, config.web_hosts) == ("https", own | {"localhost:9000", "helm.example"})
    config = read(tmp_path, "web_port = 9000", web_origins=("http://[fd00::1]:8080",))
    assert config.web_hosts == {"localhost:9000", "127.0.0.1:9000", "[::1]:9000", "[fd00::1]:8080"}


@pytest.mark.parametrize(
    "origins",
    [
        '"http://localhost:9000"',
        "[1]",
        '["localhost:9000"]',
        '["http://localhost:9000/"]',
        '["http://Localhost:9000"]',
        '["http://localhost:80"]',
        '["http://localhost:65536"]',
        '["http://localhost:09000"]',
        '["http://user@localhost:9000"]',
        '["http://*:9000"]',
        '["https://localhost:9000"]',
        '["null"]',
        '[""]',
        str([f"http://localhost:{9000 + n}" for n in range(MAX_ORIGINS + 1)]),
    ],
)
def test_origin_that_no_browser_would_say_is_refused(tmp_path: Path, origins: str) -> None:
    with pytest.raises(ConfigError, match="web_origins"):
        read(tmp_path, f"web_origins = {origins}")


def test_page_is_plain_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    assert HelmConfig().scheme == "http"
    with pytest.raises(ConfigError, match="web_tls = 1 is not of type bool"):
        read(tmp_path, "web_tls = 1")
