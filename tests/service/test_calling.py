"""Does every campaign type really call, listen and react? Through the dialect, a real Asterisk and the town."""

import json
import subprocess
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from zvonar.line.asterisk import town

from ..sounds import sound
from .house import House
from .processes import PATIENCE, until

CALL = 120.0  # seconds for one call, on a machine that does much else
OURS = "+70009990001"
ALWAYS = {"window": {"start": "00:00:00", "end": "00:00:00"}, "ring_timeout": 8, "max_call_time": 40}
_numbers = iter(range(9000, 10_000))


def number(digit: int, *, ring: int = 0) -> str:
    return town.number(next(_numbers), ring, digit)


class Campaign:
    """A campaign of a test, spoken to as a client of Callo does."""

    def __init__(self, house: House, kind: str, **settings: Any) -> None:
        self.house = house
        file = house.room / "calling.json"
        file.write_text(json.dumps({**ALWAYS, **settings}))
        name = f"{kind} {next(_numbers)}"
        account = house.account["account_id"]
        made = house.json(
            "campaign", "add", "--account", account, "--name", name, "--type", kind, "--settings", file
        )
        self.id = made["id"]

    def ask(self, path: str, **fields: Any) -> tuple[int, Any]:
        key = self.house.account["callo_public_key"]
        query = urllib.parse.urlencode({"public_key": key, "campaign_id": self.id, **fields})
        address = f"/manager/cabapi_external/api/v1/phones/{path}/?{query}"

        def answer() -> tuple[int, bytes] | None:
            """None where a key has asked too often, which whoever waits for something does."""
            status, body = self.house.get(address)
            return None if status == 429 else (status, body)

        status, body = until(answer, CALL, every=0.5)
        return status, json.loads(body)

    def call(self, path: str, phone: str, **fields: Any) -> dict[str, Any]:
        """Add a call and wait for its end; its row."""
        status, answer = self.ask(path, phone=phone, **fields)
        assert status == 200, answer
        return self.ended(answer.get("data", answer)["call_id"])

    def ended(self, call_id: int) -> dict[str, Any]:
        until(lambda: self.row(call_id)["status"] != "in_process", CALL, about=lambda: self.row(call_id))
        self.check()
        return self.row(call_id)

    def row(self, call_id: int) -> dict[str, Any]:
        status, rows = self.ask("call_by_id", call_id=call_id, expand=1)
        assert status == 200, rows
        row: dict[str, Any] = rows[0]
        return row

    def check(self) -> None:
        """The money is right and nothing is left up; a line may be told of as ended a moment after its call."""
        until(lambda: self.house.value("SELECT count(*) FROM legs WHERE ended_at IS NULL") == 0)
        for account in self.house.rows("SELECT held, at_risk FROM accounts"):
            assert account["held"] == account["at_risk"] == 0, account
        assert self.house.value("SELECT coalesce(sum(amount), 0) FROM ledger") == self.house.value(
            "SELECT sum(balance) FROM accounts"
        )
        assert self.house.value("SELECT sum(in_use) FROM trunks") == 0


@pytest.mark.parametrize(
    ("digit", "code", "status", "dial"),
    [(9, "1234", "pincode_ok", 5), (9, "4321", "pincode_nook", 5), (0, "1234", "attempts_exc", 19)],
)
def test_a_pin_is_asked_for(service: House, digit: int, code: str, status: str, dial: int) -> None:
    campaign = Campaign(service, "pincode", pin={"tries": 1, "timeout": 3})
    row = campaign.call("confirm", number(digit), pincode=code)
    assert (row["status"], row["dial_status"]) == (status, dial)


def test_one_key_confirms(service: House) -> None:
    campaign = Campaign(service, "pincode_short", pin={"tries": 1, "timeout": 3})
    assert campaign.call("confirm", number(1))["status"] == "pincode_ok"


