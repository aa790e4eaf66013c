"""Which events are calls for a CRM? Looked up for a whole batch of events, in the transaction of their fan-out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from zvonar.core.call import CallState
from zvonar.core.result import Disposition, ScriptResult
from zvonar.delivery.crm import settings as crm_settings
from zvonar.delivery.crm.items import Called, Links, item, uniq
from zvonar.store import push_attempts, push_connections
from zvonar.store.db import Connection
from zvonar.store.outbox import Event, Rendered, Renderer
from zvonar.store.push_attempts import EndedAttempt
from zvonar.store.push_connections import CrmConnection

log = structlog.get_logger(__name__)

KIND = "amocrm"
_CONTENT_TYPE = "application/json"

_Key = tuple[int, int, int]  # account, call, attempt


def looking(links: Links | None) -> Callable[[Connection, Sequence[Event]], Any]:
    """Makes the renderer of each batch of events: `await look(connection, events)`."""

    async def look(connection: Connection, events: Sequence[Event]) -> Renderer:
        concerned = [event for event in events if event.kind in ("call", push_attempts.EVENT)]
        if not concerned:
            return _nothing
        accounts = sorted({event.account_id for event in concerned})
        crms = await push_connections.of_accounts(connection, accounts)
        wanted: dict[int, _Key] = {}
        for event in concerned:
            crm = crms.get(event.account_id)
            attempt = _attempt(event, crm) if crm is not None else None
            if attempt is not None and event.call_id is not None:
                wanted[event.event_id] = (event.account_id, event.call_id, attempt)
        if not wanted:
            return _nothing
        found = await push_attempts.get(connection, sorted(set(wanted.values())))
        return _Batch(crms, wanted, found, links)

    return look


def _nothing(_: Event) -> Sequence[Rendered]:
    return ()


class _Batch:
    """The renderer of one batch."""

    def __init__(
        self,
        crms: Mapping[int, CrmConnection],
        wanted: Mapping[int, _Key],
        found: Mapping[_Key, EndedAttempt],
        links: Links | None,
    ) -> None:
        self._crms = crms
        self._wanted = wanted
        self._found = found
        self._links = links

    def __call__(self, event: Event) -> Sequence[Rendered]:
        ended = self._found.get(self._wanted.get(event.event_id, (0, 0, 0)))
        if ended is None:
            return ()
        crm = self._crms[event.account_id]
        settings = crm_settings.read(crm.settings)
        called = called_of(ended)
        if not settings.wants(called.disposition, called.script_result):
            return ()
        return (
            Rendered(
                kind=KIND,
                address=push_connections.address(event.account_id),
                # One delivery of a call at a time, or it would be logged by both.
                order_key=uniq(crm.tag, called.call_id, called.attempt),
                content_type=_CONTENT_TYPE,
                body=item(called, tag=crm.tag, settings=settings, links=self._links),
            ),
        )


def _attempt(event: Event, crm: CrmConnection) -> int | None:
    """The attempt that this event makes worth telling."""
    if event.kind == push_attempts.EVENT:
        return push_attempts.asked(event)
    attempts = event.payload["attempts"]
    if not attempts or attempts[-1]["disposition"] is None:
        return None
    ended = CallState(event.payload["state"]).final and not CallState(event.payload["before"]["state"]).final
    every = crm.settings.get("each") == "attempt"
    if event.payload["attempt_ended"] if every else ended:
        return int(attempts[-1]["attempt"])
    return None


def called_of(ended: EndedAttempt) -> Called:
    """An attempt in the words of this package."""
    return Called(
        account_id=ended.account_id,
        call_id=ended.call_id,
        attempt=ended.attempt,
        phone=ended.phone,
        started_at=ended.started_at,
        disposition=Disposition(ended.disposition),
        script_result=ScriptResult(ended.script_result),
        choice=ended.choice,
        status_name=ended.status_name,
        talk_seconds=ended.talk_seconds,
        caller_id=ended.caller_id,
        transferred_to=_transferred_to(ended),
        recording=ended.recording,
    )


def _transferred_to(ended: EndedAttempt) -> str | None:
    """Whose phone answered when the callee was put through; None where nobody's did, or it is known by a SIP name."""
    for step in reversed(ended.steps or []):
        report = step.get("transfer")
        if report is not None and report["disposition"] == Disposition.answered:
            to = report["to"]
            return to if isinstance(to, str) and to.startswith("+") else None
    return None
