"""Which CRM does a test push to? A small one of its own."""

from collections.abc import AsyncIterator

import pytest_asyncio

from .sink import Sink


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[Sink]:
    """A CRM that is up."""
    async with Sink() as up:
        yield up
