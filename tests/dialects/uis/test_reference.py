"""Do our data say what the reference says? Every name, type and word of its pages, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from zvonar.dialects.uis import fields, mgf_fields, words

GOLDEN: Final = Path(__file__).parents[2] / "golden" / "uis"
TYPES: Final = ("number", "string", "boolean", "iso8601", "enum", "array")
# Read off the page by eye: where a table of nested members begins, and how many there are.
PARENTS: Final = {
    "scenario_operations": 2,
    "recognized_text": 5,
    "tags": 8,
    "employees": 4,
    "visitor_custom_properties": 2,
    "segments": 2,
}


def page() -> str:
    return (GOLDEN / "get.calls_report.txt").read_text(encoding="utf-8")


def answer_table() -> list[tuple[str, str, set[str]]]:
    """Name, type and words of each row of "Параметры ответа"."""
    table = page().partition("Параметры ответа")[2].partition("Причины окончания сессии звонка\n")[0]
    rows: list[tuple[str, str, set[str]]] = []
    for line in table.splitlines():
        found = re.match(rf"([a-z_0-9]+) ({'|'.join(TYPES)})\b(.*)", line)
        if found:
            name, type_, rest = found.groups()
            listed = re.match(r" ([a-z]+|Новый, Вернувшийся, Не заполнен|auto, manual) (да )*[А-Я]", rest)
            inline = set(listed[1].split(", ")) if type_ == "enum" and listed else set()
            rows.append((name, type_, inline))
        elif (bullet := re.match(r"\s*• ([a-z_-]+)(?: - |;|$)", line)) and rows:
            rows[-1][2].add(bullet[1])
    return rows


def nested() -> dict[tuple[str | None, str], tuple[str, set[str]]]:
    """The table's rows with the array that each is a member of."""
    found: dict[tuple[str | None, str], tuple[str, set[str]]] = {}
    parent, left = None, 0
    for name, type_, listed in answer_table():
        key = (parent if left else None, name)
        assert key not in found, key
        found[key] = (type_, listed)
        left = max(left - 1, 0)
        if name in PARENTS and key[0] is None:
            parent, left = name, PARENTS[name]
    return found


def test_every_field_of_the_page_is_here_with_its_type_and_nothing_else_is() -> None:
    ours = {(None, name): field for name, field in fields.FIELDS.items() if name != "utm_referrer"}
    ours |= fields.NESTED  # type: ignore[arg-type]
    table = nested()
    assert table.keys() == ours.keys()
    assert {key: type_ for key, (type_, _) in table.items()} == {
        key: field.type for key, field in ours.items()
    }
    assert len(table) == 129


def test_every_word_of_an_enumeration_is_here_and_nothing_else_is() -> None:
    ours = {**{(None, name): field for name, field in fields.FIELDS.items()}, **fields.NESTED}
    for key, (type_, listed) in nested().items():
        known = {value.id for value in ours[key].values or ()}
        if type_ in ("enum", "array") and key != (None, "finish_reason"):
            assert listed == known, key
    assert len(fields.SOURCES) == 36


def test_every_finish_reason_is_here_with_its_words() -> None:
    table = page().partition("Мнемоника Описание\n")[2].partition("\nJSON структура запроса")[0].strip()
    reasons = {}
    for line in table.splitlines():
        mnemonic, _, description = line.partition(" ")
        reasons[mnemonic] = description or None
    assert reasons == fields.FINISH_REASONS
    assert len(reasons) == 92


def test_the_row_has_the_keys_of_the_pages_structure_in_its_order() -> None:
    structure = page().partition("JSON структура ответа")[2]
    top = re.findall(r'^(?:    |        )"([a-z_0-9]+)" ?:', structure, re.MULTILINE)
    top = [name for name in top if name in fields.FIELDS]
    assert len(top) > 90
    assert [name for name in fields.FIELDS if name in top] == list(dict.fromkeys(top))


def mgf_tables() -> list[list[list[str]]]:
    """The cells of the two tables of get.mgf_calls.md."""
    text = (GOLDEN / "get.mgf_calls.md").read_text(encoding="utf-8")
    tables = []
    for table in re.findall(r"\{% table %\}(.*?)\{% /table %\}", text, re.DOTALL):
        rows = []
        for row in table.split("\n---\n"):
            cells = re.split(r"^\*  ", row, flags=re.MULTILINE)[1:]
            if cells:
                rows.append([re.sub(r"\{%.*?%\}", "", cell).strip() for cell in cells])
        tables.append(rows[1:])
    return tables


def test_every_field_of_get_mgf_calls_is_here_with_its_type_and_nothing_else_is() -> None:
    parameters, answer = mgf_tables()
    asked = next(cells for cells in parameters if cells[0] == "fields")[3]
    names = set(re.findall(r"«`([a-z_]+)`»", asked))
    assert names == mgf_fields.DOCUMENTED.keys() == mgf_fields.MADE.keys()
    assert {cells[0] for cells in answer} == names
    assert all(cells[3] == "да" for cells in answer), "all of them filter"
    assert all(field.filter for field in mgf_fields.DOCUMENTED.values())
    # What the table calls a duration or an object it types differently from the vendor's data.
    table = {cells[0]: cells[1] for cells in answer}
    differs = {
        name: (table[name], field.type)
        for name, field in mgf_fields.DOCUMENTED.items()
        if table[name] != field.type
    }
    assert differs == {
        "call_total_duration": ("iso8601", "duration"),
        "call_await_talk_duration": ("iso8601", "duration"),
        "call_talk_duration": ("iso8601", "duration"),
        "tags": ("iso8601", "object"),
    }


def test_every_word_of_the_mgf_table_is_understood() -> None:
    _, answer = mgf_tables()
    vocabularies = {
        "call_direction": words.DIRECTIONS,
        "call_status": words.STATUSES,
        "call_type": words.TYPES,
        "call_finish_reason": words.REASONS,
        "call_is_internal": words.INTERNAL,
    }
    for name, vocabulary in vocabularies.items():
        cell = next(cells[2] for cells in answer if cells[0] == name and cells[2])
        cell = cell.replace("`Call API` `Базовый набор`”", "`Call API Базовый набор`")
        listed = [one.strip(" ;\\") for one in re.split(r"[`/\n]", cell)]
        listed = [one for one in listed if len(one) > 1 and one != "и т.д"]
        assert listed, name
        known = {*vocabulary.values(), *words.ALSO.get(name, {})}
        assert set(listed) <= known, name
