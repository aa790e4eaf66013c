"""How is a file sent over HTTP? Whole or in part, to GET and HEAD, with what a player or a cache needs to know."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from litestar import Request
from litestar.types import Receive, Scope, Send
from msgspec import Struct

from zvonar.dialects.ranges import Part, Unsatisfiable, Version, part_of, range_counts, unchanged

BLOCK: Final = 1 << 18  # bytes read and sent at once
PATIENCE: Final = 60.0  # seconds that a client may take for a block


class Sent(Struct, frozen=True, kw_only=True):
    """A file to be sent."""

    path: Path
    content_type: str
    version: Version
    cache: str  # Cache-Control
    name: str  # what a browser saves it as


class FileAnswer:
    """An ASGI answer to a GET or HEAD. Raises FileNotFoundError when made, where the file has just gone."""

    def __init__(self, request: Request[Any, Any, Any], sent: Sent) -> None:
        self._head = request.method == "HEAD"
        self._file: BinaryIO = sent.path.open("rb", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        self.headers: dict[str, str] = {
            "accept-ranges": "bytes",
            "cache-control": sent.cache,
            "etag": sent.version.tag,
            "last-modified": sent.version.last_modified,
        }
        self.status, self._part = _answer(request.headers, self._head, size, sent.version)
        if self.status == 304:
            return
        self.headers["content-length"] = str(self._part.length)
        if self.status == 416:
            self.headers["content-range"] = f"bytes */{size}"
            return
        if self.status == 206:
            self.headers["content-range"] = f"bytes {self._part.first}-{self._part.last}/{size}"
        self.headers["content-type"] = sent.content_type
        self.headers["content-disposition"] = f'inline; filename="{sent.name}"'
        # The bytes are a stranger's: they are sound, whatever a browser believes to see in them.
        self.headers["x-content-type-options"] = "nosniff"

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        with self._file as file:
            headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            try:
                if self.status in (200, 206) and not self._head:
                    await _send(file, self._part, send)
            except TimeoutError:
                return  # a client that has stopped reading: what is not finished is closed
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _answer(headers: Mapping[str, str], head: bool, size: int, version: Version) -> tuple[int, Part]:
    whole = Part(first=0, last=size - 1)
    if unchanged(headers, version):
        return 304, whole
    if head or not range_counts(headers.get("if-range"), version):
        return 200, whole  # ranges are defined for GET alone
    try:
        part = part_of(headers.get("range"), size)
    except Unsatisfiable:
        return 416, Part(first=0, last=-1)
    return (200, whole) if part is None else (206, part)


async def _send(file: BinaryIO, part: Part, send: Send) -> None:
    file.seek(part.first)
    left = part.length
    while left:
        data = await asyncio.to_thread(file.read, min(left, BLOCK))
        if not data:
            raise EOFError("a file that is served has become shorter")
        left -= len(data)
        async with asyncio.timeout(PATIENCE):
            await send({"type": "http.response.body", "body": data, "more_body": True})
