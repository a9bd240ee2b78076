"""One file per question; each prints one JSON object last."""

import os

# What a benchmark makes is gone with its folder, and leaves nothing in the keyring of whoever runs it.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
