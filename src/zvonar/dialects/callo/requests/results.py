"""Which calls are asked about? Forms that read results."""

from msgspec import Struct

from zvonar.dialects.callo.errors import BOTH_IDS, FORM, REQUIRED
from zvonar.dialects.callo.requests.form import MAX_KEY, Form

_TRUE = frozenset({"1", "true", "on", "yes"})


class ResultsForm(Struct, frozen=True, kw_only=True):
    """`phones/call_by_id/`: which calls."""

    call_ids: list[int]
    single: bool  # asked by call_id, so that a missing one is an error
    expand: bool  # with attempts


def results_form(form: Form) -> ResultsForm:
    """The calls that are asked for, or FormInvalid."""
    call_id = form.number("call_id")
    call_ids = form.numbers("call_ids")
    expand = (form.text("expand", limit=MAX_KEY) or "").lower() in _TRUE
    if call_id is not None and call_ids:
        form.errors[FORM] = BOTH_IDS
    elif call_id is None and not call_ids and not form.errors.keys() & {"call_id", "call_ids"}:
        form.errors["call_id"] = REQUIRED
    form.check()
    return ResultsForm(
        call_ids=call_ids if call_id is None else [call_id], single=call_id is not None, expand=expand
    )
