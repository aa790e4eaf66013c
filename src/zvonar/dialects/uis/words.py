"""What does get.mgf_calls call a thing? Its own words for each value_id; they differ from the other report's."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from zvonar.dialects.uis.fields import FINISH_REASONS, SOURCES

Id: TypeAlias = str | bool
Words: TypeAlias = Mapping[Id, str | None]

DIRECTIONS: Final[Words] = {"in": "Входящий звонок", "out": "Исходящий звонок"}
STATUSES: Final[Words] = {"lost": "Пропущенный", "received": "Принятый"}
INTERNAL: Final[Words] = {"external": "Внешний", "internal": "Внутренний"}
YES_NO: Final[Words] = {False: "Нет", True: "Да"}

# Call types are sources. Two of the page's have no source in the other report; their value_id is a guess.
TYPES: Final[Words] = {
    **dict(SOURCES.items()),
    "va": "Звонок ВАТС",
    "sip": "Исходящий с SIP",
    "fmc": "Исходящий с FMC",
    "callapi": "Call API Базовый набор",
    "amocrm": "amoCRM",
    "bitrix": "Bitrix24",
    "megaplan": "Megaplan",
    "retailcrm": "retailCRM",
    "lead": "Лидогенератор",
    "omni_widget": "Омниканальный виджет",
    "partner_integration": "Партнёрская интеграция",
    "sitephone": "Сайтфон",
}

# Which reason is a redirected call is a guess.
REASONS: Final[Words] = {
    **dict(FINISH_REASONS.items()),
    "subscriber_disconnects": "Абонент положил трубку",
    "transfer_disconnects": "Вызов перенаправлен",
    "no_success_subscriber_call": "Не дозвонились до абонента",
    "no_success_operator_call": "Не дозвонились до сотрудника",
    "operator_disconnects": "Сотрудник разорвал соединение",
}

# What else a filter may say: the page's table and the vendor's other samples.
ALSO: Final[Mapping[str, Mapping[str, Id]]] = {
    "call_direction": {"Входящий": "in", "Исходящий": "out"},
    "call_status": {"Потерянный": "lost"},
    "call_type": {"ВАТС": "va"},
    "call_is_internal": {"Нет": "external", "Да": "internal"},
}
