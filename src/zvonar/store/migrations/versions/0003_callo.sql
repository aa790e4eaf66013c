-- Calls that clients add one by one, and what is asked about them afterwards.

-- Why an attempt came to nothing, where its disposition leaves more than one reason.
ALTER TABLE attempts ADD COLUMN cause text;

-- One call, accepted or refused in one statement: the client's key is looked at and its rate counted, then the
-- campaign, the label and the number's own rate; only when nothing speaks against it does anything but the key's rate
-- change. A text that no clip has yet becomes one. Locks are taken in the order key, campaign, guard, account, number, counters.
--
-- `refusal` is null where the call was accepted, else: unauthorised, too_many (requests of this key), no_balance,
-- no_campaign, stale (the campaign has changed since `p_seen`: look again), cancelled, label_taken, too_often (this
-- number in this campaign), no_money (the campaign's max_cost cannot be held again).
CREATE FUNCTION accept_call(
    p_account bigint, p_key bytea, p_kind text, p_key_scope text, p_key_count integer, p_key_seconds integer,
    p_campaign bigint, p_seen timestamptz, p_number_scope text, p_number bytea, p_number_count integer,
    p_number_seconds integer, p_phone text, p_country text, p_trial boolean, p_label text, p_overrides jsonb,
    p_clip bigint, p_fingerprint text, p_text text, p_voice jsonb, p_now timestamptz,
    OUT refusal text, OUT call_id bigint, OUT clip_id bigint, OUT balance numeric
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    campaign record;
    guard record;
    wanted numeric;
BEGIN
    INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
    VALUES (p_key_scope, p_key, ARRAY[p_now], p_now + make_interval(secs => p_key_seconds))
    ON CONFLICT (scope, key_hash) DO UPDATE SET hits = (greatest(p_now, r.hits[1]) || r.hits)[1:p_key_count],
        until = greatest(excluded.until, r.until)
    WHERE r.hits[p_key_count] IS NULL
        OR r.hits[p_key_count] <= greatest(p_now, r.hits[1]) - make_interval(secs => p_key_seconds);
    IF NOT FOUND THEN
        refusal := 'too_many';
        RETURN;
    END IF;

    SELECT a.balance INTO balance FROM keys k JOIN accounts a USING (account_id)
    WHERE k.key_hash = p_key AND k.kind = p_kind AND k.account_id = p_account AND k.revoked_at IS NULL
        AND (k.expires_at IS NULL OR k.expires_at > p_now);
    IF NOT FOUND THEN
        refusal := 'unauthorised';
        RETURN;
    ELSIF balance <= 0 THEN
        refusal := 'no_balance';
        RETURN;
    END IF;

    -- With its row locked no other call of the campaign comes in, so what is found about labels stays true.
    SELECT c.status, c.updated_at, c.next_ordinal + 1 AS ordinal, (c.settings ->> 'lifetime')::integer AS lifetime,
        (c.settings ->> 'max_cost')::numeric AS max_cost INTO campaign
    FROM campaigns c WHERE c.account_id = p_account AND c.campaign_id = p_campaign FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        refusal := 'no_campaign';
        RETURN;
    ELSIF campaign.status = 'cancelled' THEN
        refusal := 'cancelled';
        RETURN;
    ELSIF campaign.updated_at <> p_seen THEN
        -- It will come again at once, and is one request.
        UPDATE rate_limits SET hits = hits[2:] WHERE scope = p_key_scope AND key_hash = p_key;
        refusal := 'stale';
        RETURN;
    ELSIF p_label IS NOT NULL AND EXISTS (SELECT FROM calls c WHERE c.account_id = p_account
            AND c.campaign_id = p_campaign AND c.label = p_label) THEN
        refusal := 'label_taken';
        RETURN;
    END IF;

    -- A completed campaign wakes up, and holds its max_cost again.
    IF campaign.status = 'completed' AND campaign.max_cost IS NOT NULL THEN
        SELECT g.hold, g.spent, g.leg_held INTO guard FROM campaign_guards g
        WHERE g.account_id = p_account AND g.campaign_id = p_campaign FOR UPDATE;
        wanted := greatest(campaign.max_cost, guard.spent + guard.leg_held);
        PERFORM FROM accounts a WHERE a.account_id = p_account
            AND (wanted <= coalesce(guard.hold, guard.spent)
                OR a.balance - a.held >= wanted - coalesce(guard.hold, guard.spent)) FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            refusal := 'no_money';
            RETURN;
        END IF;
    END IF;

    INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
    VALUES (p_number_scope, p_number, ARRAY[p_now], p_now + make_interval(secs => p_number_seconds))
    ON CONFLICT (scope, key_hash) DO UPDATE SET hits = (greatest(p_now, r.hits[1]) || r.hits)[1:p_number_count],
        until = greatest(excluded.until, r.until)
    WHERE r.hits[p_number_count] IS NULL
        OR r.hits[p_number_count] <= greatest(p_now, r.hits[1]) - make_interval(secs => p_number_seconds);
    IF NOT FOUND THEN
        refusal := 'too_often';
        RETURN;
    END IF;

    -- Nothing speaks against it.
    IF campaign.status = 'completed' THEN
        IF campaign.max_cost IS NOT NULL THEN
            UPDATE accounts SET held = held + wanted - coalesce(guard.hold, guard.spent) WHERE account_id = p_account;
            UPDATE campaign_guards SET hold = wanted WHERE account_id = p_account AND campaign_id = p_campaign;
        END IF;
        UPDATE campaigns SET next_ordinal = campaign.ordinal, status = 'running', finished_at = NULL,
            updated_at = p_now WHERE account_id = p_account AND campaign_id = p_campaign;
    ELSE
        UPDATE campaigns SET next_ordinal = campaign.ordinal
        WHERE account_id = p_account AND campaign_id = p_campaign;
    END IF;
    clip_id := p_clip;
    IF p_clip IS NULL AND p_fingerprint IS NOT NULL THEN
        SELECT l.clip_id INTO clip_id FROM clips l WHERE l.account_id = p_account AND l.fingerprint = p_fingerprint;
        IF NOT FOUND THEN
            INSERT INTO clips AS l (account_id, kind, fingerprint, text, voice, created_at)
            VALUES (p_account, 'synthesised', p_fingerprint, p_text, p_voice, p_now)
            ON CONFLICT (account_id, fingerprint) DO UPDATE SET text = excluded.text
            RETURNING l.clip_id INTO clip_id;
        END IF;
    END IF;
    call_id := new_call_id(p_now);
    INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, expires_at, label,
                       overrides, clip_id, created_at, updated_at)
    VALUES (p_account, call_id, p_campaign, campaign.ordinal, p_phone, p_country, p_trial, p_now,
        p_now + make_interval(secs => campaign.lifetime), p_label, p_overrides, clip_id, p_now, p_now);
END $$;

-- The snapshot of a call also says where its end is to be told, and why it came to nothing.
CREATE OR REPLACE FUNCTION call_snapshot(c calls) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'account_id', c.account_id, 'call_id', c.call_id, 'campaign_id', c.campaign_id, 'phone', c.phone,
        'state', c.state, 'call_end', c.call_end, 'removing', c.removing,
        'disposition', c.disposition, 'script_result', c.script_result, 'choice', c.choice,
        'status_name', c.status_name, 'talk_seconds', c.talk_seconds, 'cost', c.cost, 'extra', c.extra,
        'label', c.label, 'created_at', c.created_at, 'updated_at', c.updated_at, 'completed_at', c.completed_at,
        'timezone', a.timezone, 'callback_url', g.settings ->> 'callback_url', 'postback', g.settings -> 'postback',
        'attempts', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'attempt', t.attempt, 'started_at', t.started_at, 'ended_at', t.ended_at,
                'disposition', t.disposition, 'script_result', t.script_result, 'cause', t.cause, 'choice', t.choice,
                'talk_seconds', t.talk_seconds, 'cost', t.cost) ORDER BY t.attempt), '[]')
            FROM attempts t WHERE t.account_id = c.account_id AND t.call_id = c.call_id))
    FROM accounts a, campaigns g
    WHERE a.account_id = c.account_id AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id
$$;
