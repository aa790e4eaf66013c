"""What came of calls? `phones/call_by_id/`."""

from typing import Any

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.dialects.callo import answers, errors
from zvonar.dialects.callo.media import sounds
from zvonar.dialects.callo.requests.results import results_form
from zvonar.dialects.callo.routes.common import BIGINT, Req, Service, account_of, opened
from zvonar.store import calls


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests that read results."""

    @route("/phones/call_by_id", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def call_by_id(request: Req) -> Response[list[dict[str, Any]]]:
        """Results of calls, always as a list."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = results_form(form)
        assert account is not None
        known = [call_id for call_id in asked.call_ids if call_id in BIGINT]
        found = await calls.by_ids(service.db, account.account_id, known)
        if asked.single and not found:
            raise errors.CallMissing(asked.call_ids[0])
        ids = [call.call_id for call in found]
        recorded = await sounds(service.media, service.db, request, account.account_id, ids)
        attempts = None
        if asked.expand:
            attempts = await calls.attempts_of(service.db, account.account_id, ids)
        rows = [
            answers.result(
                call,
                None if attempts is None else attempts[call.call_id],
                account=account,
                language=language,
                sounds=recorded,
            )
            for call in found
        ]
        return Response(rows, headers=errors.headers(language))

    return [call_by_id]
