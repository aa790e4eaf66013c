"""Does `zvonar serve` start, refuse, drain and hand over as it promises?"""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from .house import ROLES, House, house
from .processes import Serving, kill, until

DEAD_MIRROR = "http://127.0.0.1:9/debian"


def sentence(said: str) -> str:
    """The one line that a failed command has to say; a traceback has many."""
    lines = [line for line in said.splitlines() if line.startswith("zvonar: ")]
    assert "Traceback" not in said, said
    assert lines, said
    return lines[-1]


def test_health_is_503_until_every_role_is_ready(at_rest: House) -> None:
    seen: list[tuple[int, dict[str, str]]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.append(at_rest.health())
            time.sleep(0.01)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        at_rest.serve()
    finally:
        over.set()
        watcher.join()
    statuses = [status for status, _ in seen]
    assert statuses == sorted(statuses, key=(0, 503, 200).index), "it went back"
    status, said = at_rest.health()
    assert (status, said) == (200, {"status": "ok", "database": "ready", **dict.fromkeys(ROLES, "ready")})

    # A role that is gone is said at once, and comes back.
    kill([at_rest.role("worker")])
    until(lambda: at_rest.health()[0] == 503)
    until(lambda: at_rest.health()[0] == 200)


def test_a_taken_port_is_a_sentence(at_rest: House) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # our own last service's old connections
        taken.bind(("127.0.0.1", at_rest.port))
        taken.listen()
        done = at_rest.command("serve", "--port", at_rest.port, "--town")
    assert done.returncode == 1
    assert "--port" in sentence(done.stderr)


def test_a_second_service_of_one_home_is_refused(service: House) -> None:
    done = service.command("serve", "--port", service.port, "--town")
    assert done.returncode == 1
    assert f"Its pid is {service.serving and service.serving.pid}" in sentence(done.stderr)
    demo = service.command("demo", "--calls", "1", "--exit", "--json")
    assert demo.returncode == 1
    assert "Another zvonar serves this home" in sentence(demo.stderr)
    assert demo.stdout == ""
    assert service.health()[0] == 200


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PORT_BASE", "80", "ZVONAR_PORT_BASE is not usable"),
        ("PORT_BASE", "many", "ZVONAR_PORT_BASE is not usable"),
        ("ALLOW_NETWORKS", "10.0.0.0/64", "ZVONAR_ALLOW_NETWORKS is not usable"),
        ("DRAIN_SECONDS", "-1", "ZVONAR_DRAIN_SECONDS is not usable"),
        ("LOG_LEVEL", "loud", "ZVONAR_LOG_LEVEL is not usable"),
        ("LOCAL_NETWORKS", "near", "local network 'near'"),
        ("SIP_BIND", "nowhere", "'nowhere' is neither"),
        ("ASTERISK", "/bin/true", "ZVONAR_ASTERISK"),
        ("ASTERISK", "/nowhere/asterisk", "ZVONAR_ASTERISK"),
        ("DATABASE_URL", "postgresql://127.0.0.1:9/none", "ZVONAR_DATABASE_URL"),
        ("DATABASE_URL", "nonsense", "ZVONAR_DATABASE_URL"),
        ("HOME", "/proc/zvonar", "ZVONAR_HOME"),
        ("HOME", "/dev/null/zvonar", "ZVONAR_HOME"),
    ],
)
def test_a_wrong_setting_is_a_sentence_that_names_it(
    at_rest: House, monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setitem(at_rest.environment, f"ZVONAR_{name}", value)
    done = at_rest.command("serve", "--port", at_rest.port, "--town")
    assert done.returncode == 1
    assert remedy in sentence(done.stderr)


def test_a_home_of_somebody_else_is_a_sentence(at_rest: House) -> None:
    # For root every directory is writable, except one of a file system that refuses.
    closed = at_rest.room / "closed"
    closed.mkdir()
    if os.geteuid() == 0:
        closed = Path("/proc/sys")
    else:
        closed.chmod(0o555)
    at_rest.environment["ZVONAR_HOME"] = str(closed / "home")
    try:
        for command in (("serve", "--port", at_rest.port), ("demo", "--exit"), ("account", "add", "x")):
            done = at_rest.command(*command)
            assert done.returncode == 1
            assert "ZVONAR_HOME" in sentence(done.stderr)
    finally:
        del at_rest.environment["ZVONAR_HOME"]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "ctrl-c"])
