"""ip(8) and nft(8): lines in, silence out, or an error with what they said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio


class CommandError(Exception):
    """A command failed; the message is what it was told and what it said."""


async def run_command(*command: str, stdin: str = "", check: bool = True) -> str:
    """Run a command to its end and return what it printed.

    Raises: CommandError — it failed and ``check`` is set.
    """
    done = await trio.run_process(command, stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False)
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CommandError(f"{' '.join(command)}: {said or f'code {done.returncode}'}\n{stdin}")
    return done.stdout.decode()


def inside(namespace: str, command: Sequence[str]) -> list[str]:
    """Return the words that run a command in a network namespace; the process keeps its pid and its mounts."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *command]


async def run_ip(lines: Iterable[str], namespace: str | None = None) -> None:
    """Run a batch of ip(8).

    Raises: CommandError.
    """
    where = [] if namespace is None else ["-n", namespace]
    await run_command("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")


async def run_nft(namespace: str, rules: str) -> None:
    """Apply nft(8) rules as one transaction.

    Raises: CommandError.
    """
    await run_command(*inside(namespace, ["nft", "-f", "-"]), stdin=rules)
