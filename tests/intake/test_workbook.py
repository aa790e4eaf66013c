"""What is read of a workbook, and what is refused before it hurts?"""

import asyncio
import datetime
import io
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from zvonar.intake.sheet import FileEmpty, Sheet
from zvonar.intake.workbook import WorkbookTooLarge, WorkbookUnreadable, converted

from .books import Raw, bomb, packed, sheet, xlsx

XLS = Path(__file__).parents[1] / "golden" / "intake" / "numbers.xls"


def table(book: bytes, tmp_path: Path) -> list[tuple[int, list[str]]]:
    path = tmp_path / "book"
    path.write_bytes(book)
    with path.open("rb") as file, asyncio.run(converted(file)) as text:
        try:
            return [(row.line, row.cells) for row in Sheet(text).rows()]
        except FileEmpty:
            return []


def test_cells_come_as_a_person_has_typed_them(tmp_path: Path) -> None:
    rows = [
        [79161234567, 79161234567.0, "+7 (916) 123-45-67", 1.5, True],
        ['a,"b";c', "two\nlines", "  ", 46000, "ы"],
    ]
    assert table(xlsx(rows), tmp_path) == [
        (1, ["79161234567", "79161234567", "+7 (916) 123-45-67", "1.5", "TRUE"]),
        (2, ['a,"b";c', "two lines", "", "46000", "ы"]),
    ]


def test_a_formula_is_its_result_and_a_date_a_date(tmp_path: Path) -> None:
    day = (datetime.date(2026, 11, 26) - datetime.date(1899, 12, 30)).days
    rows = [
        [
            Raw('<c r="{at}"><f>A2+1</f><v>79161234567</v></c>'),
            Raw('<c r="{at}" t="str"><f>"+7"&amp;B2</f><v>+79161234568</v></c>'),
            Raw(f'<c r="{{at}}" s="1"><v>{day}</v></c>'),
            Raw('<c r="{at}" t="e"><v>#N/A</v></c>'),
        ]
    ]
    [(_, cells)] = table(xlsx(rows), tmp_path)
    assert cells[:2] == ["79161234567", "+79161234568"]
    assert cells[2].startswith("2026-11-26")


def test_lines_are_the_sheets_own_rows(tmp_path: Path) -> None:
    rows = [["+79161234567"], [None], ["+79161234568"]]
    assert table(xlsx(rows, first_row=5, first_column=1), tmp_path) == [
        (5, ["", "+79161234567"]),
        (7, ["", "+79161234568"]),
    ]


def test_a_row_is_as_wide_as_the_first_though_its_last_cells_are_empty(tmp_path: Path) -> None:
    rows = [
        [None],
        ["phone", "label", "text"],
        ["+79161234567"],
        [None, None, None],
        ["+79161234568", "b", "", ""],
        ["+79161234569", "c", "", "d"],
    ]
    assert table(xlsx(rows), tmp_path) == [
        (2, ["phone", "label", "text"]),
        (3, ["+79161234567", "", ""]),
        (5, ["+79161234568", "b", ""]),
        (6, ["+79161234569", "c", "", "d"]),
    ]


def test_the_old_format_is_read_too(tmp_path: Path) -> None:
    rows = table(XLS.read_bytes(), tmp_path)
    assert [cells for _, cells in rows] == [
        ["Телефон", "Имя"],
        ["79161234567", "Иван"],
        ["+79161234568", "Пётр"],
    ]


def test_an_empty_sheet_is_an_empty_table(tmp_path: Path) -> None:
    assert table(xlsx([]), tmp_path) == []


def lying() -> bytes:
    """A bomb whose entries say that it is small."""
    honest = bomb()
    size = (500 << 20).to_bytes(4, "little")
    return honest.replace(size, (1000).to_bytes(4, "little"))


def sparse() -> bytes:
    """One cell in the farthest corner: a rectangle of 17 billion cells."""
    far = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    book = xlsx([["+79161234567"]])
    with zipfile.ZipFile(BytesIO(book)) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    parts["xl/worksheets/sheet2.xml"] = sheet([["+79161234567"]]).replace("</sheetData>", far)
    return packed(parts)


def crowded() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(6000):
            archive.writestr(f"xl/{number}", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    "book",
    [
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\xd0\xcf\x11\xe0" + bytes(600),
        xlsx([["+79161234567"]])[:-30],
        xlsx([["+79161234567"]])[:300],
        packed({"a.txt": "x"}),
        sparse(),
        lying(),
    ],
    ids=["head", "empty zip", "empty ole", "no end", "half", "other zip", "sparse", "lying bomb"],
)
def test_what_cannot_be_read_is_one_sentence(book: bytes, tmp_path: Path) -> None:
    with pytest.raises((WorkbookUnreadable, WorkbookTooLarge)):
        table(book, tmp_path)


@pytest.mark.parametrize("book", [bomb(), crowded()], ids=["bomb", "crowded"])
def test_a_bomb_is_refused_by_what_it_says_of_itself(book: bytes, tmp_path: Path) -> None:
    with pytest.raises(WorkbookTooLarge):
        table(book, tmp_path)
