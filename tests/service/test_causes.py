"""Is every status of Callo's table reached by what really causes it? The table, row by row, on real calls.

One service, one Asterisk; the town and a carrier whose network is SIPp are at the other ends. All rows run side by
side, and every dialect is asked what came of them. Dial status 7 is deprecated, 9 says nothing, and nobody knows what
32 to 34 are.
"""

import socket
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest

from zvonar.dialects.callo.outcomes import CallStatus, DialStatus
from zvonar.line.asterisk import town

from ..network import HERE, Refusal, network
from ..ports import free_port
from ..sounds import sound
from .causes import (
    HELLO,
    Row,
    Said,
    Stage,
    Told,
    cancelled,
    removed,
    removed_while_it_rings,
    renumbered,
    robbed,
    run,
    stopped,
    stopped_everywhere,
)
from .house import House
from .processes import PATIENCE, kill, until
from .test_calling import upload

# The reference's tables, of which nothing but 7, 9 and 32 to 34 is missing here.
DIAL = {
    0: "Ожидание вызова (звонка еще нет)",
    1: "Ошибка при вызове абонента",
    2: "Абонент сбросил звонок",
    3: "Не дозвонились",
    4: "Абонент занят",
    5: "Абонент ответил",
    6: "Ответил автоответчик",
    8: "Невалидная кнопка",
    10: "Завершен без действия клиента",
    11: "Пользовательский стоп-лист",
    12: "Глобальный стоп-лист",
    13: "Абонент ответил, но продолжительности разговора не достаточно для фиксации результата в статистике",
    14: "Номер абонента совпадает с CallerID",
    15: "Номер удалён из прозвона",
    16: "Действие без нажатия",
    17: "По максимальной продолжительности звонка",
    18: "Внутренняя ошибка сервера",
    19: "Прослушал ролик и не нажал кнопку",
    20: "Внутренняя ошибка в меню",
    21: "Событие по нажатию кнопки и продолжительности разговора",
    22: "Событие по продолжительности разговора",
    23: "Попытка приостановлена по отрицательному балансу",
    24: "Не найден транк для звонка",
    25: "Не найден исходящий номер для звонка",
    26: "Данное направление заблокировано",
    27: "Ошибка генерации ролика",
    28: "Слишком короткий ролик",
    29: "Не найден провайдер для звонка",
    30: "Истекло время жизни звонка",
    31: "Попытки закончились",
    35: "Дублирующий звонок",
}
CALL = {
    "in_process": "В процессе",
    "attempts_exc": "Попытки закончились",
    "compl_finished": "Закончен удачно",
    "compl_nofinished": "Некорректный ответ",
    "deleted": "Удалён из прозвона",
    "duration_error": "Некорректная максимальная продолжительность звонка",
    "expires": "Истекло время жизни звонка",
    "novalid_button": "Невалидная кнопка",
    "no_provider": "Нет подходящего провайдера",
    "interrupted": "Прерван по настройкам",
    "pincode_ok": "Пинкод верный",
    "pincode_nook": "Пинкод неверный",
    "synth_error": "Ошибка генерации ролика",
    "user": "Пользовательский IVR",
}

ENGLISH: dict[int | str, str] = {  # as far as the reference has it
    4: "Subscriber is busy / Unavailable",
    5: "The subscriber answered",
    10: "Completed without client action",
    16: "Non-click action",
    "attempts_exc": "Attempts ended",
    "compl_finished": "Finished successfully",
    "user": "Custom IVR",
}


LONG = {
    "script": {"nodes": {"1": {"prompt": {"text": "Здравствуйте! Это долгий рассказ о погоде и о природе."}}}}
}


def asking(key: str = "1", then: int | None = None, **more: Any) -> dict[str, Any]:
    """A menu of one key; what the key plays is a clip."""
    nodes = {"1": {"prompt": {"text": "Нажмите."}, "keys": {key: {}}, "repeats": 0, "timeout": 3, **more}}
    if then is not None:
        nodes["1"]["keys"] = {key: {"goto": "2"}}
        nodes["2"] = {"prompt": {"clip_id": then}}
    return {"script": {"nodes": nodes}}


_subscriber = iter(range(7000, 8000))


def lives(digit: int, ring: int = 0) -> str:
    return town.number(next(_subscriber), ring, digit)


