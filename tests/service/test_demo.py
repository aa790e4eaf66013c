"""Does `zvonar demo` show, count and explain a whole campaign, and stay up until Ctrl-C?"""

import json
import re
import shlex
import signal
import stat
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .house import ZVONAR, House, house
from .processes import PATIENCE, StillWaiting, until

COUNTED = {
    "answered/choice": 4,
    "answered/hung_up": 2,
    "answered/no_input": 6,
    "busy": 2,
    "congestion": 2,
    "invalid_number": 2,
    "no_answer": 2,
}


@pytest.fixture(scope="module")
def stage(installed: Path) -> Iterator[House]:
    """A home for demos."""
    with house(installed) as made:
        yield made


def shown(stage: House, *options: object) -> tuple[dict[str, Any], float]:
    """The document of a demo that exits, and the seconds from its start to its end."""
    began = time.monotonic()
    done = stage.command("demo", "--exit", "--json", "--port", stage.port, *options)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, done.stdout
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout), seconds


def test_a_demo_counts_what_the_last_digits_predict_and_the_next_one_reuses_its_account(stage: House) -> None:
    document, first = shown(stage, "--calls", 20)
    assert set(document) == {"calls", "by_result", "callbacks_delivered", "seconds"}
    assert (document["calls"], document["by_result"]) == (20, COUNTED)
    assert sum(document["by_result"].values()) == document["calls"]
    assert 0 < document["seconds"] < first
    kept = stage.home / "demo.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    keys = kept.read_bytes()
    assert document["callbacks_delivered"] == stage.value(
        "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
    )

    again, second = shown(stage, "--calls", 3)
    assert again["by_result"] == {"answered/choice": 1, "answered/no_input": 1, "busy": 1}
    assert kept.read_bytes() == keys
    assert stage.value("SELECT count(*) FROM accounts") == 1
    overhead = second - again["seconds"]
    print(
        f"demos took {first:.1f} and {second:.1f} s; the second one spent {overhead:.1f} s beside its campaign"
    )


class Demo:
    """A demo in a process of its own, and what it shows."""

    def __init__(self, stage: House, *options: object) -> None:
        self._shown = stage.room / "shown.txt"
        self._said = stage.room / "said.txt"
        with self._shown.open("wb") as err, self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [ZVONAR, "demo", "--port", str(stage.port), *map(str, options)],
                env=stage.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def shown(self) -> str:
        return self._shown.read_text()

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until(self, text: str) -> None:
        def there() -> bool:
            if self.process.poll() is not None:
                raise StillWaiting(self.shown)
            return text in self.shown

        until(there, 120, about=lambda: self.shown)

    def end(self, sign: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sign)
        return self.process.wait(60)


Demos = Callable[..., Demo]


@pytest.fixture
def demo(stage: House) -> Iterator[Demos]:
    """Starts demos, and ends those that a test has left."""
    made: list[Demo] = []

    def start(*options: object) -> Demo:
        made.append(Demo(stage, *options))
        return made[-1]

    yield start
    for left in made:
        if left.process.poll() is None:
            left.process.kill()
            left.process.wait(10)


def curl(line: str) -> Any:
    """What a curl command line gets, by the options that the demo uses."""
    words = iter(shlex.split(line))
    assert next(words) == "curl"
    url, headers, data = "", {}, []
    for word in words:
        if word == "-d":
            data.append(next(words))
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        else:
            assert not word.startswith("-"), word
            url = word
    request = urllib.request.Request(url, "&".join(data).encode() if data else None, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 200
        return json.loads(answer.read())


def test_a_demo_stays_up_and_its_curl_lines_work(stage: House, demo: Demos) -> None:
    up = demo("--calls", "10")
    up.until("until Ctrl-C")
    assert up.said == ""
    assert f"http://127.0.0.1:{stage.port}" in up.shown
    lines = [line for line in up.shown.splitlines() if line.startswith("curl ")]
    one, more, listed = map(curl, lines[:3])
    _, _, _, asking, cards = lines
    notes = curl(cards)

    def reported() -> dict[str, Any] | None:
        """The report, which is filled from what has happened a moment later."""
        told = curl(asking)
        return dict(told) if told["result"]["metadata"]["total_items"] >= 10 else None

    report = until(reported, every=0.5)  # a minute has two hundred requests
    (result,) = one
    assert result["status"] == "user"
    assert result["button_num"] == 1
    assert result["attempts"][0]["billsec"] == result["duration"] > 0
    assert listed["total"] == 11  # with the one more
    assert {"number": result["phone"], "status": "success"}.items() <= next(
        call for call in listed["data"] if call["id"] == result["call_id"]
    ).items()
    [note] = notes["_embedded"]["notes"]
    assert note["note_type"] == "call_out"
    assert note["params"]["phone"] in {call["number"] for call in listed["data"]}
    assert len(report["result"]["data"]) == 5
    assert result["phone"].removeprefix("+") in re.findall(
        r"7000\d{7}", json.dumps(curl(asking.replace('"limit": 5', '"limit": 500')))
    )
    # One more call is dialled, shown by the first line's door, and told to the demo's own receiver.
    asked = re.sub(r"call_id=\d+", f"call_id={more['call_id']}", lines[0])
    until(
        lambda: curl(asked)[0]["status"] == "user",
        about=lambda: curl(asked),
        every=0.2,  # a key may ask twenty times a second
    )
    until(
        lambda: stage.value("SELECT count(*) FROM deliveries WHERE state <> 'delivered'") == 0,
        about=lambda: stage.rows(
            "SELECT state, tries, last_error FROM deliveries WHERE state <> 'delivered'"
        ),
    )
    assert up.end() == 0, up.shown
    assert "Traceback" not in up.shown
    assert not [command for command in stage.processes().values() if "zvonar.service" in command]


def test_ctrl_c_ends_a_demo_at_any_time(stage: House, demo: Demos) -> None:
    starting = demo("--calls", "60")
    starting.until("· gateway")
    assert starting.end() in (0, 130)
    dialling = demo("--calls", "60", "--json")
    dialling.until("· roles")
    until(lambda: stage.value("SELECT count(*) FROM calls WHERE state = 'talking'") >= 2)
    assert dialling.end() == 0, dialling.shown
    for ended in (starting, dialling):
        assert ended.said == ""
        assert "Traceback" not in ended.shown
    assert stage.value("SELECT count(*) FROM legs WHERE phase <> 'ended'") == 0
    assert not [command for command in stage.processes().values() if "zvonar.service" in command]
