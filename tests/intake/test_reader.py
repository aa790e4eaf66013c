"""Which rows of a table become calls? Every encoding, delimiter and kind of damage, without a database."""

import codecs
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs

from zvonar.core.errors import Invalid
from zvonar.intake import reasons, sheet
from zvonar.intake.judge import Judge, Layout, Terms
from zvonar.intake.reader import Reader
from zvonar.intake.sheet import FileEmpty, FileIsBinary, FileNotReadable, Sheet
from zvonar.store.calls import NewCall
from zvonar.store.phone_lists import Rejected

TERMS = Terms(country="RU", trial=True, duplicates=False, speaks=True)
NAMED = Layout(named=True)
TABLE = "телефон;метка;текст\r\n+7 (916) 123-45-67;a;Привет, Иван\r\n89161234568;b;\r\n"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 8


class Table(Struct):
    """A whole list, read and judged: lines = accepted + rejected + blank + header."""

    accepted: list[NewCall]
    rejected: list[Rejected]
    header: list[str]
    lines: int
    blank: int
    counted: int


def read(content: bytes, terms: Terms = TERMS, layout: Layout = NAMED, *, rows: int = 10**9) -> Table:
    """Everything, so many rows at a time."""
    file = BytesIO(content)
    table = Sheet(file)
    judge = Judge(terms, layout)
    reader = Reader(table, judge)
    accepted, rejected = [], []
    while (batch := reader.batch(rows)).looked:
        judged = judge.settle(batch.looked, stopped=(), taken=())
        accepted += judged.accepted
        rejected += judged.rejected
    lines, blank = table.lines, table.blank
    reader.close()
    return Table(accepted, rejected, judge.header, lines, blank, Sheet(file).count())


def phones(table: Table) -> list[str]:
    return [call.phone.e164 for call in table.accepted]


def rejections(table: Table) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in table.rejected]


@pytest.mark.parametrize(
    "encoded",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("cp1251"),
        codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.replace("\r\n", "\r").encode(),
        TABLE.replace(";", "\t").encode(),
    ],
    ids=["utf-8", "bom", "cp1251", "utf-16-le", "utf-16-be", "old mac", "tabs"],
)
def test_the_same_table_is_read_from_every_encoding(encoded: bytes) -> None:
    table = read(encoded)
    first, second = table.accepted
    assert phones(table) == ["+79161234567", "+79161234568"]
    assert (first.label, second.label) == ("a", "b")
    assert first.overrides is not None
    assert first.overrides.text == "Привет, Иван"
    assert second.overrides is None
    assert table.header == ["телефон", "метка", "текст"]
    assert not table.rejected


def test_a_broken_byte_does_not_turn_a_utf8_file_into_cp1251() -> None:
    content = "phone,text\n+79161234567,Здравствуйте\n+79161234568,При".encode() + b"\xff\n"
    table = read(content)
    assert rejections(table) == [(3, "unreadable")]
    assert table.accepted[0].overrides is not None
    assert table.accepted[0].overrides.text == "Здравствуйте"


def test_numbers_alone_need_no_header() -> None:
    table = read(b"+79161234567\n\n   \n8 916 123-45-68\n,,\n+79161234569,ignored\n")
    assert phones(table) == ["+79161234567", "+79161234568", "+79161234569"]
    assert (table.lines, table.blank, table.header) == (6, 3, [])


def test_columns_are_found_by_name_in_any_order() -> None:
    table = read('City,EXTRA,"Phone_Number",label\nПермь,"a ""b"", c",+79161234567,1\n'.encode())
    (call,) = table.accepted
    assert (call.phone.e164, call.extra, call.label) == ("+79161234567", 'a "b", c', "1")


def test_every_rejected_row_has_its_line_and_reason() -> None:
    rows = [
        ("phone;label;text", None),
        ("+79161234567;a;x", None),
        ("8 916 123 45 67;b;x", "duplicate"),
        ("+79161234568;a;x", "label_duplicate"),
        ("", None),
        ("+79161", "half_row"),
        ("+79161234569;c;x;y", "too_many_cells"),
        ("+79161234569;c;x;;", None),
        ("телефон;d;x", "phone_invalid"),
        (";e;x", "phone_missing"),
        ("7,91612E+10;e;x", "spreadsheet_number"),
        ("112;e;x", "emergency"),
        ("+491511234567890123;e;x", "phone_invalid"),
        ("+7916\x001234570;e;x", "phone_invalid"),
        ("+79161234570;e\x00;x", "label_invalid"),
        (f"+79161234570;{'e' * 201};x", "label_invalid"),
        (f"+79161234570;e;{'x' * 4001}", "text_invalid"),
        ('+79161234570;e;"<audio id=""1"">"', "text_invalid"),
        ('"+79161234570;e;x', "quotes"),
        ('+79161234570;"e"f;x', "quotes"),
        (f"+79161234570;e;{'x' * sheet.MAX_LINE}", "line_too_long"),
        ("+79161234570;e;x", None),
    ]
    table = read("\r\n".join(row for row, _ in rows).encode())
    assert rejections(table) == [(line, reason) for line, (_, reason) in enumerate(rows, start=1) if reason]
    assert phones(table) == ["+79161234567", "+79161234569", "+79161234570"]
    by_reason = {row.reason: row for row in table.rejected}
    assert reasons.message(by_reason["duplicate"], russian=False) == "The same number is in line 2 already."
    assert reasons.message(by_reason["label_duplicate"], russian=True) == "Эта метка уже есть в строке 2."


