"""Can an operator say who asks for reports, from where, and what those reports name?"""

import json
from pathlib import Path

import pytest
import typer

from zvonar.cli import tag_rules
from zvonar.reports.rules import ConditionInvalid

from .commands import Run


def test_a_key_is_made_listed_opened_and_blocked(zvonar: Run, account: int) -> None:
    said = zvonar("key", "add", account, "--until", "2099-01-31T18:00:00+03:00", "--json")
    assert said.code == 0, said.err
    assert len(said.document["uis_access_token"]) == 40
    assert said.document["networks"] == ["127.0.0.0/8", "::1/128"]
    listed = zvonar("key", "list", account, "--json").document
    assert said.document["uis_access_token"] not in json.dumps(listed)
    [key] = [one["key"] for one in listed if one["expires_at"]]
    assert zvonar("key", "allow", account, key, "203.0.113.0/24", "0.0.0.0/0").code == 0
    assert zvonar("key", "block", account, key).code == 0
    [state] = [one for one in zvonar("key", "list", account, "--json").document if one["key"] == key]
    assert (state["blocked"], state["networks"]) == (True, ["203.0.113.0/24", "0.0.0.0/0", "::/0"])
    assert zvonar("key", "block", account, key, "--off").code == 0
    assert key in zvonar("key", "list", account).out
    assert zvonar("key", "allow", account, "login", "10.0.0.0/8").code == 0


def test_what_is_wrong_is_a_sentence(zvonar: Run, account: int) -> None:
    for arguments, said in (
        (("key", "allow", account, "%", "10.0.0.0/8"), "no such key"),
        (("key", "add", account, "--allow", "10.0.0.0/99"), "network"),
        (("key", "add", account, "--until", "tomorrow"), "tomorrow"),
        (("key", "customer", account, account), "his own customer"),
        (("key", "list", "nobody"), "no such account"),
    ):
        answer = zvonar(*arguments)
        assert answer.code == 1
        assert said in answer.err
        assert "Traceback" not in answer.err


def test_a_directory_is_loaded_whole_or_not_at_all(zvonar: Run, account: int, tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    wanted = {
        "employees": [{"full_name": "Иванов Иван", "phone": "8 495 123-45-67", "extension": "101"}],
        "tags": [{"name": "Заказ", "color": "color2"}],
        "sites": ["example.org"],
        "virtual_numbers": [{"phone": "+74951234500", "comment": "Реклама"}],
    }
    file.write_text(json.dumps(wanted), encoding="utf-8")
    first = zvonar("directory", "load", account, file, "--json")
    assert first.code == 0, first.err
    assert {name: len(ids) for name, ids in first.document.items()} == dict.fromkeys(wanted, 1)
    wanted["employees"] = []
    file.write_text(json.dumps(wanted), encoding="utf-8")
    again = zvonar("directory", "load", account, file, "--json").document
    assert again["tags"] == first.document["tags"]
    for broken in ('{"employes": []}', "{", '{"virtual_numbers": [{"phone": "одиннадцать"}]}'):
        file.write_text(broken, encoding="utf-8")
        answer = zvonar("directory", "load", account, file)
        assert answer.code == 1
        assert "Traceback" not in answer.err


def test_an_account_is_closed_and_opened_again_and_acts_for_another(zvonar: Run, account: int) -> None:
    other = zvonar("account", "add", "customer of tests", "--json").document["account_id"]
    made = zvonar("key", "customer", account, other, "--json")
    assert made.code == 0, made.err
    assert zvonar("key", "customer", account, other, "--json").document == made.document
    assert zvonar("key", "close", other).out.strip() == "Closed."
    assert zvonar("key", "close", other, "--off").out.strip() == "Open."
    assert zvonar("key", "revoke-recordings", account, 1).out.strip() == "0 links revoked."


def test_rules_of_tags_are_made_listed_and_removed(zvonar: Run, account: int, tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(json.dumps({"tags": [{"name": "Потерян"}]}), encoding="utf-8")
    [tag] = zvonar("directory", "load", account, file, "--json").document["tags"]
    when = ("--when", "is_lost = true", "--when", "virtual_phone_number = 74951234500")
    made = zvonar("tag-rule", "add", account, "Потерян", *when, "--json")
    assert made.code == 0, made.err
    assert made.document == {"rule_id": made.document["rule_id"], "tag_id": tag, "tag_name": "Потерян"}
    several = 'finish_reason in ["operator_busy", "operator_not_responsible"]'
    assert zvonar("tag-rule", "add", account, tag, "--when", several).code == 0
    first, second = zvonar("tag-rule", "list", account, "--json").document
    assert first["conditions"] == [
        {"field": "is_lost", "operator": "=", "value": True},
        {"field": "virtual_phone_number", "operator": "=", "value": "74951234500"},
    ]
    assert second["conditions"][0]["value"] == ["operator_busy", "operator_not_responsible"]
    assert "when is_lost = true and" in zvonar("tag-rule", "list", account).out
    assert zvonar("tag-rule", "remove", account, first["rule_id"]).out.strip() == "Removed."
    for arguments, said in (
        (("add", account, "Другой", *when), "no tag"),
        (("add", account, tag, "--when", "talk_duration in 5"), "list of values"),
        (("remove", account, first["rule_id"]), "no rule"),
    ):
        answer = zvonar("tag-rule", *arguments)
        assert answer.code == 1, arguments
        assert said in answer.err
        assert "Traceback" not in answer.err
    assert [one["rule_id"] for one in zvonar("tag-rule", "list", account, "--json").document] == [
        second["rule_id"]
    ]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "is_lost",
            "is_lost ~ true",
            "is_lost = да",
            "is_lost > true",
            "talk_duration = true",
            "talk_duration in 5",
        ),
        *("finish_reason = завершён", "start_time > 5", "account_id = 5", "tags = 5", "utm_source > 5", ""),
        *('talk_duration = {"a": 1}', "talk_duration in [true]", "talk_duration < null"),
    ],
)
def test_a_condition_that_no_session_could_meet_is_refused(text: str) -> None:
    with pytest.raises((typer.Exit, ConditionInvalid)):
        tag_rules._condition(text)
