"""Is what somebody uploads what the callee hears, and can what was said be listened to afterwards?"""

import contextlib
import io
import json
import urllib.request
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import soundfile  # type: ignore[import-untyped]
from tests.sounds import sound

from zvonar.line.asterisk import town

from .dialling import Dialling
from .house import House
from .processes import PATIENCE

API = "/manager/cabapi_external/api/v1"
TONE = 440  # Hz, of `sounds.sound`
SETTINGS = {
    "record": True,
    "window": {"start": "00:00:00", "end": "00:00:00"},
    "ring_timeout": 5,
    "max_call_time": 30,
}


def asked(house: House, path: str, **fields: Any) -> Any:
    query = urlencode({"public_key": house.account["callo_public_key"], **fields})
    status, body = house.get(f"{API}{path}?{query}")
    assert status == 200, (body, house.serving and house.serving.said.splitlines()[-20:])
    return json.loads(body)


def upload(house: House, data: bytes) -> dict[str, Any]:
    key = house.account["callo_public_key"]
    head = 'Content-Disposition: form-data; name="'
    body = (
        f'--x\r\n{head}clip_file"; filename="a.flac"\r\n\r\n'.encode()
        + data
        + f'\r\n--x\r\n{head}public_key"\r\n\r\n{key}\r\n--x\r\n{head}clip_name"\r\n\r\ntone\r\n--x--\r\n'.encode()
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{house.port}{API}/audio/upload/",
        data=body,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        document = json.loads(answer.read())
        assert isinstance(document, dict)
        return document


def fetched(url: str, **headers: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as answer:
        return answer.status, answer.read()


def answered(
    method: str, url: str, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """Whatever comes back on one connection that is asked twice, so that nothing of the first is left in it."""
    where = urlsplit(url)
    connection = HTTPConnection(where.netloc, timeout=PATIENCE)
    with contextlib.closing(connection):
        for _ in range(2):
            connection.request(method, f"{where.path}?{where.query}", headers=headers or {})
            answer = connection.getresponse()
            body = answer.read()
        return answer.status, body, {name.lower(): value for name, value in answer.getheaders()}


def loudest(samples: "np.ndarray[Any, Any]", rate: int) -> float:
    """The frequency in Hz that most of the sound has."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def test_an_uploaded_clip_is_heard_and_its_recording_plays(service: House) -> None:
    clip = upload(service, sound(2.0, rate=44_100, channels=2, container="FLAC"))
    assert clip["url"].startswith(f"http://127.0.0.1:{service.port}/media/converted/")
    status, played = fetched(clip["url"])
    assert status == 200
    samples, rate = soundfile.read(io.BytesIO(played))
    assert abs(loudest(samples, rate) - TONE) < 3

    settings = service.room / "recorded.json"
    settings.write_text(json.dumps({**SETTINGS, "callback_url": service.receiver.url("heard")}))
    account = service.account["account_id"]
    made = service.json(
        *("campaign", "add", "--account", account, "--name", "heard", "--settings", settings),
        *("--clip", clip["audioclip_id"]),
    )
    number = town.number(9001, 0, 0)
    listed = service.room / "heard.csv"
    listed.write_text(f"{number}\n")
    service.json("campaign", "import", made["id"], listed)
    Dialling(service, made["id"], "heard", [number]).over()

    call_id = service.value("SELECT call_id FROM calls WHERE campaign_id = %s", made["id"])
    [row] = asked(service, "/phones/call_by_id/", call_id=call_id, expand=1)
    [attempt] = row["attempts"]
    assert row["recorded_audio"] == attempt["recorded_audio"]
    status, recorded = fetched(row["recorded_audio"])
    assert status == 200
    samples, rate = soundfile.read(io.BytesIO(recorded))
    assert soundfile.info(io.BytesIO(recorded)).format == "MP3"
    assert abs(len(samples) / rate - attempt["billsec"]) < 2
    assert abs(loudest(samples, rate) - TONE) < 3
    status, part = fetched(row["recorded_audio"], Range="bytes=100-199")
    assert (status, part) == (206, recorded[100:200])
    assert answered("HEAD", clip["url"])[:2] == (200, b"")
    status, body, headers = answered("HEAD", row["recorded_audio"])
    assert (status, body, headers["content-length"]) == (200, b"", str(len(recorded)))
    same = {"If-None-Match": headers["etag"]}
    assert answered("GET", row["recorded_audio"], same)[:2] == (304, b"")
    far = {"Range": "bytes=99999999-"}
    assert answered("GET", row["recorded_audio"], far)[:2] == (416, b"")
    assert answered("GET", row["recorded_audio"].replace("directcdr/", "directcdr/0"))[0] == 404


def test_a_text_is_spoken_when_somebody_asks_for_it(service: House) -> None:
    made = service.json(
        *("campaign", "add", "--account", service.account["account_id"], "--name", "told", "--paused"),
        *("--text", "Здравствуйте!"),
    )
    call = asked(service, "/phones/call/", campaign_id=made["id"], phone=town.number(9002, 0, 0))
    info = asked(service, "/audio/info/", audioclip_id=call["audioclip_id"])
    assert (info["text"], info["clip_type"]) == ("Здравствуйте!", "synth")
    assert 0.5 < info["length_val"] < 5
    status, played = fetched(info["converted_url"])
    assert status == 200
    samples, rate = soundfile.read(io.BytesIO(played))
    assert abs(len(samples) / rate - info["length_val"]) < 0.06
