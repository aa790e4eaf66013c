"""How is the embedded PostgreSQL of a home started, adopted, reached and stopped?

One server per `ZVONAR_HOME`. It has no TCP port and outlives whoever started it. Under the home are
`postgres/data` (the cluster), `log/postgres.log`, `run/postgres.json` (who serves), `run/postgres.lock` and
`secrets/postgres` (the password of the role `zvonar`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec
import psutil
import psycopg
from psycopg import pq

from zvonar.store.server_cluster import Cluster, configure, write_whole
from zvonar.store.server_errors import (
    ConnectionRefused,
    DiskFull,
    NotSetUp,
    PostgresUnavailable,
    SocketDirectoryRefused,
    StartFailed,
    TimedOut,
    gist,
    plain_errors,
    raise_if_disk_full,
)
from zvonar.store.server_programs import Owner, binary, choose_owner, run, version

__all__ = ["PostgresRecord", "PostgresServer", "PostgresState", "PostgresUnavailable"]

DATABASE = ROLE = "zvonar"
SOCKET = ".s.PGSQL.5432"  # the number only names the socket: its directory is private to the home
LOG_MAX = 8 << 20  # bytes of log kept in each of postgres.log and postgres.log.1
STUCK = 10.0  # seconds that `ensure` gives a shutdown it finds under way before it makes it an immediate one
POLL = 0.02  # seconds between looks at a process that cannot notify us


class PostgresRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What `run/postgres.json` tells other tools about the server last seen running."""

    pid: int  # of the postmaster
    create_time: float  # Unix seconds as psutil gives them: tells a reused pid
    version: str  # of the running server, "18.6"
    socket_dir: str  # absolute path of the private directory of its socket


class PostgresState(msgspec.Struct, frozen=True, kw_only=True):
    """What a doctor sees without touching anything."""

    version: str  # of the installed programs, "18.6"
    data_dir: Path  # where the cluster is, or will be
    state: Literal["absent", "stopped", "starting", "running"]  # starting: or recovering, or stopping
    pid: int | None  # of the postmaster, where there is one
    log: Path  # the server's own log


