"""The packaged commands run on the system's Python, with nothing but what their packages hold."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import pharos
from pharos.wire.agent import AgentRequest
from tests.packaging.built import ROOT, Package
from tests.support.agents import grant_for

SYSTEM_PYTHON = Path("/usr/bin/python3")
START = 20
"""Seconds that a start may take on a machine that is busy with other tests."""


def interpreters() -> list[str]:
    """Return this Python and, where it is one that packages serve, the system's own."""
    asked = [str(SYSTEM_PYTHON), "-c", "import sys; print(sys.version_info[:2] in {(3, m) for m in range(11, 15)})"]
    served = SYSTEM_PYTHON.exists() and subprocess.run(asked, capture_output=True, check=True).stdout == b"True\n"
    return [sys.executable, *([str(SYSTEM_PYTHON)] if served else [])]


def command_line(package: Package, python: str, *arguments: str) -> list[str]:
    # -B: byte code of one test is not to serve another.
    return [python, "-IS", "-B", str(package.tree / "usr/bin" / package.command), *arguments]


def run(package: Package, python: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(package, python, *arguments), input=text, capture_output=True, text=True, check=False
    )


def test_launcher_asks_for_isolation(package: Package) -> None:
    first, *_ = (package.tree / "usr/bin" / package.command).read_text().splitlines()
    assert first == "#!/usr/bin/python3 -IS"


@pytest.mark.parametrize("python", interpreters())
def test_packaged_command_runs_on_the_package_and_the_standard_library_alone(package: Package, python: str) -> None:
    launcher = package.tree / "usr/bin" / package.command
    script = (
        "import runpy, sys\n"
        "sys.argv[1:] = ['--version']\n"
        f"try: runpy.run_path({str(launcher)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(*{getattr(m, '__file__', None) or '' for m in list(sys.modules.values())}, sep='\\n')"
    )
    done = subprocess.run([python, "-IS", "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version, *files = done.stdout.splitlines()
    assert version.endswith(f", version {pharos.__version__}")
    assert str(package.tree / f"usr/lib/{package.name}/app/pharos/__init__.py") in files
    assert not [path for path in files if "-packages/" in path or path.startswith(f"{ROOT}/")]


def test_python_that_is_not_served_is_named(package: Package) -> None:
    launcher = package.tree / "usr/bin" / package.command
    script = f"import runpy, sys; sys.version_info = (3, 10); runpy.run_path({str(launcher)!r})"
    done = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{package.command}: {package.name} runs on Python 3.11 to 3.14, and this is 3.10\n"


@pytest.mark.parametrize("python", interpreters()[-1:])
def test_packaged_agent_joins_a_fleet_and_tells_systemd_when_it_serves(
    agent: Package, python: str, tmp_path: Path
) -> None:
    state = ["--state", str(tmp_path / "state")]
    asked = run(agent, python, "csr", *state)
    grant = grant_for(AgentRequest.parse(asked.stdout))
    kept = run(agent, python, "csr", *state, "--install", "-", text=grant.render())
    assert kept.returncode == 0, kept.stderr

    ports = {"buoy": ("--control-port", "--awg-port"), "beacon": ("--ingress-port", "--tunnel-port")}
    options = [*state, "--host", "127.0.0.1", *(word for port in ports[agent.command] for word in (port, "0"))]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(START)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PATH": "/usr/bin:/bin"}
        with subprocess.Popen(
            command_line(agent, python, "run", *options), env=environment, stderr=subprocess.PIPE, text=True
        ) as daemon:
            try:
                assert systemd.recv(64) == b"READY=1"
                daemon.send_signal(signal.SIGTERM)
                assert systemd.recv(64) == b"STOPPING=1"
                _, errors = daemon.communicate(timeout=START)
                assert daemon.returncode == 0, errors
            finally:
                daemon.kill()
