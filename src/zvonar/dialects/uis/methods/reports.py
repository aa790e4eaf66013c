"""How are sessions reported? get.calls_report, get.mgf_calls and their list: rows in the shape of each method."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from zvonar.dialects.uis import answers, mgf_rows, streams
from zvonar.dialects.uis.errors import RpcError
from zvonar.dialects.uis.methods.common import Answer, Call
from zvonar.dialects.uis.methods.listing import Listing, column
from zvonar.dialects.uis.requests import calls_report as calls_request
from zvonar.dialects.uis.requests import mgf_calls as mgf_request
from zvonar.reports.fields import Kind
from zvonar.reports.query import (
    Compare,
    Filter,
    InvalidFilter,
    Op,
    Query,
    ReportBusy,
    ReportTooSlow,
    Tree,
)
from zvonar.store import directories

# An account has the one report of all its calls. Any other number is answered, too: see requests.mgf_calls.
REPORT_ID: Final = 1015
_REPORTS: Final = Listing(column("id", Kind.integer), column("name", Kind.text), column("type", Kind.text))


async def calls_report(call: Call) -> Answer:
    """get.calls_report"""
    query = calls_request.read(
        call.params,
        account_id=call.account.account_id,
        zone=call.zone,
        link_base=call.base,
        too_deep=call.too_deep,
    )
    return await _answer(call, query, lambda total: answers.around_calls(call.id, total, call.limits), None)


async def mgf_calls(call: Call) -> Answer:
    """get.mgf_calls"""
    asked = mgf_request.read(
        call.params,
        account_id=call.account.account_id,
        zone=call.zone,
        link_base=call.base,
        too_deep=call.too_deep,
    )
    colours: dict[int, str] = {}
    if "tags" in asked.fields:
        colours = {tag.tag_id: tag.color for tag in await directories.tags(call.db, call.account.account_id)}
    render = mgf_rows.renderer(asked.fields, colours)
    return await _answer(
        call,
        asked.query,
        lambda total: answers.around_mgf_calls(call.id, total),
        render if asked.fields else _nothing,
    )


def _nothing(_: bytes) -> bytes:
    """A row without fields. UIS: "if empty or not passed, the response will be empty"."""
    return b"{}"


async def _answer(
    call: Call,
    query: Query,
    around: Callable[[int], tuple[bytes, bytes]],
    render: Callable[[bytes], bytes] | None,
) -> Answer:
    try:
        async with AsyncExitStack() as stack:
            report = await stack.enter_async_context(call.reports.report(query))
            head, tail = around(report.total)
            text = streams.pieces(head, report.rows, tail, render)
            start, whole = await streams.begun(text)
            if whole:
                return start
            return streams.Streamed(start, text, stack.pop_all())
    except InvalidFilter as exc:
        value = _pattern(query.filter, exc.field)
        raise RpcError("invalid_parameter_value", field="filter.value", value=value) from None
    except (ReportTooSlow, ReportBusy) as exc:
        raise RpcError("error", error_message=str(exc)) from None


def _pattern(filter: Filter | None, field: str) -> str | None:
    """What was asked of this field that the database cannot use, where it can only be one thing."""
    match filter:
        case Compare(field=name, op=Op.regexp, value=str() as value) if name == field:
            return value
        case Tree(of=of):
            found = {inner for one in of if (inner := _pattern(one, field)) is not None}
            return found.pop() if len(found) == 1 else None
    return None


async def reports_list(call: Call) -> Answer:
    """get.reports_list"""
    reports = [{"id": REPORT_ID, "name": "Все звонки", "type": "mgf_calls"}]
    return _REPORTS.answer(call, reports)
