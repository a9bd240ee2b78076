"""What ssh starts when it wants to know something (SSH_ASKPASS, ssh(1)): it asks helm, over a socket, and prints.

Run as a script of its own, so it imports nothing of ours: ``askpass.py SOCKET QUESTION``.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main() -> int:
    """Return 0 once the answer is printed, 1 where there is none."""
    where, question = sys.argv[1], " ".join(sys.argv[2:])
    asked = {"question": question, "kind": os.environ.get("SSH_ASKPASS_PROMPT", "")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(where)
        stream.sendall(json.dumps(asked).encode() + b"\n")
        stream.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: stream.recv(4096), b""))
    if not answer.endswith(b"\n"):
        return 1
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
