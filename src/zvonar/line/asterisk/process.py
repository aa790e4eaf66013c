"""Is our Asterisk running, and how does it start, get adopted and stop?

It outlives whoever started it: a session of its own, no terminal, output in a file. `run/<name>.json` names
the process by pid, boot and start tick together, so a pid that the kernel has given to somebody else is never
taken for ours, and signals go through a pidfd, so they cannot hit a successor either.
"""

import base64
import contextlib
import fcntl
import http.client
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zvonar.core.errors import ZvonarError
from zvonar.line.asterisk.config import LOOPBACK, Rendered, Secret
from zvonar.line.asterisk.install import AsteriskInstall

POLL = 0.05  # seconds between questions to a starting Asterisk
ASK_DEADLINE = 2.0  # seconds for one answer from it
LAST_GRACE = 2.0  # seconds from SIGTERM to SIGKILL for one that does not answer
LOG_LIMIT = 16_000_000  # bytes of a log before a start sets it aside
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class PortTaken(ZvonarError):
    """A port is taken by another program: end it, or set ZVONAR_PORT_BASE to a free block."""


class AsteriskDied(ZvonarError):
    """Asterisk ended while it was starting: its last words tell why."""


class AsteriskNotReady(ZvonarError):
    """Asterisk runs but its ARI does not answer: look into its log directory."""


class AsteriskIsAnother(ZvonarError):
    """What answers on the ARI port does not know our password: end it, or choose other ports."""


