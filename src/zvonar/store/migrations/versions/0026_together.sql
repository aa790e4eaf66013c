-- What happens to several calls at once is written at once: a statement that serves one row or four costs nearly the
-- same, because most of it is spent on its beginning and end.

-- An attempt is written three times, and should stay where it is in every index: there is room beside it, and nothing
-- that changes is indexed unless it was recorded.
ALTER TABLE attempts SET (fillfactor = 60);
DROP INDEX attempts_recorded_lately;
CREATE INDEX attempts_recorded_lately ON attempts (started_at) WHERE recording IS NOT NULL;

-- Changes of calls are counted and told by one trigger for a whole statement. As before, each change of state is in the
-- outbox exactly once, in the same transaction.
DROP TRIGGER calls_changed ON calls;
DROP TRIGGER calls_ended_told ON calls;
DROP TRIGGER calls_counted ON calls;
DROP FUNCTION call_changed();
DROP FUNCTION call_ended_told();
DROP FUNCTION calls_counted();
DROP FUNCTION call_snapshot(calls);

CREATE FUNCTION calls_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One addition per shard and statement, in one order, so that two writers never wait for each other in a ring.
    INSERT INTO campaign_counts AS t (account_id, campaign_id, shard, queued, dialing, talking, waiting, finished,
        removed, blocked, expired, attempts, seconds, cost)
    SELECT n.account_id, n.campaign_id, mod(n.call_id, 8),
        sum((n.state = 'queued')::int - (o.state = 'queued')::int),
        sum((n.state = 'dialing')::int - (o.state = 'dialing')::int),
        sum((n.state = 'talking')::int - (o.state = 'talking')::int),
        sum((n.state = 'waiting')::int - (o.state = 'waiting')::int),
        sum((n.state = 'finished')::int - (o.state = 'finished')::int),
        sum((n.state = 'removed')::int - (o.state = 'removed')::int),
        sum((n.state = 'blocked')::int - (o.state = 'blocked')::int),
        sum((n.state = 'expired')::int - (o.state = 'expired')::int),
        sum(n.attempts - o.attempts), sum(n.talk_seconds - o.talk_seconds), sum(((n.cost - o.cost) * 10000)::bigint)
    FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id
    WHERE n.state <> o.state OR n.attempts <> o.attempts OR n.talk_seconds <> o.talk_seconds OR n.cost <> o.cost
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (account_id, campaign_id, shard) DO UPDATE SET queued = t.queued + excluded.queued,
        dialing = t.dialing + excluded.dialing, talking = t.talking + excluded.talking,
        waiting = t.waiting + excluded.waiting, finished = t.finished + excluded.finished,
        removed = t.removed + excluded.removed, blocked = t.blocked + excluded.blocked,
        expired = t.expired + excluded.expired, attempts = t.attempts + excluded.attempts,
        seconds = t.seconds + excluded.seconds, cost = t.cost + excluded.cost;

    -- Each call as it is at this moment.
    INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
    SELECT c.account_id, c.campaign_id, c.call_id, 'call', c.updated_at, jsonb_build_object(
        'account_id', c.account_id, 'call_id', c.call_id, 'campaign_id', c.campaign_id, 'phone', c.phone,
        'state', c.state, 'call_end', c.call_end, 'removing', c.removing, 'locked', c.locked,
        'disposition', c.disposition, 'script_result', c.script_result, 'choice', c.choice,
        'status_name', c.status_name, 'talk_seconds', c.talk_seconds, 'cost', c.cost, 'extra', c.extra,
        'label', c.label, 'created_at', c.created_at, 'updated_at', c.updated_at, 'completed_at', c.completed_at,
        'timezone', a.timezone, 'callback_url', g.settings ->> 'callback_url', 'postback', g.settings -> 'postback',
        'attempts', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'attempt', t.attempt, 'started_at', t.started_at, 'ended_at', t.ended_at,
                'disposition', t.disposition, 'script_result', t.script_result, 'cause', t.cause, 'choice', t.choice,
                'talk_seconds', t.talk_seconds, 'cost', t.cost, 'steps', t.steps) ORDER BY t.attempt), '[]')
            FROM attempts t WHERE t.account_id = c.account_id AND t.call_id = c.call_id),
        'before', jsonb_build_object('state', o.state, 'disposition', o.disposition, 'script_result', o.script_result),
        -- A placement that is taken back lowers the count: no attempt has ended then.
        'attempt_ended', c.state NOT IN ('dialing', 'talking')
            AND (c.attempts > o.attempts OR c.attempts = o.attempts AND o.state IN ('dialing', 'talking')),
        'recalled_at', c.recalled_at)
    FROM new_calls c JOIN old_calls o ON o.account_id = c.account_id AND o.call_id = c.call_id
    JOIN accounts a ON a.account_id = c.account_id
    JOIN campaigns g ON g.account_id = c.account_id AND g.campaign_id = c.campaign_id
    -- An attempt that never became a leg may leave a waiting call waiting.
    WHERE c.state <> o.state OR c.attempts > o.attempts OR c.recalled_at IS DISTINCT FROM o.recalled_at;

    -- Most changes end nothing, and this look is cheaper than finding that out by the joins.
    IF EXISTS (SELECT FROM new_calls WHERE call_end IS NOT NULL OR recalled_at IS NOT NULL) THEN
        INSERT INTO campaign_ends AS t (account_id, campaign_id, call_end, disposition, script_result, shard, n)
        SELECT n.account_id, n.campaign_id, n.call_end, coalesce(n.disposition, 'none'),
            coalesce(n.script_result, 'none'), mod(n.call_id, 8), count(*)
        FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id
        WHERE o.call_end IS NULL AND n.call_end IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (account_id, campaign_id, call_end, disposition, script_result, shard)
            DO UPDATE SET n = t.n + excluded.n;

        -- A campaign's own words to those whom it has reached, or not. Nobody is written to who was never called, and
        -- nobody who is on a stop list or was taken out.
        INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
        SELECT c.account_id, c.campaign_id, c.call_id, 'reaction', c.updated_at, jsonb_build_object(
            'account_id', c.account_id, 'campaign_id', c.campaign_id, 'call_id', c.call_id,
            'attempt', c.attempts, 'number', 0, 'phone', c.phone, 'own_phone', NULL, 'node', '', 'choice', NULL,
            'at', c.updated_at, 'reaction', jsonb_build_object('sms', jsonb_build_object(
                'text', filled(said.words, c.overrides -> 'variables'))))
        FROM new_calls c JOIN old_calls o ON o.account_id = c.account_id AND o.call_id = c.call_id
        JOIN campaigns g ON g.account_id = c.account_id AND g.campaign_id = c.campaign_id,
        LATERAL (SELECT CASE
            WHEN c.disposition = 'answered' AND c.script_result NOT IN ('machine', 'error')
                THEN g.settings ->> 'sms_text'
            WHEN c.call_end IN ('unsuccessful', 'attempts_exhausted', 'expired')
                AND (c.disposition IN ('busy', 'declined', 'no_answer', 'unreachable')
                    OR c.disposition = 'answered' AND c.script_result = 'machine')
                THEN g.settings ->> 'sms_unanswered_text' END AS words) said
        WHERE o.call_end IS NULL AND c.call_end IS NOT NULL AND c.attempts > 0 AND said.words IS NOT NULL
        ON CONFLICT DO NOTHING;

        -- A callee who called back is counted where his call had ended.
        INSERT INTO campaign_recalls AS r (account_id, campaign_id, disposition, script_result, n)
        SELECT n.account_id, n.campaign_id, coalesce(n.disposition, 'none'), coalesce(n.script_result, 'none'), count(*)
        FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id
        WHERE o.recalled_at IS NULL AND n.recalled_at IS NOT NULL
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (account_id, campaign_id, disposition, script_result) DO UPDATE SET n = r.n + excluded.n;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_changed AFTER UPDATE ON calls REFERENCING OLD TABLE AS old_calls NEW TABLE AS new_calls
    FOR EACH STATEMENT EXECUTE FUNCTION calls_changed();

