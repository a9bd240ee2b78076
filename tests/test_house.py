"""Rules of the house that no linter of ours can say, read from the syntax trees of the package."""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pharos"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "gen" not in path.relative_to(PACKAGE).parts)

MAX_LINES = 450

# Where a handler of `Exception` may swallow: one peer's failure ends there, or it is raised again outside the handler.
BOUNDARIES = {
    "wire/link.py run_link": "one link's bug is logged with its traceback and cooled down; the others go on",
    "wire/rpc/transport.py serve_tls.serve_peer": "one connection's handler; the listener goes on",
    "wire/rpc/h2conn.py Connection._serve": "one stream's handler; the connection goes on",
    "wire/rpc/client.py open_channel": "raised again outside the nursery, so that no group wraps it",
    "wire/reality/serving.py RealityServer._serve": "one connection's bug is logged; the node's users go on",
    "helm/alerts/send.py send": "one delivery's service, which is other people's code; the alert is tried again",
    "helm/alerts/send.py _instantiate": "other people's code judges an address; that it does not fit is all there is",
    "wire/tasks.py open_background": "raised again outside the nursery, so that no group wraps it",
    "helm/onboard/upgrade/runs.py Upgrades._carry_out": "an upgrade may end by a fault of helm's own, and helm goes on",
    "helm/onboard/join/runner.py Onboardings._work": "a machine's answers may end its own onboarding, and nothing else",
    "demo/cli.py _tell": "the step that failed has said so in its own line and in the exit code",
}
# The only homes of primitives (docs/attacks.md): everyone else asks these for an act with a name.
CRYPTOGRAPHY = ("wire/pki/", "wire/seal/", "wire/noise/", "wire/awg/", "wire/reality/", "helm/ca/")
ENVIRONMENT = {
    "wire/daemon.py": "systemd says there where it listens",
    "helm/ca/providers.py": "systemd says there where its credentials are, and a passphrase may come that way",
    "buoy/roothelper/server.py": "systemd says there which socket it passes",
    "helm/onboard/ssh/askpass.py": "ssh says there what kind of question it is that it starts this for",
    "helm/onboard/ssh/process.py": "ssh wants the operator's: his agent, his home, what his configuration names",
    "helm/onboard/ssh/runtime.py": "systemd says there where sockets belong that end with the session",
    "demo/processes.py": "hands the environment on to the daemons that it starts",
}
ABSENT = {"asyncio", "trio_asyncio", "anyio", "sniffio", "attr"}
UNFINISHED = {"TODO", "FIXME", "XXX", "HACK", "WIP", "TBD", "NotImplementedError"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_in(tree: ast.Module) -> Iterator[str]:
    """Give every module that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def swallowing_handlers_in(tree: ast.Module) -> Iterator[str]:
    """Give the qualified name of every function that catches `Exception` or more without raising at the end of it."""

    def visit(node: ast.AST, where: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            where = (*where, node.name)
        if isinstance(node, ast.ExceptHandler):
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {"all"}
            last = node.body[-1]
            # What is more than `Exception` has to go on as it is, Cancelled above all.
            raises = isinstance(last, ast.Raise) and (last.exc is None or caught == {"Exception"})
            if caught & {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup", "all"} and not raises:
                yield ".".join(where)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, where)

    return visit(tree, ())


def is_primitive(module: str) -> bool:
    return module.partition(".")[0] in ("nacl", "argon2") or ".hazmat" in module


def environment_in(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("environ", "environb", "getenv", "putenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(tree)
    ) or bool({"os.environ", "os.getenv"} & set(imports_in(tree)))


def unfinished_in(text: str) -> set[str]:
    words: set[str] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            words |= set(re.findall(r"\w+", token.string))
        elif token.type == tokenize.NAME:
            words.add(token.string)
    return words & UNFINISHED


IN_A_THREAD = {"caravel/blocking.py": {"anyio"}}
"""Its portal is given Trio, and runs that in a thread (docs/adr/0027)."""


def everywhere(found: Callable[[Path], object]) -> dict[str, object]:
    """Ask one question of every module; give the answers that are not empty, by module."""
    answers = {name_of(path): found(path) for path in SOURCES}
    return {name: answer for name, answer in answers.items() if answer}


def test_nobody_brings_a_second_loop() -> None:
    found = everywhere(lambda path: {name.partition(".")[0] for name in imports_in(tree_of(path))} & ABSENT)
    assert found == IN_A_THREAD


def test_imports_are_absolute() -> None:
    assert not everywhere(lambda path: [name for name in imports_in(tree_of(path)) if name.startswith(".")])


def test_broad_handlers_stand_at_the_named_boundaries_only() -> None:
    found = {f"{name_of(path)} {where}" for path in SOURCES for where in swallowing_handlers_in(tree_of(path))}
    assert found == BOUNDARIES.keys()


def test_primitives_are_imported_where_they_live() -> None:
    users = everywhere(lambda path: {name for name in imports_in(tree_of(path)) if is_primitive(name)})
    assert not {name for name in users if not name.startswith(CRYPTOGRAPHY)}
    assert users, "the search finds those that may"


def test_environment_is_read_where_configuration_is() -> None:
    readers = everywhere(lambda path: environment_in(tree_of(path)))
    assert {name for name in readers if not name.endswith("/config.py")} == ENVIRONMENT.keys()


def test_every_module_is_a_short_chapter_with_a_title() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}
    assert not everywhere(lambda path: ast.get_docstring(tree_of(path)) is None)


def test_nothing_is_left_for_later() -> None:
    assert not everywhere(lambda path: unfinished_in(path.read_text(encoding="utf-8")))


BROAD = "def f():\n  try: g()\n  {}"


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (lambda tree: set(imports_in(tree)) & ABSENT, "def f():\n  import asyncio"),
        (lambda tree: set(imports_in(tree)) & ABSENT, "from asyncio import run"),
        (lambda tree: [m for m in imports_in(tree) if m.startswith(".")], "from . import x"),
        (lambda tree: list(swallowing_handlers_in(tree)), BROAD.format("except Exception: pass")),
        (lambda tree: list(swallowing_handlers_in(tree)), BROAD.format("except: pass")),
        (lambda tree: list(swallowing_handlers_in(tree)), BROAD.format("except* Exception: pass")),
        (lambda tree: list(swallowing_handlers_in(tree)), BROAD.format("except (OSError, Exception): pass")),
        (lambda tree: list(swallowing_handlers_in(tree)), BROAD.format("except BaseException: raise OSError")),
        (environment_in, "import os\nx = os.environ['X']"),
        (environment_in, "import os\nx = os.getenv('X')"),
        (environment_in, "from os import environ"),
        (lambda tree: unfinished_in(ast.unparse(tree)), "def f():\n  raise NotImplementedError"),
    ],
)
def test_rules_see_what_they_forbid(rule: Callable[[ast.Module], object], bad: str) -> None:
    assert rule(ast.parse(bad))


def test_rules_see_what_stands_in_a_comment() -> None:
    assert unfinished_in("x = 1  # TODO: later\n") == {"TODO"}
    assert not unfinished_in("x = 'TODO in a text is data'\n")
    assert not list(swallowing_handlers_in(ast.parse(BROAD.format("except BaseException:\n    h()\n    raise"))))
    assert not list(swallowing_handlers_in(ast.parse(BROAD.format("except Exception as e:\n    raise X from e"))))
