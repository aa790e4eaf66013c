"""What are cards sorted and marked by? /api/v4/leads/pipelines, …/tags and …/custom_fields."""

from typing import Any

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from zvonar.core.crm import CLOSED, Kind
from zvonar.dialects.amocrm import answers, custom_fields, views
from zvonar.dialects.amocrm.answers import PLURAL
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.custom_fields import Field
from zvonar.dialects.amocrm.errors import NoRights, NotThere
from zvonar.dialects.amocrm.requests import catalog as reading
from zvonar.dialects.amocrm.requests import fields
from zvonar.dialects.amocrm.routes.common import Door, Req, Service, asked, path_id, url_of
from zvonar.store import crm_entities, crm_pipelines, crm_tags
from zvonar.store.crm_users import Role


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    of_kinds = [
        handler for kind in Kind for handler in (*_tags(service, door, kind), *_fields(service, door, kind))
    ]
    return [*_pipelines(service, door), *of_kinds]


def _pipelines(service: Service, door: Door) -> list[HTTPRouteHandler]:
    db, path = service.db, "leads/pipelines"

    @get("/leads/pipelines")
    async def list_pipelines(request: Req) -> Response[bytes]:
        """Every pipeline with its stages."""
        caller = await door.reader(request)
        found = await crm_pipelines.get(db, caller.account_id)
        things = [views.pipeline(one, found, caller) for one in found.pipelines]
        return answers.written("pipelines", things, url_of(caller, path), total=len(things))

    @get("/leads/pipelines/{pipeline_id:str}")
    async def one_pipeline(request: Req) -> Response[bytes]:
        """One pipeline; 204 where there is none."""
        caller, number = await door.reader(request), path_id(request, "pipeline_id")
        found = await crm_pipelines.get(db, caller.account_id)
        for one in found.pipelines:
            if one.pipeline_id == number:
                return answers.hal(views.pipeline(one, found, caller))
        return answers.nothing()

    @get("/leads/pipelines/{pipeline_id:str}/statuses")
    async def list_statuses(request: Req) -> Response[bytes]:
        """Every stage of a pipeline, won and lost at its end."""
        caller, number = await door.reader(request), path_id(request, "pipeline_id")
        found = await crm_pipelines.get(db, caller.account_id)
        if not found.has(number):
            return answers.nothing()
        things = views.statuses(found, number, caller)
        return answers.written(
            "statuses", things, url_of(caller, path, number, "statuses"), total=len(things)
        )

    @get("/leads/pipelines/{pipeline_id:str}/statuses/{status_id:str}")
    async def one_status(request: Req) -> Response[bytes]:
        """One stage; 204 where there is none."""
        caller, number = await door.reader(request), path_id(request, "pipeline_id")
        status = path_id(request, "status_id")
        found = await crm_pipelines.get(db, caller.account_id)
        if found.has(number):
            for thing in views.statuses(found, number, caller):
                if thing["id"] == status:
                    return answers.hal(thing)
        return answers.nothing()

    @post("/leads/pipelines", status_code=200)
    async def add_pipelines(request: Req) -> Response[bytes]:
        """New pipelines with their stages, by an administrator."""
        caller = await _admin(door, request)
        wishes = reading.new_pipelines(fields.document(await request.body()))
        async with db.transaction() as connection:
            made = [
                await crm_pipelines.add(
                    connection, caller.account_id, name=wish.name, sort=wish.sort, statuses=wish.statuses
                )
                for wish in wishes
            ]
            found = await crm_pipelines.all_of(connection, caller.account_id)
        things = [
            {**views.pipeline(one, found, caller), "request_id": wish.request_id}
            for wish, one in zip(wishes, made, strict=True)
        ]
        return answers.written("pipelines", things, url_of(caller, path), total=len(things))

    @post("/leads/pipelines/{pipeline_id:str}/statuses", status_code=200)
    async def add_statuses(request: Req) -> Response[bytes]:
        """New stages of a pipeline, by an administrator."""
        caller = await _admin(door, request)
        number = path_id(request, "pipeline_id")
        wishes = reading.new_statuses(fields.document(await request.body()))
        async with db.transaction() as connection:
            before = await crm_pipelines.all_of(connection, caller.account_id)
            if not before.has(number):
                raise NotThere("There is no such pipeline.")
            await crm_pipelines.add_statuses(connection, caller.account_id, number, wishes)
            found = await crm_pipelines.all_of(connection, caller.account_id)
        known = {status.status_id for status in before.of(number)} | set(CLOSED)
        things = [thing for thing in views.statuses(found, number, caller) if thing["id"] not in known]
        return answers.written(
            "statuses", things, url_of(caller, path, number, "statuses"), total=len(things)
        )

    return [list_pipelines, one_pipeline, list_statuses, one_status, add_pipelines, add_statuses]


