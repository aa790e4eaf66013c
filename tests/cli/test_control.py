"""Can an operator set everything that holds a campaign in check, and ask what it would do?"""

import json
from pathlib import Path
from typing import Any

import pytest

from .commands import Run

EVERYTHING: dict[str, Any] = {
    "window": {
        "start": "09:00:00",
        "end": "20:00:00",
        "weekdays": [1, 2, 3, 4, 5],
        "date_from": None,
        "date_till": "2099-12-31",
        "holidays": ["2027-01-01", "2027-01-07"],
    },
    "timezone": "Asia/Omsk",
    "clock": "strictest",
    "retry": {
        "max_attempts": 6,
        "interval": 3600,
        "backoff": "1.5",
        "rules": {
            "busy": {"on": True, "interval": 300, "tries": 3, "backoff": "2"},
            "no_answer": {"on": True, "interval": 7200, "tries": 2, "backoff": None},
            "voicemail": {"on": True, "interval": 86400, "tries": 2, "backoff": None},
            "failed": {"on": False, "interval": None, "tries": None, "backoff": None},
        },
    },
    "caps": [{"attempts": 1, "seconds": 86400}, {"attempts": 2, "seconds": 604800}],
    "weight": 3,
    "breaker": {"above": "30", "window": 600, "at_least": 50, "outcomes": ["congestion", "failed"]},
    "recall_within": 7200,
    "no_money": "pause",
    "max_cost": "12.50",
}


def test_every_setting_of_control_can_be_set_and_is_shown_as_it_was_set(
    zvonar: Run, account: int, campaign: int, tmp_path: Path
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(EVERYTHING))
    new = ("campaign", "add", "--account", account, "--name", "n", "--text", "x", "--paused")
    for said in (
        zvonar("campaign", "set", campaign, "--settings", file, "--json"),
        zvonar(*new, "--settings", file, "--json"),
    ):
        assert said.code == 0, said.err
        settings = said.document["settings"]
        assert {name: settings[name] for name in EVERYTHING} == EVERYTHING


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"caps": [{"attempts": 0, "seconds": 60}]}, "cap"),
        ({"weight": 0}, "weight"),
        ({"clock": "sundial"}, "clock"),
        ({"breaker": {"above": 100}}, "breaker"),
        ({"window": {"weekdays": [0]}}, "weekdays"),
        ({"window": {"holidays": ["yesterday"]}}, "holidays"),
        ({"retry": {"backoff": 0}}, "backoff"),
        ({"retry": {"rules": {"busy": {"tries": 0}}}}, "busy"),
        ({"recall_within": -1}, "recall_within"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    zvonar: Run, campaign: int, tmp_path: Path, wrong: dict[str, Any], named: str
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(wrong))
    said = zvonar("campaign", "set", campaign, "--settings", file)
    assert said.code == 1
    assert named in said.err
    assert "Traceback" not in said.err


def test_a_preflight_says_what_a_campaign_would_do(zvonar: Run, campaign: int, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("phone\n+79161234567\n+79161234568\n")
    assert zvonar("campaign", "import", campaign, numbers).code == 0
    said = zvonar("campaign", "preflight", campaign, "--json")
    assert said.code == 0, said.err
    flown = said.document
    # There is no trunk in this home.
    assert (flown["calls"], flown["would_dial"], flown["skipped"]) == (2, 0, {"no_route": 2})
    assert (flown["worst_case"], flown["covered"], flown["currency"]) == ("0", True, "RUB")
    assert "0 of 2 waiting calls" in zvonar("campaign", "preflight", campaign).out


def test_a_moderated_account_s_campaign_waits_for_its_operator(zvonar: Run, campaign: int) -> None:
    assert zvonar("account", "set", "tests", "--moderated", "--json").document["moderated"] is True
    try:
        assert zvonar("campaign", "set", campaign, "--running", "--json").document["waits"] == "moderation"
        approved = zvonar("campaign", "approve", campaign, "--json").document
        assert approved["status"] == "running"
        assert zvonar("campaign", "reject", campaign).code == 1
        cancelled = zvonar("campaign", "cancel", campaign, "--json").document
        assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "by_hand")
        shown = zvonar("campaign", "show", campaign, "--json").document
        assert (shown["status"], shown["reason"], shown["tallies"]) == ("cancelled", "by_hand", {})
        assert "by_hand" in zvonar("campaign", "show", campaign).out
    finally:
        assert zvonar("account", "set", "tests", "--not-moderated").code == 0


def test_an_account_s_caps_are_set_shown_and_taken_away(zvonar: Run, account: int) -> None:
    said = zvonar("account", "set", account, "--caps", "1/1d,2/7d", "--json").document
    assert said["caps"] == [{"attempts": 1, "seconds": 86400}, {"attempts": 2, "seconds": 604800}]
    assert said["email"] is None
    assert zvonar("account", "set", account, "--caps", "sometimes").code == 1
    assert zvonar("account", "set", account, "--caps", "", "--json").document["caps"] == []


@pytest.mark.parametrize("command", ["preflight", "show", "cancel", "approve", "reject"])
def test_a_campaign_that_is_not_there_is_a_sentence(zvonar: Run, command: str) -> None:
    said = zvonar("campaign", command, 42)
    assert said.code == 1
    assert "There is no such campaign" in said.err
