"""The attacks we claim to withstand: one row each, and how a test belongs to its row.

Rules of naming:

- A test belongs to row 7 if its name begins with ``test_a07_``, wherever below ``tests/`` it is, or if it carries
  ``@pytest.mark.row(7)``: the mark is for a test that stands elsewhere under a name of its own and is linked rather
  than written twice. A test may belong to several rows: ``test_a35_to_a41_…`` is of all of 35 to 41, ``row(1, 2)`` of
  both. The mark is written with numbers, for `tests.attacks.finding` reads the text.
- A test whose name carries ``turns_red`` is a *red proof*: it passes if the attack succeeds against a build that is
  weakened in one place.
- A test that shows both, the attack on the weakened build and on the real one, carries ``@pytest.mark.red_inside``
  (or its module does: ``pytestmark = pytest.mark.red_inside``) and counts for both.
- Every other test of a row is *green*: it passes if the attack fails.

A row is red if its red proofs were run and all passed; it is green if, besides, its green tests were run and all of
them passed. A test that was skipped counts for nothing; its reason stands in the table.
Rows beyond `CLAIMED` are our own, added as the product grew; they are run and shown like the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

CLAIMED: Final = range(1, 75)
"""The rows of the specification; each has to be red and green."""

_CHOICE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_NAME = re.compile(r"test_a(\d\d)(?:_to_a(\d\d))?_")


@attrs.frozen
class Row:
    """One attack, and what answers it."""

    number: int
    attack: str
    """What the attacker has, and what he wants with it."""
    answer: str
    """The countermeasure."""
    kinds: str
    """How it is shown, a letter each: U unit or property, T real sockets, N network namespaces, S virtual time,
    C crashes and races of processes, B a browser, D documents or locked files."""


def rows_named(test: str) -> range:
    """Return the rows that a test's own name says."""
    match = _NAME.match(test)
    if match is None:
        return range(0)
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1)


def rows_of(test: str, marked: Iterable[int]) -> tuple[int, ...]:
    """Return the rows that a test belongs to, by its name and by its marks, in their order."""
    return tuple(sorted({*rows_named(test), *marked}))


