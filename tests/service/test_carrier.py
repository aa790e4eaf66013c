"""Does an independent carrier agree about calls that are put through, and about calls that come in?

SIPp is the carrier: it checks each dialogue message by message. The telephones behind it are sockets, which hear every
packet: one sound each way, so that nobody can hear himself.
"""

import contextlib
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]

from zvonar.service.home import Home

from ..network import HERE, Telephone, calling, network
from ..ports import free_port
from .house import House
from .processes import PATIENCE, until
from .test_calling import Campaign, asking, received

SUBSCRIBER, AGENT = "+74952000077", "+74952010077"  # what the network does with them: see its scenario
CALLER, OURS = "+79161234577", "+74951112277"
ENOUGH = 50  # packets of 20 ms; the agent stays for three seconds


@pytest.fixture(scope="module")
def port(home: House) -> Iterator[int]:
    """Where the carrier is, while there is a trunk that leads to it."""
    if home.serving is None or not home.serving.running():
        home.serve()
    found = free_port(HERE, socket.SOCK_DGRAM)
    home.carrier(HERE, found)
    yield found
    home.carrier(HERE, found, "--disabled")


def test_who_is_put_through_and_who_answers_hear_each_other(service: House, port: int) -> None:
    with (
        Telephone(0x35, keys="1") as subscriber,
        Telephone(0x2A) as agent,
        network(service.room, 2, port=port, telephone=subscriber.port, agent=agent.port) as sipp,
    ):
        campaign = Campaign(service, "regular", record=True, **asking(transfer={"phone": AGENT}))
        row = campaign.call("call", SUBSCRIBER)
        assert sipp.verdict(PATIENCE) == 0, sipp.said()
    assert subscriber.heard[agent.sound] > ENOUGH, subscriber.heard.most_common(3)
    assert agent.heard[subscriber.sound] > ENOUGH, agent.heard.most_common(3)
    # Neither hears himself, and the agent hears nothing of the question.
    assert subscriber.sound not in subscriber.heard
    assert agent.sound not in agent.heard
    assert subscriber.heard.total() > subscriber.heard[agent.sound] + 25  # the question
    assert (row["status"], row["dial_status"], row["button_num"]) == ("user", 5, 1)
    [element] = row["ivr_data"]
    assert (element["to_phone"], element["transfer_status"]) == (AGENT, "answered")
    assert 2 <= element["transfer_duration"] <= row["duration"]
    # One INVITE a leg begins it, from the number that the trunk shows; and each leg has its price.
    invites = [
        text
        for text in sipp.said().split("-----------------------------------------------")
        if "message received" in text and "\nINVITE sip:+" in text
    ]
    assert [f"sip:{number}@" in invite for number, invite in zip((SUBSCRIBER, AGENT), invites, strict=True)]
    legs = service.rows("SELECT leg_id, cost FROM legs WHERE call_id = %s ORDER BY leg_id", row["call_id"])
    for leg, invite in zip(legs, invites, strict=True):
        assert f"X-Zvonar-Leg: {leg['leg_id']}" in invite
        assert leg["cost"] > 0
        file = service.home / "gateway/spool/recording" / f"{leg['leg_id']}.wav"
        assert loudest(file) > 0.01, leg
    assert sum((leg["cost"] for leg in legs), Decimal(0)) == Decimal(row["cost"])


def test_who_calls_us_hears_the_question_and_enters_his_code(service: House, port: int) -> None:
    campaign = Campaign(
        service, "pincode_incoming", incoming_numbers=[OURS], pin={"tries": 1, "timeout": 5}, record=True
    )
    status, answer = campaign.ask("confirm", phone=CALLER, pincode="4321")
    assert (status, answer["data"]["allowed_phones_for_call"]) == (200, [OURS])
    received(campaign, OURS)
    ports = Home(service.home).known_ports()
    assert ports is not None
    with (
        Telephone(0x35, keys="4321#") as telephone,
        calling(
            service.room,
            ("127.0.0.1", ports.gateway_sip),
            caller=CALLER,
            called=OURS,
            telephone=telephone.port,
        ) as sipp,
    ):
        assert sipp.verdict(PATIENCE) == 0, sipp.said()
    # Its end is told, not looked up when nothing was heard of it for ten seconds.
    up = "SELECT count(*) FROM legs WHERE ended_at IS NULL"
    until(lambda: service.value(up) == 0, 8, about="nobody told of the call's end")
    assert telephone.heard.total() > ENOUGH
    assert telephone.sound not in telephone.heard
    row = campaign.ended(answer["data"]["call_id"])
    assert (row["status"], row["dial_status"], row["phone"]) == ("pincode_ok", 5, CALLER)
    [attempt] = row["attempts"]
    assert (attempt["call_type"], attempt["dial_status"]) == ("incoming", 5)
    recording = service.value("SELECT recording FROM attempts WHERE call_id = %s", row["call_id"])
    assert loudest(service.home / "gateway/spool/recording" / recording) > 0.01


def loudest(file: Path) -> float:
    """Of a recording, 0 to 1."""
    return float(abs(until(lambda: [*recorded(file)], about=file)[0]).max())


def recorded(file: Path) -> "Iterator[np.ndarray[Any, Any]]":
    """Its samples, once Asterisk has closed it, which it does a moment after the call."""
    with contextlib.suppress(soundfile.LibsndfileError):
        samples, _ = soundfile.read(file)
        if len(samples):
            yield samples
