"""What does a service test hold in its hands? An installation in a home of its own, every process of it real."""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from zvonar.line.asterisk import town
from zvonar.store.server import PostgresServer

from ..ports import free_port
from .dialling import Dialling
from .processes import PATIENCE, Serving, end_all, until
from .receiver import Receiver

ZVONAR = str(Path(sys.executable).with_name("zvonar"))
START = 120.0  # seconds for a start, on a machine that does much else
ROLES = ("api", "dialer", "worker")
PROMPT = "Здравствуйте! Нажмите один."  # longer than digit 7 listens
THANKS = "Спасибо."
SETTINGS = {
    "script": {
        "nodes": {
            "1": {
                "prompt": {"text": PROMPT},
                "keys": {"1": {"say": {"text": THANKS}, "status_name": "agreed"}},
                "timeout": 3.0,
                "repeats": 0,
            }
        }
    },
    "window": {"start": "00:00:00", "end": "00:00:00"},
    "ring_timeout": 5,
    "max_call_time": 30,
}


class House:
    """One ZVONAR_HOME, everything that runs in it, and a receiver of callbacks beside it."""

    zvonar = ZVONAR

    def __init__(self, installed: Path | None) -> None:
        """`installed`: a home whose Asterisk is borrowed; None begins with nothing."""
        # Short, because a socket's path may have 107 bytes; passable, because the server's user is not root.
        self.room = Path(tempfile.mkdtemp(prefix=f"zv-{os.getpid()}-", dir="/tmp"))
        self.room.chmod(0o711)
        self.home = self.room / "h"
        self.port = free_port()
        self.receiver = Receiver()
        self.serving: Serving | None = None
        self.environment: dict[str, str] = {}
        self._account: dict[str, Any] | None = None
        self._campaigns = 0
        self._served = 0
        if installed is not None:
            self.home.mkdir(mode=0o711)
            # The same files by other names: nobody writes to an installed Asterisk.
            subprocess.run(["cp", "-al", installed / "asterisk", self.home / "asterisk"], check=True)

    # Commands.

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ZVONAR_")}
        return {**clean, "ZVONAR_HOME": str(self.home), **self.environment}

    def command(self, *argv: object, seconds: float = 240.0) -> subprocess.CompletedProcess[str]:
        """Any command, to its end."""
        return subprocess.run(
            [ZVONAR, *map(str, argv)],
            check=False,  # tests look at the code
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def json(self, *argv: object) -> Any:
        """The one document of a command that must succeed."""
        done = self.command(*argv, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def serve(self, *options: str, wait: bool = True) -> Serving:
        """Start the service, with the town unless options say what else."""
        self._served += 1
        self.room.joinpath("printed").mkdir(exist_ok=True)
        self.serving = Serving(
            [ZVONAR, "serve", "--port", str(self.port), *(options or ("--town",))],
            self.env,
            self.room / "printed" / f"{self._served}.log",
        )
        if wait:
            self.until_healthy()
        return self.serving

    def until_healthy(self) -> None:
        serving = self.serving
        assert serving is not None
        until(
            lambda: self.health()[0] == 200 or not serving.running(),
            START,
            about=lambda: (self.health(), serving.said),
        )
        assert serving.running(), serving.said

    # The service from outside.

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def health(self) -> tuple[int, dict[str, str]]:
        try:
            status, body = self.get("/healthz")
        except (OSError, http.client.HTTPException):  # nobody answers, or only half
            return 0, {}
        return status, json.loads(body)

    # The store, read by an eye of its own.

    @contextlib.contextmanager
    def store(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        dsn = PostgresServer(self.home).dsn()
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield connection

    def rows(self, statement: str, *params: object) -> list[dict[str, Any]]:
        with self.store() as connection:
            return connection.execute(statement.encode(), params).fetchall()

    def value(self, statement: str, *params: object) -> Any:
        (row,) = self.rows(statement, *params)
        return next(iter(row.values()))

    # Processes.

    def role(self, name: str) -> int:
        """The pid of a role, once it is ready: what died is not for a moment."""
        return int(until(lambda: self._kept(f"{name}.ready"), START, about=self.health))

    def asterisk(self, name: str) -> int:
        """The pid of an Asterisk, once there is one: what does not answer is ended before another starts."""
        return int(json.loads(until(lambda: self._kept(f"{name}.json"), START, about=self.health))["pid"])

    def _kept(self, name: str) -> bytes:
        """What is written in `run` now: nothing while it is being replaced."""
        with contextlib.suppress(FileNotFoundError):
            return (self.home / "run" / name).read_bytes()
        return b""

    def postmaster(self) -> int:
        pid = PostgresServer(self.home).pid
        assert pid is not None
        return pid

    def processes(self) -> dict[int, str]:
        """Every process that belongs to this home, by where it lives, its command line or its environment."""
        found = {}
        sign = re.compile(re.escape(os.fsencode(self.home)) + rb"(?![^/\0\"\s])")
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                told = command + (entry / "environ").read_bytes() + os.fsencode(os.readlink(entry / "cwd"))
                if sign.search(told) and int(entry.name) != os.getpid():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    # Campaigns.

    @property
    def account(self) -> dict[str, Any]:
        if self._account is None:
            self._account = self.json("account", "add", "tests", "--balance", "1000", "--timezone", "UTC")
        return self._account

    def carrier(self, host: str, port: int, *options: str) -> None:
        """A trunk that leads to somebody who is not of the town."""
        shown = ("--caller-id", "+74950000001")
        self.json("trunk", "add", "carrier", "--host", host, "--port", port, *shown, *options)

    def campaign(self, digits: str, *, per_second: float = 8, ring: int = 0) -> Dialling:
        """A running campaign of town numbers with these last digits, one call each."""
        self._campaigns += 1
        name = f"c{self._campaigns}"
        account = self.account["account_id"]
        settings = self.room / "settings.json"
        settings.write_text(
            json.dumps({**SETTINGS, "calls_per_second": per_second, "callback_url": self.receiver.url(name)})
        )
        made = self.json("campaign", "add", "--account", account, "--name", name, "--settings", settings)
        subscribers = range(100 * self._campaigns, 100 * self._campaigns + len(digits))
        numbers = [town.number(who, ring, int(digit)) for who, digit in zip(subscribers, digits, strict=True)]
        listed = self.room / "numbers.csv"
        listed.write_text("\n".join(numbers) + "\n")
        loaded = self.json("campaign", "import", made["id"], listed)
        assert loaded["loaded"] == len(digits), loaded
        return Dialling(self, made["id"], name, numbers)

    # The end.

    def leave(self) -> None:
        """Stop everything, and see that it has stopped."""
        if self.serving is not None and self.serving.running():
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed with whatever is left
                self.serving.end()
        self.receiver.close()
        stopped = self.command("stop")
        left = self.processes()
        end_all(self.processes)
        if self.serving is not None:
            self.serving.process.wait(PATIENCE)
        with contextlib.suppress(Exception):  # a home that never had a database has no address of one
            shutil.rmtree(str(conninfo_to_dict(PostgresServer(self.home).dsn())["host"]), ignore_errors=True)
        shutil.rmtree(self.room, ignore_errors=True)
        assert stopped.returncode == 0, stopped.stderr
        assert not left, left


@contextlib.contextmanager
def house(installed: Path | None, **environment: str) -> Iterator[House]:
    """A home for the time of a test."""
    made = House(installed)
    made.environment = environment
    made.receiver.open()
    try:
        yield made
    finally:
        made.leave()
