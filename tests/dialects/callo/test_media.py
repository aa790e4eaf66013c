"""Do clips and recordings play under the reference's URLs, in parts too, and to nobody who has not their key?"""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
import soundfile  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plant import tone
from tests.sounds import sound

from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects import files
from zvonar.dialects.callo import media
from zvonar.dialects.callo.routes import PREFIXES

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

API = PREFIXES[0]
BUSY = Outcome(disposition=Disposition.busy)
TALKED = Outcome(disposition=Disposition.answered, script_result=ScriptResult.completed, talk_seconds=3)
MACHINE = Outcome(disposition=Disposition.answered, script_result=ScriptResult.machine, talk_seconds=1)


@pytest.fixture(scope="module")
def owner(house: House) -> Tenant:
    return house.tenant()


@pytest.fixture(scope="module")
def clip(house: House, owner: Tenant) -> str:
    """The URL of an uploaded clip of more than one block."""
    answer = house.send(
        "POST",
        f"{API}/audio/upload/",
        data={"public_key": owner.callo, "clip_name": "long"},
        files={"clip_file": ("a", sound(40.0))},
    )
    url = answer.json()["url"]
    assert isinstance(url, str)
    return url


@pytest.fixture(scope="module")
def whole(house: House, clip: str) -> bytes:
    content = house.send("GET", clip).content
    assert len(content) > 2 * files.BLOCK
    return content


def call(house: House, tenant: Tenant, *outcomes: tuple[Outcome, bool]) -> dict[str, Any]:
    """The row of a call whose attempts ended like this, recorded or not."""
    campaign_id = house.campaign(tenant, attempts=len(outcomes))
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    call_id = house.send("POST", f"{API}/phones/call/", data=form).json()["call_id"]
    past: tuple[Outcome, ...] = ()
    for number, (outcome, recorded) in enumerate(outcomes, start=1):
        house.dial(tenant, campaign_id, outcome, attempts=len(outcomes), history=past, recorded=recorded)
        if recorded:
            tone(house.recordings / f"{call_id}.{number}.1.wav", float(number))
        past = (*past, outcome)
    query = {"public_key": tenant.callo, "call_id": call_id, "expand": "1"}
    [row] = house.send("GET", f"{API}/phones/call_by_id/", params=query).json()
    assert isinstance(row, dict)
    return row


def test_a_range_is_that_part_of_the_clip(house: House, clip: str, whole: bytes) -> None:
    size = len(whole)
    for asked, first, last in (
        ("bytes=0-1", 0, 1),
        (f"bytes=100-{files.BLOCK + 7}", 100, files.BLOCK + 7),
        ("bytes=-44", size - 44, size - 1),
        (f"bytes={size - 1}-", size - 1, size - 1),
    ):
        answer = house.send("GET", clip, headers={"range": asked})
        assert answer.status_code == 206
        assert answer.content == whole[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["content-type"] == "audio/wav"


def test_the_whole_clip_says_that_it_can_be_had_in_parts_and_how_long_it_may_be_kept(
    house: House, clip: str, whole: bytes
) -> None:
    answer = house.send("GET", clip)
    assert (answer.status_code, answer.content) == (200, whole)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(whole))
    assert answer.headers["cache-control"] == "private, max-age=86400"
    assert answer.headers["etag"].startswith('"')
    assert answer.headers["last-modified"].endswith("GMT")


def test_head_says_the_same_and_sends_nothing(house: House, clip: str) -> None:
    got = house.send("GET", clip)
    for headers in ({}, {"range": "bytes=0-1"}):
        asked = house.send("HEAD", clip, headers=headers)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers == got.headers


def test_a_part_that_is_not_there_is_416_with_the_size(house: House, clip: str, whole: bytes) -> None:
    answer = house.send("GET", clip, headers={"range": f"bytes={len(whole)}-"})
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    assert answer.headers["content-length"] == "0"


def test_several_ranges_get_the_whole(house: House, clip: str, whole: bytes) -> None:
    answer = house.send("GET", clip, headers={"range": "bytes=0-1,5-6"})
    assert (answer.status_code, answer.content) == (200, whole)


def test_a_download_goes_on_only_if_the_file_is_the_same(house: House, clip: str, whole: bytes) -> None:
    tag = house.send("HEAD", clip).headers["etag"]
    same = house.send("GET", clip, headers={"range": "bytes=5-", "if-range": tag})
    assert (same.status_code, same.content) == (206, whole[5:])
    other = house.send("GET", clip, headers={"range": "bytes=5-", "if-range": '"other"'})
    assert (other.status_code, other.content) == (200, whole)


