"""The proof of what was done: a hash chain over the audit rows, signed checkpoints, verification."""
