"""What does a service test hold in its hands? An installation in a home of its own, every process of it real."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from zvonar.line.asterisk import town
from zvonar.store.server import PostgresServer

from .receiver import Receiver

ZVONAR = str(Path(sys.executable).with_name("zvonar"))
START = 60.0  # seconds for a start, on a machine that does much else
CAMPAIGN = 90.0  # seconds for a campaign, a crash in its middle included
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
PREDICTED = {
    **dict.fromkeys("058", "answered/no_input"),
    **dict.fromkeys("19", "answered/choice"),
    "2": "busy/none",
    "3": "no_answer/none",
    "4": "invalid_number/none",
    "6": "congestion/none",
    "7": "answered/hung_up",
}

# What every account has, and what its ledger and its attempts say of that.
MONEY = """
SELECT balance, held, at_risk,
    coalesce((SELECT sum(amount) FROM ledger WHERE account_id = a.account_id), 0) AS ledger,
    coalesce((SELECT sum(amount) FROM ledger WHERE account_id = a.account_id AND kind = 'charge'), 0) AS charges,
    coalesce((SELECT sum(cost) FROM attempts WHERE account_id = a.account_id), 0) AS cost
FROM accounts a
"""

Found = TypeVar("Found")


class StillWaiting(AssertionError):
    """What a test waits for did not come in time."""


def until(what: Callable[[], Found], seconds: float, *, about: object = "") -> Found:
    """Wait until this is true, and return it. Looks often and briefly: processes send no notification."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise StillWaiting(f"after {seconds} s: {about() if callable(about) else about}")
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill(pids: Iterable[int], sign: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to processes and wait until they are gone."""
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    try:
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, sign)
        for handle in handles:
            assert select.select([handle], [], [], 30)[0], "a process does not end"
    finally:
        for handle in handles:
            os.close(handle)


class Serving:
    """A running `zvonar serve` and what it printed."""

    def __init__(self, argv: list[str], env: dict[str, str], printed: Path) -> None:
        self.printed = printed
        with printed.open("ab") as file:
            self.process = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.printed.read_text(errors="replace")

    def running(self) -> bool:
        return self.process.poll() is None

    def end(self, sign: signal.Signals = signal.SIGTERM, *, seconds: float = 60.0) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(seconds)

    def was_killed(self) -> None:
        """Take note of its end: it is our child."""
        assert self.process.wait(10) == -signal.SIGKILL


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

    def command(self, *argv: object, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
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
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read()

    def health(self) -> tuple[int, dict[str, str]]:
        try:
            status, body = self.get("/healthz")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
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
        """The pid of a role that is ready."""
        return int((self.home / f"run/{name}.ready").read_text())

    def asterisk(self, name: str) -> int:
        return int(json.loads((self.home / f"run/{name}.json").read_bytes())["pid"])

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

    def campaign(self, digits: str, *, per_second: float = 8, ring: int = 0) -> "Dialling":
        """A running campaign of town numbers with these last digits, one call each."""
        self._campaigns += 1
        name = f"c{self._campaigns}"
        account = self.account["account_id"]
        settings = self.room / "settings.json"
        settings.write_text(
            json.dumps({**SETTINGS, "calls_per_second": per_second, "callback_url": self.receiver.url(name)})
        )
        made = self.json(
            *("campaign", "add", "--account", account, "--name", name, "--settings", settings, "--paused")
        )
        subscribers = range(100 * self._campaigns, 100 * self._campaigns + len(digits))
        numbers = [town.number(who, ring, int(digit)) for who, digit in zip(subscribers, digits, strict=True)]
        listed = self.room / "numbers.csv"
        listed.write_text("\n".join(numbers) + "\n")
        loaded = self.json("campaign", "import", made["id"], listed)
        assert loaded["loaded"] == len(digits), loaded
        dialling = Dialling(self, made["id"], name, numbers)
        assert self.command("campaign", "set", made["id"], "--running").returncode == 0
        return dialling

    # The end.

    def leave(self) -> None:
        """Stop everything, and see that it has stopped."""
        if self.serving is not None and self.serving.running():
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it is killed with whatever is left
                self.serving.end()
        self.receiver.close()
        stopped = self.command("stop")
        left = self.processes()
        kill(left)
        with contextlib.suppress(Exception):  # a home that never had a database has no address of one
            shutil.rmtree(str(conninfo_to_dict(PostgresServer(self.home).dsn())["host"]), ignore_errors=True)
        shutil.rmtree(self.room, ignore_errors=True)
        assert stopped.returncode == 0, stopped.stderr
        assert not left, left


class Dialling:
    """A campaign of a test, and the laws that hold when it is over."""

    def __init__(self, house: House, campaign_id: int, name: str, numbers: list[str]) -> None:
        self.house = house
        self.id = campaign_id
        self.name = name
        self.numbers = numbers

    def count(self, *states: str) -> int:
        """Calls in one of these states."""
        return int(
            self.house.value(
                "SELECT count(*) FROM calls WHERE campaign_id = %s AND state = ANY(%s)", self.id, list(states)
            )
        )

    def until_ended(self, at_least: int) -> None:
        """Wait until so many calls have come to their end, the others not yet: the middle of the campaign."""
        until(lambda: self.count("finished") >= at_least, CAMPAIGN, about=self.standing)
        assert self.count("finished") < len(self.numbers), "the campaign was over too soon to disturb it"

    def states(self) -> dict[str, int]:
        rows = self.house.rows(
            "SELECT state, count(*) AS n FROM calls WHERE campaign_id = %s GROUP BY state", self.id
        )
        return {row["state"]: row["n"] for row in rows}

    def standing(self) -> str:
        """Where it stands, and what the service said last: for whoever waited in vain."""
        said = self.house.serving.said.splitlines()[-40:] if self.house.serving else []
        return "\n".join([str(self.states()), *said])

    def over(self, seconds: float = CAMPAIGN) -> None:
        """Wait until every call has ended, the campaign with them, and everything is told; then the laws."""

        def done() -> bool:
            try:
                return bool(
                    self.house.value(
                        "SELECT status = 'completed' AND NOT EXISTS (SELECT FROM outbox WHERE fanned_out_at IS NULL)"
                        " AND NOT EXISTS (SELECT FROM deliveries WHERE state = 'pending')"
                        " FROM campaigns WHERE campaign_id = %s",
                        self.id,
                    )
                )
            except psycopg.OperationalError:
                return False  # it is just being started again

        until(done, seconds, about=self.standing)
        self.check()

    def results(self) -> dict[str, str]:
        """What came of each number."""
        rows = self.house.rows(
            "SELECT phone, disposition || '/' || coalesce(script_result, 'none') AS result FROM calls"
            " WHERE campaign_id = %s",
            self.id,
        )
        return {row["phone"]: row["result"] for row in rows}

    def check(self) -> None:
        """The laws: final states, at most one INVITE a leg, every body delivered, money that adds up."""
        assert set(self.states()) == {"finished"}, self.states()
        self._check_invites()
        self._check_money()
        self._check_callbacks()

    def _check_invites(self) -> None:
        invites = town.invites(self.house.home / "town")
        assert all(count == 1 for leg, count in invites.items() if leg != "-"), invites
        legs = {
            row["leg_id"]: row["phase"]
            for row in self.house.rows("SELECT leg_id, phase FROM legs WHERE direction = 'out'")
        }
        assert set(invites) - {"-"} <= set(legs), "the town was called by a leg that nobody knows"
        assert set(legs.values()) <= {"ended"}, legs

    def _check_money(self) -> None:
        for account in self.house.rows(MONEY):
            assert account["balance"] == account["ledger"], account
            assert account["held"] == account["at_risk"] == 0, account
            assert account["charges"] == -account["cost"], account
        assert self.house.value("SELECT sum(in_use) FROM trunks") == 0
        assert self.house.value("SELECT sum(in_use + leg_held) FROM campaign_guards") == 0
        tallies = self.house.rows(
            "SELECT key, sum(n)::int AS n FROM campaign_tallies WHERE campaign_id = %s GROUP BY key", self.id
        )
        for kind in ("state/", "result/", "end/"):
            assert sum(row["n"] for row in tallies if row["key"].startswith(kind)) == len(self.numbers)

    def _check_callbacks(self) -> None:
        receiver = self.house.receiver
        wanted = {
            row["event_id"]
            for row in self.house.rows(
                "SELECT d.event_id FROM deliveries d JOIN outbox USING (event_id) WHERE campaign_id = %s",
                self.id,
            )
        }
        assert wanted <= {post.event_id for post in receiver.of(self.name)}, "a body is missing"
        heard = receiver.calls(self.name)
        known = {
            row["call_id"]: row
            for row in self.house.rows(
                "SELECT call_id, phone, attempts, talk_seconds FROM calls WHERE campaign_id = %s", self.id
            )
        }
        assert set(heard) == set(known)
        for call_id, posts in heard.items():
            assert [post.event_id for post in posts] == sorted(post.event_id for post in posts)
            said, call = posts[-1].said["call"], known[call_id]
            assert (said["number"], said["tries"], said["duration"]) == (
                call["phone"],
                call["attempts"],
                call["talk_seconds"],
            )
            assert said["status"] != "awaiting"
            assert not said["lock"]
        # Repetitions are the same bytes.
        bodies: dict[int, set[bytes]] = {}
        for post in receiver.of(self.name):
            bodies.setdefault(post.event_id, set()).add(post.body)
        assert all(len(same) == 1 for same in bodies.values())
        statuses = [
            post.said["autocall"]["status"] for post in receiver.of(self.name) if "autocall" in post.said
        ]
        assert "running" in statuses
        assert statuses[-1] == "completed"


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