def test_a_code_is_dictated(service: House) -> None:
    campaign = Campaign(service, "tellcode", tell={"times": 1})
    row = campaign.call("tellcode", number(0), pincode="4071")
    assert (row["status"], row["dial_status"]) == ("compl_finished", 10)


def test_a_flashcall_rings_from_its_code_and_is_never_answered(service: House) -> None:
    campaign = Campaign(service, "flashcall")
    status, answer = campaign.ask("flashcall", phone=number(3), phone_suffix="0421")
    assert (status, answer["data"]["pincode"]) == (200, "0421")
    row = campaign.ended(answer["data"]["call_id"])
    assert (row["status"], row["dial_status"], row["duration"]) == ("compl_finished", 10, 0)
    shown = service.value("SELECT caller_id FROM attempts WHERE call_id = %s", row["call_id"])
    assert shown.endswith("0421")


def test_who_answers_a_flashcall_is_hung_up_at_once(service: House) -> None:
    campaign = Campaign(service, "flashcall", flash={"rings": 20})
    row = campaign.call("flashcall", number(0))
    assert (row["status"], row["dial_status"]) == ("compl_finished", 10)
    assert row["duration"] < 20  # what it would have rung


def test_a_suffix_that_no_number_has_is_an_error_of_that_parameter(service: House) -> None:
    campaign = Campaign(service, "flashcall", caller_ids=["+70009991111"])
    status, answer = campaign.ask("flashcall", phone=number(3), phone_suffix="0421")
    assert (status, answer["status"]) == (400, "error")
    assert "phone_suffix" in answer["data"]


# The subscriber calls us.


def town_call(house: House, caller: str, called: str, *options: str) -> Any:
    done = house.command("town", "call", caller, called, *options, "--json")
    return json.loads(done.stdout)


def awaited(house: House, phone: str, **settings: Any) -> tuple[Campaign, int]:
    campaign = Campaign(house, "pincode_incoming", incoming_numbers=[OURS], **settings)
    status, answer = campaign.ask("confirm", phone=phone, **settings.pop("form", {}))
    assert status == 200, answer
    assert answer["data"]["allowed_phones_for_call"] == [OURS]
    return campaign, answer["data"]["call_id"]


def received(campaign: Campaign, ours: str = OURS) -> None:
    """Wait until the dialer knows the campaign: somebody else whom it awaits calls until he is no stranger."""
    phone = number(0)
    status, answer = campaign.ask("confirm", phone=phone)
    assert status == 200, answer

    def known() -> bool:
        return bool(town_call(campaign.house, phone, ours)["sip_code"] != 404)

    until(known)
    campaign.ended(answer["data"]["call_id"])


def test_a_subscriber_who_calls_is_recognised_and_rejected(service: House) -> None:
    phone = number(0)
    campaign, call_id = awaited(service, phone)
    received(campaign)
    seen = town_call(service, phone, OURS)
    assert not seen["answered"]
    row = campaign.ended(call_id)
    assert (row["status"], row["dial_status"]) == ("pincode_ok", 5)


def test_a_subscriber_who_calls_is_answered_where_the_campaign_says_so(service: House) -> None:
    phone = number(0)
    campaign, call_id = awaited(service, phone, incoming={"answer": True}, record=True)
    received(campaign)
    seen = town_call(service, phone, OURS)
    assert seen["answered"]
    row = campaign.ended(call_id)
    assert row["status"] == "pincode_ok"
    with urllib.request.urlopen(row["recorded_audio"], timeout=PATIENCE) as sound:
        assert len(sound.read()) > 1000


@pytest.mark.parametrize(("digits", "status"), [("4321#", "pincode_ok"), ("1111", "pincode_nook")])
def test_a_subscriber_who_calls_enters_the_code(service: House, digits: str, status: str) -> None:
    phone = number(0)
    campaign = Campaign(service, "pincode_incoming", incoming_numbers=[OURS], pin={"tries": 1, "timeout": 5})
    _, answer = campaign.ask("confirm", phone=phone, pincode="4321")
    received(campaign)
    assert town_call(service, phone, OURS, "--digits", digits)["answered"]
    assert campaign.ended(answer["data"]["call_id"])["status"] == status


