"""On what do the benchmarks stand? A home of their own, thrown away afterwards, and a service that runs in it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.results import NotMeasured
from zvonar.service.home import Home, Ports
from zvonar.service.plant import Plant
from zvonar.service.supervisor import ROLES
from zvonar.settings import Settings
from zvonar.store.migrate import migrate

# What of the operator's settings holds here too.
KEPT = {"ZVONAR_CACHE", "ZVONAR_ASTERISK", "ZVONAR_DEBIAN_MIRROR"}
START = 120.0  # seconds for the service to answer
STOP = 30.0  # seconds for it to end

Report = Callable[[str], None]


class Ground:
    """A home with a migrated database, and whatever else a benchmark starts in it."""

    def __init__(self, home: Home, report: Report) -> None:
        self.home = home
        self.report = report
        self.plant = Plant(Settings(home=home.root, log_level="warning"), home)
        self.dsn = self.plant.database()

    @property
    def ports(self) -> Ports:
        """The block that this home has chosen."""
        return self.home.known_ports() or self.plant.ports()

    def postgres(self) -> psutil.Process:
        """The postmaster, whose children are all of the server."""
        pid = self.plant.postgres().describe().pid
        if pid is None:
            raise NotMeasured("PostgreSQL does not run.")
        return psutil.Process(pid)

    @contextlib.contextmanager
    def database(self, name: str) -> Iterator[str]:
        """The DSN of another migrated database on the same server."""
        dsn = make_conninfo(self.dsn, dbname=name)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            try:
                migrate(dsn)
                yield dsn
            finally:
                _drop(connection, name)

    @contextlib.contextmanager
    def service(self) -> Iterator[dict[str, psutil.Process]]:
        """The whole service as `zvonar serve` runs it: its roles' processes, by name."""
        log = self.home.log / "serve.log"
        command = [sys.executable, "-c", "from zvonar.cli import app; app()", "serve"]
        environment = {
            **os.environ,
            "ZVONAR_HOME": str(self.home.root),
            "ZVONAR_DRAIN_SECONDS": "5",
        }
        with log.open("ab") as output:
            serving = subprocess.Popen(
                [*command, "--port", str(self.ports.receiver)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            until = time.monotonic() + START
            files = {role: self.home.run / f"{role}.ready" for role in ROLES}
            while not all(file.exists() and file.read_text() for file in files.values()):
                if serving.poll() is not None or time.monotonic() > until:
                    raise NotMeasured(f"The service did not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield {role: psutil.Process(int(file.read_text())) for role, file in files.items()}
        finally:
            serving.send_signal(signal.SIGTERM)
            try:
                serving.wait(STOP)
            except subprocess.TimeoutExpired:
                serving.kill()  # its roles notice that it is gone, and end
                serving.wait()


def _drop(connection: psycopg.Connection, name: str) -> None:
    until = time.monotonic() + STOP
    while True:
        try:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            return
        except psycopg.errors.InsufficientPrivilege:  # autovacuum is in it, which we may not end
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def ground(report: Report) -> Iterator[Ground]:
    """A home under a short path that PostgreSQL's user can pass; everything in it is stopped and removed."""
    for name in [name for name in os.environ if name.startswith("ZVONAR_") and name not in KEPT]:
        del os.environ[name]
    root = Path(tempfile.mkdtemp(prefix="zvb-", dir="/tmp"))
    root.chmod(0o711)
    home = Home(root / "home")
    made: Ground | None = None
    try:
        made = Ground(home.make(), report)
        yield made
    finally:
        Plant(Settings(home=home.root), home).stop()
        if made is not None:
            shutil.rmtree(str(conninfo_to_dict(made.dsn)["host"]), ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)


def now() -> datetime:
    """The benchmarks' clock, which is the service's too."""
    return datetime.now(UTC)


def cpu(process: psutil.Process) -> float:
    """Seconds of processor that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def cpu_of_tree(process: psutil.Process) -> float:
    """Seconds that a process, its children and those of them that have ended have used."""
    times = process.cpu_times()
    used = float(times.user + times.system + times.children_user + times.children_system)
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # then it is in `children_*` of the next look
            used += cpu(child)
    return used
