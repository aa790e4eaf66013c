"""What happened to cards? /api/v4/events, the latest first."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from zvonar.dialects.amocrm import answers, limits, views
from zvonar.dialects.amocrm.requests import lists
from zvonar.dialects.amocrm.requests.lists import Many, Range
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, path_id, url_of
from zvonar.dialects.amocrm.routes.tasks import kind
from zvonar.store import crm_events
from zvonar.store.crm_lists import Order, Slice

FILTERS: dict[str, Many | Range] = {
    "id": Many(clause="ids", param="ids", read=lists.whole),
    "created_at": Range(clause="created", read=lists.moment),
    "created_by": Many(clause="created_by", param="creators", read=lists.whole),
    "type": Many(clause="types", param="types", read=lists.text),
    "entity": Many(clause="kinds", param="kinds", read=kind),
    "entity_id": Many(clause="cards", param="card_ids", read=lists.whole),
}
LATEST = Order(by="created_at", descending=True)


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    db = service.db

    @get("/events")
    async def list_events(request: Req) -> Response[bytes]:
        """A page of events."""
        caller, wanted = await door.reader(request), asked(request, most=limits.MAX_EVENTS)
        values = {"account_id": caller.account_id}
        part = wanted.slice(("account",), values, filters=FILTERS, orders=crm_events.ORDERS, default=LATEST)
        found = await crm_events.page(db, part)
        links = wanted.links(url_of(caller, "events"), more=len(found) > part.limit)
        things = [views.event(event, caller) for event in found[: part.limit]]
        return answers.page("events", things, url=links, number=wanted.page)

    @get("/events/types")
    async def list_types(request: Req) -> Response[bytes]:
        """What events there are."""
        caller = await door.reader(request)
        things = [{"key": key, "type": 0, "lang": name} for key, name in views.EVENT_TYPES.items()]
        return answers.written("events_types", things, url_of(caller, "events/types"), total=len(things))

    @get("/events/{event_id:str}")
    async def one_event(request: Req) -> Response[bytes]:
        """One event; 204 where there is none."""
        caller = await door.reader(request)
        number = path_id(request, "event_id")
        part = Slice(
            clauses=("account", "ids"),
            values={"account_id": caller.account_id, "ids": [number]},
            order=LATEST,
            limit=1,
            skipped=0,
        )
        found = await crm_events.page(db, part)
        return answers.hal(views.event(found[0], caller)) if found else answers.nothing()

    return [list_events, list_types, one_event]
