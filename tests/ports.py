"""Which port may a test have? One that nobody else is given between its choice and its use, or while it is away.

Below the kernel's ephemeral ports, of which any client on this machine may be given one at any moment, and above the
blocks of homes and plants.
"""

import contextlib
import os
import socket
from itertools import count

FIRST, LAST = 32_000, 32_767
# Two processes may share the suite, and other runs may be beside it: each begins elsewhere, and none comes back soon.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
_turns = count(os.getpid() * 7)


def free_port(host: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Another one at each call."""
    places = (LAST - FIRST + 1) // 2
    for _ in range(places):
        port = FIRST + 2 * (next(_turns) % places) + _WORKER
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise RuntimeError(f"There is no free port from {FIRST} to {LAST}.")
