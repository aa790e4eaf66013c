-- Most changes of calls are told to nobody: that one is dialled, and that it is answered. They are in the outbox all the
-- same, each exactly once and in the same transaction, but as told, and without what nobody reads.

CREATE OR REPLACE FUNCTION calls_changed() RETURNS trigger LANGUAGE plpgsql AS $$
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
