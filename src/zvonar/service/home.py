"""What lies where under ZVONAR_HOME? Paths, secrets, ports, and the lock that says who serves."""

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from zvonar.core.errors import ZvonarError

BLOCK = 3000  # ports of one home: a few listeners, then two ranges for media
_FIRST, _LAST = 10_000, 32_000  # below the kernel's own range for outgoing connections
_MEDIA = 1400  # ports for each Asterisk's media, two a call
_HANDOVER = 10.0  # seconds that roles of a killed service are given to notice


class AlreadyServed(ZvonarError):
    """Another zvonar serves this home: stop it, or choose another ZVONAR_HOME."""


class NoFreePorts(ZvonarError):
    """There is no free block of ports: set ZVONAR_PORT_BASE to the first of 3000 free ones."""


class HomeUnusable(ZvonarError):
    """ZVONAR_HOME cannot be written: check its owner, its mode and the free space."""


class Ports(Struct, frozen=True, kw_only=True):
    """The internal ports of one home, all on loopback unless the operator binds SIP elsewhere."""

    base: int

    @property
    def gateway_ari(self) -> int:
        return self.base

    @property
    def gateway_sip(self) -> int:
        return self.base + 1

    @property
    def town_ari(self) -> int:
        return self.base + 2

    @property
    def town_sip(self) -> int:
        return self.base + 3

    @property
    def receiver(self) -> int:
        """The demo's own callback receiver."""
        return self.base + 4

    @property
    def gateway_rtp(self) -> tuple[int, int]:
        return self.base + 100, self.base + 100 + _MEDIA - 1

    @property
    def town_rtp(self) -> tuple[int, int]:
        return self.base + 100 + _MEDIA, self.base + 100 + 2 * _MEDIA - 1


class Home:
    """One ZVONAR_HOME."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def make(self) -> "Home":
        """Create the directories that everyone needs. Raises HomeUnusable."""
        try:
            for path in (self.root, self.run, self.secrets, self.log, self.clips, self.uploads, self.metrics):
                path.mkdir(parents=True, exist_ok=True)
            self.secrets.chmod(0o700)
        except OSError as exc:
            raise HomeUnusable(f"{self.root}: {exc.strerror}.") from exc
        return self

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def recordings(self) -> Path:
        """What is made of recordings; they themselves are in the gateway's directory."""
        return self.root / "recordings"

    @property
    def metrics(self) -> Path:
        return self.run / "metrics"

    @property
    def gateway(self) -> Path:
        return self.root / "gateway"

    @property
    def town(self) -> Path:
        return self.root / "town"

    def secret(self, name: str) -> str:
        """A password of this home, made at its first use and readable by nobody else."""
        path = self.secrets / name
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            # Whoever made it may still be writing it.
            until = time.monotonic() + 2.0
            while not (stored := path.read_text()) and time.monotonic() < until:
                time.sleep(0.01)
            return stored
        with os.fdopen(handle, "w") as file:
            made = secrets.token_hex(24)
            file.write(made)
        return made

    def known_ports(self) -> Ports | None:
        """The block of this home, where one was chosen already."""
        try:
            return msgspec.json.decode((self.run / "ports.json").read_bytes(), type=Ports)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def choose_ports(self, *, base: int | None) -> Ports:
        """A free block, kept for the next start. `base`: the operator's own choice."""
        known = self.known_ports()
        first = [base] if base is not None else [known.base] if known is not None else []
        candidates = first if base is not None else first + list(range(_FIRST, _LAST - BLOCK, BLOCK))
        for candidate in candidates:
            ports = Ports(base=candidate)
            if _free(ports):
                fresh = self.run / "ports.json.new"
                fresh.write_bytes(msgspec.json.encode(ports))
                fresh.replace(self.run / "ports.json")
                return ports
        raise NoFreePorts(f"{base} is not one." if base is not None else None)

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """Hold the lock of whoever serves this home; its file descriptor. Raises AlreadyServed.

        Roles inherit the descriptor, so a service that was killed still counts until its last role is gone.
        """
        with (self.run / "serve.lock").open("a+") as file:
            until = time.monotonic() + _HANDOVER
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    file.seek(0)
                    holder = file.read().strip()
                    if time.monotonic() > until or (holder.isdigit() and Path(f"/proc/{holder}").exists()):
                        raise AlreadyServed(f"Its pid is {holder}." if holder else None) from None
                    time.sleep(0.1)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield file.fileno()


def _free(ports: Ports) -> bool:
    """Whether the block's listeners can be bound, and a sample of its media ports."""
    wanted = [
        (socket.SOCK_STREAM, ports.gateway_ari),
        (socket.SOCK_STREAM, ports.town_ari),
        (socket.SOCK_STREAM, ports.receiver),
        (socket.SOCK_DGRAM, ports.gateway_sip),
        (socket.SOCK_DGRAM, ports.town_sip),
        *((socket.SOCK_DGRAM, port) for port in range(ports.gateway_rtp[0], ports.town_rtp[1], 50)),
    ]
    for kind, port in wanted:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
