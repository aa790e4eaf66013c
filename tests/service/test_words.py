"""Are words heard over real sound, and what of callers whose recogniser is busy or hangs? Asterisk, town, whisper."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from zvonar.settings import Settings
from zvonar.speech.recognition import model
from zvonar.speech.recognition.model import EngineMissing, ModelMissing

from .house import House
from .mouth import Mouth
from .processes import until
from .test_calling import CALL, Campaign, number
from .test_told import post

Made = TypeVar("Made")
SIX, ZERO = "шесть", "ноль"
LONG = "Вас приветствует компания Ромашка. " * 7 + "Назовите шесть или ноль."  # a third of a minute
SHORT = "Назовите шесть или ноль."


@pytest.fixture(autouse=True)
def _model() -> None:
    try:
        model.find(None, cache=Settings().cache_directory / "models")
    except (ModelMissing, EngineMissing) as exc:
        pytest.skip(str(exc))


def word(house: House, name: str) -> Path:
    """What a woman has said for Asterisk's prompts, where the town can read it."""
    there = house.room / f"{name}.wav"
    if not there.exists():
        [recorded] = house.home.glob(f"asterisk/*/usr/share/asterisk/sounds/ru_*/digits/{name}.wav")
        shutil.copyfile(recorded, there)
    return there


def question(prompt: str, **node: Any) -> dict[str, Any]:
    spoken = [{"words": [SIX], "status_name": "Шесть"}, {"words": [ZERO], "status_name": "Ноль"}]
    keys = {"1": {"status_name": "Клавиша"}}
    asked = {"prompt": {"text": prompt}, "spoken": spoken, "keys": keys, "timeout": 2.5, "repeats": 0, **node}
    return {"nodes": {"1": asked}}


def add(campaign: Campaign, phone: str) -> int:
    status, answer = campaign.ask("call", phone=phone)
    assert status == 200, answer
    return int(answer["call_id"])


def over(campaign: Campaign, call_id: int) -> dict[str, Any]:
    """Wait for the end of one of several calls; its row."""
    until(lambda: campaign.row(call_id)["status"] != "in_process", CALL, about=lambda: campaign.row(call_id))
    return campaign.row(call_id)


def steps(house: House, call_id: int) -> list[tuple[str | None, str | None, bool]]:
    """Key, word and whether somebody was not understood, question by question."""
    found = house.value("SELECT steps FROM attempts WHERE call_id = %s", call_id)
    return [(step.get("key"), step.get("word"), step.get("unclear", False)) for step in found]


async def speak(house: House, sound: Path, *phones: str) -> None:
    """Each says this as soon as he has picked up, all at once when there are several."""
    async with Mouth(house.home) as mouth:
        channels = [await mouth.answered(phone) for phone in phones]
        await asyncio.gather(*(mouth.say(channel, sound) for channel in channels))


def recogniser(house: House) -> psutil.Process:
    """The dialer's own, loaded."""

    def found() -> psutil.Process | None:
        for child in psutil.Process(house.role("dialer")).children():
            with contextlib.suppress(psutil.Error):
                if "zvonar.speech.recognition.whisper" in child.cmdline():
                    return child
        return None

    return until(found, CALL)


def heard_out(house: House, talk: Callable[[], Made]) -> Made:
    """What came of calls whose every word the recogniser had time for: a slow machine has it the next time."""
    serving = house.serving
    assert serving is not None

    def in_time() -> tuple[Made] | None:
        before = len(serving.said)
        made = talk()
        return None if '"words.not_recognised"' in serving.said[before:] else (made,)

    return until(in_time, 2 * CALL)[0]


def test_a_word_counts_during_the_prompt_only_where_that_is_wanted(service: House) -> None:
    barging = Campaign(service, "regular", script=question(LONG, word_barge_in=True))
    patient = Campaign(service, "regular", script=question(LONG))
    agreeing = {
        "prompt": {"text": "Вы согласны?"},
        "spoken": [{"words": ["yes"], "status_name": "Согласен"}, {"words": ["no"]}],
        "timeout": 8,
    }
    asking = Campaign(service, "regular", script={"nodes": {"1": agreeing}}, record=True)
    puzzled = Campaign(service, "regular", script=question(SHORT, repeats=1, timeout=5))
    recogniser(service)

    def talk() -> tuple[dict[str, Any], dict[str, Any]]:
        early, late = number(0), number(0)
        calls = {
            "early": (barging, add(barging, early)),
            "late": (patient, add(patient, late)),
            "yes": (asking, add(asking, number(8))),
            "unknown": (puzzled, add(puzzled, number(8))),  # says yes, which is none of these words
        }
        asyncio.run(speak(service, word(service, "6"), early, late))
        rows = {name: over(campaign, call_id) for name, (campaign, call_id) in calls.items()}
        asking.check()
        return rows, {name: steps(service, call_id) for name, (_, call_id) in calls.items()}

    rows, made = heard_out(service, talk)
    assert made["early"] == [(None, SIX, False)], rows["early"]
    assert (rows["early"]["status"], rows["early"]["user_choice"]) == ("user", "Шесть")
    assert rows["early"]["duration"] < rows["late"]["duration"], "the prompt was played to its end"
    assert made["late"] == [(None, None, False)], rows["late"]
    assert rows["late"]["user_choice"] is None
    assert made["yes"] == [(None, "yes", False)], rows["yes"]
    assert (rows["yes"]["status"], rows["yes"]["user_choice"]) == ("user", "Согласен")
    # Not understood, the question is repeated, to which he says nothing.
    assert made["unknown"] == [(None, None, True), (None, None, False)], rows["unknown"]
    _written_down(asking, rows["yes"])