# What the network refuses with. UIS tells a circuit that is not there from a network that is out of order, by the Q.850
# cause that the gateway makes of the SIP code.
NETWORK = {
    Refusal(403): Said("attempts_exc", 1, "no_success_subscriber_call", "error"),
    Refusal(404): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(408): Said("attempts_exc", 3, "subscriber_not_responsible", "no_answer"),
    Refusal(410): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(480): Said("attempts_exc", 3, "no_success_subscriber_call", "no_answer"),
    Refusal(484): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(486): Said("attempts_exc", 4, "subscriber_busy", "busy"),
    Refusal(488): Said("attempts_exc", 1, "no_success_subscriber_call", "error"),
    Refusal(500): Said("attempts_exc", 1, "net_lock", "error"),
    Refusal(502): Said("attempts_exc", 1, "locked_phone", "error"),
    Refusal(503): Said("attempts_exc", 1, "max_out_call_reached", "error"),
    # A Reason header changes nothing: Asterisk tells of the SIP code alone.
    Refusal(503, 38): Said("attempts_exc", 1, "max_out_call_reached", "error"),
    Refusal(504): Said("attempts_exc", 1, "locked_phone", "error"),
    Refusal(600): Said("attempts_exc", 4, "subscriber_busy", "busy"),
    Refusal(603): Said("attempts_exc", 2, "subscriber_disconnects", "busy"),
    Refusal(604): Said("attempts_exc", 1, "subscriber_number_problems", "error"),
    Refusal(606): Said("attempts_exc", 2, "subscriber_disconnects", "busy"),
}

