"""Does an uploaded recording become a clip that plays, and everything else a form error on `clip_file`?"""

from __future__ import annotations

import io
import re
import wave
import zipfile
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sounds import silence, sine, sound

from zvonar.core.campaign import Voice
from zvonar.core.script import Prompt
from zvonar.dialects.callo import ours
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.dialer.prompts import Prompts
from zvonar.speech import converter, formats
from zvonar.speech.converter import Converter
from zvonar.speech.library import Library
from zvonar.store import clips

if TYPE_CHECKING:
    from pathlib import Path

    from tests.dialects.conftest import House, Tenant

UPLOAD = PREFIXES[0] + "/audio/upload/"
INFO = PREFIXES[1] + "/audio/info/"
GOOD = sound(3.3, rate=44_100, channels=2)


@pytest.fixture(scope="module")
def owner(house: House) -> Tenant:
    return house.tenant()


def upload(
    house: House, tenant: Tenant, data: bytes, *, file_name: str = "hello.wav", **fields: Any
) -> httpx.Response:
    form = {"public_key": tenant.callo, "clip_name": "greeting", **fields}
    return house.send("POST", UPLOAD, data=form, files={"clip_file": (file_name, data, "audio/wav")})


def ask(house: House, tenant: Tenant, clip_id: object, **options: Any) -> httpx.Response:
    query = {"public_key": tenant.callo, "audioclip_id": clip_id, "campaign_id": "any"}
    return house.send("GET", INFO, params=query, **options)


def uploaded(house: House, tenant: Tenant, data: bytes = GOOD, **fields: Any) -> int:
    answer = upload(house, tenant, data, **fields)
    assert answer.status_code == 200, answer.text
    clip_id = answer.json()["audioclip_id"]
    assert isinstance(clip_id, int)
    return clip_id


def is_refused(answer: httpx.Response, said: str) -> None:
    assert (answer.status_code, answer.json()) == (400, {"status": "error", "data": said})


def clips_of(house: House, tenant: Tenant) -> int:
    where = {"account_id": tenant.account.account_id}
    found = house.run(
        house.db.value("SELECT count(*)::int FROM clips WHERE account_id = %(account_id)s", where)
    )
    assert isinstance(found, int)
    return found


def telephone(data: bytes) -> float:
    """How many seconds a WAV of the telephone's plays."""
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        return file.getnframes() / 8000


