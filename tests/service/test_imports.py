"""Which rows of a table become calls? Every encoding, delimiter and kind of damage, without a database."""

import codecs
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zvonar.core.errors import Invalid
from zvonar.service import imports, sheet
from zvonar.service.imports import PhoneTable, Terms
from zvonar.service.sheet import FileEmpty, FileIsBinary, FileIsWorkbook, FileNotReadable

TERMS = Terms(account_id=1, campaign_id=1, countries=frozenset({"RU", "KZ"}), country="RU", trial=True)
TABLE = "телефон;метка;текст\r\n+7 (916) 123-45-67;a;Привет, Иван\r\n89161234568;b;\r\n"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 8


def read(tmp_path: Path, content: bytes, terms: Terms = TERMS) -> PhoneTable:
    path = tmp_path / "numbers.csv"
    path.write_bytes(content)
    return imports.read(path, terms)


def phones(table: PhoneTable) -> list[str]:
    return [call.phone.e164 for call in table.accepted]


def reasons(table: PhoneTable) -> list[tuple[int, str]]:
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
def test_the_same_table_is_read_from_every_encoding(tmp_path: Path, encoded: bytes) -> None:
    table = read(tmp_path, encoded)
    first, second = table.accepted
    assert phones(table) == ["+79161234567", "+79161234568"]
    assert (first.label, second.label) == ("a", "b")
    assert first.overrides is not None
    assert first.overrides.text == "Привет, Иван"
    assert second.overrides is None
    assert table.header == ["телефон", "метка", "текст"]
    assert not table.rejected


def test_a_broken_byte_does_not_turn_a_utf8_file_into_cp1251(tmp_path: Path) -> None:
    content = "phone,text\n+79161234567,Здравствуйте\n+79161234568,При".encode() + b"\xff\n"
    table = read(tmp_path, content)
    assert reasons(table) == [(3, "unreadable")]
    assert table.accepted[0].overrides is not None
    assert table.accepted[0].overrides.text == "Здравствуйте"


def test_numbers_alone_need_no_header(tmp_path: Path) -> None:
    table = read(tmp_path, b"+79161234567\n\n   \n8 916 123-45-68\n,,\n+79161234569,ignored\n")
    assert phones(table) == ["+79161234567", "+79161234568", "+79161234569"]
    assert (table.lines, table.blank, table.header) == (6, 3, [])


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    table = read(tmp_path, 'City,EXTRA,"Phone_Number",label\nПермь,"a ""b"", c",+79161234567,1\n'.encode())
    (call,) = table.accepted
    assert (call.phone.e164, call.extra, call.label) == ("+79161234567", 'a "b", c', "1")


def test_every_rejected_row_has_its_line_and_reason(tmp_path: Path) -> None:
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
        ("+4915112345678;e;x", "destination_refused"),
        ("+78091234567;e;x", "destination_refused"),
        ("+7916\x001234570;e;x", "phone_invalid"),
        ("+79161234570;e\x00;x", "label_invalid"),
        (f"+79161234570;{'e' * 201};x", "label_invalid"),
        (f"+79161234570;e;{'x' * 4001}", "text_invalid"),
        ('"+79161234570;e;x', "quotes"),
        ('+79161234570;"e"f;x', "quotes"),
        (f"+79161234570;e;{'x' * sheet.MAX_LINE}", "line_too_long"),
        ("+79161234570;e;x", None),
    ]
    table = read(tmp_path, "\r\n".join(row for row, _ in rows).encode())
    assert reasons(table) == [(line, reason) for line, (_, reason) in enumerate(rows, start=1) if reason]
    assert phones(table) == ["+79161234567", "+79161234569", "+79161234570"]
    by_reason = {row.reason: row for row in table.rejected}
    assert by_reason["duplicate"].message(russian=False) == "The same number is in line 2 already."
    assert by_reason["label_duplicate"].message(russian=True) == "Эта метка уже есть в строке 2."


def test_a_town_number_counts_only_while_the_town_is_connected(tmp_path: Path) -> None:
    assert phones(read(tmp_path, b"+70001230001\n")) == ["+70001230001"]
    alone = Terms(account_id=1, campaign_id=1, countries=frozenset({"RU"}), country="RU", trial=False)
    assert reasons(read(tmp_path, b"+70001230001\n", alone)) == [(1, "town_not_connected")]


def test_an_open_quote_spoils_its_own_row_only(tmp_path: Path) -> None:
    table = read(tmp_path, b'phone,text\n+79161234567,"one\n+79161234568,two\n+79161234569,"three"\n')
    assert phones(table) == ["+79161234568", "+79161234569"]
    assert reasons(table) == [(2, "quotes")]


def test_a_reason_shows_nothing_of_a_row_but_its_number(tmp_path: Path) -> None:
    table = read(tmp_path, "phone;text\n+7916\x1b[2J;тайна\n".encode())
    (row,) = table.rejected
    assert row.value == "+7916\ufffd[2J"
    assert "тайна" not in str(row.document(russian=True))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", FileEmpty),
        (codecs.BOM_UTF8, FileEmpty),
        (b"\n\r\n ;; \n", FileEmpty),
        (b"phone,label\n\n", FileEmpty),
        (JPEG, FileIsBinary),
        (bytes(1000), FileIsBinary),
        (b"PK\x03\x04" + bytes(30), FileIsWorkbook),
        (b"\xd0\xcf\x11\xe0" + bytes(30), FileIsWorkbook),
    ],
    ids=["empty", "mark only", "blank", "header only", "jpeg", "zeroes", "xlsx", "xls"],
)
def test_what_is_no_table_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes, error: type[Invalid]
) -> None:
    with pytest.raises(error):
        read(tmp_path, content)


@pytest.mark.parametrize("name", [".", "absent.csv", "/dev/zero", "nul\0"])
def test_what_is_no_file_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotReadable):
        imports.read(tmp_path / name, TERMS)


def test_progress_ends_at_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("".join(f"+7916{number:07d}\n" for number in range(1200)))
    seen: list[tuple[int, int]] = []
    imports.read(path, TERMS, lambda done, size: seen.append((done, size)))
    assert seen[-1] == (path.stat().st_size,) * 2
    assert seen == sorted(seen)


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
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_bytes_every_line_is_accounted_for(tmp_path: Path, content: bytes) -> None:
    try:
        table = read(tmp_path, content)
    except (FileEmpty, FileIsBinary, FileIsWorkbook):
        return
    assert len(table.accepted) + len(table.rejected) + table.blank + bool(table.header) == table.lines
    assert all(row.message(russian=False) and row.message(russian=True) for row in table.rejected)
