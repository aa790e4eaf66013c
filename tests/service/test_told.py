"""What does a running service tell? The same in every dialect, numbers to Prometheus, secrets to nobody."""

import json
import re
import urllib.parse
import urllib.request
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from .dialling import PREDICTED
from .house import PROMPT, THANKS, House
from .processes import PATIENCE, kill, until

CALLO = "/manager/cabapi_external/api/v1/phones"
# What each last digit is called: Callo's status and dial status, UIS's finish_reason, autocall's status.
CALLED = {
    **dict.fromkeys("058", ("compl_finished", 19, "success_finish", "success")),
    **dict.fromkeys("19", ("user", 5, "success_finish", "success")),
    "2": ("attempts_exc", 4, "subscriber_busy", "busy"),
    "3": ("attempts_exc", 3, "subscriber_not_responsible", "no_answer"),
    "4": ("attempts_exc", 1, "subscriber_number_problems", "error"),
    "6": ("attempts_exc", 1, "max_out_call_reached", "error"),
    "7": ("compl_nofinished", 10, "subscriber_disconnects", "success"),
}


def post(house: House, path: str, body: bytes, content_type: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{house.port}{path}", body, {"Content-Type": content_type}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def by_callo(house: House, call_ids: list[int]) -> dict[str, Any]:
    query = urllib.parse.urlencode(
        {
            "public_key": house.account["callo_public_key"],
            "call_ids": ",".join(map(str, call_ids)),
            "expand": 1,
        }
    )
    status, body = house.get(f"{CALLO}/call_by_id/?{query}")
    assert status == 200, body
    return {row["phone"]: row for row in json.loads(body)}


def by_uis(house: House, limit: int = 10_000) -> dict[str, Any]:
    now = datetime.now(UTC)
    params = {
        "access_token": house.account["uis_access_token"],
        "date_from": f"{now - timedelta(days=1):%Y-%m-%d %H:%M:%S}",
        "date_till": f"{now + timedelta(days=1):%Y-%m-%d %H:%M:%S}",
        "limit": limit,
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    answer = post(house, "/v2.0", json.dumps(asked).encode(), "application/json")
    return {f"+{row['contact_phone_number']}": row for row in answer["result"]["data"]}


def test_the_dialects_agree_about_every_call(service: House) -> None:
    dialling = service.campaign("01234567890157")
    # One more comes by Callo's own door, while the campaign runs.
    late = "+70009999002"
    form = {"public_key": service.account["callo_public_key"], "campaign_id": dialling.id, "phone": late}
    added = post(
        service,
        f"{CALLO}/call/",
        urllib.parse.urlencode(form).encode(),
        "application/x-www-form-urlencoded",
    )
    dialling.numbers.append(late)
    dialling.over()
    assert dialling.results() == {number: PREDICTED[number[-1]] for number in dialling.numbers}

    heard = service.receiver.calls(dialling.name)
    assert added["call_id"] in heard
    callo = by_callo(service, list(heard))

    def reported() -> dict[str, Any] | None:
        """What the report has, once it has all; it is filled a moment after a call's end."""
        found = by_uis(service)
        return found if set(dialling.numbers) <= set(found) else None

    uis = until(reported, every=0.5)
    assert len(callo) == len(dialling.numbers)
    for number in dialling.numbers:
        row, session = callo[number], uis[number]
        said = heard[row["call_id"]][-1].said["call"]
        assert said["number"] == number
        called = (row["status"], row["dial_status"], session["finish_reason"], said["status"])
        assert called == CALLED[number[-1]], number
        assert row["duration"] == said["duration"] == session["talk_duration"], number
        assert (row["duration"] > 0) == PREDICTED[number[-1]].startswith("answered/"), number
        assert session["is_lost"] == (row["duration"] == 0), number
        (attempt,) = row["attempts"]
        assert said["tries"] == 1
        assert (attempt["billsec"], attempt["status"]) == (row["duration"], row["status"])
        assert Decimal(str(attempt["cost"])) == Decimal(row["cost"])
        assert (Decimal(row["cost"]) > 0) == (row["duration"] > 0), number
        started = datetime.fromisoformat(attempt["created"]).replace(microsecond=0, tzinfo=None)
        assert session["start_time"] == said["last_try_at"] == f"{started}"
    charged = service.value(
        "SELECT -sum(l.amount) FROM ledger l JOIN legs USING (account_id, leg_id)"
        " JOIN calls c USING (account_id, call_id) WHERE c.campaign_id = %s",
        dialling.id,
    )
    assert sum(Decimal(row["cost"]) for row in callo.values()) == charged
    ended = [post.said["autocall"] for post in service.receiver.of(dialling.name) if "autocall" in post.said][
        -1
    ]
    assert (ended["processed"], ended["calls_count"]) == (len(callo), len(callo))
    assert ended["counters"]["duration"] == sum(row["duration"] for row in callo.values())
    assert Decimal(ended["final_cost"]) == charged.quantize(Decimal("0.01"))


def scraped(house: House) -> Counter[str]:
    """Every sample of /metrics by its name and labels."""
    status, body = house.get("/metrics")
    assert status == 200
    samples: Counter[str] = Counter()
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] += sample.value  # type: ignore[assignment]
    return samples


def at_rest_again(house: House) -> Counter[str]:
    """The samples once nothing is up: what is counted after a commit is counted before the line is let go."""
    quiet = (
        "zvonar_lines",
        "zvonar_deliveries_in_flight",
        "zvonar_deliveries_pending",
        "zvonar_events_pending",
    )

    def samples() -> Counter[str] | None:
        found = scraped(house)
        return None if any(found[name] for name in quiet) else found

    return until(samples, about=lambda: {name: scraped(house)[name] for name in quiet})


def test_metrics_agree_with_the_campaign(service: House) -> None:
    # A dialer that dies with lines up must not leave them up for ever.
    disturbed = service.campaign("000")
    until(lambda: disturbed.count("talking") == 3, about=disturbed.standing)
    until(lambda: scraped(service)["zvonar_lines"] == 3)
    kill([service.role("dialer")])
    disturbed.over()

    before = at_rest_again(service)
    dialling = service.campaign("0123456712")
    dialling.over()
    after = at_rest_again(service)
    more = {name: value - before[name] for name, value in after.items() if value != before[name]}
    calls = len(dialling.numbers)
    assert more["zvonar_calls_by_state{state=finished}"] == calls
    results = Counter(dialling.results().values())
    for result, count in results.items():
        disposition, script_result = result.split("/")
        labels = f"disposition={disposition},script_result={script_result}"
        assert more[f"zvonar_attempts_total{{{labels}}}"] == count
        assert more[f"zvonar_calls_by_result{{result={result}}}"] == count
    assert sum(value for name, value in more.items() if name.startswith("zvonar_attempts_total")) == calls
    assert more["zvonar_legs_placed_total{trunk=town}"] == calls
    assert more["zvonar_setup_seconds_count"] == calls
    assert 0 < more["zvonar_setup_seconds_sum"] < 60 * calls
    # A call that found its campaign's second full was leased again.
    assert more["zvonar_lease_lag_seconds_count"] >= calls
    assert 0 < more["zvonar_lease_lag_seconds_sum"] < 60 * calls
    answered = sum(count for result, count in results.items() if result.startswith("answered/"))
    assert more["zvonar_answer_seconds_count"] == answered
    bodies = len({post.event_id for post in service.receiver.of(dialling.name)})
    assert more["zvonar_deliveries_total{kind=autocall}"] == bodies
    assert more["zvonar_delivery_seconds_count"] == bodies
    assert after["zvonar_trunk_channels{trunk=town}"] == 0
    assert after["zvonar_deliveries_pending"] == after["zvonar_events_pending"] == 0
    assert after["zvonar_delivery_lag_seconds"] == 0
    assert after["zvonar_store_up"] == 1


def test_no_log_and_no_metric_knows_a_number_a_word_or_a_key(service: House) -> None:
    """Over everything that earlier tests have put this home through, crashes included."""
    dialling = service.campaign("0123456789")
    keys = [value for value in service.account.values() if isinstance(value, str) and len(value) > 12]
    # Bad requests, too, are nobody's business.
    for path in (
        f"{CALLO}/call/?public_key={keys[0]}&campaign_id={dialling.id}&phone=%2B70001234567x",
        f"{CALLO}/call/?public_key={keys[0]}x&campaign_id={dialling.id}&phone=%2B70001234567",
        f"{CALLO}/call_by_id/?public_key={keys[0]}&call_id=7&phone=%00%ff",
        f"{CALLO}/nowhere/?public_key={keys[0]}",
    ):
        service.get(path)
    dialling.over()
    secrets = [path.read_text() for path in (service.home / "secrets").iterdir()]
    assert len(secrets) >= 3
    words = re.findall(r"\w{4,}", PROMPT + THANKS)
    forbidden = re.compile(
        "|".join(
            [
                r"(?<![.\d])7000\d{7}\b",  # and not the digits of a sum of seconds
                r"7000999\d{4}",
                *words,
                *map(re.escape, (*keys, *secrets, service.receiver.url(""))),
            ]
        )
    )
    files = [
        path
        for place in (service.home / "log", service.home / "gateway/log", service.room / "printed")
        for path in place.rglob("*")
        if path.is_file()
    ]
    names = {path.name for path in files}
    assert {"postgres.log", "channels.csv", "messages.log"} <= names, names
    said = {path: path.read_text(errors="replace") for path in files}
    said[Path("/metrics")] = service.get("/metrics")[1].decode()
    assert any('"attempt.ended"' in text for text in said.values()), "this looks into the wrong files"
    told = {str(path): set(forbidden.findall(text)) for path, text in said.items() if forbidden.search(text)}
    assert not told


def test_secrets_are_for_their_owner_only(service: House) -> None:
    for path in (service.home / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    for path in (service.home / "gateway/etc").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
