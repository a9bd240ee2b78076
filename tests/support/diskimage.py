"""The disks that a crash may leave, made of a `DiskLog`: killed, nothing is lost; without power, what was not synced.

What is not durable survives each by the toss of a coin, whatever its order, and a write may survive by half. Names and
data are two things: a file that was synced may have no name yet, and a name may have a file with nothing in it
(Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014).
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests.support.disklog import DIRECTORY, Step

Tree = dict[str, bytes | None]
"""What is at each path; None is a directory."""
Change = tuple[int, bytes] | int
"""What is written from an offset on, or the length that a file is cut to."""
Names = list[tuple[str, int | None]]
"""What one change of a directory makes of each path; None takes it away."""


def read_tree(root: Path) -> Tree:
    """Return what is below a directory."""
    return {str(path): None if path.is_dir() else path.read_bytes() for path in sorted(root.resolve().rglob("*"))}


def lay_down(tree: Tree, root: Path, target: Path) -> None:
    """Make ``target`` what a tree of ``root`` says; what lies in a directory that is not there is lost with it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700, parents=True)
    start = len(str(root.resolve())) + 1
    for path, content in sorted(tree.items()):
        place = target / path[start:]
        if not place.parent.is_dir():
            continue
        if content is None:
            place.mkdir(mode=0o700)
        else:
            place.write_bytes(content)
            place.chmod(0o600)


@attrs.define
class Disk:
    """A disk, as programs see it and as it would be without power."""

    names: dict[str, int]
    files: dict[int, bytearray]
    durable_names: dict[str, int]
    durable_files: dict[int, bytearray]
    pending_names: list[Names] = attrs.field(factory=list)
    pending: dict[int, list[Change]] = attrs.field(factory=dict)

    @classmethod
    def of(cls, tree: Tree) -> Disk:
        """Return a disk on which all is durable; inodes are numbered as a `DiskLog` does."""
        names, files = {}, {}
        for number, (path, content) in enumerate(sorted(tree.items(), key=lambda one: Path(one[0])), DIRECTORY + 1):
            names[path] = DIRECTORY if content is None else number
            if content is not None:
                files[number] = bytearray(content)
        durable = {inode: bytearray(content) for inode, content in files.items()}
        return cls(names, files, dict(names), durable)

    def apply(self, step: Step) -> None:
        """Take one step."""
        match step:
            case ("names", changes):
                _rename(self.names, changes)
                self.pending_names.append(changes)
            case ("data", inode, offset, data):
                self._change(inode, (offset, data))
            case ("size", inode, length):
                self._change(inode, length)
            case ("sync", inode):
                durable = self.durable_files.setdefault(inode, bytearray())
                for change in self.pending.pop(inode, ()):
                    _write(durable, change)
            case ("sync names", folder):
                self._settle(folder)
            case _:
                # What is said changes no disk.
                pass

    def killed(self) -> Tree:
        """Return what is left of it when the process is gone."""
        return _tree(self.names, self.files)

    def without_power(self, chance: random.Random | None) -> Tree:
        """Return what may be left of it without power; without ``chance`` nothing of what was not synced."""
        names = dict(self.durable_names)
        files = {inode: bytearray(content) for inode, content in self.durable_files.items()}
        if chance is not None:
            for changes in self.pending_names:
                if chance.random() < 0.5:
                    _rename(names, changes)
            for inode, pending in self.pending.items():
                content = files.setdefault(inode, bytearray())
                for change in pending:
                    if chance.random() < 0.5:
                        _write(content, _torn(change) if chance.random() < 0.25 else change)
        return _tree(names, files)

    def _change(self, inode: int, change: Change) -> None:
        _write(self.files.setdefault(inode, bytearray()), change)
        self.pending.setdefault(inode, []).append(change)

    def _settle(self, folder: str) -> None:
        rest = []
        for changes in self.pending_names:
            if any(path.rpartition("/")[0] == folder for path, _ in changes):
                _rename(self.durable_names, changes)
            else:
                rest.append(changes)
        self.pending_names = rest


@attrs.frozen(kw_only=True)
class Crash:
    """One disk that a crash leaves."""

    where: str
    """For whoever repeats it: ``step 17 of 80, power, seed 3``."""
    said: int
    """How many changes had been acknowledged."""
    tree: Tree


def crashes(before: Tree, steps: Sequence[Step], *, powers: int, seed: int = 0, stride: int = 1) -> Iterator[Crash]:
    """Make the disk of a kill and of ``powers`` + 1 power cuts after each step; what is the same comes once.

    With a ``stride`` it is one step of so many, and the last.
    """
    disk, said, seen = Disk.of(before), 0, set()
    for number, step in enumerate([("begin",), *steps]):
        disk.apply(step)
        said += step == ("said",)
        if number % stride and number < len(steps):
            continue
        where = f"step {number} of {len(steps)}"
        found = [(f"{where}, killed", disk.killed()), (f"{where}, power", disk.without_power(None))]
        for one in range(powers):
            chance = random.Random(f"{seed} {number} {one}")
            found.append((f"{where}, power, seed {seed} {number} {one}", disk.without_power(chance)))
        for name, tree in found:
            mark = (said, hash(frozenset(tree.items())))
            if mark not in seen:
                seen.add(mark)
                yield Crash(where=name, said=said, tree=tree)


def _rename(names: dict[str, int], changes: Sequence[tuple[str, int | None]]) -> None:
    for path, inode in changes:
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode


def _write(content: bytearray, change: Change) -> None:
    if isinstance(change, int):
        del content[change:]
        content.extend(bytes(change - len(content)))
        return
    offset, data = change
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data


def _torn(change: Change) -> Change:
    return change if isinstance(change, int) else (change[0], change[1][: len(change[1]) // 2])


def _tree(names: dict[str, int], files: dict[int, bytearray]) -> Tree:
    return {path: None if inode == DIRECTORY else bytes(files.get(inode, b"")) for path, inode in names.items()}
