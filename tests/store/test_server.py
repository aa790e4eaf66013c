"""Does the embedded PostgreSQL come up, stay one, survive kill -9 and keep quiet? On the real thing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest

import zvonar
from zvonar.store.server import LOG_MAX, SOCKET, PostgresRecord, PostgresServer, PostgresUnavailable
from zvonar.store.server_errors import (
    ConnectionRefused,
    DamagedData,
    DiskFull,
    NobodyToRunAs,
    NotSetUp,
    SecretMissing,
    SocketDirectoryRefused,
    TimedOut,
    WrongVersion,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")

PHONE = "79991234567"
PATIENCE = 60.0  # seconds for anything that a test waits for
ENSURE = """
import sys, pathlib
from zvonar.store.server import PostgresServer
PostgresServer(pathlib.Path(sys.argv[1])).ensure()
"""


class Homes:
    """Makes short homes and clears them away, servers first."""

    def __init__(self) -> None:
        self.room = Path(tempfile.mkdtemp(prefix="zv-", dir="/tmp"))
        self.room.chmod(0o711)
        self.made: list[PostgresServer] = []

    def __call__(self, name: str = "home") -> PostgresServer:
        server = PostgresServer(self.room / name)
        self.made.append(server)
        return server

    def clear(self) -> None:
        for server in self.made:
            sockets = socket_dir(server) if server.data_dir.exists() else None
            server.stop()
            if sockets:
                shutil.rmtree(sockets, ignore_errors=True)
        shutil.rmtree(self.room)


@pytest.fixture
def homes() -> Iterator[Homes]:
    made = Homes()
    yield made
    made.clear()


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresServer]:
    """For tests that leave the server as it was."""
    made = Homes()
    server = made()
    server.ensure()
    yield server
    made.clear()


def socket_dir(server: PostgresServer) -> Path:
    return Path(psycopg.conninfo.conninfo_to_dict(server.dsn())["host"])  # type: ignore[arg-type]


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=int(PATIENCE)) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def do(dsn: str, command: str) -> None:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=int(PATIENCE)) as connection:
        connection.execute(command.encode())


def launcher(server: PostgresServer) -> subprocess.Popen[bytes]:
    source = Path(zvonar.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(server.home)], env={**os.environ, "PYTHONPATH": str(source)}
    )


def within(seconds: float, what: Callable[[], object]) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "the awaited never came"
        time.sleep(0.005)


def kill_postmaster(server: PostgresServer) -> int:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    within(PATIENCE, lambda: not server.running())
    return pid


def crash_a_session(dsn: str, query: str = "SELECT 1") -> None:
    """The server answers by ending all sessions and recovering."""
    session = psycopg.connect(dsn, autocommit=True, connect_timeout=int(PATIENCE))
    session.execute(query.encode())
    os.kill(session.info.backend_pid, signal.SIGKILL)
    session.close()


# Coming up


def test_a_fresh_home_gets_a_server_of_18_and_our_database(shared: PostgresServer) -> None:
    dsn = shared.dsn()
    assert ask(dsn, "SELECT current_setting('server_version_num')::int >= 180000") is True
    assert ask(dsn, "SELECT current_database() || current_user") == "zvonarzvonar"
    assert ask(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


def test_a_second_ensure_adopts_the_server(shared: PostgresServer) -> None:
    before, elsewhere = shared.pid, PostgresServer(shared.home)
    assert elsewhere.ensure() == shared.dsn()
    assert elsewhere.pid == before


def test_existing_data_are_served_again(homes: Homes) -> None:
    server = homes()
    server.ensure()
    server.stop()
    assert not server.running()
    assert server.describe().state == "stopped"
    server.ensure()
    assert server.describe().state == "running"


def test_two_processes_at_once_make_one_server_which_outlives_both(homes: Homes) -> None:
    server = homes()
    both = [launcher(server), launcher(server)]
    assert [process.wait(PATIENCE) for process in both] == [0, 0]
    pid = server.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    everyone = psutil.process_iter(["name", "cmdline", "ppid"])
    serving = [
        p.pid
        for p in everyone
        if p.info["name"] == "postgres"
        and str(server.data_dir) in (p.info["cmdline"] or ())
        and p.info["ppid"] != pid  # its child, which has not named itself yet
    ]
    assert serving == [pid]
    server.ensure()
    assert server.pid == pid


def test_two_homes_live_side_by_side(homes: Homes, shared: PostgresServer) -> None:
    other = homes("другой дом, 'quoted'")
    do(other.ensure(), "CREATE TABLE only_here ()")
    assert other.pid != shared.pid
    assert ask(shared.dsn(), "SELECT to_regclass('only_here')") is None


def test_a_dropped_database_is_created_again(homes: Homes) -> None:
    server = homes()
    dsn = server.ensure()
    do(dsn.replace("@/zvonar?", "@/postgres?"), "DROP DATABASE zvonar")
    assert ask(server.ensure(), "SELECT current_database()") == "zvonar"


@as_root
def test_root_under_a_closed_directory_still_gets_a_server(homes: Homes) -> None:
    (homes.room / "closed").mkdir(mode=0o700)
    server = homes("closed/home")
    assert ask(server.ensure(), "SELECT 1") == 1
    kill_postmaster(server)
    assert ask(server.ensure(), "SELECT 1") == 1
    assert stat.S_IMODE((homes.room / "closed").stat().st_mode) == 0o700


@as_root
def test_root_without_a_way_to_drop_is_told_the_remedy(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    (homes.room / "closed").mkdir(mode=0o700)
    monkeypatch.setenv("PATH", str(homes.room))  # no unshare there
    with pytest.raises(NobodyToRunAs, match=r"closed is closed to it.*put ZVONAR_HOME.*ZVONAR_DATABASE_URL"):
        homes("closed/home").ensure()


@as_root
def test_the_server_does_not_run_as_root(shared: PostgresServer) -> None:
    assert psutil.Process(shared.pid).uids().real != 0


# Bad days


def test_committed_rows_survive_kill_9_under_an_open_session(homes: Homes) -> None:
    server = homes()
    dsn = server.ensure()
    with psycopg.connect(dsn) as session:
        session.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        session.commit()
        session.execute("INSERT INTO kept VALUES (-1)")
        killed = kill_postmaster(server)
        assert ask(server.ensure(), "SELECT count(*) FROM kept") == 1000
        session.close()
    assert server.pid != killed


def test_ensure_waits_while_the_server_recovers_from_a_crashed_session(homes: Homes) -> None:
    server = homes()
    dsn = server.ensure()
    before = server.pid
    crash_a_session(dsn)
    within(PATIENCE, lambda: "terminated by signal 9" in server.log.read_text())
    assert ask(server.ensure(), "SELECT 1") == 1
    assert server.pid == before


def test_a_stop_in_the_midst_of_recovery_ends(homes: Homes) -> None:
    server = homes()
    crash_a_session(server.ensure())
    within(PATIENCE, lambda: "reinitializing" in server.log.read_text())
    server.stop(deadline=20)
    assert not server.running()
    assert ask(server.ensure(), "SELECT 1") == 1


def test_a_shutdown_that_hangs_is_finished_by_the_next_ensure(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvonar.store.server.STUCK", 0.5)
    server = homes()
    dsn = server.ensure()
    # A session that cannot notice the shutdown holds it up.
    with psycopg.connect(dsn, autocommit=True) as session:
        backend = psutil.Process(session.info.backend_pid)
        backend.suspend()
        stuck = server.pid
        assert stuck is not None
        os.kill(stuck, signal.SIGINT)
        within(PATIENCE, lambda: server.describe().state == "starting")
        assert ask(server.ensure(), "SELECT 1") == 1
        assert server.pid != stuck
        session.close()


def test_a_stranger_with_the_old_pid_is_not_taken_for_the_server(homes: Homes) -> None:
    server = homes()
    server.ensure()
    owner = server.data_dir.stat().st_uid
    kill_postmaster(server)
    stranger = subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None, extra_groups=None)
    try:
        pid_file = server.data_dir / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        assert not server.running()
        assert ask(server.ensure(), "SELECT 1") == 1
        server.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait(PATIENCE)


def test_a_creation_killed_half_way_is_never_taken_for_a_database(homes: Homes) -> None:
    server = homes()
    process = launcher(server)
    within(PATIENCE, lambda: list(server.data_dir.parent.glob("new-*/data/base")))
    os.kill(process.pid, signal.SIGSTOP)  # who would give the directory its name
    family: set[int] = {process.pid}
    # Each is stopped before it is killed: what it starts meanwhile would go on, and write there.
    while new := {child.pid for child in psutil.Process(process.pid).children(recursive=True)} - family:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):  # one of initdb's own short-lived children
                os.kill(pid, signal.SIGSTOP)
        family |= new
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE)
    assert not server.data_dir.exists()
    assert ask(server.ensure(), "SELECT 1") == 1
    assert [path.name for path in server.data_dir.parent.iterdir()] == ["data"]


def test_a_vanished_socket_directory_comes_back(homes: Homes) -> None:
    server = homes()
    server.ensure()
    shutil.rmtree(socket_dir(server))
    assert ask(server.ensure(), "SELECT 1") == 1


@pytest.mark.parametrize("trap", ["symlink", "open"])
def test_a_foreign_socket_directory_is_refused(homes: Homes, trap: str) -> None:
    server = homes()
    server.ensure()
    server.stop()
    room = socket_dir(server)
    shutil.rmtree(room)
    if trap == "symlink":
        (homes.room / "elsewhere").mkdir(mode=0o700)
        room.symlink_to(homes.room / "elsewhere")
    else:
        room.mkdir()
        room.chmod(0o777)
    try:
        with pytest.raises(SocketDirectoryRefused, match=str(room)):
            server.ensure()
        assert not server.running()
    finally:
        room.unlink() if trap == "symlink" else room.rmdir()


@as_root
def test_a_full_disk_is_named_and_harms_nothing(homes: Homes) -> None:
    disk = homes.room / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m,mode=711", "none", disk], check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    server = PostgresServer(disk / "home")
    try:
        with pytest.raises(DiskFull, match=f"{disk}.* is full"):
            server.ensure()
        assert not server.data_dir.exists()
        subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
        assert ask(server.ensure(), "SELECT 1") == 1
    finally:
        sockets = socket_dir(server) if server.data_dir.exists() else None
        server.stop()
        subprocess.run(["umount", disk], check=True)
        if sockets:
            shutil.rmtree(sockets)


def test_what_cannot_be_served_is_said_with_its_remedy(homes: Homes) -> None:
    server = homes()
    with pytest.raises(NotSetUp, match="zvonar setup"):
        server.dsn()
    server.ensure()
    secret, version = server.home / "secrets" / "postgres", server.data_dir / "PG_VERSION"
    password = secret.read_text()
    secret.write_text("not-the-password")
    with pytest.raises(ConnectionRefused) as refused:
        server.ensure()
    assert "not-the-password" not in str(refused.value)
    secret.unlink()
    with pytest.raises(SecretMissing, match=str(secret)):
        server.ensure()
    secret.write_text(password)
    server.stop()
    version.write_text("17\n")
    with pytest.raises(WrongVersion, match=r"by PostgreSQL 17, the installed one is 18\.\d+"):
        server.ensure()
    version.unlink()
    with pytest.raises(DamagedData, match="backup"):
        server.ensure()


def test_a_busy_lock_ends_at_the_deadline(shared: PostgresServer) -> None:
    with (shared.home / "run" / "postgres.lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimedOut, match=r"postgres\.lock"):
            shared.ensure(deadline=0.1)
    shared.ensure()


def test_every_error_is_a_sentence() -> None:
    kinds = PostgresUnavailable.__subclasses__()
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__doc__, kind
        assert kind.__doc__[0] in "{TP", kind


# Settings and secrets


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("wal_compression", "pglz"),
        ("max_wal_size", "1GB"),
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("autovacuum", "on"),
        ("jit", "off"),
        ("TimeZone", "UTC"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("lock_timeout", "0"),
        ("unix_socket_permissions", "0700"),
        ("log_error_verbosity", "terse"),
        ("log_min_error_statement", "panic"),
        ("log_min_messages", "log"),
        ("log_statement", "none"),
        ("log_min_duration_statement", "-1"),
        ("log_parameter_max_length_on_error", "0"),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
    ],
)
def test_the_settings_are_in_force(shared: PostgresServer, setting: str, value: str) -> None:
    assert ask(shared.dsn(), f"SHOW {setting}") == value


def test_cyrillic_is_matched_whatever_its_case(shared: PostgresServer) -> None:
    assert ask(shared.dsn(), "SELECT 'Звонарь Ёлкин' ILIKE '%ЗВОНАРЬ ёЛ%'") is True
    assert ask(shared.dsn(), "SELECT upper('звонарь')") == "ЗВОНАРЬ"


def test_values_of_failed_statements_do_not_reach_the_log(shared: PostgresServer) -> None:
    dsn = shared.dsn()
    do(dsn, "CREATE TABLE book (phone text PRIMARY KEY)")
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute("INSERT INTO book VALUES (%s)", (PHONE,))
        with pytest.raises(psycopg.errors.UniqueViolation, match=PHONE):
            session.execute("INSERT INTO book VALUES (%s)", (PHONE,))
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match=PHONE):
            session.execute(f"SELECT '+{PHONE}-'::bigint".encode())
        with pytest.raises(psycopg.errors.SyntaxError):
            session.execute(f"SELEC '{PHONE}'".encode())
        session.execute(f"DO $$BEGIN RAISE WARNING '{PHONE}'; END$$".encode())
    # A killed backend makes the server tell what it was running.
    crash_a_session(dsn, f"SELECT '{PHONE}'")
    within(PATIENCE, lambda: "terminated by signal 9" in shared.log.read_text())
    shared.ensure()
    log = shared.log.read_text()
    assert "ready to accept connections" in log
    assert PHONE not in log


def test_the_password_is_kept_to_ourselves(shared: PostgresServer) -> None:
    secret = shared.home / "secrets" / "postgres"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    password = secret.read_text()
    assert len(password) >= 32
    assert password in shared.dsn()
    for public in (shared.log.read_text(), shared.record.read_text(), repr(shared.describe())):
        assert password not in public


def test_the_superuser_and_a_wrong_password_stay_outside(shared: PostgresServer) -> None:
    for dsn in (
        shared.dsn().replace("//zvonar:", "//postgres:"),
        shared.dsn().replace("@/", "x@/"),
    ):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            ask(dsn, "SELECT 1")


def test_the_socket_is_short_and_private_and_there_is_no_port(shared: PostgresServer) -> None:
    room = socket_dir(shared)
    assert len(os.fsencode(room / SOCKET)) <= 80
    assert stat.S_IMODE(room.stat().st_mode) == 0o700
    assert room.stat().st_uid == shared.data_dir.stat().st_uid
    assert ask(shared.dsn(), "SELECT inet_server_port()") is None
    assert psutil.Process(shared.pid).net_connections("inet") == []


def test_the_record_names_the_process(shared: PostgresServer) -> None:
    shared.ensure()
    record = msgspec.json.decode(shared.record.read_bytes(), type=PostgresRecord)
    assert record.pid == shared.pid
    assert record.create_time == psutil.Process(record.pid).create_time()
    assert record.version.startswith("18.")
    assert Path(record.socket_dir) == socket_dir(shared)


def test_the_log_is_bounded_under_a_running_server(homes: Homes) -> None:
    server = homes()
    dsn = server.ensure()
    with server.log.open("ab") as log:
        log.write(b"x" * 99 + b"\n")
        log.truncate(LOG_MAX + 1000)
    server.ensure()
    assert server.log.with_name("postgres.log.1").stat().st_size == LOG_MAX
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        ask(dsn.replace("@/zvonar?", "@/nowhere?"), "SELECT 1")
    within(PATIENCE, lambda: "nowhere" in server.log.read_text())
    assert server.log.stat().st_size < 4096
