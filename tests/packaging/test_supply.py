"""What others have written of Pharos is pinned, its licences are known, and what services say of it is read rightly.

Cost: a second; the judges are shown refusing beside each thing that they let pass.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from email.message import Message
from pathlib import Path

import pytest
from deb.wheels import Lock
from packaging.utils import canonicalize_name
from supply import advisories, licences, locks, parts

from tests.packaging.built import ROOT

FRONTEND = ROOT / "frontend"
HASH = "0" * 64
INTEGRITY = f"sha512-{'A' * 86}=="


def metadata(**fields: str) -> Message:
    message = Message()
    for name, value in ({"Name": "a"} | fields).items():
        message[name.replace("_", "-")] = value
    return message


# -- locks


def test_every_requirements_file_is_a_lock() -> None:
    assert {path.stem for path in (ROOT / "requirements").glob("*.txt")} == set(locks.LOCKS)
    for name in locks.LOCKS:
        assert locks.faults_of_python(ROOT / f"requirements/{name}.txt") == []
        assert Lock.read(ROOT / f"requirements/{name}.txt").pins


@pytest.mark.parametrize(
    "line",
    [
        "a>=1.0 --hash=sha256:" + HASH,
        "a==1.0",
        "a==1.0 --hash=sha256:short",
        "a==1.0 --hash=md5:" + "0" * 32,
        "--index-url mirror\na==1.0 --hash=sha256:" + HASH,
        "--extra-index-url mirror\na==1.0 --hash=sha256:" + HASH,
        "a==1.0 --hash=sha256:" + HASH + "\n# from https://mirror.example/",
    ],
)
def test_a_lock_that_leaves_a_choice_is_found(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lock.txt"
    path.write_text(f"a==1.0 \\\n    --hash=sha256:{HASH}\n    # via b\n")
    assert locks.faults_of_python(path) == []
    path.write_text(line + "\n")
    assert locks.faults_of_python(path) != []


def test_the_front_end_is_a_lock() -> None:
    assert locks.faults_of_node(FRONTEND / "package-lock.json") == []


@pytest.mark.parametrize("entry", [{}, {"integrity": "sha1-AAAA"}, {"integrity": INTEGRITY, "resolved": "https://m/"}])
def test_a_front_end_lock_that_leaves_a_choice_is_found(tmp_path: Path, entry: dict[str, str]) -> None:
    path = tmp_path / "package-lock.json"
    path.write_text(json.dumps({"packages": {"": {}, "node_modules/a": {"integrity": INTEGRITY}}}))
    assert locks.faults_of_node(path) == []
    path.write_text(json.dumps({"packages": {"": {}, "node_modules/a": entry}}))
    assert locks.faults_of_node(path) != []


def test_whatever_is_installed_from_a_registry_is_a_locked_wheel() -> None:
    recipes = (ROOT / "Makefile").read_text().replace("\\\n", " ").splitlines()
    commands = [part for line in recipes for part in re.split(r"&&|\|\||;", line) if " install -q" in part]
    assert len(commands) >= 6
    for command in commands:
        wheels_alone = "--only-binary :all:" in command and "--require-hashes" in command
        assert wheels_alone or "--no-deps --no-build-isolation -e ." in command, command


# -- licences


def test_every_library_has_a_licence_that_ours_allows() -> None:
    wanted = {
        canonicalize_name(requirement.name) for requirement, _ in Lock.read(ROOT / "requirements/runtime.txt").pins
    }
    found = dict(parts.installed_licence(one.metadata) for one in importlib.metadata.distributions())  # type: ignore[arg-type]
    # Some are for other Pythons or systems than this one; `make audit` looks at the wheels of all that are carried.
    looked = {name: licence for name, licence in found.items() if name in wanted}
    assert len(looked) > 70
    assert licences.refusals(looked) == []


def test_every_package_of_the_front_end_has_a_licence_that_ours_allows() -> None:
    assert licences.refusals(parts.locked_packages(FRONTEND)) == []


def test_what_was_stated_by_hand_is_still_needed() -> None:
    pinned = {canonicalize_name(one.name) for one, _ in Lock.read(ROOT / "requirements/runtime.txt").pins}
    assert licences.STATED.keys() <= pinned | {name.partition(" ")[0] for name in parts.locked_packages(FRONTEND)}


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ({"License_Expression": "MIT OR GPL-2.0-only"}, "MIT OR GPL-2.0-only"),
        ({"License": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"License": "bsd-3-clause"}, "BSD-3-Clause"),
        ({"License": "The whole text …", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, None),
        ({"License": "as you like"}, None),
        ({}, None),
        ({"Name": "Jinja2"}, "BSD-3-Clause"),
    ],
)
def test_what_metadata_says_becomes_an_expression_or_nothing(fields: dict[str, str], expression: str | None) -> None:
    assert licences.of_python(metadata(**fields)) == expression


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-2.0-only", False),
        ("SSPL-1.0", False),
        ("MIT OR SSPL-1.0", True),
        ("MIT AND SSPL-1.0", False),
        ("SSPL-1.0 OR MIT AND ISC", True),
        ("(SSPL-1.0 OR MIT) AND GPL-2.0-only", False),
        ("(SSPL-1.0 OR MIT) AND (ISC)", True),
        ("Apache-2.0 WITH LLVM-exception", False),
        ("(MIT", False),
        ("", False),
    ],
)
def test_an_expression_is_allowed_if_one_of_its_ways_is(expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression) is allowed


def test_a_licence_that_nobody_has_read_is_refused_by_name() -> None:
    said = licences.refusals({"good 1.0": "MIT", "dark 1.0": None, "closed 2.0": "SSPL-1.0"})
    assert said == ["dark 1.0: its licence is not clear; read it and state it", "closed 2.0: SSPL-1.0 is not allowed"]


# -- what the page is made of


def test_the_pages_packages_are_those_its_sources_import_and_theirs() -> None:
    names = {part.name for part in parts.page_parts(FRONTEND)}
    assert {"svelte", "@sveltejs/kit", "bits-ui", "uplot", "world-atlas", "@floating-ui/dom"} <= names
    # What builds and tests it is not in it.
    assert names.isdisjoint({"vite", "vitest", "typescript", "svelte-check", "axe-core"})


def test_a_package_of_a_package_is_looked_for_where_node_would(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.ts").write_text(
        'import type { T } from "types"\nimport {\n  a,\n} from "a"\nawait import("b/deep")\n'
    )
    (tmp_path / "src/a.test.ts").write_text('import { t } from "tester"\n')

    def entry(version: str, *needs: str) -> dict[str, object]:
        needed = dict.fromkeys(needs, "*")
        return {"version": version, "license": "MIT", "integrity": INTEGRITY, "dependencies": needed}

    packages = {
        "node_modules/a": entry("1", "c"),
        "node_modules/a/node_modules/c": entry("2", "b"),
        "node_modules/b": entry("3", "c"),
        "node_modules/c": entry("4"),
        "node_modules/tester": entry("5"),
        "node_modules/types": entry("6"),
    }
    (tmp_path / "package-lock.json").write_text(json.dumps({"packages": packages}))
    found = {(part.name, part.version) for part in parts.page_parts(tmp_path)}
    assert found == {("a", "1"), ("b", "3"), ("c", "2"), ("c", "4")}


# -- what advisory services say


def ended(out: object, error: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], 1, out if isinstance(out, str) else json.dumps(out), error)


def test_an_advisory_is_a_finding_by_name() -> None:
    known = [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}]}]
    answer = advisories.read_python("x.txt", ended({"dependencies": [*known, {"name": "c", "skip_reason": "unknown"}]}))
    assert (answer.asked, answer.findings) == (2, ("b 2: PYSEC-1",))
    assert answer.line() == "audit: x.txt: 2 packages, 1 advisories"
    found = {"vulnerabilities": {"a": {"severity": "high"}}, "metadata": {"dependencies": {"total": 7}}}
    assert advisories.read_node("x.json", ended(found)).findings == ("a: high",)


@pytest.mark.parametrize(
    "answer",
    [
        advisories.read_python("x", ended("", "requests.exceptions.ConnectionError: no route")),
        advisories.read_python("x", ended({"dependencies": [{"name": "a", "skip_reason": "not found"}]})),
        advisories.read_node("x", ended({"error": {}}, "npm error audit endpoint returned an error")),
        advisories.read_node("x", ended("")),
        advisories.ask_node(FRONTEND, None),
    ],
)
def test_a_service_that_was_not_reached_has_not_said_that_all_is_well(answer: advisories.Answer) -> None:
    assert answer.unreached
    assert "nothing was audited" in answer.line()
    assert "\n" not in answer.line()