def test_a_number_that_is_nobodys_is_refused(service: House) -> None:
    seen = town_call(service, number(0), "+74950000000")
    assert (seen["answered"], seen["sip_code"]) == (False, 404)


def test_a_call_to_a_number_of_the_account_is_a_session_of_its_own(service: House) -> None:
    account, ours = service.account["account_id"], "+70009990002"
    service.json("number", "add", ours, "--account", account, "--text", "Здравствуйте.")
    caller = number(0)
    assert town_call(service, caller, ours)["answered"]
    session = "SELECT payload FROM outbox WHERE kind = 'inbound' AND payload ->> 'phone' = %s"
    [found] = until(lambda: service.rows(session, caller), about="no session")
    told = found["payload"]
    assert (told["phone"], told["own_phone"], told["call_id"]) == (caller, ours, None)
    assert [one["phone"] for one in service.json("number", "list", "--account", account)] == [ours]
    assert service.command("number", "remove", ours, "--account", account).returncode == 0


# Reactions, transfers, machines.


def asking(**reaction: Any) -> dict[str, Any]:
    return {
        "script": {
            "nodes": {
                "1": {
                    "prompt": {"text": "Нажмите один."},
                    "keys": {"1": reaction},
                    "repeats": 0,
                    "timeout": 3,
                }
            }
        }
    }


def test_a_transfer_joins_both_and_records_both(service: House) -> None:
    target, subscriber = number(7), number(1)
    employee = employed(service, {"full_name": "Иванов Иван", "phone": target})
    campaign = Campaign(service, "regular", record=True, **asking(transfer={"phone": target}))
    row = campaign.call("call", subscriber)
    assert (row["status"], row["dial_status"], row["button_num"]) == ("user", 5, 1)
    assert row["action_type"] == "call_phone"
    [element] = row["ivr_data"]
    assert (element["to_phone"], element["transfer_status"]) == (target, "answered")
    assert element["transfer_duration"] >= 1
    [told] = service.value("SELECT facts FROM attempts WHERE call_id = %s", row["call_id"])["transfers"]
    directory = service.home / "gateway/spool/recording"
    for name in (told["recording"], f"{row['call_id']}.1.1.wav"):
        until(lambda file=directory / name: file.exists() and file.stat().st_size > 1000, about=name)  # type: ignore[misc]
    assert town.invites(service.home / "town")[told["leg"]] == 1
    reported(service, subscriber, target, employee, told)


def employed(service: House, employee: dict[str, str]) -> int:
    """Have an employee of the account; his id."""
    file = service.room / "directory.json"
    file.write_text(json.dumps({"employees": [employee]}))
    [made] = service.json("directory", "load", service.account["account_id"], file)["employees"]
    return int(made)


def rpc(service: House, method: str, **params: Any) -> list[dict[str, Any]]:
    """The data of a method of the Data API."""
    now = datetime.now(UTC)
    period = {
        "date_from": f"{now - timedelta(days=1):%Y-%m-%d %H:%M:%S}",
        "date_till": f"{now + timedelta(days=1):%Y-%m-%d %H:%M:%S}",
    }
    params = {"access_token": service.account["uis_access_token"], **period, **params}
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.port}/v2.0",
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return list(json.loads(answer.read())["result"]["data"])


