-- Calls of one campaign that go out over one trunk at the same moment are placed at once: one look at what all of them
-- need, one change of what all of them use, one commit. What each of them needs is decided one after the other, as if
-- they had come one by one.

DROP FUNCTION place_leg(bigint, bigint, bigint, text, bigint, bigint, text, jsonb, numeric, boolean, boolean, integer,
    numeric, boolean, timestamptz, timestamptz, integer[], integer[]);

-- A leg that is to be. What stands above the line comes from the dialer.
CREATE TYPE placed_leg AS (
    call_id bigint,
    caller_id text,
    rate jsonb,
    hold numeric,
    open_until timestamptz,                    -- when the callee's window closes; null for no such limit
    -- What the call itself knows:
    phone text,
    trial boolean,
    attempt integer
);

-- By call a leg id, or why there is none; then nothing was changed for it. `p_next_leg`: the attempts go on over another
-- trunk; the leg that each replaces has lost its channel and ends after this, so both count for a moment. Locks are
-- taken in the order of the store: epoch, call, guard, trunk, account, counters, and of each kind in one order.
CREATE FUNCTION place_legs(
    p_account bigint, p_campaign bigint, p_gateway text, p_epoch bigint, p_trunk bigint, p_held_by_campaign boolean,
    p_guarded boolean, p_max_channels integer, p_calls_per_second numeric, p_next_leg boolean,
    p_cap_attempts integer[], p_cap_seconds integer[], p_legs json, p_now timestamptz
) RETURNS TABLE (of_call bigint, said text) LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := ARRAY(SELECT (leg ->> 'call_id')::bigint FROM json_array_elements(p_legs) AS leg);
    places tid[];  -- where these calls are
    wanted placed_leg[];
    placed placed_leg[] := '{}';
    one placed_leg;
    guard_in_use bigint;
    guard_slot_at timestamptz;
    guard_left_over numeric;
    guard_held numeric;
    trunk record;
    payer record;
    refused text;