async def _admin(door: Door, request: Req) -> Caller:
    caller = await door.writer(request)
    if caller.user.role != Role.admin:
        raise NoRights
    return caller


def _tags(service: Service, door: Door, kind: Kind) -> list[HTTPRouteHandler]:
    name, db = PLURAL[kind], service.db

    @get(f"/{name}/tags")
    async def list_tags(request: Req) -> Response[bytes]:
        """A page of the tags of a kind."""
        caller, wanted = await door.reader(request), asked(request)
        found = await crm_tags.page(
            db,
            caller.account_id,
            kind,
            pattern=crm_entities.pattern(wanted.query or ""),
            limit=wanted.limit,
            skipped=(wanted.page - 1) * wanted.limit,
        )
        things = [views.tag(tag) for tag in found[: wanted.limit]]
        links = wanted.links(url_of(caller, name, "tags"), more=len(found) > wanted.limit)
        return answers.page("tags", things, url=links, number=wanted.page)

    @post(f"/{name}/tags", status_code=200)
    async def add_tags(request: Req) -> Response[bytes]:
        """New tags; one whose name is there already is that one."""
        caller = await door.writer(request)
        wishes = reading.new_tags(fields.document(await request.body()))
        async with db.transaction() as connection:
            made = await crm_tags.put(
                connection, caller.account_id, kind, [(wish.name, wish.color) for wish in wishes]
            )
        things = [
            {**views.tag(tag), "request_id": wish.request_id} for wish, tag in zip(wishes, made, strict=True)
        ]
        return answers.written("tags", things, url_of(caller, name, "tags"), total=len(things))

    return [list_tags, add_tags]


def _fields(service: Service, door: Door, kind: Kind) -> list[HTTPRouteHandler]:
    name = PLURAL[kind]

    def shown(field: Field, caller: Caller) -> dict[str, Any]:
        return {
            "id": field.field_id,
            "name": field.name,
            "type": "multitext",
            "account_id": caller.account_id,
            "code": field.code,
            "sort": field.sort,
            "is_api_only": False,
            "enums": [
                {"id": enum_id, "value": code, "sort": place}
                for place, (code, enum_id) in enumerate(field.enums.items(), 1)
            ],
            "group_id": None,
            "required_statuses": [],
            "is_deletable": False,
            "is_predefined": True,
            "entity_type": name,
            "_links": answers.link(caller.base, name, "custom_fields", field.field_id),
        }

    @get(f"/{name}/custom_fields")
    async def list_fields(request: Req) -> Response[bytes]:
        """The fields of a kind beside its own."""
        caller, wanted = await door.reader(request), asked(request)
        found = custom_fields.FIELDS[kind]
        skipped = (wanted.page - 1) * wanted.limit
        part = found[skipped : skipped + wanted.limit]
        links = wanted.links(url_of(caller, name, "custom_fields"), more=skipped + len(part) < len(found))
        things = [shown(field, caller) for field in part]
        return answers.page("custom_fields", things, url=links, number=wanted.page, total=len(found))

    @get(f"/{name}/custom_fields/{{field_id:str}}")
    async def one_field(request: Req) -> Response[bytes]:
        """One field; 204 where there is none."""
        caller, number = await door.reader(request), path_id(request, "field_id")
        field = custom_fields.named(kind, field_id=number)
        return answers.nothing() if field is None else answers.hal(shown(field, caller))

    return [list_fields, one_field]
