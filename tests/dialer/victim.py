"""Who gets killed? A dialer in a process of its own, wired as the service wires it, that kills itself at one step."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from zvonar.dialer.engine import Dialer
from zvonar.line.asterisk.ari import AriClient, Event
from zvonar.line.asterisk.channel import APP, AsteriskLine
from zvonar.line.asterisk.gateway import AsteriskGateway
from zvonar.store import legs
from zvonar.store.db import Database
from zvonar.store.epochs import Fenced

from .world import OneClip, now

FENCED = 3  # exit code of a dialer whose gateway another one took


class Orders(Struct, frozen=True, kw_only=True):
    """What a victim is told on its command line."""

    dsn: str
    url: str
    user: str
    password: str
    cel_file: str
    recordings: str
    clip: str
    step: str | None = None  # of STEPS; None lives on
    call_id: int = 0  # at whose step


def die() -> NoReturn:
    """No cleanup, no flush, no goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("It lives.")


def around(owner: Any, name: str, mine: Callable[..., bool], *, before: bool) -> None:
    """Die just before, or just after, an asynchronous step of the chosen call."""
    step: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def deadly(*args: Any, **kwargs: Any) -> Any:
        if before and mine(*args, **kwargs):
            die()
        done = await step(*args, **kwargs)
        if mine(*args, **kwargs):
            die()
        return done

    setattr(owner, name, deadly)


def set_trap(orders: Orders) -> None:
    """Patch the one step at which to die."""
    when, _, what = (orders.step or "").partition(" ")
    before, call_id = when == "before", orders.call_id
    match what:
        case "place":
            around(
                legs,
                "place_all",
                lambda _db, all, **_: any(one.call_id == call_id for one in all),
                before=before,
            )
        case "create":
            around(AsteriskGateway, "create", lambda _, wanted: wanted.leg.call_id == call_id, before=before)
        case "dial":
            around(AsteriskGateway, "dial", lambda _, line, **__: line.leg.call_id == call_id, before=before)
        case "mark_dialled":
            around(
                legs,
                "mark_all_dialled",
                lambda _db, all, **_: any(one.leg.call_id == call_id for one in all),
                before=before,
            )
        case "mark_answered":
            around(
                legs, what, lambda _db, told: any(one.leg.call_id == call_id for one in told), before=before
            )
        case "end":
            around(
                legs,
                "end_all",
                lambda _db, ended, **_: any(one.leg_id.call_id == call_id for one in ended),
                before=before,
            )
        case "ringing":
            _at_event(lambda event: event.dialstatus == "RINGING", call_id)
        case "second ringing":
            _at_event(lambda event: event.dialstatus == "RINGING", call_id, leg=2)
        case "second answer":
            _at_event(lambda event: event.dialstatus == "ANSWER", call_id, leg=2)
        case "join":
            around(AsteriskLine, what, lambda line, _: line.leg.call_id == call_id, before=before)
        case "prompt":
            _at_request("/play/", call_id, sent=False)
        case "dial request":
            _at_request("/dial", call_id, sent=True)
        case "":
            pass
        case _:
            raise SystemExit(f"There is no step {orders.step!r}.")


def _at_event(mine: Callable[[Event], bool], call_id: int, *, leg: int = 1) -> None:
    on = AsteriskLine._on

    def deadly(self: AsteriskLine, event: Event) -> None:
        on(self, event)
        if str(self.leg).startswith(f"{call_id}.1.{leg}") and mine(event):
            die()

    AsteriskLine._on = deadly  # type: ignore[method-assign]


def _at_request(uri_part: str, call_id: int, *, sent: bool) -> None:
    """Die once a request is on its way (`sent`), or once it is answered."""
    ask = AriClient.request

    async def deadly(self: AriClient, method: str, uri: str, **kwargs: Any) -> Any:
        if uri_part not in uri or f"{call_id}." not in uri:
            return await ask(self, method, uri, **kwargs)
        asking = asyncio.ensure_future(ask(self, method, uri, **kwargs))
        if sent:
            await asyncio.sleep(0)  # the task has written it to the socket and waits for the answer
        else:
            await asking
        die()

    AriClient.request = deadly  # type: ignore[method-assign]


async def main(orders: Orders) -> int:
    set_trap(orders)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with (
        Database(orders.dsn, size=6) as db,
        AriClient(orders.url, user=orders.user, password=orders.password, app=APP) as ari,
    ):
        gateway = AsteriskGateway(
            ari, name="gateway", cel_file=Path(orders.cel_file), recordings=Path(orders.recordings)
        )
        try:
            await Dialer(db, gateway, OneClip(Path(orders.clip)), now=now, drain=20.0).run(stop)
        except Fenced:
            return FENCED
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Orders))))
