"""Under which licence a package is, and whether a work under AGPL-3.0-or-later may hold it.

Two steps: what a package says of itself becomes an SPDX expression, or nothing if it says nothing clear; and an
expression is judged by a list. What is not on the list is refused until somebody has read it.
"""

from __future__ import annotations

from email.message import Message
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

ALLOWED: Final = frozenset(
    {
        # Permissive: nothing but notices, which come along (packaging/deb/control.py).
        *(
            "0BSD",
            "Apache-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "ISC",
            "MIT",
            "MIT-0",
            "MIT-CMU",
            "PSF-2.0",
            "Unlicense",
        ),
        # Copyleft of its own files; its section 3.3 lets a larger work be under the AGPL.
        "MPL-2.0",
        "AGPL-3.0-or-later",
        "GPL-3.0-or-later",
        "LGPL-3.0-or-later",
    }
)
"""Licences that a part may have (SPDX), as the Free Software Foundation's list has them compatible."""

STATED: Final = {
    "click-default-group": "BSD-3-Clause",  # its classifier says public domain, its LICENSE three clauses
    "itsdangerous": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "pyasn1-modules": "BSD-2-Clause",
    "requests-oauthlib": "ISC",
    "segno": "BSD-3-Clause",
    "svelte-toolbelt": "MIT",
}
"""Read in the LICENSE of packages whose metadata says less than that, or something else."""

_WORDS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "MIT License": "MIT",
}
"""How licences are called in the free field of older metadata."""
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""The classifiers that name one licence; `BSD License` is not among them, for it may be any of several."""


def of_python(metadata: Message) -> str | None:
    """Return the licence of a distribution as an SPDX expression, by its METADATA; None where that is not clear."""
    name = canonicalize_name(metadata["Name"] or "")
    said = metadata.get("License-Expression") or metadata.get("License") or ""
    if (expression := STATED.get(name) or _canonical(_WORDS.get(said, said))) is not None:
        return expression
    classifiers = metadata.get_all("Classifier") or []
    called = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    return _CLASSIFIERS.get(called[0]) if len(called) == 1 else None


def of_node(name: str, said: str | None) -> str | None:
    """Return the licence of an npm package as an SPDX expression, by what the lock says of it."""
    return STATED.get(name) or _canonical(said or "")


def is_allowed(expression: str) -> bool:
    """Tell whether an SPDX expression leaves a way that is on the list; an exception (WITH) makes it another."""
    words = expression.replace("(", " ( ").replace(")", " ) ").split()
    allowed, rest = _either(words)
    return allowed and not rest


def refusals(parts: dict[str, str | None]) -> list[str]:
    """Return a line for each part whose licence is unknown or not on the list, by what it is called."""
    unknown = [
        f"{name}: its licence is not clear; read it and state it" for name, said in parts.items() if said is None
    ]
    return unknown + [f"{name}: {said} is not allowed" for name, said in parts.items() if said and not is_allowed(said)]


def _canonical(said: str) -> str | None:
    try:
        return canonicalize_license_expression(said)
    except InvalidLicenseExpression:
        return None


# AND binds closer than OR (SPDX 2.3, annex D.4). Each returns its judgement and the words after it.


def _either(words: list[str]) -> tuple[bool, list[str]]:
    allowed, rest = _both(words)
    while rest[:1] == ["OR"]:
        other, rest = _both(rest[1:])
        allowed = allowed or other
    return allowed, rest


def _both(words: list[str]) -> tuple[bool, list[str]]:
    allowed, rest = _one(words)
    while rest[:1] == ["AND"]:
        other, rest = _one(rest[1:])
        allowed = allowed and other
    return allowed, rest


def _one(words: list[str]) -> tuple[bool, list[str]]:
    if words[:1] == ["("]:
        allowed, rest = _either(words[1:])
        return (allowed, rest[1:]) if rest[:1] == [")"] else (False, words)
    return words[:1] != [] and words[0] in ALLOWED, words[1:]
