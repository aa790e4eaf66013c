"""How do the calls of one batch get into their CRM? Asked for where nobody knows, posted, and what is unknown seen to.

Each call ends in one of four ways: settled; in doubt (it may be there: asked for next time); tried in vain (again by
the schedule of deliveries); or untouched, because the CRM as a whole is in trouble, which costs no call a try.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from zvonar.delivery.backoff import Backoff
from zvonar.delivery.crm import readback
from zvonar.delivery.crm.answers import judged
from zvonar.delivery.crm.asking import Asking
from zvonar.delivery.crm.cards import Cards, contact_name, lead_name, phone_field
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.delivery.crm.trouble import CrmTrouble, Trouble, objection
from zvonar.delivery.crm.wire import Reply
from zvonar.delivery.verdict import Failure
from zvonar.store import push_calls
from zvonar.store.db import Database
from zvonar.store.deliveries import Settlement
from zvonar.store.push_calls import Batch, Logged, Way

MOST: Final = 50  # calls of one request; amoCRM recommends no more
_JUST: Final = 1.0  # seconds for which the mark of the lease says when a call left


class _Said(NamedTuple):
    """What the log of a delivery gets to see."""

    status: int | None
    error: str | None
    head: bytes
    sent_at: datetime
    latency: int  # milliseconds


class Push:
    """One batch on its way. Use once."""

    def __init__(
        self,
        db: Database,
        asking: Asking,
        batch: Batch,
        settings: CrmSettings,
        *,
        rest: float,
        budget: float,
        backoff: Backoff,
        clock: Callable[[], datetime],
        roll: Callable[[], float],
    ) -> None:
        """`rest`: seconds after which a request that was given up has surely ended there, too. `budget`: for all."""
        self._db = db
        self._asking = asking
        self._batch = batch
        self._settings = settings
        self._rest = timedelta(seconds=rest)
        self._budget = budget
        self._backoff = backoff
        self._clock = clock
        self._roll = roll
        self._cards = Cards(db, asking, settings, rest=rest, clock=clock)
        self._account_id = asking.crm.account_id
        self._calls = {call.uniq: call for call in batch.calls}
        self._open = {call.uniq for call in batch.calls}  # nothing is decided yet
        self._doubt = {call.uniq for call in batch.calls if call.doubtful}
        self._marked = {
            call.uniq for call in batch.calls if call.state != "logged" and not call.doubtful
        }  # as posted, though they have not left
        self._began = clock()
        self._settled: list[Settlement] = []
        self._logged: list[Logged] = []
        self._later: list[tuple[int, datetime]] = []

    @property
    def logged(self) -> int:
        """How many are in the CRM by now."""
        return sum(one.state == "logged" for one in self._logged)

    def lags(self, now: datetime) -> list[float]:
        """Seconds from each call that was logged now to that."""
        done = {one.uniq for one in self._logged if one.state == "logged"}
        return [(now - self._calls[uniq].delivery.event_at).total_seconds() for uniq in done]

    async def run(self) -> CrmTrouble | None:
        """Send it; the trouble that kept the CRM from taking all of it. What became of each call is recorded."""
        trouble: CrmTrouble | None = None
        try:
            async with asyncio.timeout(self._budget):
                await self._go()
        except CrmTrouble as exc:
            trouble = exc
        except TimeoutError:
            trouble = CrmTrouble(Trouble.away)
        finally:
            # Also on the way out of a stop: what is known now must not be forgotten.
            await asyncio.shield(self._record(self._clock()))
        return trouble

    async def _go(self) -> None:
        now = self._clock()
        for uniq, call in self._calls.items():
            if call.state == "logged":
                self._settle(uniq, None, _Said(None, None, b"", now, 0))
            elif call.doubtful and call.posted_at is not None and call.posted_at + self._rest > now:
                # What is not there yet could still arrive.
                self._later.append((call.delivery.delivery_id, call.posted_at + self._rest))
                self._open.discard(uniq)
        await self._ask_for_doubtful()
        calls = self._sendable()
        if self._settings.unknown in ("contact", "lead") and calls:
            await self._cards.finish([self._phone(uniq) for uniq in calls])
        if calls:
            unknown = await self._post(calls)
            if unknown:
                await self._see_to(unknown)

    def _sendable(self) -> list[str]:
        return [uniq for uniq in self._calls if uniq in self._open and uniq not in self._doubt]

    # What nobody knows.

    async def _ask_for_doubtful(self) -> None:
        doubtful = [self._calls[uniq] for uniq in self._calls if uniq in self._open & self._doubt]
        if not doubtful:
            return
        sent_at = self._clock()
        since = min(call.posted_at for call in doubtful if call.posted_at is not None)
        found = await readback.find(
            self._asking,
            [call.uniq for call in doubtful],
            since=since,
            unsorted=any(call.way == "unsorted" for call in doubtful),
        )
        for call in doubtful:
            self._doubt.discard(call.uniq)
            if call.uniq in found:
                self._settle(
                    call.uniq, found[call.uniq], _Said(200, None, b"", sent_at, self._since(sent_at))
                )

    # Posting.

    async def _post(self, uniqs: Sequence[str]) -> list[str]:
        """Post these; those whose number no card has."""
        body = b"[" + b",".join(self._calls[uniq].delivery.body for uniq in uniqs) + b"]"
        reply, sent_at = await self._sent("/api/v4/calls", body, uniqs, way="calls")
        said = self._judge_arrival(reply, uniqs, sent_at)
        verdict = judged(reply, uniqs)
        for one in verdict.logged:
            self._settle(one.uniq, one, said)
        for uniq in verdict.refused:
            refused = said._replace(error="refused")
            self._settle(uniq, Logged(uniq=uniq, state="refused"), refused, final=True)
        for uniq in verdict.doubtful:
            self._in_doubt(uniq, said._replace(error=Failure.unknown))
        self._not_there([*verdict.unknown, *verdict.again])
        unknown = list(verdict.unknown)
        if verdict.again:
            # Halves find the bad one among fifty in six steps.
            middle = len(verdict.again) // 2 if verdict.divide else len(verdict.again)
            for some in (verdict.again[:middle], verdict.again[middle:]):
                if some:
                    unknown += await self._post(some)
        return unknown

    async def _sent(
        self, path: str, body: bytes, uniqs: Sequence[str], *, way: Way
    ) -> tuple[Reply, datetime]:
        await self._asking.ready()
        now = self._clock()
        if (
            way != "calls"
            or not self._marked.issuperset(uniqs)
            or (now - self._began).total_seconds() > _JUST
        ):
            await push_calls.posting(self._db, self._account_id, uniqs, way=way, now=now)
            self._marked.update(uniqs)
        # Until there is an answer, they may be there.
        self._marked.difference_update(uniqs)
        self._doubt.update(uniqs)
        return await self._asking.ask("POST", path, body=body), now

    def _judge_arrival(self, reply: Reply, uniqs: Sequence[str], sent_at: datetime) -> _Said:
        """What a delivery's log sees; raises CrmTrouble where the answer is none to what was posted."""
        said = _Said(reply.status, reply.failure, reply.head, sent_at, self._since(sent_at))
        exc = objection(reply)
        if exc is None and reply.status in (404, 405):
            exc = CrmTrouble(Trouble.strange, reply)  # there is no such CRM
        if exc is None:
            self._doubt.difference_update(uniqs)
            return said
        if not reply.sent or (reply.status is not None and reply.status < 500):
            self._doubt.difference_update(uniqs)
            self._not_there(uniqs)
        else:
            for uniq in uniqs:
                self._in_doubt(uniq, said._replace(error=said.error or Failure.status))
        raise exc

    def _not_there(self, uniqs: Iterable[str]) -> None:
        """These have surely not been stored, so their marks go unless they are settled otherwise."""
        self._marked.update(uniqs)

    # Numbers that no card has.

    async def _see_to(self, unknown: Sequence[str]) -> None:
        match self._settings.unknown:
            case "skip":
                for uniq in unknown:
                    self._skip(uniq)
            case "unsorted":
                await self._post_unsorted(unknown)
            case "contact" | "lead":
                await self._post_with_cards(unknown)

    async def _post_with_cards(self, unknown: Sequence[str]) -> None:
        by_phone: dict[str, list[str]] = {}
        for uniq in unknown:
            by_phone.setdefault(self._phone(uniq), []).append(uniq)
        made, refused = await self._cards.make(list(by_phone))
        for phone in refused:
            for uniq in by_phone[phone]:
                self._skip(uniq)
        calls = [uniq for phone, some in by_phone.items() if phone in made for uniq in some]
        late = [uniq for phone, some in by_phone.items() if phone not in made | refused for uniq in some]
        still_unknown = await self._post(calls) if calls else []
        for uniq in (*still_unknown, *late):
            # The card is there or being made; the CRM's search needs a moment.
            self._in_vain(uniq, "card_not_found_yet")

    async def _post_unsorted(self, unknown: Sequence[str]) -> None:
        body = msgspec.json.encode([self._unsorted(uniq) for uniq in unknown])
        reply, sent_at = await self._sent("/api/v4/leads/unsorted/sip", body, unknown, way="unsorted")
        said = self._judge_arrival(reply, unknown, sent_at)
        listed = reply.under("_embedded", "unsorted")
        stored = {
            one.get("request_id"): one
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict)
        }
        whole = len(stored) == 0 and isinstance(listed, list) and len(listed) == len(unknown)
        for place, uniq in enumerate(unknown):
            one = listed[place] if whole else stored.get(uniq)
            if reply.status in (200, 201) and isinstance(one, dict) and one.get("uid") is not None:
                logged = Logged(uniq=uniq, state="logged", entity_type="unsorted", entity_id=str(one["uid"]))
                self._settle(uniq, logged, said)
            elif reply.status is not None and 400 <= reply.status < 500:
                self._not_there([uniq])
                self._settle(
                    uniq, Logged(uniq=uniq, state="refused"), said._replace(error="refused"), final=True
                )
            else:
                self._in_doubt(uniq, said._replace(error=Failure.unknown))

    def _unsorted(self, uniq: str) -> dict[str, Any]:
        item = msgspec.json.decode(self._calls[uniq].delivery.body)
        phone, language, source = item["phone"], self._settings.language, self._settings.source
        metadata = {
            "is_call_event_needed": True,
            "uniq": uniq,
            "duration": item["duration"],
            "service_code": source,
            "phone": phone,
            "called_at": item["created_at"],
            "from": source,
        }
        metadata.update({key: item[key] for key in ("link", "call_responsible") if key in item})
        contact = {"name": contact_name(phone, language), "custom_fields_values": phone_field(phone)}
        made: dict[str, Any] = {
            "request_id": uniq,
            "source_name": source,
            "source_uid": self._asking.crm.tag,
            "created_at": item["created_at"],
            "metadata": metadata,
            "_embedded": {"contacts": [contact], "leads": [{"name": lead_name(phone, language)}]},
        }
        if self._settings.pipeline_id is not None:
            made["pipeline_id"] = self._settings.pipeline_id
        return made

    def _phone(self, uniq: str) -> str:
        phone = msgspec.json.decode(self._calls[uniq].delivery.body)["phone"]
        assert isinstance(phone, str)
        return phone

    # What became of each.

    def _skip(self, uniq: str) -> None:
        said = _Said(None, None, b"", self._began, self._since(self._began))
        self._settle(uniq, Logged(uniq=uniq, state="skipped"), said)

    def _in_doubt(self, uniq: str, said: _Said) -> None:
        """It may be there: asked for once what was given up has surely ended."""
        self._doubt.add(uniq)
        self._marked.discard(uniq)
        self._settle(uniq, None, said, soonest=self._clock() + self._rest)

    def _in_vain(self, uniq: str, error: str) -> None:
        self._marked.add(uniq)
        said = _Said(None, error, b"", self._began, self._since(self._began))
        self._settle(uniq, None, said)

    def _settle(
        self,
        uniq: str,
        logged: Logged | None,
        said: _Said,
        *,
        final: bool = False,
        soonest: datetime | None = None,
    ) -> None:
        self._open.discard(uniq)
        if logged is not None:
            self._logged.append(logged)
            self._marked.discard(uniq)
            self._doubt.discard(uniq)
        delivery, now = self._calls[uniq].delivery, self._clock()
        next_at = None
        if said.error is not None and not final:
            tries = delivery.tries + 1 - delivery.tries_before
            next_at = self._backoff.next_at(tries, now=now, roll=self._roll())
            if next_at is not None and soonest is not None:
                next_at = max(next_at, soonest)
        self._settled.append(
            Settlement(
                delivery=delivery,
                worker_id=self._batch.worker_id,
                until=self._batch.until,
                sent_at=said.sent_at,
                at=now,
                latency=said.latency,
                status=said.status,
                error=said.error,
                next_at=next_at,
                answer=said.head,
            )
        )

    def _since(self, moment: datetime) -> int:
        return max(0, round((self._clock() - moment).total_seconds() * 1000))

    async def _record(self, now: datetime) -> None:
        await self._asking.finish()
        clear = sorted(self._marked)

        async def record() -> None:
            await push_calls.settle(
                self._db, self._account_id, self._settled, self._logged, not_posted=clear, now=now
            )
            untouched = [(self._calls[uniq].delivery.delivery_id, now) for uniq in self._open]
            if untouched or self._later:
                await push_calls.put_back(
                    self._db, [*untouched, *self._later], worker_id=self._batch.worker_id
                )

        await self._db.patiently(record, what="crm calls")
