"""What does amoCRM call what came of a call? Each result as a `call_status` and a sentence for the card."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal

from msgspec import Struct

from zvonar.core.result import Disposition, ScriptResult

Language = Literal["ru", "en"]


class CallStatus(IntEnum):
    """amoCRM, call statuses; 8 is the SDK's own word for none and is not sent."""

    left_message = 1
    call_back_later = 2
    not_available = 3
    talked = 4
    wrong_number = 5
    not_reached = 6
    busy = 7


class Mapped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one result is told."""

    status: CallStatus
    result: str | None = None  # None: our own sentence


_Told = tuple[CallStatus, str, str]  # status, Russian, English

_UNANSWERED: dict[Disposition, _Told] = {
    Disposition.busy: (CallStatus.busy, "Занято", "Busy"),
    Disposition.no_answer: (CallStatus.not_reached, "Не ответил", "No answer"),
    Disposition.declined: (CallStatus.not_reached, "Сбросил звонок", "Declined the call"),
    Disposition.invalid_number: (CallStatus.wrong_number, "Номер не существует", "No such number"),
    Disposition.unreachable: (
        CallStatus.not_available,
        "Абонент недоступен",
        "Switched off or out of coverage",
    ),
    Disposition.congestion: (CallStatus.not_reached, "Сеть перегружена", "The network had no free line"),
    Disposition.failed: (CallStatus.not_reached, "Не удалось дозвониться", "The call did not get through"),
    Disposition.no_route: (CallStatus.not_reached, "Нет маршрута для номера", "No route to this number"),
    Disposition.no_money: (
        CallStatus.call_back_later,
        "Не хватило средств на звонок",
        "The balance was too low",
    ),
    Disposition.blocked: (
        CallStatus.not_reached,
        "Номер закрыт для звонков",
        "This number may not be called",
    ),
    Disposition.synth_failed: (
        CallStatus.call_back_later,
        "Сообщение не озвучено",
        "The prompt could not be made",
    ),
    Disposition.cancelled: (CallStatus.call_back_later, "Звонок отменён", "The call was cancelled"),
    Disposition.lost: (
        CallStatus.call_back_later,
        "Результат звонка неизвестен",
        "What came of it is not known",
    ),
}
_ANSWERED: dict[ScriptResult, _Told] = {
    ScriptResult.none: (CallStatus.talked, "Ответил", "Answered"),
    ScriptResult.completed: (CallStatus.talked, "Прослушал сообщение", "Heard the message"),
    ScriptResult.no_input: (CallStatus.talked, "Прослушал, ничего не выбрал", "Heard it, chose nothing"),
    ScriptResult.invalid_input: (
        CallStatus.talked,
        "Нажал не то, что предлагалось",
        "Chose what was not offered",
    ),
    ScriptResult.choice: (CallStatus.talked, "Сделал выбор", "Made a choice"),
    ScriptResult.pin_ok: (CallStatus.talked, "Ввёл верный код", "Entered the right code"),
    ScriptResult.pin_wrong: (CallStatus.talked, "Ввёл неверный код", "Entered a wrong code"),
    ScriptResult.machine: (CallStatus.left_message, "Автоответчик", "Answering machine"),
    ScriptResult.hung_up: (CallStatus.talked, "Положил трубку", "Hung up early"),
    ScriptResult.max_time: (CallStatus.talked, "Разговор прерван по времени", "Cut off at the time limit"),
    ScriptResult.transferred: (CallStatus.talked, "Соединён с сотрудником", "Put through to an employee"),
    ScriptResult.error: (
        CallStatus.call_back_later,
        "Сбой во время разговора",
        "Something failed during the call",
    ),
}

# What is pushed unless the operator says otherwise: whatever rang, or told something about the number.
PUSHED = ("answered", "busy", "no_answer", "declined", "invalid_number", "unreachable")
# What an operator may name: a disposition, or an answered one's script result.
RESULTS = frozenset(Disposition) | {f"{Disposition.answered}/{script}" for script in ScriptResult}


def names(disposition: Disposition, script: ScriptResult) -> tuple[str, ...]:
    """The names of a result, the closest first."""
    if disposition is Disposition.answered:
        return f"{disposition}/{script}", disposition
    return (disposition,)


def told(
    disposition: Disposition,
    script: ScriptResult,
    *,
    choice: str | None,
    status_name: str | None,
    mapping: Mapping[str, Mapped],
    language: Language,
) -> tuple[CallStatus, str]:
    """`call_status` and `call_result` of a result; what was chosen stands behind our own sentence."""
    answered = disposition is Disposition.answered
    status, russian, english = _ANSWERED[script] if answered else _UNANSWERED[disposition]
    sentence = russian if language == "ru" else english
    chosen = status_name or choice
    if chosen is not None and answered:
        sentence = f"{sentence}: {chosen}"
    for name in names(disposition, script):
        if name in mapping:
            return mapping[name].status, mapping[name].result or sentence
    return status, sentence