-- How a leg ended, and what follows for its attempt and call. What stands above the line comes from the dialer.
CREATE TYPE ended_leg AS (
    leg_id text,
    campaign_id bigint,
    ended_at timestamptz,
    answered_at timestamptz,
    disposition text,
    script_result text,
    cause text,
    hangup_cause integer,
    sip_code integer,
    talk_seconds integer,
    billed_seconds integer,
    cost numeric,
    choice text,
    status_name text,
    steps jsonb,
    facts jsonb,
    recording text,
    final boolean,                             -- the attempt ends with it
    state text,                                -- of the call after a final one, as are the next two
    call_end text,
    due_at timestamptz,
    -- What the leg itself knows:
    call_id bigint,
    attempt integer,
    trunk_id bigint,
    hold numeric,
    held_by text,
    guarded boolean
);

-- Legs of one account end, each once: which of them have ended just now. Whoever ends one second changes nothing. With
-- `final` the attempt ends too, and the call goes where the decision says, unless it was removed meanwhile. Locks are
-- taken in the order of the store: leg, call, guard, trunk, account, counters, and of each kind in one order.
DROP FUNCTION end_leg(bigint, bigint, text, timestamptz, timestamptz, text, text, integer, integer, integer, integer,
    numeric, text, text, jsonb, text, boolean, text, text, timestamptz, timestamptz);
