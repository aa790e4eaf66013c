"""Who starts the roles, and starts them again? `zvonar serve`: plant first, then api, dialer and worker.

The supervisor itself does no work that a call depends on. What dies is started again: a role with a growing
pause, PostgreSQL and the Asterisks at once.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import structlog
from msgspec import Struct
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from zvonar.core.errors import ZvonarError
from zvonar.line.asterisk.install import AsteriskInstall, Espeak
from zvonar.line.asterisk.process import AsteriskProcess
from zvonar.service.hearing import HearingConfig, model_of
from zvonar.service.home import Home, Ports
from zvonar.service.mail import mail_server
from zvonar.service.plant import TOWN_TRUNK, Plant
from zvonar.service.role import CONFIG, RoleConfig
from zvonar.service.sms import provider
from zvonar.settings import Settings
from zvonar.store.server import PostgresServer
from zvonar.store.trunks import OF_GATEWAY, Trunk

log = structlog.get_logger(__name__)

ROLES = ("api", "dialer", "worker")
_LOOK = 0.2  # seconds between looks at everything that may have died
_PAUSES = (0.1, 0.5, 2.0, 5.0)  # seconds before a role is started again, by how often it died lately
_HOPELESS = 4  # deaths of one role, before the service was ever ready, at which it is given up
_CALM = 30.0  # seconds after which earlier deaths do not count
LOOPBACK = "127.0.0.0/8"


class HttpPortTaken(ZvonarError):
    """The port is taken by another program: choose one with --port, or end it."""


class RoleDoesNotStart(ZvonarError):
    """A part of the service ends as soon as it starts: its log tells why."""


class SpeechMissing(ZvonarError):
    """There is no espeak-ng to speak prompts with: install it, or unset ZVONAR_ASTERISK to have one fetched."""


class Serving(Struct, frozen=True, kw_only=True):
    """What a service was asked to be."""

    host: str
    port: int
    roles: tuple[str, ...]
    town: bool


class _Child:
    """One role's process, and its history."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.started = 0.0
        self.due = 0.0