def test_a_town_number_counts_only_while_the_town_is_connected() -> None:
    assert phones(read(b"+70001230001\n")) == ["+70001230001"]
    alone = structs.replace(TERMS, trial=False)
    assert rejections(read(b"+70001230001\n", alone)) == [(1, "town_not_connected")]


def test_an_open_quote_spoils_its_own_row_only() -> None:
    table = read(b'phone,text\n+79161234567,"one\n+79161234568,two\n+79161234569,"three"\n')
    assert phones(table) == ["+79161234568", "+79161234569"]
    assert rejections(table) == [(2, "quotes")]


def test_a_reason_shows_nothing_of_a_row_but_its_number() -> None:
    table = read("phone;text\n+7916\x1b[2J;тайна\n".encode())
    (row,) = table.rejected
    assert row.value == "+7916\ufffd[2J"
    assert "тайна" not in str(reasons.document(row, russian=True))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", FileEmpty),
        (JPEG, FileIsBinary),
        (bytes(1000), FileIsBinary),
        (b"PK\x03\x04" + bytes(30), FileIsBinary),
        (b"\xd0\xcf\x11\xe0" + bytes(30), FileIsBinary),
    ],
    ids=["empty", "jpeg", "zeroes", "xlsx", "xls"],
)
def test_what_is_no_table_is_refused_with_a_sentence(content: bytes, error: type[Invalid]) -> None:
    with pytest.raises(error):
        read(content)


@pytest.mark.parametrize("name", [".", "absent.csv", "/dev/zero", "nul\0"])
def test_what_is_no_file_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotReadable):
        sheet.opened(tmp_path / name)


cells = st.sampled_from(
    ["+79161234567", "89161234568", "phone", "метка", "", " ", '"', '"a;b"', "\0", "é", "x" * 99]
)
lines = st.lists(cells, max_size=5).flatmap(
    lambda row: st.sampled_from([",", ";", "\t"]).map(lambda d: d.join(row))
)
texts = st.lists(lines, max_size=12).flatmap(
    lambda rows: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(rows))
)
encoded = st.tuples(texts, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1251"])).map(
    lambda given: given[0].encode(given[1], "replace")
)


@given(content=st.binary(max_size=300) | encoded | st.tuples(encoded, st.binary(max_size=5)).map(b"".join))
@example(content=b"\xff\xfe\x00")
@example(content=b"\xfe\xff\xd8\x00")
@example(content=b"phone\n" + b"1" * sheet.MAX_LINE)
@settings(max_examples=400, deadline=None)
def test_whatever_the_bytes_every_line_is_accounted_for(content: bytes) -> None:
    try:
        table = read(content)
    except (FileEmpty, FileIsBinary):
        return
    accounted = len(table.accepted) + len(table.rejected) + bool(table.header)
    assert accounted + table.blank == table.lines
    assert all(reasons.message(row, russian=russian) for row in table.rejected for russian in (False, True))
    # What is told at once is never less than what becomes of it.
    assert accounted <= table.counted <= table.lines


@given(content=encoded, piece=st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_lines_are_counted_the_same_in_pieces_of_any_size(content: bytes, piece: int) -> None:
    try:
        whole = Sheet(BytesIO(content)).count()
    except (FileEmpty, FileIsBinary):
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sheet, "_PIECE", piece)
        pieces = Sheet(BytesIO(content)).count()
    assert pieces == whole


@given(
    content=encoded,
    rows=st.integers(1, 5),
    layout=st.sampled_from([NAMED, Layout(), Layout(text=1, label=2)]),
)
@settings(max_examples=200, deadline=None)
def test_a_list_read_in_batches_is_the_list_read_at_once(content: bytes, rows: int, layout: Layout) -> None:
    try:
        whole = read(content, layout=layout)
    except (FileEmpty, FileIsBinary):
        return
    parts = read(content, layout=layout, rows=rows)
    assert phones(parts) == phones(whole)
    # A label of an earlier batch is in the database, which is asked elsewhere.
    assert {line for line, _ in rejections(parts)} <= {line for line, _ in rejections(whole)}


@given(content=encoded, first=st.integers(0, 6))
@settings(max_examples=200, deadline=None)
def test_a_list_taken_up_again_goes_on_where_it_was(content: bytes, first: int) -> None:
    try:
        whole = read(content, layout=Layout())
    except (FileEmpty, FileIsBinary):
        return
    judges = [Judge(TERMS, Layout()), Judge(TERMS, Layout())]
    readers = [Reader(Sheet(BytesIO(content)), judge) for judge in judges]
    begun = readers[0].batch(first)
    readers[1].skip(begun.done)
    found = [
        judge.settle(batch.looked, stopped=(), taken=())
        for judge, batch in zip(judges, (begun, readers[1].batch(10**9)), strict=True)
    ]
    assert [call.phone.e164 for half in found for call in half.accepted] == phones(whole)
    assert [row.line for half in found for row in half.rejected] == [row.line for row in whole.rejected]
    for reader in readers:
        reader.close()
