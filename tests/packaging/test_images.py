"""The Containerfile and the cloud-init examples say what the rest of the tree can keep."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from manpages import programs

from pharos.helm.cli import main as helm
from tests.packaging.built import ROOT

CONTAINERFILE = ROOT / "packaging/Containerfile"
CLOUD = sorted((ROOT / "packaging/cloud-init").glob("*.yaml"))
# Of the modules that every cloud-init has, by the names and types of its schema.
CLOUD_KEYS = {"write_files": list, "package_update": bool, "packages": list, "runcmd": list}


def instructions() -> list[tuple[str, list[str]]]:
    """Return the instructions in their order, each with its words."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], shlex.split(line)[1:]) for line in joined.splitlines() if line.strip()]


def test_container_copies_only_what_is_there_and_what_the_context_lets_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source
        for name, words in instructions()
        if name == "COPY" and not words[0].startswith("--from")
        for source in words[:-1]
    }
    assert copied == allowed
    for source in copied - {"dist/pharosvpn-*.whl"}:
        assert (ROOT / source).is_file()
    # `make wheel` puts it there.
    assert "hatchling build -t wheel -d dist" in (ROOT / "Makefile").read_text()


def test_container_runs_a_command_of_ours_as_nobody_in_particular() -> None:
    said = dict(instructions())
    assert said["USER"] == ["${UID}"]
    arguments = dict(word.partition("=")[::2] for name, words in instructions() if name == "ARG" for word in words)
    assert int(arguments["UID"]) > 999
    entry = re.sub(r"[\[\],]", " ", " ".join(said["ENTRYPOINT"])).split()
    command = re.sub(r"[\[\],]", " ", " ".join(said["CMD"])).split()
    assert entry[0] in programs()
    context = click.Context(helm, **helm.context_settings)
    found = helm.get_command(context, command[0])
    assert found is not None
    found.make_context(command[0], command[1:], parent=context, resilient_parsing=True)
    assert not {"EXPOSE", "ADD"} & said.keys(), "no port is open, and nothing is fetched without a hash"


def test_container_names_no_host_and_takes_its_base_as_an_argument() -> None:
    text = CONTAINERFILE.read_text()
    assert not re.search(r"\w+://|\b[\w-]+\.(io|com|org|net|dev)\b", text)
    assert {words[0] for name, words in instructions() if name == "FROM"} == {"${BASE}"}
    assert "--require-hashes" in text
    used = set(re.findall(r"\$\{(\w+)\}", text))
    declared = {words[0].partition("=")[0] for name, words in instructions() if name == "ARG"}
    assert used <= declared


def test_state_of_the_container_is_on_its_volume() -> None:
    said = dict(instructions())
    environment = dict(word.split("=", 1) for name, words in instructions() if name == "ENV" for word in words)
    assert Path(environment["XDG_DATA_HOME"]) / "pharos" == Path(said["VOLUME"][0])


@pytest.mark.parametrize("path", CLOUD, ids=lambda path: path.stem)
def test_user_data_are_cloud_config_with_scripts_that_a_shell_takes(path: Path) -> None:
    assert path.read_text().startswith("#cloud-config\n"), "cloud-init knows it by its first line"
    data = yaml.safe_load(path.read_text())
    assert data.keys() <= CLOUD_KEYS.keys()
    for key, value in data.items():
        assert isinstance(value, CLOUD_KEYS[key]), key
    files = {file["path"]: file for file in data["write_files"]}
    for file in files.values():
        assert file.keys() <= {"path", "content", "permissions"}
        subprocess.run(["sh", "-n"], input=file["content"], text=True, check=True)
    for command in data["runcmd"]:
        assert files[command[0]]["permissions"] == "0755"
    if judge := shutil.which("cloud-init"):
        subprocess.run([judge, "schema", "--config-file", str(path)], check=True)


def run_setup(data: Mapping[str, Any], folder: Path, *, digest: str, agent: str) -> subprocess.CompletedProcess[str]:
    """Run what the server would at its first boot, below ``folder``, with curl's and apt's parts played by scripts."""
    tools = folder / "tools"
    tools.mkdir(parents=True)
    for name, script in {
        "curl": 'while [ "$1" != --output ]; do shift; done; printf "a package of %s" "$3" > "$2"',
        "apt-get": 'echo "apt-get $*"',
        agent: 'echo "the request of $*"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    for file in data["write_files"]:
        place = folder / file["path"].lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        content = file["content"].replace("cd /run/", f"cd {folder}/run/").replace("0" * 64, digest)
        place.write_text(content)
        place.chmod(int(file.get("permissions", "0644"), 8))
    [[command]] = data["runcmd"]
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(
        [str(folder / command.lstrip("/"))], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("path", CLOUD, ids=lambda path: path.stem)
def test_server_installs_the_package_of_that_hash_and_shows_its_request(path: Path, tmp_path: Path) -> None:
    data = yaml.safe_load(path.read_text())
    agent = path.stem
    url = f"https://files.example.org/pharos-{agent}_0.1.0_amd64.deb"
    right = subprocess.run(
        ["sha256sum"], input=f"a package of {url}", capture_output=True, text=True, check=True
    ).stdout.split()[0]
    done = run_setup(data, tmp_path / "right", digest=right, agent=agent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"apt-get install -y ./pharos-{agent}.deb",
        "-----BEGIN PHAROS REQUEST-----",
        "the request of csr",
        "-----END PHAROS REQUEST-----",
    ]
    # Somebody put another package there: it is not installed.
    done = run_setup(data, tmp_path / "wrong", digest=right.translate(str.maketrans("0a", "a0")), agent=agent)
    assert done.returncode != 0
    assert "apt-get" not in done.stdout
    assert "computed checksum did NOT match" in done.stderr