BEGIN
    -- Locked, so that a new dialer's claim waits for these placements and then sees their legs.
    PERFORM FROM dialer_epochs WHERE gateway = p_gateway AND epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT id, 'fenced' FROM unnest(ids) AS id;
        RETURN;
    END IF;

    PERFORM FROM calls WHERE account_id = p_account AND call_id = ANY (ids) ORDER BY call_id FOR NO KEY UPDATE;
    -- Where they are is found in the primary key, for the order's sake; they are locked, and stay there. Plans are kept,
    -- and while tables are small any index seems as good, and then reads all that the account has.
    places := ARRAY(SELECT ctid FROM calls WHERE account_id = p_account AND call_id = ANY (ids) ORDER BY call_id);
    WITH found AS MATERIALIZED (
        SELECT c.call_id, c.phone, c.trial, c.attempts + 1 - p_next_leg::int AS attempt FROM calls c
        WHERE c.ctid = ANY (places) AND c.campaign_id + 0 = p_campaign
          AND CASE WHEN p_next_leg THEN c.state = 'dialing' ELSE c.state IN ('queued', 'waiting') END
          AND c.lease_epoch IS NOT DISTINCT FROM p_epoch AND NOT c.removing
          AND (c.expires_at IS NULL OR c.expires_at > p_now)
          AND (SELECT true FROM legs l WHERE l.account_id = c.account_id AND l.call_id = c.call_id
               AND l.phase = 'placing' LIMIT 1) IS NULL
          AND (SELECT true FROM stop_list s WHERE s.account_id = c.account_id AND s.phone = c.phone
               AND (s.until IS NULL OR s.until > p_now) LIMIT 1) IS NULL
          AND (SELECT true FROM global_stop_list s WHERE s.phone = c.phone LIMIT 1) IS NULL
    )
    SELECT array_agg(ROW(f.call_id, t.caller_id, t.rate, t.hold, t.open_until, f.phone, f.trial, f.attempt)::placed_leg
                     ORDER BY f.call_id) INTO wanted
    FROM json_populate_recordset(NULL::placed_leg, p_legs) t JOIN found f ON f.call_id = t.call_id
    WHERE EXISTS (SELECT FROM campaigns
                  WHERE account_id = p_account AND campaign_id = p_campaign AND status = 'running');

    IF wanted IS NULL OR cardinality(wanted) < cardinality(ids) THEN
        -- It may be placed already, and its dialer never have heard of the commit.
        RETURN QUERY SELECT id, coalesce((SELECT l.leg_id FROM legs l WHERE l.account_id = p_account AND l.call_id = id
                                          AND l.phase = 'placing' AND l.epoch = p_epoch AND l.trunk_id = p_trunk), 'gone')
        FROM unnest(ids) AS id WHERE id NOT IN (SELECT call_id FROM unnest(wanted));
        IF wanted IS NULL THEN
            RETURN;
        END IF;
    END IF;

    IF p_guarded THEN
        SELECT in_use, slot_at, coalesce(hold, 0) - spent, leg_held
        INTO guard_in_use, guard_slot_at, guard_left_over, guard_held FROM campaign_guards
        WHERE account_id = p_account AND campaign_id = p_campaign FOR NO KEY UPDATE;
    END IF;
    SELECT in_use, max_channels, calls_per_second, slot_at, trial INTO trunk FROM trunks
    WHERE trunk_id = p_trunk AND enabled AND gateway = p_gateway AND (account_id IS NULL OR account_id = p_account)
    FOR NO KEY UPDATE;
    SELECT balance, a.held, at_risk, spend_per_day, calls_per_callee_day, attempts_per_minute, attempt_slot_at,
        CASE WHEN spent_on = (p_now AT TIME ZONE 'UTC')::date THEN spent_today ELSE 0 END AS spent_today,
        -- Those of the campaign beside those of the account; null where there are none.
        p_cap_attempts || cap_attempts AS cap_attempts, p_cap_seconds || cap_seconds AS cap_seconds INTO payer
    FROM accounts a WHERE account_id = p_account FOR NO KEY UPDATE;

    FOREACH one IN ARRAY wanted LOOP
        refused := CASE
            WHEN p_guarded AND (p_max_channels > 0 AND guard_in_use >= p_max_channels::bigint + p_next_leg::int
                    OR p_calls_per_second > 0 AND guard_slot_at > p_now + pace_tolerance()) THEN 'campaign_busy'
            WHEN p_held_by_campaign AND guard_left_over - guard_held < one.hold THEN
                CASE WHEN guard_left_over >= one.hold THEN 'no_money_yet' ELSE 'no_money' END
            WHEN trunk.trial IS DISTINCT FROM one.trial OR trunk.in_use >= trunk.max_channels
                    OR trunk.calls_per_second > 0 AND trunk.slot_at > p_now + pace_tolerance() THEN 'trunk_busy'
        END;
        IF refused IS NULL AND NOT p_next_leg THEN
            -- Counted under the account's lock, so that two dialers never both see the last free place; those that are
            -- placed just now are not written yet.
            -- Not "account_id =": the primary key would tempt, and read every attempt of the account.
            IF payer.calls_per_callee_day <= (SELECT count(*) FROM attempts WHERE phone = one.phone
                    AND started_at > p_now - interval '1 day' AND account_id IS NOT DISTINCT FROM p_account)
                    + (SELECT count(*) FROM unnest(placed) p WHERE p.phone = one.phone) THEN
                refused := 'capped';
            ELSIF payer.attempt_slot_at > p_now + interval '1 minute' - interval '1 minute' / payer.attempts_per_minute THEN
                refused := 'campaign_busy';
            ELSIF payer.cap_attempts IS NOT NULL AND EXISTS (
                    SELECT FROM unnest(payer.cap_attempts, payer.cap_seconds) AS cap (attempts, seconds)
                    WHERE cap.attempts <= (SELECT count(*) FROM attempts WHERE phone = one.phone
                        AND started_at > p_now - make_interval(secs => cap.seconds)
                        AND account_id IS NOT DISTINCT FROM p_account AND (ended_at IS NULL OR session_id IS NOT NULL))
                        + (SELECT count(*) FROM unnest(placed) p WHERE p.phone = one.phone)) THEN
                refused := 'capped';
            END IF;
        END IF;
        refused := CASE
            WHEN refused IS NOT NULL THEN refused
            WHEN NOT p_held_by_campaign AND payer.balance - payer.held < one.hold THEN
                CASE WHEN payer.balance >= one.hold THEN 'no_money_yet' ELSE 'no_money' END
            WHEN payer.spend_per_day < payer.spent_today + payer.at_risk + one.hold THEN
                CASE WHEN payer.spend_per_day >= payer.spent_today + one.hold THEN 'no_money_yet' ELSE 'no_money' END
            -- The window as it is now, with what the locks have cost; `p_now` is when this was asked.
            WHEN one.open_until <= p_now + (clock_timestamp() - statement_timestamp()) THEN 'closed'
        END;
        IF refused IS NOT NULL THEN
            of_call := one.call_id;
            said := refused;
            RETURN NEXT;
            CONTINUE;
        END IF;

        -- Nothing speaks against it.
        placed := placed || one;
        IF p_guarded THEN
            guard_in_use := guard_in_use + 1;
            IF p_calls_per_second > 0 THEN
                guard_slot_at := greatest(guard_slot_at, p_now) + interval '1 second' / p_calls_per_second::float8;
            END IF;
            IF p_held_by_campaign THEN
                guard_held := guard_held + one.hold;
            END IF;
        END IF;
        trunk.in_use := trunk.in_use + 1;
        IF trunk.calls_per_second > 0 THEN
            trunk.slot_at := greatest(trunk.slot_at, p_now) + interval '1 second' / trunk.calls_per_second::float8;
        END IF;
        IF NOT p_held_by_campaign THEN
            payer.held := payer.held + one.hold;
        END IF;
        payer.at_risk := payer.at_risk + one.hold;
        IF NOT p_next_leg THEN
            payer.attempt_slot_at := greatest(payer.attempt_slot_at, p_now) + interval '1 minute' / payer.attempts_per_minute;
        END IF;
    END LOOP;
    IF cardinality(placed) = 0 THEN
        RETURN;
    END IF;

    IF p_guarded THEN
        UPDATE campaign_guards SET in_use = guard_in_use, slot_at = guard_slot_at, leg_held = guard_held
        WHERE account_id = p_account AND campaign_id = p_campaign;
    END IF;
    UPDATE trunks SET in_use = trunk.in_use, slot_at = trunk.slot_at WHERE trunk_id = p_trunk;
    UPDATE accounts SET held = payer.held, at_risk = payer.at_risk, attempt_slot_at = payer.attempt_slot_at
    WHERE account_id = p_account;
    -- The attempt is there already where an earlier leg of it has sent an INVITE.
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, caller_id)
    SELECT p_account, p.call_id, p.attempt, p_campaign, p.phone, p_now, p.caller_id FROM unnest(placed) p
    ON CONFLICT (account_id, call_id, attempt) DO UPDATE SET caller_id = excluded.caller_id;
    RETURN QUERY INSERT INTO legs (account_id, leg_id, call_id, attempt, leg, trunk_id, gateway, epoch, phase, caller_id,
        hold, held_by, guarded, rate, placed_at)
    SELECT p_account, format('%s.%s.%s', p.call_id, p.attempt, n.leg), p.call_id, p.attempt, n.leg, p_trunk, p_gateway,
        p_epoch, 'placing', p.caller_id, p.hold, CASE WHEN p_held_by_campaign THEN 'campaign' ELSE 'account' END,
        p_guarded, p.rate, p_now
    FROM unnest(placed) p, LATERAL (SELECT coalesce(max(l.leg), 0) + 1 AS leg FROM legs l
        WHERE l.account_id = p_account AND l.call_id = p.call_id AND l.attempt = p.attempt) n
    RETURNING call_id, leg_id;
    UPDATE calls SET state = 'dialing', attempts = attempts + 1 - p_next_leg::int, last_attempt_at = p_now,
        updated_at = p_now
    WHERE ctid = ANY (places) AND call_id + 0 = ANY (ARRAY(SELECT call_id FROM unnest(placed)));
