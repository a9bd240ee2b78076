"""How fast is the audit verified? Rows of a real core.db, as a year of acts leaves them, checkpoints included."""

import tempfile
import time
from pathlib import Path

import trio
from nacl.signing import SigningKey

from pharos.helm.audit.chain import Link, row_hash
from pharos.helm.audit.checkpoints import ROWS
from pharos.helm.audit.verify import verify_audit
from pharos.helm.store.checkpoints import StoredCheckpoint, add_checkpoint
from pharos.helm.store.database import Database, open_store
from pharos.wire.ids import FleetId
from pharos.wire.seal.checkpoint import Checkpoint, sign_checkpoint, signature_of

FLEET = FleetId("0" * 16)
KEY = SigningKey(bytes(range(32)))
# Acts are some seconds apart, and the first is of this day in 2027.
_BORN = 1_800_000_000_000_000


def measure_verify(rows: int) -> float:
    """Return how many rows per second are verified, from SQLite to the verdict.

    Raises: RuntimeError — the chain does not hold, so nothing was measured.
    """
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), create=True) as store:

        async def measure() -> float:
            await store.run(_fill, rows)
            began = time.perf_counter()
            found = await verify_audit(store, fleet=FLEET, keys=[bytes(KEY.verify_key)], kept_from=_BORN)
            seconds = time.perf_counter() - began
            if not found.ok or found.rows != rows:
                raise RuntimeError(f"{found.rows} of {rows} audit rows were verified: {found.detail}")
            return rows / seconds

        return trio.run(measure)


def _fill(db: Database, rows: int) -> None:
    link = Link()
    for sequence in range(1, rows + 1):
        subject = f"0198a2b4-{sequence % 65_536:04x}-7000-8000-{sequence:012x}"
        at = _BORN + sequence * 7_000_000
        act = ("ada", "session", "device_changed", "device", subject, 3, "note, expires_at")
        link = Link(sequence, row_hash(link.hash, sequence, at, *act))
        db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (sequence, at, *act, link.hash))
        if sequence % ROWS == 0:
            checkpoint = Checkpoint(fleet=FLEET, size=sequence, head=link.hash, at=at)
            signature = signature_of(sign_checkpoint(checkpoint, signing_key=KEY))
            add_checkpoint(db, StoredCheckpoint(sequence=sequence, at=at, hash=link.hash, signature=signature))
