"""How does a town subscriber call one of our numbers, and what became of it? By the town's own ARI."""

import asyncio
import contextlib
import re
import secrets
import time

from msgspec import Struct

from zvonar.core.errors import Invalid, ZvonarError
from zvonar.core.phone import is_town
from zvonar.line.asterisk.ari import AriClient, Event

RING = 60  # seconds until a call that nobody answers is given up
LONGEST = 600  # seconds of a call; then the town hangs up by itself
_READY = 5.0  # seconds for the town's ARI
_LISTEN = 1000  # milliseconds that the caller listens before pressing keys
_NUMBER = re.compile(r"\+?\d{1,15}", re.ASCII)
_DIGITS = re.compile(r"[0-9*#]{1,32}", re.ASCII)


class TownCallInvalid(Invalid):
    """This call cannot be made."""


class TownNotRunning(ZvonarError):
    """The trial phone network does not run: start zvonar serve --town."""


class TownRefused(ZvonarError):
    """The trial phone network would not place the call: look into its log under ZVONAR_HOME/town/log."""


class TownCall(Struct, frozen=True, kw_only=True):
    """What became of the call."""

    answered: bool
    sip_code: int | None  # of the refusal
    hangup_cause: int | None  # Q.850
    seconds: float  # from the INVITE to the end


async def call(
    caller: str, callee: str, digits: str | None, *, ari_url: str, user: str, password: str
) -> TownCall:
    """Place a call and stay on the line until the other side hangs up; cancelled, we hang up.

    Raises TownCallInvalid, TownNotRunning, TownRefused.
    """
    if not is_town(caller):
        raise TownCallInvalid("FROM is a town number, +7000 and seven digits.")
    if not _NUMBER.fullmatch(callee):
        raise TownCallInvalid("TO is a number such as +74951234567.")
    if digits is not None and not _DIGITS.fullmatch(digits):
        raise TownCallInvalid("Digits are 0 to 9, * and #.")
    name = f"town-call-{secrets.token_hex(6)}"
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with AriClient(ari_url, user=user, password=password, app=name) as ari:
        await ari.ready(_READY)
        ari.watch(name, events.put_nowait)
        try:
            return await _follow(ari, name, caller, callee, digits, events)
        finally:
            # Where it has ended already there is nothing to hang up: 404.
            with contextlib.suppress(ZvonarError):
                await ari.request("DELETE", f"channels/{name}")


async def _follow(
    ari: AriClient, name: str, caller: str, callee: str, digits: str | None, events: asyncio.Queue[Event]
) -> TownCall:
    began = time.monotonic()
    # Not create and dial, which holds a channel in a bridge: the town needs no bridges otherwise.
    await _must(
        ari,
        "channels",
        query={
            "endpoint": f"PJSIP/{callee}@gateway",
            "app": name,
            "channelId": name,
            "callerId": caller,
            "timeout": str(RING),
        },
        body={"variables": {"TIMEOUT(absolute)": str(LONGEST)}},
    )
    answered = False
    try:
        async with asyncio.timeout(RING + _READY) as patience:
            while True:
                event = await events.get()
                if event.type == "StasisStart":
                    answered = True
                    patience.reschedule(asyncio.get_running_loop().time() + LONGEST + _READY)
                    if digits is not None:
                        keys = {"dtmf": digits, "before": str(_LISTEN), "between": "160", "duration": "160"}
                        await _must(ari, f"channels/{name}/dtmf", query=keys)
                elif event.type == "ChannelDestroyed":
                    return TownCall(
                        answered=answered,
                        sip_code=None if answered else event.tech_cause,
                        hangup_cause=int(event.cause) if event.cause is not None else None,
                        seconds=time.monotonic() - began,
                    )
    except TimeoutError:
        raise TownRefused("It did not say what became of the call.") from None


async def _must(
    ari: AriClient, uri: str, *, query: dict[str, str], body: dict[str, dict[str, str]] | None = None
) -> None:
    answer = await ari.request("POST", uri, query=query, body=body)
    if not answer.ok:
        raise TownRefused(f"It said {answer.status}.")
