"""How do sessions of another exchange or tracking system come in? upload.calls."""

from zvonar.dialects.uis import answers, uploads
from zvonar.dialects.uis.methods.common import Answer, Call


async def upload_calls(call: Call) -> Answer:
    """upload.calls"""
    made = await uploads.upload(call.writer, call.account.account_id, call.params, call.zone, now=call.now)
    return answers.changed(call.id, made, call.limits)