def chosen_rows(text: str) -> frozenset[int]:
    """Read a choice of rows such as ``11,12-16``.

    Raises:
        ValueError: it is not of that form, or names a row that is not in the table.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        match = _CHOICE.fullmatch(part)
        if match is None:
            raise ValueError(f"no choice of rows: {text}; say for instance 11,12-16")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not chosen or not chosen <= TABLE.keys():
        raise ValueError(f"no such rows: {text}; the table has {min(TABLE)} to {max(TABLE)}")
    return frozenset(chosen)


ROWS: Final = (
    Row(1, "a beacon's certificate, to drive a buoy", "each listener admits exactly its roles", "T"),
    Row(
        2,
        "a device's certificate, for the ports of helm's",
        "these ports believe the Fleet CA only, and ask the role",
        "T",
    ),
    Row(3, "a node's certificate, as another node, a beacon or helm", "who dials checks role and id", "T"),
    Row(4, "the Device CA's key, to make members of the fleet", "the root is no anchor; usage binds the CA", "T"),
    Row(5, "another fleet with the same names", "a root for each fleet; its hash in every name", "T"),
    Row(6, "a certificate of almost the right shape", "one URI, byte for byte; usage as an equal list", "UT"),
    Row(7, "a certificate a second too old or too young", "verified by an injected time, to the second", "UT"),
    Row(8, "a leaf that acts as an authority", "the path verifier, with all published cases", "U"),
    Row(9, "names and addresses outside the fleet's", "name constraints; who dials names the peer", "UT"),
    Row(10, "a signing request that asks for more", "a template that takes the key and nothing else", "U"),
    Row(11, "a revoked certificate, live or resumed", "signed deny list, no tickets, live sessions cut", "T"),
    Row(12, "an old deny list", "the version only rises, and is kept across a kill", "UC"),
    Row(13, "old TLS, plain HTTP, another ALPN", "TLS 1.3 with the right ALPN, or nothing", "T"),
    Row(14, "a rotation that stopped half-way", "two phases, in the store, after every member's word", "S"),
    Row(15, "chains that are long, large or weak", "own intermediates, a bound on size, a list of keys", "TU"),
    Row(16, "one more way to a certificate", "one function issues, on one kind of authorization", "U"),
    Row(17, "a beacon that names another device", "the fingerprint is a hint; the Noise key decides", "T"),
    Row(18, "a client that says its own fingerprint", "the beacon passes on what is listed, and no more", "T"),
    Row(19, "a profile made by a beacon", "the fleet's signature", "U"),
    Row(20, "an old profile, or parts of several", "numbers in a signed header; the header in the seal", "U"),
    Row(21, "a device kept on its old profile", "a signed word of freshness; staleness is shown", "TS"),
    Row(22, "the profile of another device", "the recipient's key in the signed header", "U"),
    Row(23, "the size of a profile, to count nodes", "sizes in steps of 4 KiB", "U"),
    Row(24, "a ticket on its way, or keys exchanged in it", "Noise from the ticket's secret to helm's key", "T"),
    Row(25, "a claim whose answer is dropped", "answered again, to the same keys only", "T"),
    Row(26, "a client without a certificate", "two exact paths, each within bounds", "T"),
    Row(27, "a beacon that passes for helm at another's tunnel", "the role of the controller", "T"),
    Row(28, "a tunnel that leads to helm's own network", "one service and no field for a target", "T"),
    Row(29, "a beacon that floods helm", "credit for each beacon, a fair turn for all", "S"),
    Row(30, "who talks, and when, seen at a beacon", "accepted and documented; contents and sizes are hidden", "D"),
    Row(31, "a profile with fewer protocols", "a signed list, and a floor of the device's own", "U"),
    Row(32, "a network that delays, drops and cuts", "TLS 1.3 and keepalive of the application", "N"),
    Row(33, "bytes that come very slowly", "deadlines for each step, and a least rate", "T"),
    Row(34, "more connections than there are places", "bounds per source and in all; a loop that survives", "T"),
    Row(35, "headers, too many and too large", "16 kB and 64 fields", "T"),
    Row(36, "streams opened and reset at once", "a bucket of resets; a slot until the work ends", "T"),
    Row(37, "resets that the server is made to send", "counted in the same bucket", "T"),
    Row(38, "headers continued without end", "a bound on frames and on the block", "T"),
    Row(39, "floods of frames that need no stream", "a bound on what waits, and a pace", "T"),
    Row(40, "a reader that does not read", "bounded buffers, and a deadline of progress", "T"),
    Row(41, "messages that lie about their size or nest", "refused by length; no compression; bounded depth", "TU"),
    Row(42, "WebSocket fragments, bombs and storms", "no compression, 64 kB, published cases", "T"),
    Row(43, "JSON that is deep, huge or ambiguous", "a bound on size, and a strict reader", "T"),
    Row(44, "sign-in as an amplifier of memory", "two at once, eight waiting, then 503", "T"),
    Row(45, "pictures and archives that unfold", "bounds on size, pixels and ratio before decoding", "U"),
    Row(46, "a name that is rebound to helm's address", "an exact list of hosts", "TB"),
    Row(47, "requests forged by another page", "exact origin, fetch metadata, a token in a header", "TB"),
    Row(48, "a WebSocket opened by another page", "the same checks, and a token first", "TB"),
    Row(49, "a session fixed, stolen or kept", "a new id at sign-in, hashed, bound, ended", "UT"),
    Row(50, "guessing, and locking others out", "delays that grow, and a pace for all", "S"),
    Row(51, "who has an account, told by time", "the same work and the same answer", "T"),
    Row(52, "markup in names and logs", "escaped, under a strict policy for scripts", "B"),
    Row(53, "frames, sniffing and caches", "the headers that forbid them", "TB"),
    Row(54, "another's objects, and more than one's role", "one table, and no by default", "U"),
    Row(55, "two changes at the same time", "versions and rights inside one transaction", "C"),
    Row(56, "default credentials", "there are none", "U"),
    Row(57, "another user of helm's machine", "0700 and 0600, or no start", "T"),
    Row(58, "a passkey used at another local port", "the origin with its port; a person verified", "U"),
    Row(59, "helm's database or memory", "authorities' keys wrapped; users' secrets absent", "U"),
    Row(60, "a line break on its way to a root shell", "typed values; no hooks; arguments, not shells", "UT"),
    Row(61, "one more field in the Xray document", "built, serialised and checked; no rights to lose", "U"),
    Row(62, "a rule smuggled in by a policy", "typed rules through nft's JSON", "N"),
    Row(63, "names that are paths", "names never become paths", "U"),
    Row(64, "a malformed `.pharos` file", "one strict, bounded reader", "U"),
    Row(65, "a link that a page opens", "a person confirms; nothing is replaced", "UB"),
    Row(66, "secrets in logs, errors and arguments", "a type that does not print", "U"),
    Row(67, "tickets guessed, replayed or raced for", "128 bits, hashed, used up by one statement", "C"),
    Row(68, "an audit log with a row less", "a chain with signed checkpoints, and witnesses", "U"),
    Row(69, "clocks that jump", "monotonic timers, and a floor for the date", "ST"),
    Row(70, "a dependency exchanged", "locks with hashes, wheels only, an audit of them", "D"),
    Row(71, "a stolen buoy", "it holds its own keys and nobody else's", "T"),
    Row(72, "a helm in an enemy's hands", "keys continue; new nodes wait; a fleet's lock", "S"),
    Row(73, "enrolment with another's public key", "each key proven, each key unique", "T"),
    Row(74, "an old backup, to undo what came later", "a new epoch; deny lists only grow", "S"),
    Row(75, "probes of a decoy, to tell it from a site", "one site, served as it is elsewhere", "T"),
    Row(76, "a device that takes all of its buoy", "bounds for each device", "T"),
)
TABLE: Final = {row.number: row for row in ROWS}
