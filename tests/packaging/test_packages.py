"""What lies in the packages: all that their commands need, and nothing that they must not have."""

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
from packaging.utils import canonicalize_name

import pharos
from pharos.beacon.config import BeaconConfig
from pharos.buoy.config import BuoyConfig
from pharos.helm.config import HelmConfig
from pharos.helm.onboard.debs import read_deb
from tests.packaging.built import AGENTS, EPOCH, ROOT, Package, shared_sources

PLACES = (
    "usr/bin/{command}",
    "usr/lib/{name}/app/*",
    "usr/lib/{name}/site/*",
    "usr/share/bash-completion/completions/{command}",
    "usr/share/doc/{name}/*",
    "usr/share/fish/vendor_completions.d/{command}.fish",
    "usr/share/lintian/overrides/{name}",
    "usr/share/man/man1/{command}.1.gz",
    "usr/share/man/man1/{command}-*",
    "usr/share/zsh/vendor-completions/_{command}",
)
DAEMON_PLACES = (
    "etc/pharos/{command}.toml",
    "usr/lib/systemd/system/{name}.service",
    "usr/lib/sysusers.d/{name}.conf",
    "usr/lib/tmpfiles.d/{name}.conf",
)
COMPANION_COMMANDS = ("pharos-awg", "pharos-reality", "pharos-buoy-helper")
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
FURTHER_PLACES = {
    "buoy": {*COMPANION_PLACES, *(f"usr/share/man/man1/{name}.1.gz" for name in COMPANION_COMMANDS)},
    "helm": {place.format(command="pharos") for place in PLACES if "{command}" in place},
}
CONFIGS = {"buoy": BuoyConfig, "beacon": BeaconConfig, "helm": HelmConfig}
LOCKS = {"helm": "runtime", "caravel": "caravel"}
"""An agent's is agent.txt."""
ARCHITECTURES = ("amd64", "arm64")


def fields(package: Package) -> dict[str, str]:
    said = subprocess.run(["dpkg-deb", "--field", str(package.deb)], capture_output=True, text=True, check=True).stdout
    return dict(line.split(": ", 1) for line in said.splitlines() if not line.startswith(" "))


def own_modules(package: Package) -> set[str]:
    start = f"usr/lib/{package.name}/app/"
    return {path.removeprefix(start) for path in package.files() if path.startswith(start)}


def test_every_file_has_a_place_that_is_ours(package: Package) -> None:
    # `*` stops at no slash here, as in fnmatch(3) without FNM_PATHNAME.
    wanted = (*PLACES, *(DAEMON_PLACES if package.command in CONFIGS else ()))
    places = [place.format(command=package.command, name=package.name) for place in wanted]
    for path in package.files() - FURTHER_PLACES.get(package.command, set()):
        assert any(path == p or (p.endswith("*") and path.startswith(p[:-1])) for p in places), path


def test_every_command_has_a_page_and_completes(package: Package) -> None:
    files = package.files()
    for command in {Path(path).name for path in files if path.startswith("usr/bin/")}:
        assert f"usr/share/man/man1/{command}.1.gz" in files, command
    script = (package.tree / f"usr/share/bash-completion/completions/{package.command}").read_text()
    assert f"complete -o nosort -F _{package.command}_completion {package.command}" in script


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
    assert modules.isdisjoint({"pycparser", "pip", "pygments"})
    lock = (ROOT / f"requirements/{LOCKS.get(package.command, 'agent')}.txt").read_text()
    for folder in site.glob("*/*.dist-info"):
        name, version = folder.name.removesuffix(".dist-info").split("-")
        assert f"\n{canonicalize_name(name)}=={version}" in f"\n{lock}"
    if package.command != "helm":
        assert modules.isdisjoint({"quart", "hypercorn", "sqlite_utils", "httpx"})
    assert ("rich" in modules) is (package.command not in AGENTS)


