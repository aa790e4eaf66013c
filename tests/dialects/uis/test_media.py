"""Do recordings play under their links, in parts too, and under nothing else?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from litestar import Litestar
from tests.sounds import sound

from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.dialects.uis.media import Media, media_routes
from zvonar.store import recording_links

from .rpc import PERIOD, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

TALKED: Final = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)
FIELDS: Final = ["communication_id", "call_records", "wav_call_records", "full_record_file_link"]


def recorded(house: House, tenant: Tenant) -> dict[str, Any]:
    """The report's row of a call that was recorded."""
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    assert house.send("POST", PREFIXES[0] + "/phones/call/", data=form).status_code == 200
    call_id = house.dial(tenant, campaign_id, TALKED, recorded=True)
    (house.recordings / f"{call_id}.1.1.wav").write_bytes(sound(0.5))
    [row] = result(house, tenant, "get.calls_report", **PERIOD, fields=FIELDS)["data"]
    return dict(row)


def get(house: House, path: str, **headers: str) -> httpx.Response:
    return house.send("GET", path, headers=headers)


def test_a_recorded_call_plays_under_each_of_its_links(house: House, tenant: Tenant) -> None:
    row = recorded(house, tenant)
    number, [token], [wav_token] = row["communication_id"], row["call_records"], row["wav_call_records"]
    mp3 = get(house, f"/system/media/talk/{number}/{token}/")
    assert (mp3.status_code, mp3.headers["content-type"]) == (200, "audio/mpeg")
    wav = get(house, f"/system/media/wav/{number}/{wav_token}/")
    assert (wav.status_code, wav.headers["content-type"]) == (200, "audio/wav")
    assert wav.content[:4] == b"RIFF"
    full = row["full_record_file_link"]
    assert full.startswith("http://house.test/")
    whole = get(house, full.removeprefix("http://house.test"))
    assert whole.status_code == 200
    assert whole.content == mp3.content
    part = get(house, f"/system/media/wav/{number}/{wav_token}/", range="bytes=4-7")
    assert (part.status_code, part.content) == (206, wav.content[4:8])
    head = house.send("HEAD", f"/system/media/talk/{number}/{token}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(mp3.content))


def test_a_link_opens_one_call_in_one_use(house: House, tenant: Tenant) -> None:
    row = recorded(house, tenant)
    number, [token] = row["communication_id"], row["call_records"]
    assert len(token) == 32
    for path in (
        f"/system/media/talk/{number + 1}/{token}/",
        f"/system/media/talk/{number}/{'0' * 32}/",
        f"/system/media/talk/{number}/{token.upper()}/",
        f"/system/media/talk/{number}/{token}0/",
        f"/system/media/voice_mail/{number}/{token}/",
        f"/system/media/other/{number}/{token}/",
        f"/system/media/talk/{'9' * 30}/{token}/",
        f"/system/media/talk/{2**63}/{token}/",
        f"/system/media/talk/0{number}/{token}/",
        f"/system/media/talk/x/{token}/",
        f"/{number}/{token}",
        f"/{number}/..%2f{token}",
        f"/x/{token}",
    ):
        answer = get(house, path)
        assert answer.status_code == 404, path
        assert token not in answer.text
    assert house.send("POST", f"/system/media/talk/{number}/{token}/").status_code == 405


def test_a_revoked_link_opens_nothing_any_more(house: House, tenant: Tenant) -> None:
    row = recorded(house, tenant)
    number, [token] = row["communication_id"], row["call_records"]
    path = f"/system/media/talk/{number}/{token}/"
    assert get(house, path).status_code == 200
    other = house.tenant().account.account_id
    assert house.run(recording_links.revoke(house.db, other, number, now=house.clock)) == 0
    assert get(house, path).status_code == 200
    account_id = tenant.account.account_id
    assert house.run(recording_links.revoke(house.db, account_id, number, now=house.clock)) >= 1
    assert get(house, path).status_code == 404


def test_a_recording_that_is_gone_is_not_there(house: House, tenant: Tenant) -> None:
    row = recorded(house, tenant)
    for file in house.recordings.iterdir():
        file.unlink()
    assert (
        get(house, f"/system/media/wav/{row['communication_id']}/{row['wav_call_records'][0]}/").status_code
        == 404
    )


@pytest.mark.parametrize(("scheme", "status"), [("http", 308), ("https", 200)])
def test_where_the_public_address_is_encrypted_plain_requests_are_sent_there(
    house: House, tenant: Tenant, scheme: str, status: int
) -> None:
    row = recorded(house, tenant)
    path = f"/system/media/talk/{row['communication_id']}/{row['call_records'][0]}/"
    router = media_routes(house.db, Media(recordings=house.media.recordings), "https://calls.example/")
    app = Litestar([router], openapi_config=None, logging_config=None)

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=f"{scheme}://inside"
        ) as client:
            return await client.get(path)

    answer = house.run(asked())
    assert answer.status_code == status
    if status == 308:
        assert answer.headers["location"] == f"https://calls.example{path}".rstrip("/")
