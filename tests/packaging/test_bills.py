"""Bills of materials: of equal sources the same bytes, and of a package what is really in it.

Cost: 15 s, and 20 s more the first time for the tools' venv.
"""

from __future__ import annotations

import email.parser
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from deb.wheels import Lock
from packaging.utils import canonicalize_name

from tests.packaging.built import EPOCH, ROOT, Package, shared

pytestmark = pytest.mark.system

TOOLS = ROOT / ".cache/audit"


def write_bills(out: Path, **environment: str) -> dict[str, bytes]:
    command = [str(TOOLS / "bin/python"), str(ROOT / "packaging/sbom.py"), "--out", str(out)]
    changed = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **environment}
    done = subprocess.run(command, env=changed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the bills of the sources as they are, by the names of their files."""
    if shutil.which("make") is None:
        pytest.skip("the tools of bills are installed by make, which is not here")
    with shared(tmp_path_factory, "tools"):
        subprocess.run(["make", "-C", str(ROOT), f"PYTHON={sys.executable}", ".cache/audit/.stamp"], check=True)
    return write_bills(tmp_path_factory.mktemp("bills"), TZ="UTC", PYTHONHASHSEED="1")


def components(bill: bytes, kind: str) -> dict[str, dict[str, Any]]:
    listed = json.loads(bill)["components"]
    return {one["purl"].partition("?")[0]: one for one in listed if one["purl"].startswith(f"pkg:{kind}/")}


def test_two_bills_of_equal_sources_are_the_same_bytes(bills: dict[str, bytes], tmp_path: Path) -> None:
    elsewhere = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "2"}
    assert write_bills(tmp_path / "again", **elsewhere) == bills
    # The date is the sources', and it counts.
    later = write_bills(tmp_path / "later", SOURCE_DATE_EPOCH=str(EPOCH + 1))
    assert later.keys() == bills.keys()
    assert all(later[name] != bills[name] for name in bills)


def test_the_wheels_bill_lists_every_pinned_library_with_its_licence_and_hashes(bills: dict[str, bytes]) -> None:
    document = json.loads(bills["pharos.cdx.json"])
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "pharosvpn"
    libraries = components(bills["pharos.cdx.json"], "pypi")
    pins = {}
    for requirement, hashes in Lock.read(ROOT / "requirements/runtime.txt").pins:
        # Those for other systems than Linux are in nothing that we hand out.
        if requirement.marker is None or requirement.marker.evaluate({"sys_platform": "linux", "os_name": "posix"}):
            pins[f"pkg:pypi/{canonicalize_name(requirement.name)}@{str(requirement.specifier)[2:]}"] = hashes
    assert pins.keys() <= libraries.keys()
    for url, component in libraries.items():
        assert component["licenses"]
        for file in component["externalReferences"]:
            assert file["hashes"][0]["content"] in pins.get(url, {file["hashes"][0]["content"]})
    assert "pkg:npm/svelte" in {url.rpartition("@")[0] for url in components(bills["pharos.cdx.json"], "npm")}
    assert len(components(bills["pharos.cdx.json"], "deb")) == 2


def test_a_packages_bill_is_what_lies_in_it(bills: dict[str, bytes], packages: Mapping[str, Package]) -> None:
    for package in packages.values():
        held = set()
        for path in package.tree.glob("usr/lib/*/site/*/*.dist-info/METADATA"):
            said = email.parser.Parser().parsestr(path.read_text(encoding="utf-8"), headersonly=True)
            held.add(f"pkg:pypi/{canonicalize_name(said['Name'])}@{said['Version']}")
        [bill] = [text for name, text in bills.items() if name == re.sub(r"\.deb$", ".cdx.json", package.deb.name)]
        assert held
        assert held == components(bill, "pypi").keys()
        assert not components(bill, "npm")