def test_an_upload_answers_as_the_sample_and_its_url_plays(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    answer = upload(house, tenant, GOOD, speaker="Анна", text="Приветствие").json()
    sample = golden("audio_upload.json")
    assert list(answer) == list(sample)
    assert [type(answer[name]) for name in sample] == [type(value) for value in sample.values()]
    assert answer["length"] == 3.3
    shape = r"http://house\.test/media/converted/\d+/\d+/[0-9a-f]{32}\.wav\?\d+\.\d{6}"
    assert re.fullmatch(shape, answer["url"])
    played = house.send("GET", answer["url"])
    assert (played.status_code, played.headers["content-type"]) == (200, "audio/wav")
    assert telephone(played.content) == pytest.approx(3.3, abs=0.01)


def test_what_is_known_of_a_text_answers_as_the_sample_and_its_urls_play(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    account_id = tenant.account.account_id
    voice = Voice(language="en", name="m3")
    clip = house.run(clips.put_text(house.db, account_id, "Example AudioClip Text", voice, now=house.clock))
    answer = ask(house, tenant, clip.clip_id).json()
    sample = golden("audio_info.json")
    assert list(answer) == list(sample)
    assert [type(answer[name]) for name in sample] == [type(value) for value in sample.values()]
    assert (answer["audioclip_id"], answer["text"]) == (clip.clip_id, sample["text"])
    assert (answer["clip_type"], answer["speaker_name"]) == ("synth", "m3")
    for name in ("converted_url", "original_url"):
        played = house.send("GET", answer[name])
        assert telephone(played.content) == pytest.approx(answer["length_val"], abs=0.06)


def test_what_is_known_of_an_upload_is_what_was_said_of_it(house: House, tenant: Tenant) -> None:
    data = sound(1.5, container="MP3")
    clip_id = uploaded(house, tenant, data, clip_name="Зов", speaker="Анна", text="Описание")
    answer = ask(house, tenant, clip_id).json()
    assert (answer["clip_name"], answer["clip_type"], answer["text"], answer["speaker_name"]) == (
        "Зов",
        "upload",
        "Описание",
        "Анна",
    )
    assert answer["length_val"] == pytest.approx(1.5, abs=0.1)
    original = house.send("GET", answer["original_url"])
    assert (original.headers["content-type"], original.content) == ("audio/mpeg", data)
    assert telephone(house.send("GET", answer["converted_url"]).content) > 1


def test_speaker_and_description_may_be_left_out(house: House, tenant: Tenant) -> None:
    answer = ask(house, tenant, uploaded(house, tenant)).json()
    assert (answer["text"], answer["speaker_name"]) == ("", "")


@pytest.mark.parametrize(
    ("container", "subtype", "rate", "kind"),
    [
        ("WAV", "PCM_16", 8000, "audio/wav"),
        ("WAV", "PCM_24", 96_000, "audio/wav"),
        ("WAV", "FLOAT", 48_000, "audio/wav"),
        ("WAV", "ALAW", 8000, "audio/wav"),
        ("MP3", None, 44_100, "audio/mpeg"),
        ("OGG", "VORBIS", 44_100, "audio/ogg"),
        ("OGG", "OPUS", 48_000, "audio/ogg"),
        ("FLAC", None, 16_000, "audio/flac"),
    ],
)
def test_each_promised_format_is_taken_whatever_its_file_is_called(
    house: House, tenant: Tenant, container: str, subtype: str | None, rate: int, kind: str
) -> None:
    data = sound(1.0, rate=rate, container=container, subtype=subtype)
    clip_id = uploaded(house, tenant, data, file_name="../../evil.php")
    answer = ask(house, tenant, clip_id).json()
    assert answer["length_val"] == pytest.approx(1.0, abs=0.1)
    original = house.send("GET", answer["original_url"])
    assert (original.content, original.headers["content-type"]) == (data, kind)
    assert original.headers["x-content-type-options"] == "nosniff"


def not_numbers() -> bytes:
    samples = sine(1.0)
    samples[4000] = np.nan
    return sound(samples=samples, subtype="FLOAT")


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.wav", GOOD)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"\0", "format"),
        (zipped(), "format"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(1000), "format"),
        (sound(container="AIFF"), "format"),
        (sound(channels=16), "format"),
        (sound(rate=2000), "format"),
        (sound(samples=np.zeros(0, np.float32)), "empty"),
        (half(GOOD), "broken"),
        (half(sound(3.0, container="MP3", rate=44_100)), "broken"),
        (half(sound(3.0, container="FLAC")), "broken"),
        (GOOD[:44], "broken"),
        (not_numbers(), "broken"),
        (sound(samples=sine(1.0, level=3.3e38), channels=2, subtype="FLOAT"), "broken"),
        (b"RIFF" + bytes(1000), "format"),
        (b"RIFF\0\0\0\0WAVE" + bytes(1000), "broken"),
        (sound(0.05), "too_short"),
        (silence(7200), "too_long"),
        (silence(1801), "too_long"),
        (silence(1800, rate=96_000, channels=2), "too_costly"),
    ],
)
def test_what_is_not_a_clip_is_a_form_error_and_leaves_nothing(
    house: House, tenant: Tenant, golden: Callable[[str], Any], data: bytes, reason: str
) -> None:
    answer = upload(house, tenant, data)
    is_refused(answer, golden("clip_file_rejected.json")[reason])
    assert clips_of(house, tenant) == 0


def test_half_an_hour_is_taken(house: House, tenant: Tenant) -> None:
    answer = upload(house, tenant, silence(1800)).json()
    assert answer["length"] == 1800.0
    assert len(house.send("HEAD", answer["url"]).content) == 0


