"""Why does a row not become a call? Each reason in English and in Russian.

A reason never shows more of a row than its own number as typed, and goes to whoever imports, not to a log.
"""

import re
from typing import Any

from zvonar.store.phone_lists import Rejected

MAX_LABEL = 200  # characters, as wherever a label can be given
MAX_EXTRA = 2000

# reason → what a person is told; {line} is the earlier row of a duplicate.
REASONS = {
    "phone_missing": ("There is no number in this row.", "В строке нет номера."),
    "phone_invalid": ("This is not a dialable phone number.", "Это не телефонный номер."),
    "spreadsheet_number": (
        "A spreadsheet has rounded this number: format the column as text and save again.",
        "Таблица округлила номер: задайте столбцу текстовый формат и сохраните заново.",
    ),
    "town_not_connected": (
        "The number belongs to the trial phone network, which is not connected.",
        "Номер из пробной телефонной сети, а она не подключена.",
    ),
    "emergency": ("Emergency numbers are never called.", "Экстренные службы не обзваниваются."),
    "stopped": ("The number is on a stop list.", "Номер в стоп-листе."),
    "duplicate": ("The same number is in line {line} already.", "Этот номер уже есть в строке {line}."),
    "label_duplicate": ("The same label is in line {line} already.", "Эта метка уже есть в строке {line}."),
    "label_taken": (
        "A call of this campaign has this label already.",
        "Звонок с такой меткой уже есть в кампании.",
    ),
    "label_invalid": (
        f"A label is at most {MAX_LABEL} characters, without NUL, and over HTTP of letters, digits and _ only.",
        f"Метка не длиннее {MAX_LABEL} знаков, без NUL, а по HTTP только из букв, цифр и _.",
    ),
    "extra_invalid": (
        f"The extra column holds at most {MAX_EXTRA} characters, without NUL.",
        f"Дополнительное поле не длиннее {MAX_EXTRA} знаков и без NUL.",
    ),
    "text_invalid": (
        "This text cannot be spoken: it is too long, holds NUL, or its markup is wrong.",
        "Этот текст не произнести: он слишком длинный, содержит NUL, или в его разметке ошибка.",
    ),
    "text_missing": (
        "Neither this row nor its campaign says anything.",
        "Ни в строке, ни в кампании нет текста.",
    ),
    "closed": (
        "This destination may not be called: premium, satellite, or a closed country.",
        "Это направление закрыто: платные, спутниковые номера или закрытая страна.",
    ),
    "timezone_invalid": (
        "A time zone is an IANA name such as Asia/Almaty.",
        "Часовой пояс — имя IANA, например Asia/Almaty.",
    ),
    "variables_invalid": (
        "A cell with a variable is too long.",
        "Ячейка с переменной слишком длинная.",
    ),
    "until_invalid": (
        "A moment is written like 2026-12-31 or 2026-12-31 23:59:59.",
        "Время пишется как 2026-12-31 или 2026-12-31 23:59:59.",
    ),
    "half_row": (
        "The row has fewer cells than the header.",
        "В строке меньше ячеек, чем в заголовке.",
    ),
    "too_many_cells": (
        "The row has more cells than the header: put cells with a delimiter inside in quotes.",
        "В строке больше ячеек, чем в заголовке: ячейки с разделителем внутри берутся в кавычки.",
    ),
    "quotes": (
        "A quote does not end in its line, or something follows it.",
        "Кавычка не закрыта в своей строке, или за ней что-то стоит.",
    ),
    "line_too_long": ("The line is too long.", "Строка слишком длинная."),
    "unreadable": (
        "A character cannot be read: save the file as UTF-8.",
        "Знак не читается: сохраните файл в UTF-8.",
    ),
}

# What a spreadsheet would take for a formula; a number with its plus is none.
_FORMULA = re.compile(r"[=@-]|\+(?![\d ().-]*$)")

HEADER = ("line", "reason", "message", "value")  # of a table of rejected rows


def message(rejected: Rejected, *, russian: bool) -> str:
    """The reason as a sentence."""
    return REASONS[rejected.reason][russian].format(line=rejected.earlier)


def record(rejected: Rejected, *, russian: bool) -> tuple[int, str, str, str]:
    """One row of a table of rejected rows, in the order of HEADER."""
    value = f"'{rejected.value}" if _FORMULA.match(rejected.value) else rejected.value
    return rejected.line, rejected.reason, message(rejected, russian=russian), value


def document(rejected: Rejected, *, russian: bool) -> dict[str, Any]:
    """The same as JSON."""
    return dict(
        zip(
            HEADER,
            (rejected.line, rejected.reason, message(rejected, russian=russian), rejected.value),
            strict=True,
        )
    )
