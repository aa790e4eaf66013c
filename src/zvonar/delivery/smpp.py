"""How is a text handed to a short-message centre? Over one bound SMPP 3.4 session, which is left when it is idle."""

import asyncio
import contextlib
import itertools
import ssl
from datetime import datetime
from typing import Final

from msgspec import Struct

from zvonar.delivery import smpp_pdus as pdus
from zvonar.delivery.smpp_pdus import Header, NotSmpp, TooLong
from zvonar.delivery.sms import phone_of
from zvonar.delivery.verdict import Answer, Failure
from zvonar.store.deliveries import Delivery

_CONNECT = 5.0  # seconds to connect and bind
_ANSWER = 10.0  # seconds for the answer to one part
_IDLE = 30.0  # seconds without a text after which the session is ended: nobody has to keep it alive
_WINDOW = 10  # parts that may await their answers at once; centres commonly allow so many
_LAST_SEQUENCE = 0x7FFFFFFF


class Smpp(Struct, frozen=True, kw_only=True):
    """The operator's short-message centre."""

    host: str
    port: int
    tls: bool
    system_id: str
    password: str
    sender: str  # who the text is from: a number, or up to 11 letters

    def __repr__(self) -> str:
        return f"Smpp({self.host}:{self.port})"


class _Refused(Exception):
    """The centre said no to our bind."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Session:
    """One connection, bound. Whoever submits waits for the answer of his own sequence number."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sequences = itertools.cycle(range(1, _LAST_SEQUENCE))
        self._open: dict[int, asyncio.Future[Header]] = {}
        self._reading = asyncio.create_task(self._read(), name="smpp")
        self.lost = False

    async def request(self, pdu: bytes, sequence: int, deadline: float) -> Header:
        """The answer to a request. Raises TimeoutError, OSError, NotSmpp."""
        answered: asyncio.Future[Header] = asyncio.get_running_loop().create_future()
        if self.lost:
            raise ConnectionResetError
        self._open[sequence] = answered
        try:
            async with asyncio.timeout(deadline):
                self._writer.write(pdu)
                await self._writer.drain()
                return await answered
        finally:
            self._open.pop(sequence, None)

    def sequence(self) -> int:
        return next(self._sequences)

    async def close(self) -> None:
        if not self.lost:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    self._writer.write(pdus.empty(pdus.UNBIND, sequence=self.sequence()))
                    await self._writer.drain()
        self._lose(ConnectionResetError())
        self._reading.cancel()
        await asyncio.wait({self._reading})
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    async def _read(self) -> None:
        try:
            while True:
                header = pdus.header(await self._reader.readexactly(pdus.HEADER))
                await self._reader.readexactly(header.length - pdus.HEADER)
                if header.command == pdus.ENQUIRE_LINK:
                    self._writer.write(pdus.empty(pdus.ENQUIRE_LINK_RESP, sequence=header.sequence))
                elif header.command == pdus.UNBIND:
                    raise ConnectionResetError
                elif (waiting := self._open.get(header.sequence)) is not None and not waiting.done():
                    waiting.set_result(header)
        except (NotSmpp, OSError) as exc:
            self._lose(exc)
        except asyncio.IncompleteReadError:
            self._lose(ConnectionResetError())

    def _lose(self, why: Exception) -> None:
        self.lost = True
        self._writer.close()
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(why)


class SmppTransport:
    """Carries deliveries to `sms:` addresses; use as a context."""

    def __init__(self, smpp: Smpp) -> None:
        self._smpp = smpp
        self._session: _Session | None = None
        self._binding = asyncio.Lock()
        self._window = asyncio.Semaphore(_WINDOW)
        self._using = 0
        self._leave: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "SmppTransport":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._leave is not None:
            self._leave.cancel()
        if self._session is not None:
            await self._session.close()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def send(self, delivery: Delivery, *, at: datetime) -> Answer:
        try:
            messages = pdus.parts(delivery.body.decode(), reference=delivery.event_id % 256)
        except TooLong as exc:
            return Answer(status=None, failure=Failure.unaccepted, reason=type(exc).__name__, final=True)
        self._using += 1
        if self._leave is not None:
            self._leave.cancel()
            self._leave = None
        try:
            for message in messages:
                async with self._window:
                    session = await self._bound()
                    sequence = session.sequence()
                    pdu = pdus.submit(
                        message, sequence=sequence, source=self._smpp.sender, destination=phone_of(delivery)
                    )
                    said = await session.request(pdu, sequence, _ANSWER)
                if said.command != pdus.SUBMIT_SM_RESP or said.status:
                    return _refused(said.status)
        except _Refused as exc:
            return _refused(exc.status, ours=True)
        except TimeoutError as exc:
            return _failed(Failure.timeout, exc)
        except ssl.SSLError as exc:
            return _failed(Failure.tls, exc)
        except NotSmpp as exc:
            return _failed(Failure.broken, exc)
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError) as exc:
            refused = isinstance(exc, ConnectionRefusedError)
            return _failed(Failure.connect if refused else Failure.broken, exc)
        except OSError as exc:
            return _failed(Failure.connect, exc)
        finally:
            self._using -= 1
            if not self._using:
                self._leave = asyncio.get_running_loop().call_later(_IDLE, self._idle)
        return Answer(status=0, failure=None)

    async def _bound(self) -> _Session:
        async with self._binding:
            if self._session is not None and not self._session.lost:
                return self._session
            if self._session is not None:
                await self._session.close()
                self._session = None
            async with asyncio.timeout(_CONNECT):
                reader, writer = await asyncio.open_connection(
                    self._smpp.host, self._smpp.port, ssl=self._smpp.tls or None
                )
                session = _Session(reader, writer)
                try:
                    sequence = session.sequence()
                    bind = pdus.bind(
                        sequence=sequence, system_id=self._smpp.system_id, password=self._smpp.password
                    )
                    said = await session.request(bind, sequence, _CONNECT)
                    if said.command != pdus.BIND_TRANSMITTER_RESP and not said.status:
                        raise NotSmpp
                    if said.status:
                        raise _Refused(said.status)
                except BaseException:
                    await session.close()
                    raise
            self._session = session
            return session

    def _idle(self) -> None:
        self._leave = None
        if self._session is not None and not self._using:
            session, self._session = self._session, None
            task = asyncio.create_task(session.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


# Statuses are shown as numbers, the way the centre's own logs do.
def _refused(status: int, *, ours: bool = False) -> Answer:
    """`ours`: it refused us, not the text, which an operator may help."""
    return Answer(
        status=status,
        failure=Failure.status,
        reason=f"0x{status:08x}",
        final=not ours and pdus.is_final(status),
    )


def _failed(failure: Failure, exc: BaseException) -> Answer:
    return Answer(status=None, failure=failure, reason=type(exc).__name__)


PORT: Final = 2775