END $$;

-- What a statement changes of a campaign's counters goes to one shard, and not to that of each call.
CREATE OR REPLACE FUNCTION calls_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One addition per campaign and statement, in one order, so that two writers never wait for each other in a ring.
    -- To which of its shards is all the same: they add up.
    INSERT INTO campaign_counts AS t (account_id, campaign_id, shard, queued, dialing, talking, waiting, finished,
        removed, blocked, expired, attempts, seconds, cost)
    SELECT n.account_id, n.campaign_id, mod(min(n.call_id), 8)::smallint,
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
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (account_id, campaign_id, shard) DO UPDATE SET queued = t.queued + excluded.queued,
        dialing = t.dialing + excluded.dialing, talking = t.talking + excluded.talking,
        waiting = t.waiting + excluded.waiting, finished = t.finished + excluded.finished,
        removed = t.removed + excluded.removed, blocked = t.blocked + excluded.blocked,
        expired = t.expired + excluded.expired, attempts = t.attempts + excluded.attempts,
        seconds = t.seconds + excluded.seconds, cost = t.cost + excluded.cost;

    -- That a call is dialled, and that it is answered, is told already: no dialect tells anybody of it. Nor is the
    -- whole call written then, which is most of what such a change would cost.
    IF EXISTS (SELECT FROM new_calls WHERE state IN ('dialing', 'talking')) THEN
        INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload, fanned_out_at)
        SELECT c.account_id, c.campaign_id, c.call_id, 'call', c.updated_at, jsonb_build_object(
            'account_id', c.account_id, 'call_id', c.call_id, 'campaign_id', c.campaign_id, 'state', c.state,
            'before', jsonb_build_object('state', o.state)), c.updated_at
        FROM new_calls c JOIN old_calls o ON o.account_id = c.account_id AND o.call_id = c.call_id
        WHERE c.state IN ('dialing', 'talking') AND (c.state <> o.state OR c.attempts > o.attempts)
            AND c.recalled_at IS NOT DISTINCT FROM o.recalled_at;
    END IF;

    -- Each other call as it is at this moment.
    IF EXISTS (SELECT FROM new_calls WHERE state NOT IN ('dialing', 'talking') OR recalled_at IS NOT NULL) THEN
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
        WHERE (c.state <> o.state OR c.attempts > o.attempts) AND c.state NOT IN ('dialing', 'talking')
            OR c.recalled_at IS DISTINCT FROM o.recalled_at;
    END IF;

    -- Most changes end nothing, and this look is cheaper than finding that out by the joins.
    IF EXISTS (SELECT FROM new_calls WHERE call_end IS NOT NULL OR recalled_at IS NOT NULL) THEN
        INSERT INTO campaign_ends AS t (account_id, campaign_id, call_end, disposition, script_result, shard, n)
        SELECT n.account_id, n.campaign_id, n.call_end, coalesce(n.disposition, 'none'),
            coalesce(n.script_result, 'none'), mod(min(n.call_id), 8)::smallint, count(*)
        FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id
        WHERE o.call_end IS NULL AND n.call_end IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
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

