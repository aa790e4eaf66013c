"""Does `transcribing` show what was said on a recorded call, and `ivr_data` what became of its messages?"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from zvonar.core.reaction import Reaction, Sms
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import Step
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.speech.recognition import RecognitionFailed
from zvonar.speech.recognition.transcribing import HttpTranscriber
from zvonar.speech.recognition.wire import Segment
from zvonar.speech.transcripts import Transcripts
from zvonar.store import transcripts

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

ADD, PATH = PREFIXES[0] + "/phones/call/", PREFIXES[0] + "/phones/call_by_id/"
PRESSED = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)


class Writes:
    """Hears these in every sound, or fails."""

    def __init__(self, *heard: Segment, fails: bool = False) -> None:
        self.heard = list(heard)
        self.fails = fails
        self.asked: list[tuple[bytes, float, str]] = []

    async def transcribe(self, wav: bytes, *, seconds: float, language: str) -> list[Segment]:
        self.asked.append((wav, seconds, language))
        if self.fails:
            raise RecognitionFailed
        return self.heard if len(self.asked) == 1 else [Segment(start=0.5, end=1.0, text="Да")]


@pytest.fixture
def called(house: House, tenant: Tenant) -> Iterator[int]:
    """A call that was recorded, with both of its sides."""
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    call_id = house.send("POST", ADD, data=form).json()["call_id"]
    # What other tests have recorded is none of this one's business.
    house.run(house.db.execute("UPDATE attempts SET recording = NULL"))
    house.dial(tenant, campaign_id, PRESSED, recorded=True)
    for side in ("in", "out"):
        with wave.open(str(house.recordings / f"{call_id}.1.1-{side}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(16000 * (2 if side == "in" else 3)))
    yield call_id
    house.run(house.db.execute("DELETE FROM transcripts"))


def row(house: House, tenant: Tenant, call_id: int) -> dict[str, Any]:
    answer = house.send("GET", PATH, params={"public_key": tenant.callo, "call_id": call_id}).json()
    assert isinstance(answer[0], dict)
    return answer[0]


def write(house: House, writer: Any) -> bool:
    made = Transcripts(house.db, house.recordings, writer, now=lambda: house.clock)
    return house.run(made.one())


def test_each_side_is_written_down_with_its_times(house: House, tenant: Tenant, called: int) -> None:
    assert row(house, tenant, called)["transcribing"] == []
    writer = Writes(
        Segment(start=0.2, end=0.9, text="Здравствуйте"), Segment(start=1.5, end=2.5, text="Нажмите 1")
    )
    assert write(house, writer)
    assert not write(house, writer)
    assert row(house, tenant, called)["transcribing"] == [
        {"normal_text": "Здравствуйте", "channel": 0, "start_time": 0.2, "end_time": 0.9},
        {"normal_text": "Да", "channel": 1, "start_time": 0.5, "end_time": 1.0},
        {"normal_text": "Нажмите 1", "channel": 0, "start_time": 1.5, "end_time": 2.5},
    ]
    assert [(seconds, language) for _, seconds, language in writer.asked] == [(3.0, "ru"), (2.0, "ru")]
    assert all(sound.startswith(b"RIFF") for sound, *_ in writer.asked)
    # The sides had no other purpose.
    assert not list(house.recordings.glob(f"{called}.*-*.wav"))


def test_the_row_has_the_samples_keys(house: House, tenant: Tenant, called: int, golden: Any) -> None:
    assert write(house, Writes(Segment(start=0.2, end=0.9, text="x")))
    said = row(house, tenant, called)["transcribing"]
    assert [list(one) for one in said] == [list(golden("call_by_id.json")[0]["transcribing"][0])] * 2


def test_what_fails_is_tried_again_a_few_times_and_the_field_stays_empty(
    house: House, tenant: Tenant, called: int
) -> None:
    failing = Writes(fails=True)
    for number in range(transcripts.TRIES):
        assert write(house, failing), number
        assert not write(house, failing)  # not at once
        house.clock += transcripts.PATIENCE * 1.01
    assert not write(house, failing)
    assert row(house, tenant, called)["transcribing"] == []
    assert house.run(house.db.value("SELECT error FROM transcripts")) == "RecognitionFailed"


def test_a_recording_without_its_sides_is_no_transcript(house: House, tenant: Tenant, called: int) -> None:
    for path in house.recordings.glob(f"{called}*"):
        path.unlink()
    assert write(house, Writes())
    assert house.run(house.db.value("SELECT error FROM transcripts")) == "SideMissing"


def test_what_is_broken_is_no_transcript(house: House, tenant: Tenant, called: int) -> None:
    (house.recordings / f"{called}.1.1-out.wav").write_bytes(b"RIFFgarbage")
    assert write(house, Writes())
    assert house.run(house.db.value("SELECT error FROM transcripts")) == "SideMissing"


def test_messages_of_a_choice_show_what_became_of_them(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    call_id = house.send("POST", ADD, data=form).json()["call_id"]
    told = Reaction(sms=Sms(text="hi"), webhook="https://example.com/")
    steps = (
        Step(node="1", key="2", reaction=Reaction(goto="1")),
        Step(node="1", key="1", reaction=told),
    )
    house.dial(tenant, campaign_id, PRESSED, steps=steps)
    sent = """
    INSERT INTO reaction_deliveries (account_id, event_id, kind, call_id, attempt, number, state, error, updated_at)
    VALUES (%(account)s, 1, 'reaction.sms', %(call)s, 1, 1, 'dead', 'status', now()),
        (%(account)s, 1, 'reaction.webhook', %(call)s, 1, 1, 'delivered', NULL, now())
    """
    house.run(house.db.execute(sent, {"account": tenant.account.account_id, "call": call_id}))
    [first, second] = row(house, tenant, call_id)["ivr_data"]
    assert "messages" not in first
    assert second["messages"] == [
        {"type": "sms", "status": "dead", "error": "status"},
        {"type": "webhook", "status": "delivered"},
    ]


# An OpenAI-compatible service.


async def asked(behave: Any) -> tuple[list[Segment] | str, list[dict[str, Any]]]:
    """What is made of a service's answer, and what it was asked."""
    got: list[dict[str, Any]] = []

    async def hear(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        got.append({"path": request.path, "key": request.headers.get("Authorization"), **fields})
        return await behave(request)

    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", hear)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        service = HttpTranscriber(
            f"http://127.0.0.1:{runner.addresses[0][1]}/v1/", key="secret", model="whisper-1"
        )
        return await service.transcribe(b"RIFF" + bytes(100), seconds=1.0, language="ru-RU"), got
    except RecognitionFailed as exc:
        return str(exc.detail), got
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_a_service_is_asked_as_its_api_says() -> None:
    async def answer(_: web.Request) -> web.Response:
        segments = [
            {"id": 0, "start": 0.0, "end": 1.234, "text": " Да. "},
            {"start": 2, "end": 3, "text": " "},
        ]
        return web.json_response({"text": "Да.", "duration": 3.0, "segments": segments})

    said, got = await asked(answer)
    assert said == [Segment(start=0.0, end=1.23, text="Да.")]
    assert got[0] == {
        "path": "/v1/audio/transcriptions",
        "key": "Bearer secret",
        "model": "whisper-1",
        "language": "ru",
        "response_format": "verbose_json",
        "timestamp_granularities[]": "segment",
    }


@pytest.mark.asyncio
async def test_a_service_without_times_says_it_all_at_once() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"text": "Да."})

    assert (await asked(answer))[0] == [Segment(start=0.0, end=1.0, text="Да.")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"no", 500, "It answered 500."),
        (b"{}", 429, "It answered 429."),
        (b"<html>", 200, "DecodeError"),
        (b'{"segments": 5}', 200, "ValidationError"),
        (b"", 302, "It answered 302."),
    ],
)
async def test_a_service_on_a_bad_day_is_an_error_with_a_name(body: bytes, status: int, error: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    assert (await asked(answer))[0] == error


@pytest.mark.asyncio
async def test_a_service_that_is_down_is_an_error_with_a_name() -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    service = HttpTranscriber(f"http://127.0.0.1:{port}", key=None, model="x")
    with pytest.raises(RecognitionFailed):
        await service.transcribe(b"RIFF", seconds=1.0, language="ru")
