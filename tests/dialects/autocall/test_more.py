"""Do audio, stop lists, flash calls, test calls and tariffs do what a client expects of them?"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from zvonar.store import accounts

from ...sounds import sound
from .client import TEXT, Client

if TYPE_CHECKING:
    from tests.dialects.conftest import House


def test_audio_comes_in_as_a_file_or_a_text_and_is_heard(client: Client) -> None:
    noise = sound()
    made = client.send("POST", "/audio", files={"file": ("a.wav", noise)}, data={"name": "Звук"})
    assert made.status_code == 201, made.text
    uploaded = made.json()
    assert (uploaded["type"], uploaded["name"]) == ("uploaded", "Звук")
    spoken = client.ok("POST", "/audio", {"text": "Добрый день"}, status=201)
    assert spoken["type"] == "synthesised"
    assert [one["id"] for one in client.ok("GET", "/audio")["data"]] == [spoken["id"], uploaded["id"]]
    for audio in (uploaded, spoken):
        heard = client.send("GET", f"/audio/{audio['id']}/listen")
        assert (heard.status_code, heard.headers["content-type"]) == (200, "audio/wav")
        assert heard.content.startswith(b"RIFF")
        part = client.send("GET", f"/audio/{audio['id']}/listen", headers={"range": "bytes=0-3"})
        assert (part.status_code, part.content) == (206, b"RIFF")
    refused = client.send("POST", "/audio", files={"file": ("a.wav", b"not a sound")})
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["file"])


def test_stopped_numbers_are_kept_told_exported_and_let_go(client: Client) -> None:
    body = {"numbers": ["8 000 123-00-01"], "reason": "просил", "until": "2026-12-31 12:00:00"}
    assert client.ok("POST", "/stop-list", body, status=201)["added"] == 1
    one = client.ok("GET", "/stop-list/+70001230001")
    assert (one["number"], one["reason"], one["until"]) == ("+70001230001", "просил", "2026-12-31 12:00:00")
    table = "phone,reason,until\n+70001230002,=1+1,2026-12-31\n112,,\n+70001230003,,yesterday\n"
    imported = client.send("POST", "/stop-list/import", files={"file": ("stop.csv", table.encode())}).json()
    assert (imported["added"], [row["reason"] for row in imported["rejected"]]) == (
        1,
        ["emergency", "until_invalid"],
    )
    exported = client.send("GET", "/stop-list/export")
    assert exported.headers["content-type"].startswith("text/csv")
    assert exported.text.splitlines() == [
        "number,reason,until",
        "+70001230001,просил,2026-12-31 12:00:00",
        "+70001230002,'=1+1,2027-01-01 00:00:00",
    ]
    client.ok("DELETE", "/stop-list/+70001230001", status=204)
    assert client.send("GET", "/stop-list/+70001230001").status_code == 404
    assert client.ok("GET", "/stop-list")["total"] == 1


@pytest.mark.usefixtures("callers")
def test_a_flash_call_ends_in_its_code(client: Client) -> None:
    drawn = client.ok("POST", "/flash-calls", {"number": "+70001230001", "digits": 4}, status=201)
    assert list(drawn) == ["id", "code", "number"]
    assert len(drawn["code"]) == 4
    own = client.ok("POST", "/flash-calls", {"number": "+70001230001", "code": "0421"}, status=201)
    assert (own["code"], own["number"]) == ("0421", "+70001230001")
    assert client.ok("GET", f"/flash-calls/{own['id']}")["code"] == "0421"
    refused = client.send("POST", "/flash-calls", {"number": "+70001230001", "code": "12345678"})
    assert list(refused.json()["errors"]) == ["code"]
    assert client.ok("GET", "/autocalls")["total"] == 0
    assert client.send("GET", f"/test-calls/{own['id']}").status_code == 404


def test_without_money_nobody_is_flashed(house: House) -> None:
    poor = Client(house, house.tenant(balance="0"))
    assert poor.send("POST", "/flash-calls", {"number": "+70001230001"}).status_code == 402


def test_ones_own_number_is_called_five_times_a_day_and_no_more(client: Client) -> None:
    body = {"number": "+70001230000", "audio_id": TEXT}
    made = client.ok("POST", "/test-calls", body, status=201)
    assert (made["number"], made["status"]) == ("+70001230000", "awaiting")
    assert client.ok("GET", f"/test-calls/{made['id']}") == made
    for _ in range(4):
        client.ok("POST", "/test-calls", body, status=201)
    assert client.send("POST", "/test-calls", body).status_code == 429
    lacking = {"number": "+70001230001", "audio_id": [{"data": {"text": "{{name}}"}}]}
    assert list(client.send("POST", "/test-calls", lacking).json()["errors"]) == ["variables.name"]
    assert client.ok("GET", "/autocalls")["total"] == 0


def test_anybody_may_read_the_tariffs(house: House) -> None:
    for path in ("/api/v1/public/tariffs", "/api/public/tariffs"):
        told = house.send("GET", path)
        assert told.status_code == 200
        by_prefix = {rate["prefix"]: rate for rate in told.json()["data"]}
        rates = {rate.prefix: rate for rate in house.run(accounts.default_rates(house.db))}
        assert Decimal(by_prefix["7"]["per_minute"]) == rates["7"].per_minute


def test_a_path_says_what_may_be_asked_of_it(client: Client) -> None:
    assert client.send("OPTIONS", "/autocalls").headers["allow"] == "GET, OPTIONS, POST"
    refused = client.send("DELETE", "/autocalls")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, OPTIONS, POST")
    assert list(refused.json()) == ["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"name":' + b"[" * 5000, b'{"list_id": {"a": 1}}'],
)
@pytest.mark.parametrize(
    "path", ["/autocalls", "/lists", "/scenarios", "/audio", "/stop-list", "/flash-calls"]
)
def test_whatever_bytes_come_the_answer_has_a_shape(client: Client, path: str, body: bytes) -> None:
    answer = client.send("POST", path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (422, ["message", "errors"])


def test_messages_are_russian_where_the_client_prefers_it(client: Client) -> None:
    refused = client.send("POST", "/scenarios", {}, headers={"accept-language": "ru"})
    assert refused.json()["message"].startswith("Поле name обязательно.")