def test_draining_dials_nothing_new_and_lets_calls_end(service: House, sign: signal.Signals) -> None:
    dialling = service.campaign("0" * 12, per_second=2)
    until(lambda: dialling.count("talking") >= 2, about=dialling.standing)
    serving = service.serving
    assert serving is not None
    assert serving.end(sign) == 0, serving.said
    placed = service.value("SELECT count(*) FROM attempts WHERE campaign_id = %s", dialling.id)
    assert placed < 12, "everything was dialled already"
    # Whatever was dialled has had its whole call: the callee listened and the script said no_input.
    assert dialling.states() == {"finished": placed, "queued": 12 - placed}
    assert set(filter(None, dialling.results().values())) == {"answered/no_input"}
    assert service.value("SELECT count(*) FROM calls WHERE lease_epoch IS NOT NULL AND state = 'queued'") == 0
    assert service.value("SELECT count(*) FROM legs WHERE phase <> 'ended'") == 0

    service.serve()
    dialling.over()
    assert set(dialling.results().values()) == {"answered/no_input"}


def test_a_drain_that_takes_too_long_hands_calls_over(
    at_rest: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(at_rest.environment, "ZVONAR_DRAIN_SECONDS", "0.5")
    serving = at_rest.serve()
    dialling = at_rest.campaign("0" * 8)
    until(lambda: dialling.count("talking") >= 3, about=dialling.standing)
    assert serving.end() == 0, serving.said
    assert dialling.count("talking", "dialing") > 0, "nothing was up"
    at_rest.serve()
    dialling.over()
    # The callee may have heard the beginning twice, but nobody was called twice: see the laws.
    assert all(result.startswith("answered/") for result in dialling.results().values())


def test_roles_can_live_apart(at_rest: House) -> None:
    at_rest.serve("--role", "api")
    assert at_rest.health() == (200, {"status": "ok", "api": "ready", "database": "ready"})
    assert not (at_rest.home / "run/dialer.ready").exists()
    assert at_rest.serving is not None
    assert at_rest.serving.end() == 0
    for alone in ("dialer", "worker"):
        serving = at_rest.serve("--role", alone, "--town", wait=False)
        until((at_rest.home / f"run/{alone}.ready").exists, about=serving.printed.read_text)
        assert at_rest.health()[0] == 0, "somebody serves HTTP"
        assert serving.end() == 0
    done = at_rest.command("serve", "--role", "api,cook")
    assert done.returncode == 1
    assert "no role 'cook'" in sentence(done.stderr)


def test_stop_says_that_a_service_still_runs_and_stops_nothing(service: House) -> None:
    before = {name: service.asterisk(name) for name in ("gateway", "town")}
    done = service.command("stop")
    assert done.returncode == 1
    assert "serves this home" in sentence(done.stderr)
    assert {name: service.asterisk(name) for name in before} == before
    assert service.health()[0] == 200


def test_nothing_asks_the_network_once_it_is_set_up(at_rest: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert at_rest.command("stop").returncode == 0
    monkeypatch.setitem(at_rest.environment, "ZVONAR_DEBIAN_MIRROR", DEAD_MIRROR)
    monkeypatch.setitem(at_rest.environment, "ZVONAR_CACHE", str(at_rest.room / "no-cache"))
    monkeypatch.setitem(at_rest.environment, "PATH", "/nonexistent")
    assert at_rest.command("setup").returncode == 0
    at_rest.serve()
    dialling = at_rest.campaign("2")
    dialling.over()
    # What is joined from installed packages may be kept there; nothing else came from anywhere.
    assert {made.name for made in at_rest.room.glob("no-cache/*")} <= {"models"}


def test_a_mirror_that_is_away_is_a_sentence_and_one_that_is_silent_can_be_left() -> None:
    with house(None) as bare, socket.create_server(("127.0.0.1", 0)) as silent:
        bare.environment = {
            "ZVONAR_DEBIAN_MIRROR": DEAD_MIRROR,
            "ZVONAR_CACHE": str(bare.room / "cache"),
        }
        done = bare.command("demo", "--exit", "--json")
        assert done.returncode == 1
        assert "check the network" in sentence(done.stderr)
        assert done.stdout == ""

        bare.environment["ZVONAR_DEBIAN_MIRROR"] = f"http://127.0.0.1:{silent.getsockname()[1]}/debian"
        for argv, code in ((("serve",), 0), (("demo", "--exit"), 130)):
            waiting = Serving([bare.zvonar, *argv], bare.env, bare.room / f"{argv[0]}.txt")
            with silent.accept()[0]:  # it asks for the index
                assert waiting.end() == code, waiting.said
            assert "Traceback" not in waiting.said
            # Nothing goes on without it, apart from the database.
            until(lambda: not [said for said in bare.processes().values() if "apt" in said])


def test_the_address_and_what_is_served_there(service: House) -> None:
    status, page = service.get("/")
    assert status == 200
    assert b"Zvonar" in page
    assert service.get("/nowhere")[0] == 404
    status, described = service.get("/schema/openapi.json")
    assert status == 200
    assert "/v2.0" in json.loads(described)["paths"]
    status, page = service.get("/docs")
    assert status == 200
    assert b"swagger-ui-bundle.js" in page
    status, described = service.get("/docs/openapi.json")
    assert status == 200
    assert "/api/v1/autocalls" in json.loads(described)["paths"]
