"""The committed stubs are what the protos say, and every service has a base and a stub that speak of it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pharos.wire.gen

ROOT = Path(__file__).resolve().parents[2]
SERVICES = [
    module.name
    for module in pkgutil.walk_packages(pharos.wire.gen.__path__, "pharos.wire.gen.")
    if module.name.endswith("_grpc")
]


def test_stubs_are_what_the_protos_say_now() -> None:
    done = subprocess.run(
        [sys.executable, "packaging/gen_proto.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_stub_and_base_name_every_method_of_their_service(name: str) -> None:
    grpc = importlib.import_module(name)
    messages = importlib.import_module(name.removesuffix("_grpc") + "_pb2")
    for service in messages.DESCRIPTOR.services_by_name.values():
        base, stub = getattr(grpc, f"{service.name}Base"), getattr(grpc, f"{service.name}Stub")
        for method in service.methods:
            assert callable(getattr(base, method.name))
            assert method.name in stub.__init__.__code__.co_names


def test_no_package_of_protos_shadows_a_package_of_ours() -> None:
    """The proto package ``pharos.buoy.v1`` lives below ``pharos.wire.gen``, so both can be imported at once."""
    for name in SERVICES:
        assert name.startswith("pharos.wire.gen.")
        assert importlib.import_module(name).__name__ == name