class StopFailed(ZvonarError):
    """The process did not end even when killed: it hangs in the kernel, the machine needs a look."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    boot: str  # the kernel's name of the boot in which the pid means something
    started: int  # clock ticks from that boot to the start of the process
    fingerprint: str  # of the configuration that it was started with


class AsteriskProcess:
    """One recorded Asterisk. Every method may be called from any process of the same user."""

    def __init__(
        self,
        *,
        name: str,  # `gateway` or `town`: names the record
        run: Path,  # directory of records
        install: AsteriskInstall,
        rendered: Rendered,
        ari_port: int,
        ari_user: str,
        ari_password: Secret,
        sip_port: int,
        sip_bind: str = LOOPBACK,
    ) -> None:
        self.name = name
        self._run = run.absolute()
        self._install = install
        self._rendered = rendered
        self._ari_port = ari_port
        self._authorization = "Basic " + base64.b64encode(f"{ari_user}:{ari_password}".encode()).decode()
        self._sip = (sip_bind, sip_port)
        self._child: int | None = None  # pid, when it was started here and so is ours to reap

    def adopt(self) -> Record | None:
        """The record, if the process that it names is alive."""
        try:
            record = msgspec.json.decode(self._file.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return record if self._alive(record) else None

    def running(self) -> Record | None:
        """As adopt, and also one whose starter died before it wrote the record."""
        return self.adopt() or self._orphan()

    def ensure(self, deadline: float) -> Record:
        """Adopted or started, and ready: within `deadline` seconds.

        One that does not answer in that time is ended and replaced, once: nobody can steer its calls any more. Where a
        stranger took the port of one that was started here, that one is ended: on other ports there can be another.
        """
        record = self.adopt() or self.start()
        try:
            try:
                self.wait_ready(deadline)
            except AsteriskNotReady:
                self.stop(LAST_GRACE)
                record = self.start()
                self.wait_ready(deadline)
        except AsteriskIsAnother:
            if self._child == record.pid:
                self.stop(LAST_GRACE)
            raise
        return record

    def start(self) -> Record:
        """Starts it, unless it runs already. Returns before it is ready. Raises PortTaken."""
        self._run.mkdir(parents=True, exist_ok=True)
        with self._locked():
            record = self.running()
            if record is None:
                self._check_ports()
                record = self._spawn()
            self._save(record)
            return record

    def wait_ready(self, deadline: float) -> None:
        """Returns once ARI answers us. Raises AsteriskDied, AsteriskNotReady or AsteriskIsAnother."""
        until = time.monotonic() + deadline
        while True:
            status = self._ping()
            if status == http.HTTPStatus.OK:
                return
            if self.adopt() is None:
                raise AsteriskDied(self.last_words())
            if status == http.HTTPStatus.UNAUTHORIZED:
                raise AsteriskIsAnother(f"Port {self._ari_port}.")
            if time.monotonic() > until:
                raise AsteriskNotReady(
                    f"After {deadline:.0f} s it said {status or 'nothing'}. {self.last_words()}"
                )
            time.sleep(POLL)

    def stop(self, deadline: float) -> None:
        """SIGTERM, SIGKILL after `deadline` seconds; calls in progress end. Nothing to do when it is dead."""
        record = self.running()
        if record is not None:
            with contextlib.suppress(ProcessLookupError):  # ended between the look and the signal
                self._end(record, deadline)
        self._reap()
        self._file.unlink(missing_ok=True)

    def last_words(self, lines: int = 8) -> str:
        """The end of what it printed and logged."""
        said: list[str] = []
        for path in (self._console, self._rendered.home / "log/messages.log"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as handle:
                handle.seek(max(0, path.stat().st_size - 8000))
                said += handle.read().decode(errors="replace").splitlines()[-lines:]
        return "\n".join(said) or "It printed nothing."

    @property
    def _file(self) -> Path:
        return self._run / f"{self.name}.json"

    @property
    def _console(self) -> Path:
        return self._rendered.home / "log/console.log"

    def _spawn(self) -> Record:
        for path in (self._console, self._rendered.home / "log/messages.log"):
            if path.exists() and path.stat().st_size > LOG_LIMIT:
                path.replace(path.with_name(f"{path.name}.1"))
        argv = self._argv
        log = (os.POSIX_SPAWN_OPEN, 1, str(self._console), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._child = os.posix_spawn(
            argv[0],
            argv,
            {**os.environ, **self._install.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                log,
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        started = _started(self._child)
        if started is None:
            raise AsteriskDied(self.last_words())
        return self._record(self._child, started)

    @property
    def _argv(self) -> list[str]:
        return self._install.argv(self._rendered.conf)

    def _record(self, pid: int, started: int) -> Record:
        boot = BOOT_ID.read_text().strip()
        return Record(pid=pid, boot=boot, started=started, fingerprint=self._rendered.fingerprint)

    def _save(self, record: Record) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(record))
        fresh.replace(self._file)

    def _orphan(self) -> Record | None:
        """One that was started with our command line by somebody who died before writing it down."""
        wanted = "\0".join(self._argv).encode() + b"\0"
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and (entry / "cmdline").read_bytes() == wanted:
                    started = _started(int(entry.name))
                    if started is not None:
                        return self._record(int(entry.name), started)
        return None

    def _alive(self, record: Record) -> bool:
        self._reap()
        return record.boot == BOOT_ID.read_text().strip() and _started(record.pid) == record.started

    def _reap(self) -> None:
        """A dead child keeps its pid until its parent asks."""
        if self._child is not None:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._child, os.WNOHANG) == (0, 0):
                    return
            self._child = None

    def _end(self, record: Record, deadline: float) -> None:
        handle = os.pidfd_open(record.pid)
        try:
            if not self._alive(record):
                return
            for sign, patience in ((signal.SIGTERM, deadline), (signal.SIGKILL, 10.0)):
                signal.pidfd_send_signal(handle, sign)
                if select.select([handle], [], [], patience)[0]:
                    return
        finally:
            os.close(handle)
        raise StopFailed(f"{self.name}, pid {record.pid}.")

    def _check_ports(self) -> None:
        for kind, address in (
            (socket.SOCK_STREAM, (LOOPBACK, self._ari_port)),
            (socket.SOCK_DGRAM, self._sip),
        ):
            with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:  # a predecessor's closed connections are no obstacle
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(address)
                except OSError as exc:
                    what = "TCP" if kind == socket.SOCK_STREAM else "UDP"
                    raise PortTaken(
                        f"{what} {address[0]}:{address[1]} for the {self.name}: {exc.strerror}."
                    ) from exc

    def _ping(self) -> int | None:
        """The HTTP status of ARI's ping; None while nothing answers."""
        connection = http.client.HTTPConnection(LOOPBACK, self._ari_port, timeout=ASK_DEADLINE)
        try:
            connection.request("GET", "/ari/asterisk/ping", headers={"Authorization": self._authorization})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Two starters at once must not become two Asterisks. Held for the milliseconds of a start."""
        with (self._run / f"{self.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _started(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None when there is none or it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    state, *rest = stat.rpartition(b")")[2].split()  # the name before may hold spaces and brackets
    return None if state in (b"Z", b"X") else int(rest[18])
