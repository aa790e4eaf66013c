"""What does amoCRM call what came of a call? Each result as a `call_status` and a sentence for the card."""

from enum import IntEnum

from zvonar.core.result import Disposition, ScriptResult


class CallStatus(IntEnum):
    """The reference's statuses of calls; the SDK's 8, undefined, is taken and never given."""

    left_message = 1
    call_back_later = 2
    not_there = 3
    talked = 4
    wrong_number = 5
    not_reached = 6
    busy = 7


_UNANSWERED = {
    Disposition.busy: (CallStatus.busy, "Занято"),
    Disposition.no_answer: (CallStatus.not_reached, "Не ответил"),
    Disposition.declined: (CallStatus.not_reached, "Сбросил звонок"),
    Disposition.invalid_number: (CallStatus.wrong_number, "Номер не существует"),
    Disposition.unreachable: (CallStatus.not_there, "Абонент недоступен"),
    Disposition.congestion: (CallStatus.not_reached, "Сеть перегружена"),
    Disposition.failed: (CallStatus.not_reached, "Не удалось дозвониться"),
    Disposition.no_route: (CallStatus.not_reached, "Нет маршрута для номера"),
    Disposition.no_money: (CallStatus.call_back_later, "Не хватило средств на звонок"),
    Disposition.blocked: (CallStatus.not_reached, "Номер закрыт для звонков"),
    Disposition.synth_failed: (CallStatus.call_back_later, "Сообщение не озвучено"),
    Disposition.cancelled: (CallStatus.call_back_later, "Звонок отменён"),
    Disposition.lost: (CallStatus.call_back_later, "Результат звонка неизвестен"),
}
_ANSWERED = {
    ScriptResult.none: (CallStatus.talked, "Ответил"),
    ScriptResult.completed: (CallStatus.talked, "Прослушал сообщение"),
    ScriptResult.no_input: (CallStatus.talked, "Прослушал, ничего не выбрал"),
    ScriptResult.invalid_input: (CallStatus.talked, "Нажал не то, что предлагалось"),
    ScriptResult.choice: (CallStatus.talked, "Сделал выбор"),
    ScriptResult.pin_ok: (CallStatus.talked, "Ввёл верный код"),
    ScriptResult.pin_wrong: (CallStatus.talked, "Ввёл неверный код"),
    ScriptResult.machine: (CallStatus.left_message, "Автоответчик"),
    ScriptResult.hung_up: (CallStatus.talked, "Положил трубку"),
    ScriptResult.max_time: (CallStatus.talked, "Разговор прерван по времени"),
    ScriptResult.transferred: (CallStatus.talked, "Соединён с сотрудником"),
    ScriptResult.error: (CallStatus.call_back_later, "Сбой во время разговора"),
}


def told(disposition: Disposition, script_result: ScriptResult, chosen: str | None) -> tuple[CallStatus, str]:
    """`call_status` and `call_result`; what the callee chose stands behind the sentence."""
    if disposition is not Disposition.answered:
        return _UNANSWERED[disposition]
    status, sentence = _ANSWERED[script_result]
    return status, sentence if chosen is None else f"{sentence}: {chosen}"