def test_who_has_it_already_is_told_so(house: House, clip: str) -> None:
    first = house.send("HEAD", clip).headers
    for headers in ({"if-none-match": first["etag"]}, {"if-modified-since": first["last-modified"]}):
        answer = house.send("GET", clip, headers=headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first["etag"]


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 600_000), max_size=4))
def test_parts_that_follow_one_another_make_up_the_clip(
    house: House, clip: str, whole: bytes, cuts: list[int]
) -> None:
    ends = sorted({cut for cut in cuts if cut < len(whole)} | {len(whole)})
    begin, heard = 0, b""
    for end in ends:
        answer = house.send("GET", clip, headers={"range": f"bytes={begin}-{end - 1}"})
        assert answer.status_code == 206
        heard += answer.content
        begin = end
    assert heard == whole


def test_a_clip_opens_to_its_own_key_alone(house: House, clip: str) -> None:
    path = httpx.URL(clip).path
    _, _, form, account, number, name = path.split("/")
    key = name.removesuffix(".wav")
    flipped = ("0" if key[0] != "0" else "1") + key[1:]
    for wrong in (
        f"/media/{form}/{account}/{number}/{flipped}.wav",
        f"/media/{form}/{account}/{number}/{key[:-1]}.wav",
        f"/media/{form}/{account}/{number}/{key}0.wav",
        f"/media/{form}/{account}/{number}/{key.upper()}.wav",
        f"/media/{form}/{account}/{number}/.wav",
        f"/media/{form}/{account}/{number}/ключ.wav",
        f"/media/original/{account}/{number}/{key}.wav",
        f"/media/other/{account}/{number}/{key}.wav",
        f"/media/{form}/{account}/{int(number) + 1}/{key}.wav",
        f"/media/{form}/{int(account) + 1}/{number}/{key}.wav",
        f"/media/{form}/{account}/0{number}/{key}.wav",
        f"/media/{form}/{account}/{'9' * 30}/{key}.wav",
        f"/media/{form}/{account}/x/{key}.wav",
        f"/media/{form}/{account}/{number}/{key}.mp3",
        f"/media/{form}/{account}/{number}/{key}",
        f"/media/{form}/{account}/{number}/{key}.wav/..%2f..%2fsecret",
        f"/media/{form}/{account}/{number}/..%2f{key}.wav",
        f"/media/{form}/..%2f..%2fetc/passwd",
    ):
        assert house.send("GET", wrong).status_code == 404, wrong
    assert house.send("GET", path).status_code == 200


def test_the_key_of_one_clip_opens_no_other_and_no_recording() -> None:
    few = (1, 11, 111)
    clips = [
        media.clip_key(b"s", account, clip, form)
        for account, clip in product(few, few)
        for form in ("original", "converted")
    ]
    recordings = [media.recording_key(b"s", *which) for which in product(few, few, few)]
    keys = [*clips, *recordings, media.recording_key(b"t", 1, 1, 1)]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 for key in keys)


def test_posting_to_a_recording_is_not_allowed(house: House, clip: str) -> None:
    assert house.send("POST", clip).status_code == 405


