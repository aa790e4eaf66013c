"""How do we talk to Asterisk? One WebSocket: requests and their answers, and the events of our application.

Requests are REST carried over the WebSocket (Asterisk 22.5 and later). Whoever waits for an answer has a deadline; what
cannot even be sent ends with the connection, whose pings find a silent Asterisk within two of them. Events go to
whoever watches their channel. When the socket is lost, every open request fails as in doubt, the watchers are
told, and the connection is made anew.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from zvonar.line.line import GatewayInDoubt, GatewayLost

log = structlog.get_logger(__name__)

DEADLINE = 5.0  # seconds for one request; Asterisk answers in milliseconds
_OVERDUE = 0.5  # seconds between looks for requests that are open beyond their deadlines
_HEARTBEAT = 10.0  # seconds between pings; a silent Asterisk is found within two
_RECONNECT = (0.1, 0.2, 0.5, 1.0)  # seconds; the last one repeats
_REPLACED = 1.0  # seconds that another controller has the application before we take it back


class _Named(Struct):
    id: str = ""
    name: str = ""  # PJSIP/<endpoint>-<number>
    state: str = ""


class _Aimed(Struct):
    id: str = ""
    target_uri: str = ""
    state: str = ""
    cause: str = ""


class _StoredRecording(Struct):
    name: str = ""
    target_uri: str = ""
    cause: str = ""


class Event(Struct):
    """An event of our application, as much of it as anyone here reads."""

    type: str
    timestamp: str = ""
    channel: _Named | None = None
    peer: _Named | None = None  # Dial: the channel that is dialled
    dialstatus: str = ""
    digit: str = ""
    duration_ms: int = 0  # of a key
    args: list[str] = []  # StasisStart: what the dialplan sent along
    playback: _Aimed | None = None
    recording: _StoredRecording | None = None
    cause: int | str | None = None  # ChannelDestroyed: Q.850
    tech_cause: int | None = None  # ChannelDestroyed: the SIP status
    application: str = ""
    # RESTResponse
    request_id: str = ""
    status_code: int = 0
    message_body: str | None = None

    @property
    def at(self) -> datetime:
        """When it happened by Asterisk's clock."""
        return datetime.fromisoformat(self.timestamp)

    @property
    def channel_id(self) -> str | None:
        """The channel that it is about."""
        named = self.channel or self.peer
        if named is not None:
            return named.id
        aimed = self.playback or self.recording
        if aimed is not None and aimed.target_uri.startswith("channel:"):
            return aimed.target_uri.removeprefix("channel:")
        return None


