"""Does a list that was sent become calls, whatever dies meanwhile? Over HTTP, with every process killed for real."""

import json
import urllib.request
from typing import Any

import psutil
import pytest

from .house import House
from .processes import PATIENCE, kill, until

COUNT = 150_000  # several batches
API = "/manager/cabapi_external/api/v1"


def send(house: House, campaign_id: int, lines: str) -> dict[str, Any]:
    key = house.account["callo_public_key"]
    fields = {"public_key": key, "campaign_id": str(campaign_id), "phones": lines}
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    request = urllib.request.Request(
        f"http://127.0.0.1:{house.port}{API}/phones/append/calls/",
        data=(body + "--x--\r\n").encode(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return dict(json.loads(answer.read()))


def progress(house: House, phone_list_id: int) -> dict[str, Any]:
    key = house.account["callo_public_key"]
    try:
        status, body = house.get(f"{API}/phonelists/progress/?public_key={key}&phonelist_id={phone_list_id}")
    except OSError:  # nobody is there to answer
        return {}
    return dict(json.loads(body)) if status == 200 else {}


def disturb(house: House, what: str) -> None:
    match what:
        case "worker":
            kill([house.role("worker")])
        case "importer":
            kill([child.pid for child in psutil.Process(house.role("worker")).children()])
        case "postgresql":
            kill([house.postmaster()])
        case "api":
            kill([house.role("api")])


@pytest.mark.parametrize("what", ["worker", "importer", "postgresql", "api"])
def test_a_list_is_whole_though_something_dies_in_the_middle(service: House, what: str) -> None:
    made = service.json(
        *("campaign", "add", "--account", service.account["account_id"], "--name", f"list {what}"),
        *("--text", "x", "--paused"),
    )
    answer = send(service, made["id"], "".join(f"+7916{number:07d}\n" for number in range(COUNT)))
    assert answer["calls_count"] == COUNT
    list_id = answer["phonelist_id"]

    def done() -> int:
        return int(progress(service, list_id).get("rows_done", 0))

    until(lambda: done() > 0)
    disturb(service, what)
    until(
        lambda: progress(service, list_id).get("status") == "loaded",
        about=lambda: progress(service, list_id),
    )
    until(lambda: service.health()[0] == 200)
    (found,) = service.rows(
        "SELECT count(*) AS calls, count(DISTINCT phone) AS phones, min(ordinal) AS first, max(ordinal) AS last "
        "FROM calls WHERE campaign_id = %s",
        made["id"],
    )
    assert found == {"calls": COUNT, "phones": COUNT, "first": 1, "last": COUNT}