def test_a_file_that_is_too_large_is_read_to_its_end_and_refused(
    house: House, tenant: Tenant, golden: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvonar.dialects.callo.requests.audio.LARGEST", 100_000)
    is_refused(upload(house, tenant, GOOD), golden("clip_file_rejected.json")["too_large"])
    assert upload(house, tenant, GOOD[:100_000]).json()["data"] != ""


def test_everything_that_is_missing_is_said_at_once(house: House, golden: Callable[[str], Any]) -> None:
    missing = golden("clip_file_rejected.json")["missing"]
    is_refused(house.send("GET", UPLOAD), missing)
    is_refused(house.send("POST", UPLOAD), missing)
    is_refused(house.send("POST", UPLOAD, data={"clip_file": "a name"}), missing)
    is_refused(house.send("POST", UPLOAD, content=b"RIFF", headers={"content-type": "audio/wav"}), missing)
    is_refused(house.send("POST", UPLOAD, files={"clip_file": ("", b"")}), missing)


def test_a_text_called_clip_file_is_no_file(house: House, tenant: Tenant) -> None:
    fields = {"public_key": (None, tenant.callo), "clip_name": (None, "x"), "clip_file": (None, "RIFF")}
    answer = house.send("POST", UPLOAD, files=fields)
    is_refused(answer, "Form isn't valid: * clip_file\n  * This field is required.")


def test_a_wrong_key_is_said_though_the_file_is_good(house: House, tenant: Tenant) -> None:
    answer = upload(house, tenant, GOOD, public_key="nobody's")
    is_refused(answer, "Form isn't valid: * public_key\n  * Invalid public key.")


def test_fields_may_stand_in_the_query_beside_the_file(house: House, tenant: Tenant) -> None:
    query = {"public_key": tenant.callo, "clip_name": "Имя"}
    answer = house.send("POST", UPLOAD, params=query, files={"clip_file": ("a", GOOD), "other": ("b", GOOD)})
    assert answer.status_code == 200, answer.text
    assert ask(house, tenant, answer.json()["audioclip_id"]).json()["clip_name"] == "Имя"


def test_refusals_are_said_in_russian_too(house: House, tenant: Tenant) -> None:
    for reason, said in (("", "Отправленный файл пуст."), ("x", "Файл не является аудио")):
        answer = house.send(
            "POST",
            UPLOAD,
            data={"public_key": tenant.callo, "clip_name": "x"},
            files={"clip_file": ("x", reason.encode())},
            headers={"accept-language": "ru"},
        )
        assert f"* clip_file\n  * {said}" in answer.json()["data"]


def test_the_same_recording_sent_again_is_the_same_clip_and_another_name_another(
    house: House, tenant: Tenant
) -> None:
    first = upload(house, tenant, GOOD)
    assert upload(house, tenant, GOOD).json() == first.json()
    assert upload(house, tenant, GOOD, clip_name="other").json() != first.json()
    assert upload(house, tenant, GOOD, text="other").json() != first.json()
    stranger = house.tenant()
    assert uploaded(house, stranger) != first.json()["audioclip_id"]


def test_a_clip_is_its_accounts_alone(house: House, tenant: Tenant, golden: Callable[[str], Any]) -> None:
    clip_id = uploaded(house, tenant)
    answer = ask(house, house.tenant(), clip_id)
    is_refused(answer, golden("clip_file_rejected.json")["clip_missing"].replace("1", str(clip_id)))


@pytest.mark.parametrize(
    ("clip_id", "said"),
    [
        ("1", "Audioclip by id=1 don't found"),
        ("9" * 40, f"Audioclip by id={'9' * 40} don't found"),
        ("-1", "Audioclip by id=-1 don't found"),
        ("", "Form isn't valid: * audioclip_id\n  * This field is required."),
        ("x", "Form isn't valid: * audioclip_id\n  * Enter a whole number."),
    ],
)
def test_a_clip_that_is_not_there_is_said(house: House, tenant: Tenant, clip_id: str, said: str) -> None:
    is_refused(ask(house, tenant, clip_id), said)


def test_a_text_that_no_voice_can_speak_is_said(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    account_id = tenant.account.account_id
    clip = house.run(clips.put_text(house.db, account_id, "\u00ad", Voice(), now=house.clock))
    is_refused(ask(house, tenant, clip.clip_id), golden("clip_file_rejected.json")["clip_unspoken"])


def test_an_accepted_clip_outlives_the_machines_disk_and_is_what_a_campaign_plays(
    house: House, tenant: Tenant, tmp_path: Path
) -> None:
    clip_id = uploaded(house, tenant, text="a description is not what is heard")
    elsewhere = Library(house.db, house.library._cache, directory=tmp_path / "uploads", converter=Converter())
    prompts = Prompts(house.db, elsewhere)
    prompt = Prompt(clip_id=clip_id)

    def files() -> Path:
        return house.run(prompts.files(tenant.account.account_id, Voice(), [prompt]))[prompt]

    played = files()
    heard = played.read_bytes()
    assert played.is_relative_to(tmp_path)
    assert telephone(heard) == pytest.approx(3.3, abs=0.01)
    assert files() == played
    played.unlink()
    assert files().read_bytes() == heard


def test_a_decoder_that_dies_costs_its_file_alone(
    house: House, tenant: Tenant, golden: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = golden("clip_file_rejected.json")

    def dies(code: int) -> None:
        async def run(*_: object) -> int:
            return code

        monkeypatch.setattr(converter, "_run", run)

    dies(-11)
    is_refused(upload(house, tenant, GOOD), said["broken"])
    dies(-24)
    is_refused(upload(house, tenant, GOOD), said["too_costly"])
    dies(1)
    answer = upload(house, tenant, GOOD)
    assert (answer.status_code, answer.json()["status"]) == (503, "error")
    monkeypatch.undo()
    assert uploaded(house, tenant)


def test_created_is_the_urls_time(house: House, tenant: Tenant) -> None:
    url = upload(house, tenant, GOOD).json()["url"]
    assert float(url.partition("?")[2]) == pytest.approx(house.clock.astimezone(UTC).timestamp())


SEEDS = [sound(0.3, container=name) for name in ("WAV", "MP3", "OGG", "FLAC")]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    length=st.integers(0, 20_000),
    changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
)
def test_any_damaged_file_is_a_clip_or_a_form_error(
    house: House, seed: bytes, length: int, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(seed[:length])
    for position, value in changes:
        if damaged:
            damaged[position % len(damaged)] = value
    tenant = house.tenant()
    picture = house.picture()
    answer = upload(house, tenant, bytes(damaged))
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert answer.json()["data"].startswith("Form isn't valid: * clip_file\n  * ")
        assert house.picture() == picture


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=300), cut=st.integers(0, 400))
def test_any_multipart_bytes_get_a_shaped_answer(house: House, body: bytes, cut: int) -> None:
    written = (
        b'--x\r\nContent-Disposition: form-data; name="clip_file"; filename="a"\r\n\r\n' + body + b"\r\n--x--"
    )[: -cut or None]
    picture = house.picture()
    answer = house.send(
        "POST", UPLOAD, content=written, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400
    assert list(answer.json()) == ["status", "data"]
    assert house.picture() == picture


NAMES = ["public_key", "clip_name", "clip_file", "speaker", "text", "audioclip_id", "campaign_id", ""]
KINDS = [
    b"multipart/form-data; boundary=x",
    b"multipart/form-data",
    b"multipart/form-data; boundary=\xff",
    b"application/x-www-form-urlencoded",
    b"audio/wav",
    b"\x80;=",
    b"",
]


@settings(max_examples=100, deadline=None)
@given(
    path=st.sampled_from([UPLOAD, INFO]),
    fields=st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20), max_size=5),
    body=st.binary(max_size=200),
    kind=st.sampled_from(KINDS),
    keyed=st.booleans(),
)
def test_any_fields_and_any_body_get_a_shaped_answer(
    house: House, owner: Tenant, path: str, fields: dict[str, str], body: bytes, kind: bytes, keyed: bool
) -> None:
    known = {"public_key": owner.callo} if keyed else {}
    query = urlencode({**fields, **known}, errors="surrogatepass")
    picture = house.picture()
    answer = house.send("POST", f"{path}?{query}", content=body, headers={b"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["status", "data"]
    assert house.picture() == picture
    assert clips_of(house, owner) == 0


def test_every_reason_is_said_in_every_language(golden: Callable[[str], Any]) -> None:
    said = {
        reason: {"en": text.en, "ru": text.ru, "uk": text.uk} for reason, text in ours.CLIP_REJECTED.items()
    }
    assert said == golden("clip_rejected.json")
    assert said.keys() == {rejection.reason for rejection in formats.REJECTIONS}