def recognised(house: House, phone: str) -> list[dict[str, Any]]:
    """What the report of the other dialect knows of the last call to this number."""
    now = datetime.now(UTC)
    params = {
        "access_token": house.account["uis_access_token"],
        "date_from": f"{now - timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
        "date_till": f"{now + timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
        "fields": ["contact_phone_number", "recognized_text"],
        "limit": 10_000,
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    answer = post(house, "/v2.0", json.dumps(asked).encode(), "application/json")
    rows = {row["contact_phone_number"]: row for row in answer["result"]["data"]}
    return rows.get(phone.lstrip("+"), {}).get("recognized_text") or []


def _written_down(campaign: Campaign, row: dict[str, Any]) -> None:
    """Both sides of a recorded call, in its row and in the report of the other dialect."""
    said = until(
        lambda: campaign.row(row["call_id"])["transcribing"],
        CALL,
        about=lambda: campaign.house.rows("SELECT tries, error, done_at FROM transcripts"),
    )
    assert {one["channel"] for one in said} <= {0, 1}
    assert 0 in {one["channel"] for one in said}, "the robot spoke, too"
    for one in said:
        assert 0 <= one["start_time"] < one["end_time"] <= row["duration"] + 2
        assert one["normal_text"].strip()
    assert [one["start_time"] for one in said] == sorted(one["start_time"] for one in said)

    # The dialect lets nobody ask more often.
    phrases = until(lambda: recognised(campaign.house, row["phone"]), CALL, every=1.5)
    assert [one["phrase"] for one in phrases] == [one["normal_text"] for one in said]
    assert [one["is_operator"] for one in phrases] == [one["channel"] == 0 for one in said]


def test_whoever_finds_the_recogniser_busy_or_hanging_does_with_keys(service: House) -> None:
    prompt = "Вас приветствует компания Ромашка. " * 2 + SHORT
    campaign = Campaign(service, "regular", script=question(prompt, word_barge_in=True))
    hung = recogniser(service)
    assert service.serving is not None
    before = len(service.serving.said)
    hung.send_signal(signal.SIGSTOP)
    try:
        phones = number(0), number(1)  # the second presses 1 once it is quiet
        calls = [add(campaign, phone) for phone in phones]
        asyncio.run(speak(service, word(service, "6"), *phones))
        silent, pressing = (over(campaign, call_id) for call_id in calls)
        campaign.check()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(hung.pid, signal.SIGCONT)  # nothing of it may be left, whatever failed
    assert (pressing["status"], pressing["button_num"]) == ("user", 1), pressing
    assert steps(service, calls[1]) == [("1", None, False)]
    # His word was lost with the recogniser, and his silence has a name.
    assert (silent["status"], silent["dial_status"]) == ("compl_finished", 19), silent
    assert steps(service, calls[0]) == [(None, None, False)]
    told = service.serving.said[before:]
    assert '"RecogniserBusy"' in told, "one of two had to wait for the other, and gave up"
    assert '"RecogniserDied"' in told
    assert not hung.is_running()

    # The next caller is understood, by another process, once that has loaded its model.
    def understood() -> bool:
        again = number(0)
        call_id = add(campaign, again)
        asyncio.run(speak(service, word(service, "6"), again))
        campaign.ended(call_id)
        return steps(service, call_id) == [(None, SIX, False)]

    until(understood, 2 * CALL)
    assert recogniser(service).pid != hung.pid
    assert len([one for one in psutil.Process(service.role("dialer")).children() if _whisper(one)]) == 1


def _whisper(process: psutil.Process) -> bool:
    return "zvonar.speech.recognition.whisper" in process.cmdline()