class Supervisor:
    """Runs one home's service until told to stop."""

    def __init__(self, settings: Settings, home: Home, serving: Serving, *, log: Path | None = None) -> None:
        """`log`: a directory for what the roles print; their standard error is ours unless given."""
        self._log = log
        self._settings = settings
        self._home = home
        self._serving = serving
        self._plant = Plant(settings, home)
        self._stop = threading.Event()
        self._was_ready = threading.Event()
        self._children = [_Child(role) for role in serving.roles]
        self._asterisks: list[AsteriskProcess] = []
        self.ports: Ports | None = None
        self.dsn = ""
        self.started = False  # whether there are roles to drain

    def stop(self) -> None:
        """Drain and end; may be called from a signal handler or another thread."""
        self._stop.set()

    def run(self, *, report: Callable[[str], None], ready: Callable[[str], None] = lambda _: None) -> int:
        """Serve until `stop`; the exit code. `ready` gets the service's address once it answers."""
        self._home.make()
        with self._home.serving() as lock, self._lifeline() as lifeline:
            if "api" in self._serving.roles:
                self._check_port()
            for stale in (*self._home.run.glob("*.ready"), *self._home.metrics.glob("*.db")):
                stale.unlink(missing_ok=True)
            report("database")
            self.dsn = dsn = self._plant.database()
            if self._stop.is_set():
                return 0
            asterisk = self._plant.fetch(report)
            if "dialer" in self._serving.roles:
                self._start_telephony(dsn, asterisk, report)
            config = self._role_config(dsn, asterisk, lifeline)
            report("roles")
            self.started = True
            watcher = threading.Thread(target=self._tell_ready, args=(ready,), daemon=True)
            watcher.start()
            try:
                while not self._stop.is_set():
                    self._look(config, (lock, lifeline))
                    self._stop.wait(_LOOK)
            finally:
                self._end_children()
        return 0

    def _start_telephony(self, dsn: str, asterisk: AsteriskInstall, report: Callable[[str], None]) -> None:
        self.ports = ports = self._plant.ports()
        with psycopg.connect(dsn, autocommit=True) as connection:
            if self._serving.town:
                connect_town(connection, ports)
            else:
                connection.execute("UPDATE trunks SET enabled = false WHERE trial AND enabled")
        trunks = read_trunks(dsn)
        gateway = self._plant.gateway(asterisk, ports, trunks)
        report("gateway")
        self._plant.run_gateway(gateway)
        self._asterisks = [gateway]
        if self._serving.town:
            report("town")
            town = self._plant.town(asterisk, ports)
            town.ensure(30.0)
            self._asterisks.append(town)

    def _role_config(self, dsn: str, asterisk: AsteriskInstall, lifeline: int) -> RoleConfig:
        espeak = asterisk.espeak
        if espeak is None:
            if "dialer" in self._serving.roles:
                raise SpeechMissing()
            espeak = Espeak(command=(), env={}, version="")
        mail_server(
            self._settings.smtp_url, self._settings.mail_from
        )  # better refused now than at each letter
        provider(self._settings.sms_url)
        allowed = [str(network) for network in self._settings.allow_networks]
        return RoleConfig(
            home=str(self._home.root),
            dsn=dsn,
            roles=list(self._serving.roles),
            log_level=self._settings.log_level,
            lifeline=lifeline,
            host=self._serving.host,
            port=self._serving.port,
            public_url=self._settings.public_url,
            amocrm_strict_nulls=self._settings.amocrm_strict_nulls,
            ari_url=f"http://127.0.0.1:{self.ports.gateway_ari}" if self.ports else "",
            allow_networks=[*allowed, LOOPBACK] if self._serving.town else allowed,
            smtp_url=self._settings.smtp_url,
            sms_url=self._settings.sms_url,
            hearing=HearingConfig(
                model=model_of(self._settings.whisper_model, cache=self._settings.cache_directory / "models"),
                recognisers=self._settings.words_recognisers,
                wait=self._settings.words_wait,
                transcribe_url=self._settings.transcribe_url,
                transcribe_key=self._settings.transcribe_key,
                transcribe_model=self._settings.transcribe_model,
            ),
            mail_from=self._settings.mail_from,
            keep_deliveries_days=self._settings.keep_deliveries_days,
            keep_report_months=self._settings.keep_report_months,
            keep_recordings_days=self._settings.keep_recordings_days,
            drain_seconds=self._settings.drain_seconds,
            espeak_command=list(espeak.command),
            espeak_env=espeak.env,
            espeak_version=espeak.version,
        )

    def _look(self, config: RoleConfig, fds: tuple[int, int]) -> None:
        """Start again whatever has died."""
        if self._settings.database_url is None:
            server = PostgresServer(self._home.root)
            if not server.running():
                log.error("database.died")
                with _logged("database.not_started"):
                    server.ensure()
        for asterisk in self._asterisks:
            if asterisk.adopt() is None:
                log.error("asterisk.died", name=asterisk.name)
                with _logged("asterisk.not_started"):
                    asterisk.ensure(30.0)
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                log.error("role.died", role_name=child.role, code=child.process.returncode)
                (self._home.run / f"{child.role}.ready").unlink(missing_ok=True)
                # What it had up is up no more; what it counted stays counted.
                for gauge in self._home.metrics.glob(f"gauge_live*_{child.process.pid}.db"):
                    gauge.unlink(missing_ok=True)
                child.deaths = child.deaths + 1 if now - child.started < _CALM else 1
                child.due = now + _PAUSES[min(child.deaths, len(_PAUSES)) - 1]
                child.process = None
                if child.deaths >= _HOPELESS and not self._was_ready.is_set():
                    where = self._log / f"{child.role}.log" if self._log else "the lines above"
                    raise RoleDoesNotStart(f"The {child.role}, {child.deaths} times: see {where}.")
            if child.process is None and now >= child.due:
                child.started = now
                child.process = self._spawn(child.role, config, fds)

    def _spawn(self, role: str, config: RoleConfig, fds: tuple[int, int]) -> subprocess.Popen[bytes]:
        with contextlib.ExitStack() as stack:
            output = None
            if self._log is not None:
                output = stack.enter_context((self._log / f"{role}.log").open("ab"))
            return subprocess.Popen(
                [sys.executable, "-m", "zvonar.service.role", role],
                env={**os.environ, CONFIG: msgspec.json.encode(config).decode()},
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A Ctrl-C at the terminal is for the supervisor, which then drains its roles.
                start_new_session=True,
            )

    def _end_children(self) -> None:
        processes = [child.process for child in self._children if child.process is not None]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + self._settings.drain_seconds + 15.0
        for process in processes:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("role.killed", pid=process.pid)
                process.kill()
                process.wait()

    def _tell_ready(self, ready: Callable[[str], None]) -> None:
        names = [self._home.run / f"{role}.ready" for role in self._serving.roles]
        while not self._stop.is_set():
            if all(name.exists() for name in names):
                self._was_ready.set()
                ready(f"http://{self._serving.host}:{self._serving.port}")
                return
            time.sleep(0.02)

    def _check_port(self) -> None:
        with socket.socket(socket.AF_INET6 if ":" in self._serving.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._serving.host, self._serving.port))
            except OSError as exc:
                raise HttpPortTaken(f"{self._serving.host}:{self._serving.port}: {exc.strerror}.") from exc

    @contextlib.contextmanager
    def _lifeline(self) -> Iterator[int]:
        """A pipe that nobody writes to: its reader sees the end of file when the last writer, we, is gone."""
        reader, writer = os.pipe()
        try:
            yield reader
        finally:
            os.close(writer)
            os.close(reader)


@contextlib.contextmanager
def _logged(event: str) -> Iterator[None]:
    """What could not be started now is tried again at the next look; meanwhile the log says why."""
    try:
        yield
    except (ZvonarError, OSError) as exc:
        log.error(event, error=type(exc).__name__, detail=str(exc))
        time.sleep(1.0)


# The trial trunk: where the town listens, and a caller-ID pool with every four-digit ending.
CONNECT_TOWN = """
INSERT INTO trunks (name, settings, trial, enabled, max_channels, calls_per_second, caller_ids)
VALUES (%(name)s, %(settings)s, true, true, 400, 40, ARRAY['+7000999XXXX'])
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, trial = true, enabled = true
"""


def connect_town(connection: psycopg.Connection[Any], ports: Ports) -> None:
    """Let town numbers be dialled, over a trunk that leads to the town and nowhere else."""
    settings = Jsonb({"host": "127.0.0.1", "port": ports.town_sip})
    connection.execute(CONNECT_TOWN, {"name": TOWN_TRUNK, "settings": settings})


def read_trunks(dsn: str) -> list[Trunk]:
    """The gateway's trunks, without an event loop."""
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        connection.cursor(row_factory=class_row(Trunk)) as cursor,
    ):
        return cursor.execute(OF_GATEWAY, {"gateway": "gateway"}).fetchall()
