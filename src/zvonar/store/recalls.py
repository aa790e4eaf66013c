"""Who was not reached and called back? Whoever takes incoming calls knows which call of ours showed that number."""

from datetime import datetime

from zvonar.store.db import Database

# A call back counts within the time that its campaign sets, once, and only where nobody had been reached; a machine is
# nobody. It is not dialled any more. While it is up, its own end decides.
RECALL = """
UPDATE calls c SET recalled_at = %(now)s, updated_at = %(now)s, lease_epoch = NULL,
    state = CASE WHEN c.state = 'waiting' THEN 'finished' ELSE c.state END,
    call_end = CASE WHEN c.state = 'waiting' THEN 'unsuccessful' ELSE c.call_end END,
    completed_at = CASE WHEN c.state = 'waiting' THEN %(now)s ELSE c.completed_at END
FROM campaigns g
WHERE c.account_id = %(account_id)s AND c.call_id = %(call_id)s AND c.state NOT IN ('dialing', 'talking')
  AND c.recalled_at IS NULL AND (c.disposition <> 'answered' OR c.script_result = 'machine')
  AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id
  AND c.last_attempt_at > %(now)s - make_interval(secs => coalesce((g.settings ->> 'recall_within')::integer, 86400))
"""


async def recall(db: Database, account_id: int, call_id: int, *, now: datetime) -> bool:
    """The callee of this call has called a number back that it showed; whether it is a recalled call from now on."""
    return await db.execute(RECALL, {"account_id": account_id, "call_id": call_id, "now": now}) == 1