OWN = lives(0)
PIN = {"pin": {"tries": 1, "timeout": 3}}
CAPPED = {**HELLO, "caps": [{"attempts": 1, "seconds": 86400}], "lifetime": 3600}
RETRIED = {**HELLO, "retry": {"max_attempts": 3, "interval": 3600}, "lifetime": 60}
ANSWERED = {"answered": True}
UNTRIED: dict[str, Any] = {"attempts": (), "paused": True}
ROWS = [
    Row("nobody has called yet", lives(0), Said("in_process", 0, None, None), **UNTRIED),
    Row("no such number", lives(4), Said("attempts_exc", 1, "subscriber_number_problems", "error")),
    Row("no circuit", lives(6), Said("attempts_exc", 1, "max_out_call_reached", "error")),
    *(
        Row(f"refused, {code} {cause}", Refusal(code, cause).number(1), said)
        for (code, cause), said in NETWORK.items()
    ),
    Row("rings out", lives(3), Said("attempts_exc", 3, "subscriber_not_responsible", "no_answer")),
    Row(
        "cancelled at the carrier",
        "+74951800001",
        Said("attempts_exc", 3, "subscriber_not_responsible", "no_answer"),
    ),
    Row("busy", lives(2), Said("attempts_exc", 4, "subscriber_busy", "busy")),
    Row("a key", lives(1), Said("user", 5, "success_finish", "success"), asking(), **ANSWERED),
    Row(
        "right digits",
        lives(9),
        Said("pincode_ok", 5, "success_finish", "success"),
        PIN,
        **ANSWERED,
        kind="pincode",
        form={"pincode": "1234"},
    ),
    Row(
        "wrong digits",
        lives(9),
        Said("pincode_nook", 5, "incorrect_input", "success"),
        PIN,
        **ANSWERED,
        kind="pincode",
        form={"pincode": "4321"},
    ),
    Row(
        "a machine",
        lives(5),
        Said("attempts_exc", 6, "success_finish", "no_answer"),
        {**HELLO, "machine": {"on_machine": "hang_up"}},
        **ANSWERED,
    ),
    Row(
        "a key that is none",
        lives(1),
        Said("novalid_button", 8, "incorrect_input", "success"),
        asking("2"),
        **ANSWERED,
    ),
    Row("hears it out", lives(0), Said("compl_finished", 10, "success_finish", "success"), **ANSWERED),
    Row(
        "hears it out at the carrier",
        "+74952000001",
        Said("compl_finished", 10, "success_finish", "success"),
        **ANSWERED,
    ),
    Row(
        "hangs up",
        lives(7),
        Said("compl_nofinished", 10, "subscriber_disconnects", "success"),
        LONG,
        **ANSWERED,
    ),
    Row("his stop list", lives(0), Said("interrupted", 11, None, "spam"), paused=True, act=stopped),
    Row(
        "everybody's stop list",
        lives(0),
        Said("interrupted", 12, None, "spam"),
        paused=True,
        act=stopped_everywhere,
    ),
    Row(
        "too short to count",
        lives(7),
        Said("attempts_exc", 13, "subscriber_disconnects", "success"),
        {**LONG, "min_talk": 10},
        **ANSWERED,
    ),
    Row("his own number", OWN, Said("interrupted", 14, None, "spam"), {**HELLO, "caller_ids": [OWN]}),
    Row("removed", lives(0), Said("deleted", 15, None, "error"), **UNTRIED, act=removed),
    Row(
        "removed while it rings",
        lives(3),
        Said("deleted", 15, "subscriber_not_responsible", "no_answer"),
        attempts=(3,),
        act=removed_while_it_rings,
    ),
    Row("campaign cancelled", lives(0), Said("interrupted", 15, None, "error"), **UNTRIED, act=cancelled),
    Row(
        "what follows silence",
        lives(0),
        Said("compl_finished", 16, "success_finish", "success"),
        asking(silence={"status_name": "shy"}),
        **ANSWERED,
    ),
    Row(
        "cut by its longest time",
        lives(0),
        Said("interrupted", 17, "action_interval_exceeded", "success"),
        {**asking(timeout=20), "max_call_time": 3},
        **ANSWERED,
    ),
    Row(
        "shorter than its prompt",
        lives(0),
        Said("duration_error", 17, None, "error"),
        {**LONG, "max_call_time": 1},
    ),
    Row(
        "presses nothing",
        lives(0),
        Said("compl_finished", 19, "success_finish", "success"),
        asking(),
        **ANSWERED,
    ),
    Row(
        "a prompt lost from the disk",
        lives(1, ring=3),
        Said("compl_nofinished", 20, "internal_error", "error"),
        lambda stage: asking(then=stage.clips["lost"]),
        **ANSWERED,
        act=robbed,
    ),
    Row(
        "a key and a long talk",
        lives(1),
        Said("user", 21, "success_finish", "success"),
        {**asking(), "long_talk": 1},
        **ANSWERED,
    ),
    Row(
        "a long talk",
        lives(0),
        Said("compl_finished", 22, "success_finish", "success"),
        {**HELLO, "long_talk": 1},
        **ANSWERED,
    ),
    Row("no money", lives(0), Said("interrupted", 23, None, "error"), account="poor"),
    Row(
        "no caller ID that ends so",
        lives(3),
        Said("no_provider", 25, None, "error"),
        {"caller_ids": ["+70009991111"]},
        kind="flashcall",
        form={"phone_suffix": "1111"},
        paused=True,
        act=renumbered,
    ),
    Row("a closed country", "+4915112345678", Said("interrupted", 26, None, "spam")),
    Row(
        "a voice that there is not",
        lives(0),
        Said("synth_error", 27, None, "error"),
        {**HELLO, "voice": {"name": "nobody"}},
    ),
    Row(
        "a clip too short to hear",
        lives(0),
        Said("synth_error", 28, None, "error"),
        lambda stage: {"script": {"nodes": {"1": {"prompt": {"clip_id": stage.clips["short"]}}}}},
    ),
    Row(
        "nobody has a price for it",
        "+79161234567",
        Said("no_provider", 29, None, "error"),
        account="unpriced",
    ),
    Row(
        "too late for another try",
        lives(2),
        Said("expires", 30, "subscriber_busy", "busy"),
        RETRIED,
        attempts=(4,),
    ),
    # The session is the first call's.
    Row(
        "no try that a cap allows",
        lives(2),
        Said("attempts_exc", 31, "subscriber_busy", "error"),
        CAPPED,
        attempts=(),
        second=True,
    ),
    Row(
        "called already",
        lives(0, ring=2),
        Said("interrupted", 35, "success_finish", "spam"),
        {**HELLO, "unique_phones": True},
        second=True,
        paused=True,
        act=run,
    ),
]

# Before there is a trunk that may carry it; and when its gateway dies.
NO_TRUNK = Row("no trunk", "+74952000002", Said("no_provider", 24, None, "error"))
LOST = Row(
    "the gateway dies while it rings",
    lives(0, ring=20),
    Said("attempts_exc", 18, "internal_error", "error"),
    {**HELLO, "ring_timeout": 30},
)
EVERY = [NO_TRUNK, *ROWS, LOST]


