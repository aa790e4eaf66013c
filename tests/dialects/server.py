"""What is one process of the API? `python server.py DSN DIRECTORY DESCRIPTOR`, on a socket of a test."""

import asyncio
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from litestar import Litestar

from zvonar.dialects.autocall import routes as autocall
from zvonar.dialects.callo import routes as callo
from zvonar.dialects.callo.media import Media
from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import Converter
from zvonar.speech.library import Library
from zvonar.speech.recordings import Recordings
from zvonar.speech.synthesis import NullSynthesiser
from zvonar.store.db import Database


def now() -> datetime:
    return datetime.now(UTC)


async def serve(dsn: str, directory: Path, descriptor: int) -> None:
    async with Database(dsn, size=12) as db:
        library = Library(
            db,
            ClipCache(directory / "clips", NullSynthesiser()),
            directory=directory / "uploads",
            converter=Converter(),
        )
        media = Media(library=library, recordings=Recordings(directory, made=directory), secret=b"tests")
        routes = [
            *autocall.routes(autocall.Service(db=db, now=now, library=library)),
            *callo.routes(callo.Service(db=db, now=now, media=media)),
        ]
        app = Litestar(routes, openapi_config=None, logging_config=None)
        listening = socket.socket(fileno=descriptor)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        await server.serve(sockets=[listening])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
