"""Find what a program imports, by reading it: the package of an agent holds that and nothing else."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Closure:
    """All that a module needs in order to be imported and to run."""

    files: tuple[Path, ...]
    """Our own source files, relative to the root, sorted."""
    external: frozenset[str]
    """Top-level names that are neither ours nor the standard library's."""


def import_closure(root: Path, package: str, *entries: str) -> Closure:
    """Follow the imports of modules of ``package``, whose folder is in ``root``.

    Imports inside functions count; those under ``if TYPE_CHECKING`` never run and do not. An import by computed name
    cannot be seen.

    Raises: ModuleNotFoundError — an entry, or a module that it imports from ``package``, has no file.
    """
    files: dict[str, Path] = {}
    external: set[str] = set()
    waiting = [*entries]
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        if name.partition(".")[0] != package:
            external.add(name.partition(".")[0])
            continue
        path = _source(root, name)
        if path is None:
            raise ModuleNotFoundError(f"{name} is imported but has no file below {root}", name=name)
        files[name] = path
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        for module, member in _imports_of(path.read_bytes(), str(path)):
            waiting.append(module)
            submodule = f"{module}.{member}"
            if member and module.partition(".")[0] == package and _source(root, submodule):
                waiting.append(submodule)
    return Closure(
        files=tuple(sorted(path.relative_to(root) for path in files.values())),
        external=frozenset(external - sys.stdlib_module_names),
    )


@functools.cache
def _imports_of(source: bytes, filename: str) -> tuple[tuple[str, str], ...]:
    """Read a file once, for all packages that it goes into."""
    return tuple(_imports(ast.parse(source, filename=filename)))


def _source(root: Path, name: str) -> Path | None:
    base = root.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (module, member) for each import; member is empty for ``import module``."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level or node.module is None:
            raise SyntaxError(f"line {node.lineno}: relative imports are not followed, and not used here")
        yield from ((node.module, alias.name) for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        yield from chain.from_iterable(map(_imports, node.orelse))
    else:
        yield from chain.from_iterable(map(_imports, ast.iter_child_nodes(node)))
