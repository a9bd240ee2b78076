"""A build that cannot be right stops, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from build_deb import read_version
from deb.errors import PackagingError
from deb.package import Package
from deb.programs import HELM, PACKAGES
from deb.stage import stage
from deb.values import Build
from deb.wheels import Target
from epoch import read_epoch

import pharos
from tests.packaging.built import ROOT


def test_missing_dpkg_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "packaging/build_deb.py"), "--out", str(tmp_path / "out"), "--arch", "amd64"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "deb: dpkg-deb is missing: build on Debian or Ubuntu, or install dpkg\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.command)
def test_package_that_imports_what_it_would_not_hold_is_not_packed(package: Package, tmp_path: Path) -> None:
    (tmp_path / f"pharos/{package.command}").mkdir(parents=True)
    for folder in ("pharos", f"pharos/{package.command}"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / f"pharos/{package.command}/cli.py").write_text("import json, quart, trio\n")
    build = Build(root=tmp_path, version="1.0", arch="amd64", epoch=0)
    with pytest.raises(PackagingError, match=f"imports quart, trio, which {package.package} would not hold"):
        # Companions are programs of their own, and import what they want.
        alone = attrs.evolve(package, companions=(), further=())
        stage(alone, build, {Target("3.11", "amd64"): {}}, tmp_path / "tree")


def test_helm_is_not_packed_without_its_page(tmp_path: Path) -> None:
    (tmp_path / "pharos/helm").mkdir(parents=True)
    for path in ("pharos/__init__.py", "pharos/helm/__init__.py", "pharos/helm/cli.py"):
        (tmp_path / path).touch()
    build = Build(root=tmp_path, version="1.0", arch="amd64", epoch=0)
    with pytest.raises(PackagingError, match="run `make spa`"):
        stage(attrs.evolve(HELM, further=()), build, {Target("3.11", "amd64"): {}}, tmp_path / "tree")


def test_version_is_read_without_importing(tmp_path: Path) -> None:
    assert read_version(ROOT) == pharos.__version__
    (tmp_path / "pharos").mkdir()
    (tmp_path / "pharos/__init__.py").write_text("__version__ = make_one_up()\n")
    with pytest.raises(PackagingError, match="__version__"):
        read_version(tmp_path)


def test_date_is_stated_or_the_last_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    assert read_epoch(tmp_path) == 1790000000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(PackagingError, match="no number of seconds"):
        read_epoch(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    # The folder of a test is in no checkout.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(PackagingError, match="set SOURCE_DATE_EPOCH"):
        read_epoch(tmp_path)