def test_every_library_brings_its_licence(package: Package) -> None:
    copyright_file = (package.tree / f"usr/share/doc/{package.name}/copyright").read_text()
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in copyright_file
    lines = re.findall(r"^(\S+) (\S+): ", copyright_file, re.M)
    named = {(canonicalize_name(name), version) for name, version in lines}
    for folder in (package.tree / f"usr/lib/{package.name}/site").glob("*/*.dist-info"):
        assert [p for p in folder.rglob("*") if p.name.upper().startswith(("LICEN", "COPYING"))], folder
        name, version = folder.name.removesuffix(".dist-info").split("-")
        assert (canonicalize_name(name), version) in named
    assert "None" not in copyright_file


def test_control_fields_say_what_is_needed(package: Package) -> None:
    said = fields(package)
    assert said["Package"] == package.name
    assert said["Version"] == pharos.__version__
    assert package.deb.name == f"{package.name}_{said['Version']}_{said['Architecture']}.deb"
    depends = said["Depends"].split(", ")
    assert {"python3 (>= 3.11)", "python3 (<< 3.15)", "libc6 (>= 2.28)"} <= set(depends)
    # What the helper calls, what it uses where it is, and how helm reaches other machines.
    assert {"iproute2", "nftables"}.issubset(depends) == (package.command == "buoy")
    assert ("Suggests" in said and said["Suggests"] == "amneziawg-tools, xray") == (package.command == "buoy")
    assert ("Recommends" in said and said["Recommends"] == "openssh-client") == (package.command == "helm")
    assert ("systemd (>= 252)" in depends) == (package.command in CONFIGS)
    size = sum(-(-p.stat().st_size // 1024) if p.is_file() else 1 for p in package.tree.rglob("*"))
    assert int(said["Installed-Size"]) == size
    assert package.deb.stat().st_size < (70e6 if package.command == "helm" else 12e6)


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
    daemon = package.command in CONFIGS
    if daemon:
        assert (tmp_path / "conffiles").read_text() == f"/etc/pharos/{package.command}.toml\n"
    sums = dict(reversed(line.split("  ", 1)) for line in (tmp_path / "md5sums").read_text().splitlines())
    assert sums.keys() == package.files() - {f"etc/pharos/{package.command}.toml"}
    subprocess.run(["md5sum", "--check", "--quiet", str(tmp_path / "md5sums")], cwd=package.tree, check=True)
    scripts = {"postinst", "prerm", *(("postrm",) if daemon else ())}
    assert {path.name for path in tmp_path.iterdir()} - {"control", "md5sums", "conffiles"} == scripts
    for script in scripts:
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


@pytest.mark.system
def test_helms_files_are_the_same_wherever_they_are_laid_out(
    helm_package: Package, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And packing does not differ: that is shown of the agents', which take a tenth of the time."""
    shutil.copytree(shared_sources(tmp_path_factory, "helm-sources"), tmp_path / "elsewhere")
    script = (
        "import os, sys; from pathlib import Path; os.umask(0o077)\n"
        "import build_deb; from deb.programs import HELM; from deb.stage import stage; from deb.values import Build\n"
        "tree, cache, arch, epoch, *carried = sys.argv[1:]\n"
        "root = build_deb.ROOT\n"
        "build = Build(root=root, version=build_deb.read_version(root), arch=arch, epoch=int(epoch))\n"
        "wheels = build_deb.wheels_for(build_deb.ROOT, HELM.lock, arch, cache=Path(cache), offline=True)\n"
        "stage(HELM, build, wheels, Path(tree), carried=list(map(Path, carried)))\n"
    )
    arch = fields(helm_package)["Architecture"]
    words = [str(tmp_path / "tree"), str(ROOT / ".cache/deb"), arch, str(EPOCH), *map(str, carried_in(helm_package))]
    where = tmp_path / "elsewhere/packaging"
    subprocess.run([sys.executable, "-c", script, *words], cwd=where, check=True)
    control = helm_package.deb.parent / "control"
    subprocess.run(["dpkg-deb", "--control", str(helm_package.deb), str(control)], check=True)
    assert facts_of(tmp_path / "tree/DEBIAN") == facts_of(control)
    shutil.rmtree(tmp_path / "tree/DEBIAN")
    assert facts_of(tmp_path / "tree") == facts_of(helm_package.tree)


def facts_of(tree: Path) -> dict[str, tuple[int, float, bytes]]:
    """Mode, date and content of each file of a tree."""
    return {
        str(path.relative_to(tree)): (path.stat().st_mode, path.stat().st_mtime, path.read_bytes())
        for path in sorted(tree.rglob("*"))
        if path.is_file()
    }


def carried_in(helm: Package) -> list[Path]:
    return sorted((helm.tree / "usr/lib/pharos-helm/app/pharos/helm/onboard/_debs").iterdir())


@pytest.mark.system
def test_helm_brings_the_agents_of_every_architecture_and_the_page(
    helm_package: Package, packages: Mapping[str, Package]
) -> None:
    carried = {(deb.package, deb.arch): deb for deb in map(read_deb, carried_in(helm_package))}
    assert carried.keys() == {(f"pharos-{command}", arch) for command in AGENTS for arch in ARCHITECTURES}
    assert {deb.version for deb in carried.values()} == {pharos.__version__}
    # They are those that are built by themselves, byte for byte.
    here = fields(helm_package)["Architecture"]
    for command in AGENTS:
        assert carried[f"pharos-{command}", here].path.read_bytes() == packages[command].deb.read_bytes()
    assert "pharos/helm/web/_spa/index.html" in own_modules(helm_package)


@pytest.mark.system
def test_every_module_of_helms_package_finds_what_it_imports(helm_package: Package) -> None:
    """Its commands are imported by computed names, and libraries are left out that nothing here is to run."""
    modules = sorted(path for path in own_modules(helm_package) if path.endswith(".py"))
    names = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in modules]
    assert "pharos.demo.story" in names
    launcher = (helm_package.tree / "usr/bin/helm").read_text()
    script = launcher.partition("\nfrom pharos")[0].replace(
        "os.path.realpath(__file__)", repr(str(helm_package.tree / "usr/bin/helm"))
    )
    script += "\nimport importlib\nfor name in sys.stdin.read().split(): importlib.import_module(name)"
    names.remove("pharos.__main__")
    subprocess.run([sys.executable, "-IS", "-B", "-c", script], input="\n".join(names), text=True, check=True)


@pytest.mark.parametrize("command", CONFIGS)
def test_conffile_shows_every_key_with_its_default(command: str) -> None:
    text = (ROOT / f"packaging/deb/conffiles/{command}.toml").read_text()
    assert tomllib.loads(text) == {}
    shown = tomllib.loads("".join(f"{line[1:]}\n" for line in text.splitlines() if line[:1] == "#" and " = " in line))
    config = HelmConfig(state=Path("/var/lib/pharos-helm")) if command == "helm" else CONFIGS[command]()
    defaults = attrs.asdict(config, value_serializer=lambda _config, _field, v: v)
    assert shown == {key: as_toml(value) for key, value in defaults.items()}


def as_toml(value: object) -> object:
    """A default as TOML has it."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.system
def test_lintian_has_nothing_to_say(packages: Mapping[str, Package], helm_package: Package) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not here to judge the packages")
    # It uses one core, takes a minute for helm's, and what it reads of one package says nothing of another.
    command = ["lintian", "--fail-on", "error,warning", "--allow-root"]
    running = [
        subprocess.Popen([*command, str(package.deb)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for package in (helm_package, *packages.values())
    ]
    said = [process.communicate()[0] for process in running]
    assert ([process.returncode for process in running], said) == ([0] * len(running), [""] * len(running))