class Answer(Struct, frozen=True, kw_only=True):
    """What a request got."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


Watcher = Callable[[Event], None]
_decoder = msgspec.json.Decoder(Event)
_encode = msgspec.json.encode


class AriClient:
    """One application's connection to one Asterisk; use as an async context manager."""

    def __init__(self, url: str, *, user: str, password: str, app: str) -> None:
        self._url = f"{url}/ari/events"
        self._headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
        self._app = app
        self._watchers: dict[str, Watcher] = {}
        # Requests that wait for their answers, by number, with the loop time of their deadlines.
        self._open: dict[str, tuple[asyncio.Future[Answer], float]] = {}
        self._looking: asyncio.TimerHandle | None = None
        self._numbers = itertools.count(1)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.on_connect: Callable[[], None] = lambda: None  # called at each new connection
        self.on_stranger: Watcher = lambda _: None  # gets the StasisStart of a channel that nobody watches
        self.lost_at: datetime | None = None  # when the connection was last lost, by our clock

    async def __aenter__(self) -> "AriClient":
        self._session = aiohttp.ClientSession(headers=self._headers, trust_env=False)
        self._task = asyncio.create_task(self._stay_connected(), name="ari")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._session.close()

    @property
    def connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._connected.is_set()

    async def ready(self, deadline: float) -> None:
        """Wait until connected; GatewayLost after `deadline` seconds."""
        if self.connected:
            return
        try:
            async with asyncio.timeout(deadline):
                await self._connected.wait()
        except TimeoutError:
            raise GatewayLost("Asterisk does not answer.") from None

    def watch(self, channel_id: str, watcher: Watcher) -> None:
        """Send this channel's events to `watcher`, in order, from now on."""
        self._watchers[channel_id] = watcher

    def unwatch(self, channel_id: str) -> None:
        """Stop sending them."""
        self._watchers.pop(channel_id, None)

    async def request(
        self,
        method: str,
        uri: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        deadline: float = DEADLINE,
    ) -> Answer:
        """One REST request over the WebSocket.

        Raises GatewayLost when it was not sent, GatewayInDoubt when it was sent and not answered in time.
        """
        number = f"{next(self._numbers)}"
        message = _request(number, method, uri, query, body)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()
        self._open[number] = answered, loop.time() + deadline
        if self._looking is None:
            self._looking = loop.call_later(_OVERDUE, self._look_for_overdue)
        try:
            await self._send(message)
            return await answered
        finally:
            self._open.pop(number, None)
            if answered.done() and not answered.cancelled():
                answered.exception()  # looked at, also where it could not even be sent

    async def tell(self, method: str, uri: str, *, query: dict[str, str] | None = None) -> None:
        """A request whose answer nobody waits for. Asterisk does what comes over one WebSocket one after the other.

        Raises GatewayLost when it was not sent, GatewayInDoubt when nobody knows.
        """
        await self._send(_request(f"{next(self._numbers)}", method, uri, query, None))

    def _look_for_overdue(self) -> None:
        """Give up what is open beyond its deadline. One timer for all: nearly every request is answered at once."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for answered, deadline in self._open.values():
            if deadline <= now and not answered.done():
                answered.set_exception(GatewayInDoubt("It did not answer in time."))
        self._looking = loop.call_later(_OVERDUE, self._look_for_overdue) if self._open else None

    async def _send(self, message: str) -> None:
        socket = self._socket
        if socket is None or socket.closed:
            raise GatewayLost()
        try:
            await socket.send_str(message)
        except (ConnectionError, aiohttp.ClientError):
            raise GatewayInDoubt() from None

    async def _stay_connected(self) -> None:
        tries = 0
        while True:
            try:
                replaced = await self._converse()
                tries = 0
                if replaced:
                    # If that is our successor, the store is about to tell our dialer so; if it is a stranger,
                    # our calls need their events back.
                    self._lose()
                    await asyncio.sleep(_REPLACED)
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                log.debug("ari.connect_failed", error=type(exc).__name__)
            finally:
                self._lose()
            await asyncio.sleep(_RECONNECT[min(tries, len(_RECONNECT) - 1)])
            tries += 1

    async def _converse(self) -> bool:
        """One connection from its beginning to its end; whether another controller ended it."""
        async with self._session.ws_connect(
            self._url,
            params={"app": self._app},
            heartbeat=_HEARTBEAT,
            max_msg_size=16 * 1024 * 1024,
            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
        ) as socket:
            self._socket = socket
            self._connected.set()
            log.info("ari.connected")
            self.on_connect()
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                try:
                    event = _decoder.decode(message.data)
                except msgspec.MsgspecError:
                    # One event that nobody can read must not cost the connection that all calls live on.
                    log.exception("ari.unreadable_event")
                    continue
                if event.type == "RESTResponse":
                    opened = self._open.get(event.request_id)
                    if opened is not None and not opened[0].done():
                        body = (event.message_body or "").encode()
                        opened[0].set_result(Answer(status=event.status_code, body=body))
                elif event.type == "ApplicationReplaced":
                    log.warning("ari.replaced")
                    return True
                elif (channel_id := event.channel_id) is not None:
                    watcher = self._watchers.get(channel_id)
                    if watcher is not None:
                        watcher(event)
                    elif event.type == "StasisStart":
                        self.on_stranger(event)
        log.warning("ari.disconnected")
        return False

    def _lose(self) -> None:
        if self._connected.is_set():
            self.lost_at = datetime.now(UTC)
        self._socket = None
        self._connected.clear()
        for answered, _ in self._open.values():
            if not answered.done():
                answered.set_exception(GatewayInDoubt())


def _request(number: str, method: str, uri: str, query: dict[str, str] | None, body: Any) -> str:
    """A request as it goes over the WebSocket."""
    message: dict[str, Any] = {
        "type": "RESTRequest",
        "request_id": number,
        "method": method,
        "uri": uri,
    }
    if query:
        message["query_strings"] = [{"name": name, "value": value} for name, value in query.items()]
    if body is not None:
        message["content_type"] = "application/json"
        message["message_body"] = _encode(body).decode()
    return _encode(message).decode()
