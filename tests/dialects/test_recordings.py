"""Does a recording play for whoever has its address, in parts too, until its day, and for nobody else?"""

import asyncio
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import soundfile  # type: ignore[import-untyped]
from litestar import Litestar
from tests.conftest import TEMPLATE, at_database
from tests.plant import tone

from zvonar.dialects import recordings
from zvonar.speech.links import RecordingLinks
from zvonar.speech.recordings import Recordings
from zvonar.store.db import Database
from zvonar.store.server import PostgresServer

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
LINKS = RecordingLinks(b"secret")

CALL = """
INSERT INTO accounts (account_id, name, currency, timezone, countries, tariff_id) OVERRIDING SYSTEM VALUE
SELECT 1, 'a', 'RUB', 'UTC', ARRAY['RU'], tariff_id FROM tariffs;
INSERT INTO campaigns (account_id, campaign_id, name, type, status, settings, created_at, updated_at)
VALUES (1, 1, 'c', 'regular', 'paused', '{}', now(), now());
INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, due_at, created_at, updated_at)
VALUES (1, 5, 1, 1, '+79160000005', 'RU', now(), now(), now());
INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, recording) VALUES
    (1, 5, 1, 1, '+79160000005', now(), '5.1.1.wav'), (1, 5, 2, 1, '+79160000005', now(), NULL),
    (1, 5, 3, 1, '+79160000005', now(), '5.3.1.wav');
"""


class Player:
    """The one route over HTTP, on one loop, with a clock that tests move."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.clock = NOW
        self._runner = asyncio.Runner()
        self._db = Database(dsn)
        self._runner.run(self._db.__aenter__())
        self._runner.run(self._db.execute(CALL))
        spool = directory / "spool"
        spool.mkdir()
        tone(spool / "5.1.1.wav", 3.0)
        service = recordings.Service(
            db=self._db,
            recordings=Recordings(spool, made=directory / "made"),
            links=LINKS,
            now=lambda: self.clock,
        )
        self._app: Any = Litestar(route_handlers=list(recordings.routes(service)), logging_config=None)

    def get(self, path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://zvonar") as client:
                return await client.request(method, path, headers=headers)

        return self._runner.run(asked())

    def close(self) -> None:
        self._runner.run(self._db.__aexit__())
        self._runner.close()


@pytest.fixture(scope="module")
def player(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    import psycopg

    here = server.ensure()
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE played TEMPLATE {TEMPLATE}".encode())
    made = Player(at_database(here, "played"), tmp_path_factory.mktemp("sound"))
    yield made
    made.close()


def test_it_plays_whole_and_in_parts(player: Player) -> None:
    path = LINKS.path(1, 5, 1)
    whole = player.get(path)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "audio/mpeg")
    assert whole.headers["accept-ranges"] == "bytes"
    assert abs(soundfile.info(io.BytesIO(whole.content)).duration - 3.0) < 0.2
    part = player.get(path, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    head = player.get(path, method="HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    assert player.get(path, **{"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_it_plays_until_its_day_only(player: Player) -> None:
    path = LINKS.path(1, 5, 1, until=NOW + timedelta(days=7))
    assert player.get(path).status_code == 200
    player.clock = NOW + timedelta(days=7)
    try:
        assert player.get(path).status_code == 404
        assert player.get(LINKS.path(1, 5, 1)).status_code == 200
    finally:
        player.clock = NOW


def test_whatever_else_is_asked_for_is_not_there(player: Player) -> None:
    right = LINKS.path(1, 5, 1)
    _, _, key, _, _, name = right.split("/")
    long = str(2**70)
    for path in (
        LINKS.path(1, 5, 2),  # was not recorded
        LINKS.path(1, 5, 3),  # its file is gone
        LINKS.path(1, 6, 1),  # no such call
        LINKS.path(2, 5, 1),  # somebody else's
        f"/recordings/{key}/0/1/5.2.mp3",
        f"/recordings/{key}/0/2/{name}",
        f"/recordings/{key}/1900000000/1/{name}",
        f"/recordings/{key[:-1]}/0/1/{name}",
        f"/recordings/{'0' * 40}/0/1/{name}",
        f"/recordings/{quote('ключ')}/0/1/{name}",
        f"/recordings/{key}/-1/1/{name}",
        f"/recordings/{key}/00/1/{name}",
        f"/recordings/{key}/{long}/1/{name}",
        f"/recordings/{key}/0/{long}/{name}",
        f"/recordings/{key}/0/1/{long}.1.mp3",
        f"/recordings/{key}/0/1/5.1.wav",
        f"/recordings/{key}/0/1/..%2f..%2fetc%2fpasswd",
        f"/recordings/{key}/0/1/5.1.mp3%00",
        f"/recordings/{key}/0/1/",
    ):
        answer = player.get(path)
        assert answer.status_code == 404, path
        assert answer.content == b"" or b"Not Found" in answer.content