CREATE FUNCTION end_legs(p_account bigint, p_legs json, p_now timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    today date := (p_now AT TIME ZONE 'UTC')::date;
    ended ended_leg[];
    last text[];  -- those that have ended their attempts
    share record;
    left_over numeric;
BEGIN
    WITH told AS MATERIALIZED (
        SELECT * FROM json_populate_recordset(NULL::ended_leg, p_legs) ORDER BY leg_id
    ), ended AS (
        UPDATE legs l SET phase = 'ended', ended_at = t.ended_at, answered_at = coalesce(l.answered_at, t.answered_at),
            disposition = t.disposition, hangup_cause = t.hangup_cause, sip_code = t.sip_code, cost = t.cost
        FROM told t WHERE l.account_id = p_account AND l.leg_id = t.leg_id AND l.phase <> 'ended'
        RETURNING ROW(t.leg_id, t.campaign_id, t.ended_at, t.answered_at, t.disposition, t.script_result, t.cause,
            t.hangup_cause, t.sip_code, t.talk_seconds, t.billed_seconds, t.cost, t.choice, t.status_name, t.steps,
            t.facts, t.recording, t.final, t.state, t.call_end, t.due_at, l.call_id, l.attempt, l.trunk_id, l.hold,
            l.held_by, l.guarded)::ended_leg AS leg
    )
    SELECT array_agg(leg) INTO ended FROM ended;
    IF ended IS NULL THEN
        RETURN '{}';
    END IF;
    -- Locked now and changed last, because the change also counts.
    PERFORM FROM calls WHERE account_id = p_account AND call_id = ANY (ARRAY(SELECT call_id FROM unnest(ended)))
    ORDER BY call_id FOR NO KEY UPDATE;

    -- An attempt that another leg has ended before has its session already.
    WITH tried AS (
        UPDATE attempts t SET ended_at = e.ended_at, answered_at = coalesce(t.answered_at, e.answered_at),
            disposition = e.disposition, script_result = e.script_result, cause = e.cause, facts = e.facts,
            hangup_cause = e.hangup_cause, sip_code = e.sip_code, talk_seconds = e.talk_seconds,
            billed_seconds = t.billed_seconds + e.billed_seconds, cost = t.cost + e.cost, choice = e.choice,
            status_name = e.status_name, steps = e.steps, recording = e.recording,
            session_id = coalesce(t.promised_session, nextval('session_ids'))
        FROM unnest(ended) e
        WHERE e.final AND t.account_id = p_account AND t.call_id = e.call_id AND t.attempt = e.attempt
          AND t.ended_at IS NULL
        RETURNING e.leg_id, t.session_id, t.call_id, t.attempt
    ), told AS (
        INSERT INTO ended_sessions (session_id, account_id, call_id, attempt)
        SELECT session_id, p_account, call_id, attempt FROM tried
    )
    SELECT coalesce(array_agg(leg_id), '{}') INTO last FROM tried;

    -- What a leg cost beyond its hold comes from the balance alone.
    FOR share IN
        SELECT campaign_id, count(*) AS legs, coalesce(sum(hold) FILTER (WHERE held_by = 'campaign'), 0) AS held,
            coalesce(sum(least(hold, cost)) FILTER (WHERE held_by = 'campaign'), 0) AS spent
        FROM unnest(ended) WHERE guarded GROUP BY campaign_id ORDER BY campaign_id
    LOOP
        UPDATE campaign_guards SET in_use = greatest(in_use - share.legs, 0), spent = spent + share.spent,
            leg_held = leg_held - share.held
        WHERE account_id = p_account AND campaign_id = share.campaign_id;
    END LOOP;
    FOR share IN SELECT trunk_id, count(*) AS legs FROM unnest(ended) GROUP BY trunk_id ORDER BY trunk_id LOOP
        UPDATE trunks SET in_use = greatest(in_use - share.legs, 0) WHERE trunk_id = share.trunk_id;
    END LOOP;
    UPDATE accounts a SET balance = a.balance - e.cost, at_risk = a.at_risk - e.hold, held = a.held - e.held,
        spent_today = e.cost + CASE WHEN a.spent_on = today THEN a.spent_today ELSE 0 END, spent_on = today
    FROM (SELECT sum(cost) AS cost, sum(hold) AS hold,
              sum(CASE WHEN held_by = 'account' THEN hold ELSE least(hold, cost) END) AS held
          FROM unnest(ended)) e
    WHERE a.account_id = p_account RETURNING a.balance INTO left_over;
    -- One entry after the other: each says what was left over then.
    INSERT INTO ledger (account_id, at, kind, amount, balance_after, leg_id)
    SELECT p_account, p_now, 'charge', -cost,
        left_over + coalesce(sum(cost) OVER (ORDER BY leg_id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), 0), leg_id
    FROM unnest(ended) WHERE cost > 0 ORDER BY leg_id;

    -- Legs whose attempt goes on, or had ended before, leave nothing but their cost.
    IF cardinality(last) < cardinality(ended) THEN
        UPDATE attempts t SET cost = t.cost + e.cost, billed_seconds = t.billed_seconds + e.billed_seconds
        FROM (SELECT call_id, attempt, sum(cost) AS cost, sum(billed_seconds) AS billed_seconds FROM unnest(ended)
              WHERE leg_id <> ALL (last) AND cost > 0 GROUP BY call_id, attempt) e
        WHERE t.account_id = p_account AND t.call_id = e.call_id AND t.attempt = e.attempt;
        UPDATE calls c SET cost = c.cost + e.cost
        FROM (SELECT call_id, sum(cost) AS cost FROM unnest(ended)
              WHERE leg_id <> ALL (last) AND cost > 0 GROUP BY call_id) e
        WHERE c.account_id = p_account AND c.call_id = e.call_id;
    END IF;
    IF cardinality(last) > 0 THEN
        UPDATE calls c SET
            state = CASE WHEN c.removing AND e.state IN ('waiting', 'queued') THEN 'finished' ELSE e.state END,
            call_end = CASE WHEN c.removing AND e.state IN ('waiting', 'queued') THEN 'removed' ELSE e.call_end END,
            completed_at = CASE WHEN c.removing OR e.call_end IS NOT NULL THEN p_now END,
            due_at = coalesce(e.due_at, c.due_at), lease_epoch = NULL, updated_at = p_now,
            disposition = e.disposition, script_result = e.script_result, choice = e.choice,
            status_name = e.status_name, sip_code = e.sip_code, talk_seconds = c.talk_seconds + e.talk_seconds,
            cost = c.cost + e.cost
        FROM unnest(ended) e
        WHERE e.leg_id = ANY (last) AND c.account_id = p_account AND c.call_id = e.call_id
          AND c.state IN ('dialing', 'talking');
    END IF;
    RETURN ARRAY(SELECT leg_id FROM unnest(ended));
END $$;