def reported(service: House, subscriber: str, target: str, employee: int, told: dict[str, Any]) -> None:
    """The session and its legs, as the report has them, are what happened on the line."""
    phone = subscriber.removeprefix("+")
    mine = {"field": "contact_phone_number", "operator": "=", "value": phone}
    durations = [
        "wait_duration",
        "total_wait_duration",
        "talk_duration",
        "clean_talk_duration",
        "total_duration",
    ]
    who = [f"{which}_{what}_employee_id" for which in ("first", "last") for what in ("answered", "talked")]
    more = [
        "id",
        "is_transfer",
        "is_lost",
        "employees",
        "operator_phone_number",
        "finish_reason",
        "call_records",
    ]
    fields = [*more, *durations, *who, "scenario_operations", "full_record_file_link"]
    # Not as often as can be: a minute has two hundred requests.
    [row] = until(lambda: rpc(service, "get.calls_report", filter=mine, fields=fields), CALL, every=0.5)
    expected = {
        "is_transfer": True,
        "is_lost": False,
        "employees": [
            {
                "employee_id": employee,
                "employee_full_name": "Иванов Иван",
                "is_answered": True,
                "is_talked": True,
            }
        ],
        "operator_phone_number": target.removeprefix("+"),
        "finish_reason": "operator_answer",
        **dict.fromkeys(who, employee),
    }
    assert {name: row[name] for name in expected} == expected
    assert [one["name"] for one in row["scenario_operations"]] == ["1", "transfer"]
    # He talked from the employee's answer on, and waited until then.
    assert row["wait_duration"] >= int(told["answered"])
    assert abs(row["clean_talk_duration"] - (told["ended"] - told["answered"])) < 1
    assert row["wait_duration"] + row["talk_duration"] == row["total_duration"]
    assert row["total_wait_duration"] + row["clean_talk_duration"] == row["total_duration"]
    session = {"field": "call_session_id", "operator": "=", "value": row["id"]}
    first, second = rpc(service, "get.call_legs_report", filter=session)
    assert (first["called_phone_number"], first["is_operator"], first["is_talked"]) == (phone, False, True)
    assert (second["called_phone_number"], second["is_operator"]) == (target.removeprefix("+"), True)
    assert (second["employee_id"], second["is_talked"]) == (employee, True)
    assert second["call_records"] == row["call_records"]
    [token] = row["call_records"]
    for path in (f"/system/media/talk/{row['id']}/{token}/", f"/system/media/wav/{row['id']}/{token}/"):
        status, sound_ = service.get(path)
        assert status == 200
        assert len(sound_) > 1000
    status, whole = service.get(urllib.parse.urlsplit(row["full_record_file_link"]).path)
    assert status == 200
    assert len(whole) > 1000


@pytest.mark.parametrize(("digit", "came_to"), [(2, "busy"), (4, "invalid_number")])
def test_a_transfer_to_whom_nobody_reaches_keeps_the_choice(service: House, digit: int, came_to: str) -> None:
    campaign = Campaign(service, "regular", **asking(transfer={"phone": number(digit)}))
    row = campaign.call("call", number(1))
    assert (row["status"], row["ivr_data"][0]["transfer_status"]) == ("user", came_to)


def test_a_name_behind_the_trunk_is_called_like_a_number(service: House) -> None:
    campaign = Campaign(service, "regular", **asking(transfer={"sip_name": "sales"}))
    row = campaign.call("call", number(1))
    # The town has nobody of that name.
    assert (row["ivr_data"][0]["to_sipname"], row["ivr_data"][0]["transfer_status"]) == (
        "sales",
        "invalid_number",
    )
    assert row["action_type"] == "call_sip"


@pytest.mark.parametrize(
    ("on_machine", "status", "dial"),
    [("hang_up", "attempts_exc", 6), ("after_beep", "attempts_exc", 6), ("go_on", "compl_finished", 10)],
)
def test_a_machine_is_treated_as_the_campaign_says(
    service: House, on_machine: str, status: str, dial: int
) -> None:
    script = {"nodes": {"1": {"prompt": {"text": "Добрый день."}}}}
    campaign = Campaign(service, "regular", script=script, machine={"on_machine": on_machine})
    phone = number(5)
    row = campaign.call("call", phone)
    assert (row["status"], row["dial_status"]) == (status, dial)
    facts = service.value("SELECT facts FROM attempts WHERE call_id = %s", row["call_id"])
    assert facts["machine"]["verdict"] == "machine"
    if on_machine == "after_beep":
        kinds = [operation["kind"] for operation in facts["operations"]]
        assert kinds == ["machine", "play"]


