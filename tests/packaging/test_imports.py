"""The package of an agent holds what its command imports: nothing may be missed, nothing guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from deb.imports import import_closure


def write(root: Path, **modules: str) -> None:
    """Write modules by their dotted names below the package ``own``; dots are written as ``__``."""
    for name, text in modules.items():
        path = root / "own" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()


def closure(root: Path, entry: str = "own.main") -> tuple[set[str], set[str]]:
    found = import_closure(root, "own", entry)
    return {str(path.relative_to("own")) for path in found.files}, set(found.external)


def test_imports_are_followed_with_the_packages_that_hold_them(tmp_path: Path) -> None:
    write(tmp_path, main="import own.a.b", a__b="from own import c", a__unused="", c="")
    assert closure(tmp_path) == ({"__init__.py", "main.py", "a/__init__.py", "a/b.py", "c.py"}, set())


def test_names_of_a_module_are_told_from_modules_of_a_package(tmp_path: Path) -> None:
    write(tmp_path, main="from own.a import b, c", a__b="", a__other="")
    (tmp_path / "own/a/__init__.py").write_text("c = 1")
    assert "a/b.py" in closure(tmp_path)[0]


def test_import_inside_a_function_counts(tmp_path: Path) -> None:
    write(tmp_path, main="def late():\n    try:\n        from own import a\n    finally:\n        pass", a="import h2")
    assert closure(tmp_path) == ({"__init__.py", "main.py", "a.py"}, {"h2"})


def test_import_for_the_type_checker_only_does_not_count(tmp_path: Path) -> None:
    write(
        tmp_path,
        main="import typing\nif typing.TYPE_CHECKING:\n    import own.a, rich\nelse:\n    import own.b",
        a="",
        b="",
    )
    assert closure(tmp_path) == ({"__init__.py", "main.py", "b.py"}, set())


def test_standard_library_needs_no_wheel(tmp_path: Path) -> None:
    write(tmp_path, main="import os.path, ssl\nfrom google.protobuf import message\nfrom trio import abc")
    assert closure(tmp_path)[1] == {"google", "trio"}


def test_circle_ends(tmp_path: Path) -> None:
    write(tmp_path, main="import own.a", a="import own.main")
    assert closure(tmp_path)[0] == {"__init__.py", "main.py", "a.py"}


def test_module_without_a_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, main="import own.gone.entirely")
    with pytest.raises(ModuleNotFoundError, match=r"own\.gone\.entirely"):
        import_closure(tmp_path, "own", "own.main")


def test_relative_import_is_refused(tmp_path: Path) -> None:
    write(tmp_path, main="from . import a")
    with pytest.raises(SyntaxError, match="relative"):
        import_closure(tmp_path, "own", "own.main")
