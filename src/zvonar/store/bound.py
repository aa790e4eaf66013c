"""How does all that one request does become one transaction? A database that is a single connection inside of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from zvonar.store.db import Connection, Database


class Bound(Database):
    """For one task, until its transaction ends. What fails in it is undone by itself, as a transaction is."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """The one connection, at a savepoint."""
        async with self._connection.transaction():
            yield self._connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """The same."""
        async with self.connection() as connection:
            yield connection

    def quiet(self) -> Literal["on", "off"]:
        """The commit rings for all of it."""
        return "off"

    def ring_later(self, quiet: Literal["on", "off"]) -> None:
        """It has rung."""


@asynccontextmanager
async def at_once(db: Database) -> AsyncIterator[Bound]:
    """A database all of whose changes are committed together at the end, or not at all."""
    async with db.transaction() as connection:
        yield Bound(connection)