def test_who_says_nothing_in_time_is_unknown_and_spoken_to(service: House) -> None:
    script = {"nodes": {"1": {"prompt": {"text": "Добрый день."}}}}
    machine = {"total_time": 1000, "initial_silence": 5000}
    campaign = Campaign(service, "regular", script=script, machine=machine)
    row = campaign.call("call", number(0))
    assert row["status"] == "compl_finished"
    facts = service.value("SELECT facts FROM attempts WHERE call_id = %s", row["call_id"])
    assert facts["machine"]["verdict"] == "unknown"


# Bad days.


def test_a_full_disk_costs_the_recording_and_not_the_call(service: House) -> None:
    campaign = Campaign(service, "regular", record=True, **asking(status_name="yes"))
    full = service.home / "gateway/spool/recording"
    # The recording is a file of this name; /dev/full takes nothing.
    _, answer = campaign.ask("call", phone=number(1, ring=3))
    call_id = answer["call_id"]
    subprocess.run(["ln", "-s", "/dev/full", full / f"{call_id}.1.1.wav"], check=True)
    row = campaign.ended(call_id)
    assert (row["status"], row["button_num"]) == ("user", 1)
    assert row["recorded_audio"] is None


def test_keys_before_during_and_a_hundred_at_once_come_to_a_named_result(service: House) -> None:
    phone = number(0)
    campaign = Campaign(
        service, "pincode_incoming", incoming_numbers=[OURS], pin={"tries": 2, "timeout": 3, "between": 1}
    )
    _, answer = campaign.ask("confirm", phone=phone, pincode="4321")
    received(campaign)
    town_call(service, phone, OURS, "--digits", "*#" + "7" * 30)
    row = campaign.ended(answer["data"]["call_id"])
    assert row["status"] == "pincode_nook"


