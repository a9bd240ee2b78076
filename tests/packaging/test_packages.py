"""What lies in the packages: all an agent needs, and nothing that it must not have."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import attrs
import pytest

import pharos
from pharos.beacon.config import BeaconConfig
from pharos.buoy.config import BuoyConfig
from tests.packaging.built import AGENTS, EPOCH, ROOT, Package

PLACES = (
    "etc/pharos/{command}.toml",
    "usr/bin/{command}",
    "usr/lib/{name}/app/*",
    "usr/lib/{name}/site/*",
    "usr/lib/systemd/system/{name}.service",
    "usr/lib/sysusers.d/{name}.conf",
    "usr/lib/tmpfiles.d/{name}.conf",
    "usr/share/doc/{name}/*",
    "usr/share/lintian/overrides/{name}",
)
COMPANION_PLACES = (
    "usr/bin/pharos-awg",
    "usr/lib/systemd/system/pharos-awg@.service",
    "usr/lib/sysusers.d/pharos-awg.conf",
    "usr/bin/pharos-reality",
    "usr/lib/systemd/system/pharos-reality.service",
    "usr/lib/sysusers.d/pharos-reality.conf",
    "usr/lib/systemd/system/pharos-xray.service",
    "usr/lib/sysusers.d/pharos-xray.conf",
    "usr/bin/pharos-buoy-helper",
    "usr/lib/systemd/system/pharos-buoy-helper.service",
    "usr/lib/systemd/system/pharos-buoy-helper.socket",
    "usr/lib/systemd/system/pharos-buoy-render.service",
)
CONFIGS = {"buoy": BuoyConfig, "beacon": BeaconConfig}


def fields(package: Package) -> dict[str, str]:
    said = subprocess.run(["dpkg-deb", "--field", str(package.deb)], capture_output=True, text=True, check=True).stdout
    return dict(line.split(": ", 1) for line in said.splitlines() if not line.startswith(" "))


def own_modules(package: Package) -> set[str]:
    start = f"usr/lib/{package.name}/app/"
    return {path.removeprefix(start) for path in package.files() if path.startswith(start)}


def test_every_file_has_a_place_that_is_ours(package: Package) -> None:
    # `*` stops at no slash here, as in fnmatch(3) without FNM_PATHNAME.
    places = [place.format(command=package.command, name=package.name) for place in PLACES]
    for path in package.files() - {*(COMPANION_PLACES if package.command == "buoy" else ())}:
        assert any(path == p or (p.endswith("*") and path.startswith(p[:-1])) for p in places), path


def test_nothing_is_carried_along_that_is_not_run(package: Package) -> None:
    for path in map(PurePosixPath, package.files()):
        assert path.suffix not in {".pyc", ".c", ".h", ".pyi"}, path
        assert {"__pycache__", "tests", "_tests"}.isdisjoint(path.parts), path


def test_beacon_carries_no_engine(packages: Mapping[str, Package]) -> None:
    modules = own_modules(packages["beacon"])
    assert "pharos/beacon/ingress.py" in modules
    foreign = ("pharos/buoy/", "pharos/helm/", "pharos/caravel/", "pharos/wire/awg/", "pharos/wire/reality/")
    assert not [path for path in modules if path.startswith(foreign)]


def test_buoy_carries_its_engine_and_neither_controller_nor_client(packages: Mapping[str, Package]) -> None:
    modules = own_modules(packages["buoy"])
    assert {"pharos/buoy/control.py", "pharos/wire/awg/device.py"} <= modules
    assert not [path for path in modules if path.startswith(("pharos/beacon/", "pharos/helm/", "pharos/caravel/"))]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("pharos-awg", "WG_QUICK_USERSPACE_IMPLEMENTATION=pharos-awg"),
        ("pharos-reality", "Serve VLESS with REALITY"),
        ("pharos-buoy-helper", "what takes root: a closed list of acts"),
    ],
)
def test_buoy_brings_its_engines_and_its_helper_as_processes_of_their_own(
    packages: Mapping[str, Package], command: str, says: str
) -> None:
    buoy = packages["buoy"]
    assert set(COMPANION_PLACES) <= buoy.files()
    words = [sys.executable, "-IS", "-B", str(buoy.tree / "usr/bin" / command), "--help"]
    assert says in subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_libraries_are_those_of_the_lock(package: Package) -> None:
    site = package.tree / f"usr/lib/{package.name}/site"
    assert {path.name for path in site.iterdir()} == {"any", "cp311", "cp312", "cp313", "cp314"}
    for tag in ("cp311", "cp312", "cp313", "cp314"):
        assert list((site / tag).glob(f"_cffi_backend.cpython-{tag[2:]}-*.so"))
    assert not list((site / "any").rglob("*.cpython-*"))
    modules = {path.name.partition(".")[0] for path in site.glob("*/*") if not path.name.endswith(".dist-info")}
    assert {"trio", "grpclib", "h2", "cryptography", "multidict"} <= modules
    assert modules.isdisjoint({"quart", "hypercorn", "sqlite_utils", "rich", "httpx", "pycparser", "pip"})


def test_every_library_brings_its_licence(package: Package) -> None:
    copyright_file = (package.tree / f"usr/share/doc/{package.name}/copyright").read_text()
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in copyright_file
    for folder in (package.tree / f"usr/lib/{package.name}/site").glob("*/*.dist-info"):
        assert [p for p in folder.rglob("*") if p.name.upper().startswith(("LICEN", "COPYING"))], folder
        name, version = folder.name.removesuffix(".dist-info").split("-")
        line = f"\n{name.replace('_', '-')} {version}: "
        assert line in copyright_file.lower(), line
    assert "None" not in copyright_file


def test_control_fields_say_what_is_needed(package: Package) -> None:
    said = fields(package)
    assert said["Package"] == package.name
    assert said["Version"] == pharos.__version__
    assert package.deb.name == f"{package.name}_{said['Version']}_{said['Architecture']}.deb"
    depends = said["Depends"].split(", ")
    assert {"python3 (>= 3.11)", "python3 (<< 3.15)", "libc6 (>= 2.28)"} <= set(depends)
    # What the helper calls.
    assert {"iproute2", "nftables"}.issubset(depends) == (package.command == "buoy")
    size = sum(-(-p.stat().st_size // 1024) if p.is_file() else 1 for p in package.tree.rglob("*"))
    assert int(said["Installed-Size"]) == size
    assert package.deb.stat().st_size < 12e6


def test_helper_is_told_of_an_update_and_of_its_end(packages: Mapping[str, Package], tmp_path: Path) -> None:
    said = {}
    for command, package in packages.items():
        subprocess.run(["dpkg-deb", "--control", str(package.deb), str(tmp_path / command)], check=True)
        said[command] = [(tmp_path / command / script).read_text() for script in ("postinst", "prerm")]
    postinst, prerm = said["buoy"]
    assert "try-restart pharos-buoy-helper.service" in postinst
    assert prerm.index("stop pharos-buoy.service") < prerm.index("pharos-buoy-helper --undo")
    assert not [text for text in said["beacon"] if "helper" in text.replace("deb-systemd-helper", "")]


def test_dpkg_knows_the_sum_of_every_file(package: Package, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--control", str(package.deb), str(tmp_path)], check=True)
    assert (tmp_path / "conffiles").read_text() == f"/etc/pharos/{package.command}.toml\n"
    sums = dict(reversed(line.split("  ", 1)) for line in (tmp_path / "md5sums").read_text().splitlines())
    assert sums.keys() == package.files() - {f"etc/pharos/{package.command}.toml"}
    subprocess.run(["md5sum", "--check", "--quiet", str(tmp_path / "md5sums")], cwd=package.tree, check=True)
    for script in ("postinst", "prerm", "postrm"):
        assert (tmp_path / script).stat().st_mode & 0o777 == 0o755
        assert not re.search("@[a-z]+@", (tmp_path / script).read_text())
        subprocess.run(["sh", "-n", str(tmp_path / script)], check=True)


def test_modes_and_dates_are_the_same_wherever_it_is_built(package: Package) -> None:
    for path in package.tree.rglob("*"):
        facts = path.lstat()
        executable = path.is_dir() or path.parent.name == "bin"
        assert stat.S_IMODE(facts.st_mode) == (0o755 if executable else 0o644), path
        assert facts.st_mtime == EPOCH, path


def test_two_builds_are_the_same_bytes(packages: Mapping[str, Package], rebuild: Callable[[str], Path]) -> None:
    assert rebuild("beacon").read_bytes() == packages["beacon"].deb.read_bytes()


@pytest.mark.system
def test_two_builds_of_the_larger_are_the_same_bytes(
    packages: Mapping[str, Package], rebuild: Callable[[str], Path]
) -> None:
    assert rebuild("buoy").read_bytes() == packages["buoy"].deb.read_bytes()


@pytest.mark.parametrize("command", AGENTS)
def test_conffile_shows_every_key_with_its_default(command: str) -> None:
    text = (ROOT / f"packaging/deb/conffiles/{command}.toml").read_text()
    assert tomllib.loads(text) == {}
    shown = tomllib.loads("".join(f"{line[1:]}\n" for line in text.splitlines() if line[:1] == "#" and " = " in line))
    defaults = attrs.asdict(CONFIGS[command](), value_serializer=lambda _config, _field, v: v)
    assert shown == {key: as_toml(value) for key, value in defaults.items()}


def as_toml(value: object) -> object:
    """A default as TOML has it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.system
def test_lintian_has_nothing_to_say(package: Package) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not here to judge the packages")
    command = ["lintian", "--fail-on", "error,warning", "--allow-root", str(package.deb)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
