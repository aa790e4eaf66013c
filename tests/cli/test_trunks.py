"""Does a trunk reach the gateway, does its carrier answer, and can the town call us?"""

import hashlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ports import free_port
from .commands import ZVONAR, Run

START = 120.0  # seconds for the service
PASSWORD = "s3cret=word"
END = b"end"  # ends a carrier


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[None]:
    """The service with the town, on a port that was free."""
    port = free_port()
    process = subprocess.Popen(
        [str(ZVONAR), "serve", "--town", "--port", str(port)],
        env={**os.environ, "ZVONAR_HOME": str(home), "ZVONAR_DRAIN_SECONDS": "1"},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said, until = b"", time.monotonic() + START
    try:
        while b"serving at" not in said:
            readable, _, _ = select.select([process.stderr], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(process.stderr.fileno(), 65536) if readable else b""
            assert chunk, said.decode()
            said += chunk
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START)
        drain.join(5)
        process.stderr.close()


class Carrier(threading.Thread):
    """A SIP server that answers OPTIONS as it is told."""

    def __init__(self, *, status: str = "200 OK", challenge: str | None = None) -> None:
        super().__init__(daemon=True)
        self.status = status
        self.challenge = challenge
        self.seen: list[str] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self.port = self._udp.getsockname()[1]

    def run(self) -> None:
        while True:
            datagram, source = self._udp.recvfrom(65535)
            if datagram == END:
                return
            request = datagram.decode()
            self.seen.append(request)
            self._udp.sendto(b"noise", source)
            for status in ("100 Trying", self._answer(request)):
                kept = re.findall(r"^(?:Via|From|To|Call-ID|CSeq): .*$", request, re.MULTILINE)
                lines = [f"SIP/2.0 {status}", *(line.rstrip("\r") for line in kept)]
                if status.startswith("401"):
                    lines.append(f"WWW-Authenticate: {self.challenge}")
                self._udp.sendto("\r\n".join([*lines, "", ""]).encode(), source)

    def _answer(self, request: str) -> str:
        if self.challenge is None:
            return self.status
        given = dict(re.findall(r'(\w+)="?([^",]*)"?', request.partition("Authorization: Digest ")[2]))
        who = hashlib.md5(f"me:carrier:{PASSWORD}".encode()).hexdigest()
        what = hashlib.md5(f"OPTIONS:{given.get('uri')}".encode()).hexdigest()
        middle = f"{given.get('nonce')}:{given.get('nc')}:{given.get('cnonce')}:auth"
        right = hashlib.md5(f"{who}:{middle}:{what}".encode()).hexdigest()
        return "200 OK" if given.get("response") == right else "401 Unauthorized"

    def __enter__(self) -> "Carrier":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(END, ("127.0.0.1", self.port))
        self.join(5)
        self._udp.close()


BAD: list[tuple[tuple[str, ...], str]] = [
    ((), "needs the carrier's host"),
    (("--host", "a;b"), "neither a host name nor an IP address"),
    (("--host", "h", "--username", "u"), "A username needs a password"),
    (("--host", "h", "--username", "u", "--secret-env", "NOT_THERE"), "no NOT_THERE"),
    (("--host", "h", "--username", "u", "--secret-file", "/no/such"), "/no/such"),
    (("--host", "h", "--secret-env", "HOME"), "needs a username"),
    (("--host", "h", "--register"), "needs a username"),
    (("--host", "h", "--codecs", "opus"), "codec"),
    (("--host", "h", "--from-domain", "a b"), "neither a host name"),
    (("--host", "h", "--caller-id", "84951234567"), "Caller IDs"),
    (("--host", "h", "--channels", "0"), "Channels"),
    (("--host", "h", "--cps", "-1"), "Calls a second"),
    (("--host", "h", "--cps", "NaN"), "Calls a second"),
    (("--host", "h", "--cps", "x"), "--cps"),
]


def test_a_bad_trunk_is_refused_before_it_is_stored(zvonar: Run) -> None:
    for arguments, said in BAD:
        answer = zvonar("trunk", "add", "bad", *arguments)
        assert answer.code == 1, arguments
        assert said in answer.err
    assert "bad" not in [trunk["name"] for trunk in zvonar("trunk", "list", "--json").document]


def test_a_file_describes_a_trunk_and_no_password(zvonar: Run, tmp_path: Path) -> None:
    path = tmp_path / "trunk.json"
    path.write_text(
        json.dumps({"host": "127.0.0.1", "cps": 1.5, "caller_ids": ["+7495123XXXX"], "enabled": False})
    )
    said = zvonar("trunk", "add", "filed", "--file", path, "--port", 5070, "--json")
    assert said.code == 0, said.err
    document = said.document
    assert (document["port"], document["cps"], document["enabled"]) == (5070, "1.50", False)
    assert document["caller_ids"] == ["+7495123XXXX"]
    for wrong in ({"host": "h", "password": "x"}, {"host": "h", "colour": 1}, [], {"host": "h", "port": "x"}):
        path.write_text(json.dumps(wrong))
        assert zvonar("trunk", "add", "filed", "--file", path).code == 1


def test_the_name_of_the_trial_network_is_taken(zvonar: Run) -> None:
    assert "trial phone network" in zvonar("trunk", "add", "town", "--host", "127.0.0.1").err


def test_a_carrier_that_cannot_be_reached_from_loopback_is_pointed_out(zvonar: Run) -> None:
    said = zvonar("trunk", "add", "far", "--host", "192.0.2.1", "--disabled")
    assert said.code == 0, said.err
    said = zvonar("trunk", "test", "far")
    assert said.code == 1
    assert "ZVONAR_SIP_BIND" in said.err


def test_test_shows_the_password_where_the_carrier_asks_and_never_stores_it(
    zvonar: Run, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    challenge = 'Digest realm="carrier", nonce="n1", qop="auth,auth-int", algorithm=MD5'
    with Carrier(challenge=challenge) as carrier:
        said = zvonar(
            *("trunk", "add", "asks", "--host", "127.0.0.1", "--port", carrier.port),
            *("--username", "me", "--secret-file", secret, "--json"),
        )
        assert said.code == 0, said.err
        assert PASSWORD not in said.out
        document = zvonar("trunk", "test", "asks", "--json").document
        assert (document["ok"], document["status"], document["authenticated"]) == (True, 200, True)
        secret.write_text("wrong")
        said = zvonar("trunk", "test", "asks")
        assert said.code == 1
        assert "check username and password" in said.out
    assert PASSWORD not in "".join(carrier.seen)


@pytest.mark.parametrize(
    ("status", "good"), [("404 Not Found", True), ("403 Forbidden", False), ("503 No", False)]
)
def test_test_says_what_was_answered(zvonar: Run, status: str, good: bool) -> None:
    with Carrier(status=status) as carrier:
        assert zvonar("trunk", "add", "plain", "--host", "127.0.0.1", "--port", carrier.port).code == 0
        said = zvonar("trunk", "test", "plain")
    assert status in said.out
    assert said.code == (0 if good else 1)


def test_silence_is_said_within_the_deadline(zvonar: Run) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        assert (
            zvonar("trunk", "add", "deaf", "--host", "127.0.0.1", "--port", deaf.getsockname()[1]).code == 0
        )
        said = zvonar("trunk", "test", "deaf", "--deadline", "3")
        deaf.settimeout(1)
        asked = [deaf.recv(65535), deaf.recv(65535)]
    assert said.code == 1
    assert "Nothing answers" in said.err
    assert asked[0] == asked[1]
    assert zvonar("trunk", "test", "deaf").code == 1


def test_a_name_without_an_address_is_said(zvonar: Run) -> None:
    assert zvonar("trunk", "add", "lost", "--host", "no-such-host.invalid", "--disabled").code == 0
    said = zvonar("trunk", "test", "lost", ZVONAR_SIP_BIND="0.0.0.0")
    assert said.code == 1
    assert "no address" in said.err


def test_the_town_must_run_to_call(zvonar: Run) -> None:
    said = zvonar("town", "call", "+70001230001", "+74951234567")
    assert said.code == 1
    assert "zvonar serve --town" in said.err


@pytest.mark.usefixtures("served")
def test_a_running_gateway_loads_a_new_trunk_at_once(zvonar: Run, home: Path) -> None:
    said = zvonar("trunk", "add", "fresh", "--host", "127.0.0.1", "--port", "5062")
    assert said.code == 0, said.err
    assert "the running gateway has it" in said.out
    number = next(t["id"] for t in zvonar("trunk", "list", "--json").document if t["name"] == "fresh")
    assert f"[trunk-{number}]" in (home / "gateway/etc/pjsip.conf").read_text()
    document = zvonar("trunk", "test", "town", "--json").document
    assert (document["ok"], document["status"]) == (True, 200)
    parts = {part["name"]: part for part in zvonar("doctor", "--json").document["parts"]}
    assert "answers" in parts["gateway"]["message"]
    assert "answers" in parts["town"]["message"]


@pytest.mark.usefixtures("served")
def test_a_town_call_says_with_which_status_it_was_refused(zvonar: Run) -> None:
    said = zvonar("town", "call", "+70001230001", "+74951234567", "--digits", "12#")
    assert said.code == 1
    assert "SIP 404" in said.err
    for arguments in (
        ("+79161234567", "+74951234567"),
        ("+70001230001", "a@b"),
        ("+70001230001", "1", "--digits", "x"),
    ):
        said = zvonar("town", "call", *arguments)
        assert said.code == 1
        assert "cannot be made" in said.err
