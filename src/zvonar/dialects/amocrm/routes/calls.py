"""How are calls logged? POST /api/v4/calls: each is a note on the card that the documented rule chooses."""

from collections.abc import Sequence

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from zvonar.core.crm import ROBOT, tail
from zvonar.dialects.amocrm import answers
from zvonar.dialects.amocrm.caller import Caller
from zvonar.dialects.amocrm.errors import CHOICE, Fault, ValidationFailed, fault
from zvonar.dialects.amocrm.requests import calls
from zvonar.dialects.amocrm.requests.calls import Call
from zvonar.dialects.amocrm.routes.common import Door, Req, Service
from zvonar.store import crm_logging, crm_users
from zvonar.store.crm_logging import LoggedCall
from zvonar.store.crm_notes import NoteType
from zvonar.store.crm_users import Directory


def handlers(service: Service, door: Door) -> list[HTTPRouteHandler]:
    @post("/calls", status_code=200)
    async def add_calls(request: Req) -> Response[bytes]:
        """Log calls."""
        caller = await door.writer(request)
        batch = calls.calls(await request.body(), strict=service.strict)
        directory = await _directory(service, caller, batch)
        _check_users(batch, directory)
        logged = [_logged(call, caller, directory) for call in batch]
        noted = await crm_logging.log(service.db, logged, heard=caller.heard)
        results = [(call.request_id, one) for call, one in zip(batch, noted, strict=True)]
        return answers.calls(results, caller.account_id, caller.base)

    return [add_calls]


async def _directory(service: Service, caller: Caller, batch: Sequence[Call]) -> Directory:
    """Whom the batch names."""
    ids = {user for call in batch for user in call.users()}
    called = {call.call_responsible for call in batch if call.call_responsible is not None}
    return await crm_users.directory(
        service.db,
        caller.account_id,
        user_ids=ids | {one for one in called if isinstance(one, int)},
        called={one for one in called if isinstance(one, str)},
    )


def _check_users(batch: Sequence[Call], directory: Directory) -> None:
    """Whoever is named as a user has to be one. Raises ValidationFailed.

    call_responsible may be anything: it says who spoke, who may have left or never been a user.
    """
    wrong: list[tuple[str | int, Sequence[Fault]]] = []
    for call in batch:
        faults = [
            fault(CHOICE, name)
            for name in ("responsible_user_id", "created_by", "updated_by")
            if (user := getattr(call, name)) is not None and user != ROBOT and not directory.has(user)
        ]
        if faults:
            wrong.append((call.request_id, faults))
    if wrong:
        raise ValidationFailed(wrong)


def _logged(call: Call, caller: Caller, directory: Directory) -> LoggedCall:
    speaker = directory.meant(call.call_responsible)
    if call.call_responsible is not None:
        # created_by counts only without call_responsible; whoever is no user of ours is a robot's find.
        created_by = ROBOT if speaker is None else speaker.user_id
    else:
        created_by = ROBOT if call.created_by is None else call.created_by
    responsible = call.responsible_user_id
    if responsible is None:
        # Unless somebody is named, whoever spoke; else whoever logs it [G].
        responsible = caller.user.user_id if speaker is None else speaker.user_id
    return LoggedCall(
        account_id=caller.account_id,
        tail=tail(call.phone),
        note_type=NoteType.call_in if call.inbound else NoteType.call_out,
        params=call.params,
        responsible_user_id=responsible,
        created_by=created_by,
        updated_by=created_by if call.updated_by is None else call.updated_by,
        created_at=call.created_at or caller.now,
        updated_at=call.updated_at or caller.now,
    )