def test_a_file_of_ours_that_is_lost_is_404_and_one_we_cannot_make_503(
    house: House, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise FileNotFoundError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lost)
        assert house.send("GET", clip).status_code == 404

    async def fails(*_: object, **__: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(type(house.library), "converted", fails)
        answer = house.send("GET", clip)
        assert (answer.status_code, answer.headers["cache-control"]) == (503, "no-store")


def test_the_recording_of_a_call_is_that_of_its_last_recorded_attempt(house: House, tenant: Tenant) -> None:
    row = call(house, tenant, (MACHINE, True), (BUSY, False))
    first, second = row["attempts"]
    assert row["recorded_audio"] == first["recorded_audio"] is not None
    assert second["recorded_audio"] is None
    row = call(house, tenant, (MACHINE, True), (TALKED, True))
    first, second = row["attempts"]
    assert row["recorded_audio"] == second["recorded_audio"] != first["recorded_audio"]
    call_id = row["call_id"]
    for attempt, seconds in ((first, 1.0), (second, 2.0)):
        url = attempt["recorded_audio"]
        assert url.endswith(f"/{tenant.account.account_id}/{call_id}/{call_id}.{attempt['attempt_num']}.mp3")
        played = house.send("GET", url)
        assert (played.status_code, played.headers["content-type"]) == (200, "audio/mpeg")
        assert played.headers["cache-control"] == "private, no-cache"
        heard = soundfile.info(io.BytesIO(played.content))
        assert (heard.format, heard.duration) == ("MP3", pytest.approx(seconds, abs=0.2))
        part = house.send("GET", url, headers={"range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, played.content[10:20])


def test_a_call_that_was_not_recorded_has_no_recording(house: House, tenant: Tenant) -> None:
    row = call(house, tenant, (TALKED, False))
    assert row["recorded_audio"] is None
    assert row["attempts"][0]["recorded_audio"] is None
    account_id, call_id = tenant.account.account_id, row["call_id"]
    url = media.recording_url(
        b"a secret", "", account_id=account_id, call_id=call_id, attempt=1, recording="x"
    )
    assert url is not None
    assert house.send("GET", url).status_code == 404
    assert (
        media.recording_url(b"", "", account_id=account_id, call_id=call_id, attempt=1, recording=None)
        is None
    )


def test_the_references_other_form_plays_what_asterisk_wrote(house: House, tenant: Tenant) -> None:
    row = call(house, tenant, (TALKED, True))
    account_id, call_id = tenant.account.account_id, row["call_id"]
    key = media.recording_key(b"a secret", account_id, call_id, 1)
    url = f"/manager/cdr/record/{account_id}/{call_id}.1/"
    written = (house.recordings / f"{call_id}.1.1.wav").read_bytes()
    for variant in (url, url.rstrip("/")):
        played = house.send("GET", variant, params={"key": key})
        assert (played.status_code, played.content) == (200, written)
        assert played.headers["content-type"] == "audio/wav"
    for wrong in (
        url,
        f"{url}?key=",
        f"{url}?key=%ED%A0%80",
        f"{url}?key=%FF",
        f"{url}?key={key[:-1]}",
        f"/manager/cdr/record/{account_id}/{call_id}.2/?key={key}",
        f"/manager/cdr/record/{account_id}/{call_id}/?key={key}",
        f"/manager/cdr/record/{account_id}/{call_id}.1.wav/?key={key}",
        f"/manager/cdr/record/{account_id + 1}/{call_id}.1/?key={key}",
        f"/manager/directcdr/{key}/{account_id}/{call_id}/{call_id}.1",
        f"/manager/directcdr/{key}/{account_id}/{call_id}/{call_id}.1.wav",
        f"/manager/directcdr/{key}/{account_id}/{call_id + 1}/{call_id}.1.mp3",
        f"/manager/directcdr/{key}/{account_id}/{call_id}/{call_id}.2.mp3",
        f"/manager/directcdr/{key[1:]}/{account_id}/{call_id}/{call_id}.1.mp3",
        f"/manager/directcdr/{key}/{account_id}/{call_id}/{call_id}.1.mp3.mp3",
    ):
        assert house.send("GET", wrong).status_code == 404, wrong


def test_a_recording_whose_file_is_gone_is_404(house: House, tenant: Tenant) -> None:
    row = call(house, tenant, (TALKED, True))
    (house.recordings / f"{row['call_id']}.1.1.wav").unlink()
    assert house.send("GET", row["recorded_audio"]).status_code == 404


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.text(max_size=12), max_size=5),
    under=st.sampled_from(["/media", "/manager/cdr/record", "/manager/directcdr"]),
)
def test_any_other_url_is_404(house: House, parts: list[str], under: str) -> None:
    path = "/".join([under, *(quote(part.encode("utf-8", "surrogatepass"), safe="") for part in parts)])
    assert house.send("GET", path).status_code in (404, 405)


@pytest.mark.parametrize(
    "host", ["", "[", "house.test:99999", "x" * 5000, "@", "%", "a_b", "[::1]:8700", "a b"]
)
def test_no_host_that_a_client_names_breaks_an_answer(house: House, tenant: Tenant, host: str) -> None:
    row = call(house, tenant, (TALKED, True))
    query = {"public_key": tenant.callo, "call_id": row["call_id"]}
    answer = house.send("GET", f"{API}/phones/call_by_id/", params=query, headers={"host": host})
    if " " in host and answer.status_code == 400:
        return  # the server itself may refuse this one; whom it lets through we serve
    url = httpx.URL(answer.json()[0]["recorded_audio"])
    assert url.is_absolute_url
    assert house.send("GET", url.path).status_code == 200