@pytest.fixture(scope="module")
def told(home: House) -> dict[str, Told]:
    """Every row, played."""
    if home.serving is None or not home.serving.running():
        home.serve()
    home.until_healthy()
    stage = Stage(home)
    stage.account("poor", "0.5")
    stage.account("unpriced", "100")
    # A price list for calls within the town alone.
    for command in (
        ("tariff", "set", "town", "7000", "--per-minute", "1.8"),
        ("account", "set", "causes-unpriced", "--tariff", "town"),
    ):
        assert home.command(*command).returncode == 0
    stage.clips = {"short": upload(home, sound(0.15)), "lost": upload(home, sound(1.0))}
    made = stage.add([NO_TRUNK])
    stage.ended(made)
    with ExitStack() as stack:
        calls = len(NETWORK) + 2
        port = free_port(HERE, socket.SOCK_DGRAM)
        carrier = stack.enter_context(network(home.room, calls, list(NETWORK), port=port))
        home.carrier(HERE, port)
        stack.callback(home.carrier, HERE, port, "--disabled")
        made += stage.add(ROWS)
        stage.ended(made)
        verdict = carrier.verdict(PATIENCE)
    lost = stage.add([LOST])
    until(lambda: home.value("SELECT count(*) FROM legs WHERE phase = 'dialled'") == 1)
    until(lambda: town.invites(home.home / "town").get(f"{lost[0].call}.1.1"))
    kill([home.asterisk("gateway")])
    stage.ended(lost)
    everything = stage.told([*made, *lost])
    for one in made:
        if one.row.said.status == "in_process":
            removed(stage, one)
    assert verdict == 0, carrier.said()
    return everything


def test_the_rows_are_the_whole_table(told: dict[str, Told]) -> None:
    assert {row.said.dial for row in EVERY} == set(DIAL) == set(DialStatus)
    assert set(DIAL) == set(range(36)) - {7, 9, 32, 33, 34}
    assert {row.said.status for row in EVERY} == set(CALL) == set(CallStatus)
    assert len(told) == len(EVERY)


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_a_status_has_its_cause(told: dict[str, Told], row: Row) -> None:
    came = told[row.cause]
    callo, english, said = came.callo, came.english, row.said
    assert (callo["status"], callo["dial_status"]) == (said.status, said.dial)
    assert callo["call_status"] == said.status
    assert callo["status_display"] == CALL[said.status]
    assert callo["call_status_display"].startswith(CALL[said.status])
    assert callo["dial_status_display"] == DIAL[said.dial]
    for display in ("status_display", "dial_status_display"):
        assert english[display] != callo[display]
        assert english[display].isascii()
    assert english["status_display"] == ENGLISH.get(said.status, english["status_display"])
    assert english["dial_status_display"] == ENGLISH.get(said.dial, english["dial_status_display"])
    assert callo["phone"] == row.number


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_its_attempts_and_its_cost_are_those_of_the_line(told: dict[str, Told], row: Row) -> None:
    came = told[row.cause]
    callo, tried = came.callo, came.callo["attempts"]
    assert [attempt["dial_status"] for attempt in tried] == list(row.tried)
    assert [attempt["attempt_num"] for attempt in tried] == list(range(1, len(tried) + 1))
    assert [attempt["status"] for attempt in tried] == [row.said.status] * len(tried)
    assert sum(attempt["billsec"] for attempt in tried) == callo["duration"]
    assert sum(Decimal(str(attempt["cost"])) for attempt in tried) == Decimal(callo["cost"]) == came.charged
    assert (callo["duration"] > 0, came.charged > 0) == (row.answered, row.answered)
    assert (callo["completed"] is None) == (row.said.status == "in_process")


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_everybody_tells_the_same(told: dict[str, Told], row: Row) -> None:
    came, callo, said = told[row.cause], told[row.cause].callo, row.said
    sessions = came.uis
    assert [session["finish_reason"] for session in sessions] == ([] if said.uis is None else [said.uis])
    if sessions and not row.second:
        assert sessions[0]["talk_duration"] == callo["duration"]
        assert sessions[0]["is_lost"] is not row.answered
    if said.autocall is None:
        assert came.autocall is None
        assert came.postback is None
        return
    assert came.autocall is not None
    assert came.postback is not None
    assert came.autocall["status"] == said.autocall
    assert (came.autocall["number"], came.autocall["tries"], came.autocall["duration"]) == (
        row.number,
        len(callo["attempts"]),
        callo["duration"],
    )
    expected = {
        "ct_phone": row.number,
        "ct_status": said.status,
        "ct_dial_status": str(said.dial),
        "ct_button_num": str(callo["button_num"] or ""),
        "ct_user_choice": callo["user_choice"] or "",
        "ct_completed": callo["completed"],
    }
    assert {name: came.postback[name] for name in expected} == expected
    assert float(came.postback["ct_duration"]) == callo["duration"]
