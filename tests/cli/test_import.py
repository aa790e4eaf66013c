"""Does a file become calls, all its good rows or none, with a report of the others?"""

import csv
from pathlib import Path

import psycopg
import pytest

from zvonar.store.server import PostgresServer

from ..intake.books import xlsx
from .commands import Run

ROWS = "\r\n".join(
    (
        "телефон;метка;текст",
        "+7 916 123-45-67;a;Привет",
        "",
        "89161234567;b;x",
        "112;c;y",
        "+7916",
        "+79161234568;d;",
    )
)


def calls(home: Path, campaign: int) -> list[tuple[int, str, str | None]]:
    with psycopg.connect(PostgresServer(home).dsn()) as connection:
        return connection.execute(
            "SELECT ordinal, phone, label FROM calls WHERE campaign_id = %s ORDER BY ordinal", (campaign,)
        ).fetchall()


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.csv"
    path.write_bytes(ROWS.encode("cp1251"))
    return path


def test_good_rows_are_loaded_in_order_and_the_others_reported(
    zvonar: Run, home: Path, campaign: int, numbers: Path, tmp_path: Path
) -> None:
    said = zvonar("campaign", "import", campaign, numbers, "--json", "--rejected", tmp_path / "rejected.csv")
    assert said.code == 0, said.err
    assert calls(home, campaign) == [(1, "+79161234567", "a"), (2, "+79161234568", "d")]
    document = said.document
    assert document["loaded"] == 2
    assert len(str(document["phone_list_id"])) == 12
    assert [(row["line"], row["reason"], row["value"]) for row in document["rejected"]] == [
        (4, "duplicate", "89161234567"),
        (5, "emergency", "112"),
        (6, "half_row", "+7916"),
    ]
    with (tmp_path / "rejected.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert [{**row, "line": int(row["line"])} for row in written] == document["rejected"]
    assert (tmp_path / "rejected.csv").stat().st_mode & 0o777 == 0o600


def test_a_person_reads_lines_and_reasons_in_the_language_of_the_terminal(
    zvonar: Run, campaign: int, numbers: Path
) -> None:
    said = zvonar("campaign", "import", campaign, numbers, LANG="ru_RU.UTF-8")
    assert said.code == 0, said.err
    assert "line 4: 89161234567: Этот номер уже есть в строке 2." in said.out
    assert said.out.splitlines()[-1].startswith("2 loaded as phone list ")


def test_a_list_that_is_loaded_twice_gives_no_label_twice(
    zvonar: Run, home: Path, campaign: int, numbers: Path
) -> None:
    assert zvonar("campaign", "import", campaign, numbers).code == 0
    said = zvonar("campaign", "import", campaign, numbers, "--json")
    assert said.code == 1
    assert said.document["phone_list_id"] is None
    assert [row["reason"] for row in said.document["rejected"]] == [
        *("label_taken", "duplicate", "emergency", "half_row", "label_taken"),
    ]
    assert "nothing was loaded" in said.err
    assert len(calls(home, campaign)) == 2


def test_a_workbook_is_loaded_as_a_table_is(zvonar: Run, home: Path, campaign: int, tmp_path: Path) -> None:
    path = tmp_path / "numbers.xlsx"
    path.write_bytes(xlsx([["имя", "телефон", "метка"], ["Иван", 79161234567, "a"], ["Пётр", "8916", "b"]]))
    said = zvonar("campaign", "import", campaign, path, "--json")
    assert said.code == 0, said.err
    assert calls(home, campaign) == [(1, "+79161234567", "a")]
    assert [(row["line"], row["reason"]) for row in said.document["rejected"]] == [(3, "phone_invalid")]


def test_a_list_tells_how_far_it_is_and_what_it_rejected(
    zvonar: Run, campaign: int, numbers: Path, tmp_path: Path
) -> None:
    list_id = zvonar("campaign", "import", campaign, numbers, "--json").document["phone_list_id"]
    document = zvonar("phone-list", "show", list_id, "--json").document
    told = {key: document[key] for key in ("state", "total", "done", "loaded", "rejected", "error")}
    assert told == {"state": "loaded", "total": 5, "done": 5, "loaded": 2, "rejected": 3, "error": None}
    printed = zvonar("phone-list", "rejected", list_id)
    assert [row["line"] for row in csv.DictReader(printed.out.splitlines())] == ["4", "5", "6"]
    assert zvonar("phone-list", "rejected", list_id, "--out", tmp_path / "r.csv").code == 0
    assert (tmp_path / "r.csv").stat().st_mode & 0o777 == 0o600
    again = zvonar("phone-list", "retry", list_id)
    assert (again.code, again.err) == (1, "zvonar: only a list that failed can be tried again.\n")
    assert "no such phone list" in zvonar("phone-list", "show", 1).err


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0" + bytes(99), b"PK\x03\x04x", b"phone\n+7\n"])
def test_a_file_without_one_good_row_changes_nothing(
    zvonar: Run, home: Path, campaign: int, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    said = zvonar("campaign", "import", campaign, path)
    assert said.code == 1
    assert said.err.startswith("zvonar: ")
    assert "Traceback" not in said.err
    assert calls(home, campaign) == []


def test_the_report_never_overwrites_the_list(zvonar: Run, campaign: int, numbers: Path) -> None:
    said = zvonar("campaign", "import", campaign, numbers, "--rejected", numbers)
    assert said.code == 1
    assert numbers.read_bytes() == ROWS.encode("cp1251")


def test_a_report_that_cannot_be_written_stops_the_import(
    zvonar: Run, home: Path, campaign: int, numbers: Path, tmp_path: Path
) -> None:
    said = zvonar("campaign", "import", campaign, numbers, "--rejected", tmp_path / "no/such/room.csv")
    assert said.code == 1
    assert "No such file or directory" in said.err
    assert calls(home, campaign) == []


@pytest.mark.parametrize(("campaign_id", "file"), [("1", "numbers.csv"), ("1000000001", "absent.csv")])
def test_what_does_not_exist_is_named(
    zvonar: Run, numbers: Path, account: int, campaign_id: str, file: str
) -> None:
    said = zvonar("campaign", "import", campaign_id, numbers.parent / file)
    assert said.code == 1
    assert "no such" in said.err.lower()


def test_a_hundred_thousand_rows_are_loaded_whole(
    zvonar: Run, home: Path, campaign: int, tmp_path: Path
) -> None:
    path = tmp_path / "many.csv"
    path.write_text("".join(f"+7916{number:07d}\r\n" for number in range(100_000)))
    said = zvonar("campaign", "import", campaign, path, "--json")
    assert said.code == 0, said.err
    assert said.document["loaded"] == 100_000
    assert said.document["rejected"] == []
    loaded = calls(home, campaign)
    assert loaded[0] == (1, "+79160000000", None)
    assert loaded[-1] == (100_000, "+79160099999", None)
    assert len(loaded) == 100_000