class PostgresServer:
    """The embedded PostgreSQL of one home. Calls block: asynchronous code runs them in a thread."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.data_dir = self.home / "postgres" / "data"
        self.log = self.home / "log" / "postgres.log"
        self.record = self.home / "run" / "postgres.json"
        self._cluster = Cluster(self.data_dir, self.home / "secrets" / "postgres")

    def ensure(self, deadline: float = 60.0) -> str:
        """Return the DSN of a server that accepts connections, created and started as needed.

        Safe to call at any time from any number of processes. `deadline`: seconds for everything, crash
        recovery included. Raises `PostgresUnavailable`.
        """
        until = time.monotonic() + deadline
        with plain_errors(self.home):
            self._make_rooms()
            with self._lock(until):
                owner = choose_owner(self.data_dir)
                if not self.data_dir.exists():
                    self._cluster.create(owner, self._socket_dir(owner.uid), until)
                process = self._settled(until)
                if process and not self._socket().exists():
                    # A cleaner of /tmp took the socket, or the home was moved: alive, but out of reach.
                    self._end(process, until)
                    process = None
                if process is None:
                    self._start(owner, until)
                    process = self._settled(until)
                if process is None:
                    raise StartFailed(why="it ended as soon as it was up", log=self.log)
                self._remember(process, self._open_database(process, until))
                self._trim_log()
                return self.dsn()

    def dsn(self) -> str:
        """The address of the database as a URL, password inside: never log it. Starts nothing."""
        if not self.data_dir.exists():
            raise NotSetUp(home=self.home)
        with plain_errors(self.home):
            return self._dsn(DATABASE)

    def running(self) -> bool:
        """Is our postmaster alive, be it still in crash recovery?"""
        return self._postmaster() is not None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, while there is one."""
        process = self._postmaster()
        return process.pid if process else None

    def stop(self, deadline: float = 30.0) -> None:
        """End every session, write a checkpoint, end the server: a "fast" shutdown for `deadline` seconds."""
        if not self.data_dir.exists():
            return
        until = time.monotonic() + deadline
        with plain_errors(self.home):
            self._make_rooms()
            with self._lock(until):
                process = self._postmaster()
                if process:
                    self._end(process, until)
                self.record.unlink(missing_ok=True)

    def describe(self) -> PostgresState:
        """What is there; reads only."""
        process = self._postmaster()
        state: Literal["absent", "stopped", "starting", "running"]
        if process:
            state = "running" if self._ping() == pq.Ping.OK else "starting"
        else:
            state = "stopped" if self.data_dir.exists() else "absent"
        return PostgresState(
            version=version(),
            data_dir=self.data_dir,
            state=state,
            pid=process.pid if process else None,
            log=self.log,
        )

    # Starting and stopping

    def _make_rooms(self) -> None:
        """Create what is missing; the mode of a directory that was there is its maker's business."""
        for room, mode in (
            (self.home, 0o711),
            (self.data_dir.parent, 0o711),
            (self.log.parent, 0o755),
            (self.record.parent, 0o755),
            (self._cluster.secret.parent, 0o700),
        ):
            room.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                room.mkdir(mode=0o700)
                room.chmod(mode)  # whatever the umask: the server's user has to pass through

    def _start(self, owner: Owner, until: float) -> None:
        self._cluster.check()
        self._prepare_socket_dir(owner)
        configure(self.data_dir, owner, self._socket_dir(owner.uid))
        self._forget_reused_pid()
        while True:
            said = self._pg_ctl_start(owner, until)
            if said is None:
                return
            if self.running():
                raise TimedOut(what="finish its crash recovery", where=self.log)
            raise_if_disk_full(said, self.data_dir)
            if "still in use" not in said or _left(until) <= POLL:
                raise StartFailed(why=gist(said), log=self.log)
            time.sleep(5 * POLL)  # sessions of a killed postmaster outlive it until they notice

    def _pg_ctl_start(self, owner: Owner, until: float) -> str | None:
        """One try: pg_ctl gives the server a session of its own and waits for the end of crash recovery.

        Returns None, or what the server said on its way down.
        """
        seconds = max(1, int(_left(until)))
        argv = (str(binary("pg_ctl")), "start", "--silent", "--wait", f"--timeout={seconds}", "-D")
        descriptor = os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "rb") as log:
            begin = log.seek(0, os.SEEK_END)
            try:
                done = run((*argv, str(self.data_dir)), owner, timeout=seconds + 5, stdout=descriptor)
            except subprocess.TimeoutExpired:
                raise TimedOut(what="start", where=self.log) from None
            log.seek(begin)
            return log.read().decode("utf-8", "replace") if done.returncode else None

    def _end(self, process: psutil.Process, until: float) -> None:
        """A fast shutdown; past the deadline an immediate one, to be recovered from but losing nothing."""
        # PostgreSQL 18.6 that is told to stop while it recovers from a crashed session never ends (tried: six
        # times of seven), so it gets half the time to recover first.
        patience = (time.monotonic() + until) / 2
        while (
            _alive(process)
            and self._ping() == pq.Ping.REJECT
            and not self._stopping()
            and _left(patience) > 0
        ):
            time.sleep(POLL)
        # It kills the sessions that ignore an immediate shutdown for five seconds.
        for how, moment in ((signal.SIGINT, until), (signal.SIGQUIT, until + 10)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(how)  # psutil refuses where the pid has been reused since
            while _alive(process) and _left(moment) > 0:
                time.sleep(POLL)
            if not _alive(process):
                return
        raise TimedOut(what="stop", where=self.log)

    def _settled(self, until: float) -> psutil.Process | None:
        """Wait until the postmaster lets clients in, or is gone: it may be recovering, or stopping."""
        while process := self._postmaster():
            if self._stopping():
                self._end(process, min(until, time.monotonic() + STUCK))
            elif self._ping() == pq.Ping.OK or not self._socket().exists():
                return process
            elif _left(until) <= 0:
                raise TimedOut(what="become ready", where=self.log)
            else:
                time.sleep(POLL)
        return None

    # Knowing it again

    def _postmaster(self) -> psutil.Process | None:
        pid = self._recorded_pid()
        if pid is None:
            return None
        try:
            process = psutil.Process(pid)
            return process if _alive(process) and self._serves_our_data(process) else None
        except psutil.NoSuchProcess:
            return None

    def _serves_our_data(self, process: psutil.Process) -> bool:
        """A postmaster lives in its data directory. That tells it from any process that got its pid, and
        unlike a recorded creation time it holds when the clock is set or `postgres.json` is lost."""
        if process.name() != "postgres":
            return False
        try:
            return os.path.samefile(f"/proc/{process.pid}/cwd", self.data_dir)
        except FileNotFoundError:
            return False
        except PermissionError:  # root without CAP_SYS_PTRACE, as in a container
            return str(self.data_dir) in process.cmdline()

    def _forget_reused_pid(self) -> None:
        """PostgreSQL takes any live process of its own user for its predecessor; it copes with a dead one."""
        pid = self._recorded_pid()
        if pid and psutil.pid_exists(pid):
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return (self.data_dir / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []

    def _recorded_pid(self) -> int | None:
        lines = self._pid_file()
        return int(lines[0]) if lines and lines[0].isdecimal() else None

    def _stopping(self) -> bool:
        lines = self._pid_file()
        return len(lines) > 7 and lines[7].strip() == "stopping"

    def _remember(self, process: psutil.Process, server_version: str) -> None:
        record = PostgresRecord(
            pid=process.pid,
            create_time=process.create_time(),
            version=server_version,
            socket_dir=str(self._socket().parent),
        )
        text = msgspec.json.encode(record).decode()
        if not self.record.exists() or self.record.read_text() != text:
            write_whole(self.record, text)

    # Reaching it

    def _socket_dir(self, uid: int) -> Path:
        # Short, because the kernel takes 107 bytes and a home may be longer; not under $XDG_RUNTIME_DIR,
        # because that is emptied at logout and the server stays.
        return Path("/tmp", f"zvonar-{uid}-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]}")  # noqa: S108  # its owner and mode are checked

    def _socket(self) -> Path:
        return self._socket_dir(self.data_dir.stat().st_uid) / SOCKET

    def _ping(self) -> pq.Ping:
        """Does it let clients in? Asked of itself: in crash recovery its pid file still says "ready"."""
        host = str(self._socket().parent)
        return pq.Ping(pq.PGconn.ping(f"host={host} user={ROLE} dbname=postgres connect_timeout=2".encode()))

    def _prepare_socket_dir(self, owner: Owner) -> None:
        room = self._socket_dir(owner.uid)
        with suppress(FileExistsError):
            room.mkdir(mode=0o700)
        there = room.lstat()
        ours = there.st_uid in (owner.uid, os.geteuid())
        if not (stat.S_ISDIR(there.st_mode) and ours) or there.st_mode & 0o077:
            raise SocketDirectoryRefused(path=room)
        if there.st_uid != owner.uid:
            os.chown(room, owner.uid, owner.gid, follow_symlinks=False)
        for leftover in (
            SOCKET,
            SOCKET + ".lock",
        ):  # of a killed server: its pid may be somebody else's by now
            (room / leftover).unlink(missing_ok=True)

    def _dsn(self, database: str) -> str:
        # SCRAM proves both sides: whoever squats on the socket cannot ask for the password in clear.
        host = quote(str(self._socket().parent), safe="")
        password = self._cluster.password()
        return f"postgresql://{ROLE}:{password}@/{database}?host={host}&require_auth=scram-sha-256"

    def _open_database(self, process: psutil.Process, until: float) -> str:
        """Log in for real, create the database if it is absent, and return the server's version."""
        seconds = max(2, int(_left(until)))
        try:
            with psycopg.connect(
                self._dsn("postgres"), autocommit=True, connect_timeout=seconds
            ) as connection:
                connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{seconds}s",))
                found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
                if found.rowcount == 0:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
                return connection.info.parameter_status("server_version") or ""
        except psycopg.errors.DiskFull as error:
            raise DiskFull(path=self.data_dir) from error
        except psycopg.Error as error:
            raise ConnectionRefused(pid=process.pid, why=str(error).strip()) from error

    # Guards

    @contextmanager
    def _lock(self, until: float) -> Iterator[None]:
        """One launcher at a time; the kernel frees the lock of a killed one."""
        path = self.record.with_suffix(".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if _left(until) <= 0:
                        raise TimedOut(what="leave another launcher's hands", where=path) from None
                    time.sleep(POLL)
            yield
        finally:
            os.close(descriptor)

    def _trim_log(self) -> None:
        """Every writer appends, so the file can be cut under them: no collector process, no signal."""
        if self.log.stat().st_size > LOG_MAX:
            with self.log.open("rb") as log:
                log.seek(-LOG_MAX, os.SEEK_END)
                write_whole(self.log.with_name("postgres.log.1"), log.read().decode("utf-8", "replace"))
            os.truncate(self.log, 0)


def _alive(process: psutil.Process) -> bool:
    """`is_running` compares creation times, so a reused pid is not taken for the process."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _left(until: float) -> float:
    return until - time.monotonic()