-- As before, but that every row is looked up by its whole key: a plan that was made for small tables would go on reading
-- all that the account has, until somebody has counted.
CREATE OR REPLACE FUNCTION end_legs(p_account bigint, p_legs json, p_now timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    today date := (p_now AT TIME ZONE 'UTC')::date;
    ended ended_leg[];
    ids bigint[];  -- of their calls
    places tid[];  -- where these are
    last text[];  -- those that have ended their attempts
    share record;
    left_over numeric;
BEGIN
    WITH told AS MATERIALIZED (
        SELECT * FROM json_populate_recordset(NULL::ended_leg, p_legs) ORDER BY leg_id
    ), ended AS (
        UPDATE legs l SET phase = 'ended', ended_at = t.ended_at, answered_at = coalesce(l.answered_at, t.answered_at),
            disposition = t.disposition, hangup_cause = t.hangup_cause, sip_code = t.sip_code, cost = t.cost
        FROM told t WHERE l.account_id = p_account AND l.leg_id = ANY (ARRAY(SELECT leg_id FROM told))
          AND l.leg_id = t.leg_id AND l.phase <> 'ended'
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
    ids := ARRAY(SELECT call_id FROM unnest(ended));
    PERFORM FROM calls WHERE account_id = p_account AND call_id = ANY (ids)
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
        WHERE e.final AND t.account_id = p_account AND t.call_id = ANY (ids)
          AND t.call_id = e.call_id AND t.attempt = e.attempt
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
        WHERE t.account_id = p_account AND t.call_id = ANY (ids) AND t.call_id = e.call_id AND t.attempt = e.attempt;
        UPDATE calls c SET cost = c.cost + e.cost
        FROM (SELECT call_id, sum(cost) AS cost FROM unnest(ended)
              WHERE leg_id <> ALL (last) AND cost > 0 GROUP BY call_id) e
        WHERE c.account_id = p_account AND c.call_id = ANY (ids) AND c.call_id = e.call_id;
    END IF;
    IF cardinality(last) > 0 THEN
        -- As above; with "+ 0" no index tempts.
        places := ARRAY(SELECT ctid FROM calls WHERE account_id = p_account AND call_id = ANY (ids) ORDER BY call_id);
        UPDATE calls c SET
            state = CASE WHEN c.removing AND e.state IN ('waiting', 'queued') THEN 'finished' ELSE e.state END,
            call_end = CASE WHEN c.removing AND e.state IN ('waiting', 'queued') THEN 'removed' ELSE e.call_end END,
            completed_at = CASE WHEN c.removing OR e.call_end IS NOT NULL THEN p_now END,
            due_at = coalesce(e.due_at, c.due_at), lease_epoch = NULL, updated_at = p_now,
            disposition = e.disposition, script_result = e.script_result, choice = e.choice,
            status_name = e.status_name, sip_code = e.sip_code, talk_seconds = c.talk_seconds + e.talk_seconds,
            cost = c.cost + e.cost
        FROM unnest(ended) e
        WHERE e.leg_id = ANY (last) AND c.ctid = ANY (places) AND c.call_id + 0 = e.call_id
          AND c.state IN ('dialing', 'talking');
    END IF;
    RETURN ARRAY(SELECT leg_id FROM unnest(ended));
END $$;