def upload(house: House, data: bytes) -> int:
    """The id of a clip."""
    fields = {"public_key": house.account["callo_public_key"], "clip_name": "short"}
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = b'--x\r\nContent-Disposition: form-data; name="clip_file"; filename="a.wav"\r\n\r\n' + data
    request = urllib.request.Request(
        f"http://127.0.0.1:{house.port}/manager/cabapi_external/api/v1/audio/upload/",
        data=b"".join(parts) + file + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return int(json.loads(answer.read())["audioclip_id"])


# What a dial status really comes from, beyond those above.


SAYS = {"script": {"nodes": {"1": {"prompt": {"text": "Добрый день, это проверка связи."}}}}}


@pytest.mark.parametrize(
    ("digit", "settings", "status", "dial"),
    [
        (7, {"min_talk": 3}, "attempts_exc", 13),
        (0, {"long_talk": 1}, "compl_finished", 22),
        (1, {**asking(), "long_talk": 1}, "user", 21),
        (0, {"max_call_time": 1}, "duration_error", 17),
        (2, {}, "attempts_exc", 4),
        (3, {"ring_timeout": 5}, "attempts_exc", 3),
        (4, {}, "attempts_exc", 1),
        (6, {}, "attempts_exc", 1),
        (7, {}, "compl_nofinished", 10),
        (9, {"script": asking(status_name="x")["script"] | {}}, "user", 5),
    ],
)
def test_a_dial_status_has_its_cause(
    service: House, digit: int, settings: dict[str, Any], status: str, dial: int
) -> None:
    campaign = Campaign(service, "regular", **{**SAYS, **settings})
    row = campaign.call("call", number(digit))
    assert (row["status"], row["dial_status"]) == (status, dial)


def test_what_follows_silence_is_an_action_without_a_key(service: House) -> None:
    settings = asking()
    settings["script"]["nodes"]["1"]["silence"] = {"status_name": "shy"}
    row = Campaign(service, "regular", **settings).call("call", number(0))
    assert (row["dial_status"], row["user_choice"]) == (16, "shy")


def test_nobody_is_called_from_his_own_number(service: House) -> None:
    phone = number(0)
    row = Campaign(service, "regular", **SAYS, caller_ids=[phone]).call("call", phone)
    assert (row["status"], row["dial_status"]) == ("interrupted", 14)


def test_a_flashcall_whose_number_was_taken_away_has_no_caller_id(service: House) -> None:
    campaign = Campaign(service, "flashcall", caller_ids=["+70009991111"])
    service.command("campaign", "set", campaign.id, "--paused")
    _, answer = campaign.ask("flashcall", phone=number(3), phone_suffix="1111")
    file = service.room / "other.json"
    file.write_text(json.dumps({"caller_ids": ["+70009992222"]}))
    service.command("campaign", "set", campaign.id, "--settings", file, "--running")
    row = campaign.ended(answer["data"]["call_id"])
    assert (row["status"], row["dial_status"]) == ("no_provider", 25)


def test_a_clip_that_nobody_could_hear_is_too_short(service: House) -> None:
    uploaded = upload(service, sound(0.15))
    campaign = Campaign(service, "regular", script={"nodes": {"1": {"prompt": {"clip_id": uploaded}}}})
    row = campaign.call("call", number(0))
    assert (row["status"], row["dial_status"]) == ("synth_error", 28)


def test_a_second_call_to_a_number_is_a_duplicate(service: House) -> None:
    phone = number(0, ring=2)
    campaign = Campaign(service, "regular", **SAYS, unique_phones=True)
    _, first = campaign.ask("call", phone=phone)
    _, second = campaign.ask("call", phone=phone)
    until(lambda: campaign.row(first["call_id"])["status"] != "in_process", CALL, every=0.2)
    rows = [campaign.ended(answer["call_id"]) for answer in (second, first)]
    assert sorted(row["dial_status"] for row in rows) == [10, 35]


def test_per_call_markup_and_messages_are_heard_and_sent(service: House) -> None:
    one = {"say": {"text": "Принято"}, "words": ["ага"]}
    nodes = {"1": {"prompt": {"text": "Нажмите один"}, "keys": {"1": one}}}
    campaign = Campaign(service, "regular", script={"nodes": nodes})
    text = 'Ваш долг <say-as interpret-as="money">15 RUB</say-as><break time="300ms"/>, нажмите один'
    row = campaign.call("call", number(1), text=text, ivr_lvl_1_btn_ага_sms_text="Спасибо!")
    assert (row["status"], row["button_num"], row["action_type"]) == ("user", 1, "sms_to_client")
    assert row["ivr_data"][0]["sms_text"] == "Спасибо!"
    # There is no provider of texts here, which the call shows and does not suffer from.
    until(
        lambda: (campaign.row(row["call_id"])["ivr_data"][0].get("messages") or [{}])[0].get("error"),
        CALL,
        about=lambda: campaign.row(row["call_id"]),
    )
    [message] = campaign.row(row["call_id"])["ivr_data"][0]["messages"]
    assert message == {"type": "sms", "status": "pending", "error": "sms_off"}
    with service.store() as connection:  # or it would be tried for a day, and every later test wait for it
        connection.execute(
            "UPDATE deliveries SET state = 'dead' WHERE kind LIKE 'reaction.%' AND state = 'pending'"
        )


@pytest.mark.parametrize("settings", [{"voice": {"language": "xx"}}, {"voice": {"name": "nobody"}}])
def test_a_voice_that_does_not_exist_ends_in_its_own_result(service: House, settings: dict[str, Any]) -> None:
    campaign = Campaign(service, "regular", script={"nodes": {"1": {"prompt": {"text": "да"}}}}, **settings)
    row = campaign.call("call", number(0))
    assert (row["status"], row["dial_status"], row["duration"]) == ("synth_error", 27, 0)
