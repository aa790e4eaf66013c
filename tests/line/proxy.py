"""How does a test cut a wire? A relay between a client and a server on this machine, with a knife."""

import asyncio
import contextlib
from types import TracebackType


class Proxy:
    """Relays TCP to `port`; use as an async context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._through = asyncio.Event()
        self._through.set()
        self._heard = asyncio.Event()  # the server's words reach the client
        self._heard.set()
        self.port = 0

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection, and refuse new ones until `mend`."""
        self._through.clear()
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._through.set()
        self._heard.set()

    def deafen(self) -> None:
        """Requests still go out; no answer and no event comes back."""
        self._heard.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if not self._through.is_set():
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(far_writer)
            away = asyncio.create_task(_pour(reader, far_writer, None))
            back = asyncio.create_task(_pour(far_reader, writer, self._heard))
            await asyncio.wait({away, back}, return_when=asyncio.FIRST_COMPLETED)
            away.cancel()
            back.cancel()
            far_writer.transport.abort()
            self._writers.discard(far_writer)
        finally:
            writer.transport.abort()
            self._writers.discard(writer)


async def _pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event | None
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            if gate is not None:
                await gate.wait()
            writer.write(data)
            await writer.drain()
