"""Which functions of ours change files, as their text says it: what a rehearsal has to visit (docs/guide/faults.md)."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pharos

ROOT: Final = Path(pharos.__file__).parent
_FUNCTIONS: Final = frozenset({"write_atomic", "sync_directory"})
_OF_MODULES: Final = {
    "os": frozenset({"write", "replace", "rename", "link", "fsync", "fdatasync", "ftruncate", "mkdir", "unlink"}),
    "shutil": frozenset({"rmtree", "copyfile", "copytree", "copy", "copy2", "move"}),
    "tempfile": frozenset({"mkdtemp", "mkstemp", "NamedTemporaryFile"}),
    "this_world()": frozenset({"write", "replace", "unlink", "fsync", "fdatasync", "truncate", "remove_tree"}),
}
_METHODS: Final = frozenset(
    {"write_text", "write_bytes", "rename", "unlink", "mkdir", "rmdir", "touch", "symlink_to", "hardlink_to", "save"}
)


@functools.cache
def writers() -> frozenset[str]:
    """Return each function that changes files by itself, as ``wire/files.py write_atomic``."""
    found: set[str] = set()
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("wire/gen/"):
            found |= {f"{name} {function}" for function in writers_in(ast.parse(path.read_text()))}
    return frozenset(found)


def writers_in(module: ast.Module) -> Iterator[str]:
    """Give the qualified names of those of one module."""
    yield from _below(module, ())


def _below(node: ast.AST, names: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _below(child, (*names, child.name))
            continue
        if isinstance(child, ast.Call) and _writes(child):
            yield ".".join(names) or "<module>"
        yield from _below(child, names)


def _writes(call: ast.Call) -> bool:
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in _FUNCTIONS
    if not isinstance(function, ast.Attribute):
        return False
    base, name = ast.unparse(function.value), function.attr
    if base in _OF_MODULES:
        if name == "open":
            return "O_CREAT" in ast.unparse(call)
        return name in _OF_MODULES[base]
    if name == "open":
        mode = call.args[0] if call.args else None
        return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and bool(set(mode.value) & set("wax+"))
    if name == "connect" and base == "sqlite3":
        return "mode=ro" not in ast.unparse(call)
    # A path's takes one argument, a text's two.
    if name == "replace":
        return len(call.args) == 1 and not call.keywords
    return name in _METHODS
