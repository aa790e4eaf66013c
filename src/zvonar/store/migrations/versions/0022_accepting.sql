-- A call that comes in is refused as soon as its key is blocked or its account is out of use, and not only once whoever
-- asked for it has forgotten that they were not.

-- As before but for that.
CREATE OR REPLACE FUNCTION accept_call(
    p_account bigint, p_key bytea, p_kind text, p_key_scope text, p_key_count integer, p_key_seconds integer,
    p_campaign bigint, p_seen timestamptz, p_number_scope text, p_number bytea, p_number_count integer,
    p_number_seconds integer, p_phone text, p_country text, p_trial boolean, p_label text, p_overrides jsonb,
    p_clip bigint, p_fingerprint text, p_text text, p_voice jsonb, p_lifetime integer, p_now timestamptz,
    OUT refusal text, OUT call_id bigint, OUT clip_id bigint, OUT balance numeric
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    number bigint;  -- of the call within its campaign
    wakes boolean := false;
    campaign record;
    guard record;
    wanted numeric;
    more numeric;
BEGIN
    -- Who accepts calls one by one rings for the dialer as well, and not once for each.
    PERFORM set_config('zvonar.rings_itself', 'on', true);
    -- Waited for with nothing in hand: a bulk load may keep it for a while.
    PERFORM FROM campaigns c WHERE c.account_id = p_account AND c.campaign_id = p_campaign FOR NO KEY UPDATE;
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
        AND k.blocked_at IS NULL AND a.inactive_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > p_now);
    IF NOT FOUND THEN
        refusal := 'unauthorised';
        RETURN;
    ELSIF balance <= 0 THEN
        refusal := 'no_balance';
        RETURN;
    END IF;

    -- The campaign gives the call its number. With its row locked no other call of it comes in, so what is found about
    -- labels stays true; a number that is given in vain is taken back, so that there is never a gap.
    UPDATE campaigns c SET next_ordinal = c.next_ordinal + 1
    WHERE c.account_id = p_account AND c.campaign_id = p_campaign AND c.updated_at = p_seen
        AND c.status IN ('running', 'paused')
    RETURNING c.next_ordinal INTO number;
    IF NOT FOUND THEN
        SELECT c.status, c.updated_at, c.next_ordinal, (c.settings ->> 'max_cost')::numeric AS max_cost INTO campaign
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
        END IF;
        -- A completed campaign wakes up, and holds its max_cost again.
        wakes := true;
        number := campaign.next_ordinal + 1;
        IF campaign.max_cost IS NOT NULL THEN
            SELECT g.hold, g.spent, g.leg_held INTO guard FROM campaign_guards g
            WHERE g.account_id = p_account AND g.campaign_id = p_campaign FOR UPDATE;
            wanted := greatest(campaign.max_cost, guard.spent + guard.leg_held);
            more := wanted - coalesce(guard.hold, guard.spent);
            PERFORM FROM accounts a WHERE a.account_id = p_account
                AND (more <= 0 OR a.balance - a.held >= more) FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                refusal := 'no_money';
                RETURN;
            END IF;
        END IF;
    END IF;
    IF p_label IS NOT NULL AND EXISTS (SELECT FROM calls c WHERE c.account_id = p_account
            AND c.campaign_id = p_campaign AND c.label = p_label) THEN
        refusal := 'label_taken';
    ELSE
        INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
        VALUES (p_number_scope, p_number, ARRAY[p_now], p_now + make_interval(secs => p_number_seconds))
        ON CONFLICT (scope, key_hash) DO UPDATE SET hits = (greatest(p_now, r.hits[1]) || r.hits)[1:p_number_count],
            until = greatest(excluded.until, r.until)
        WHERE r.hits[p_number_count] IS NULL
            OR r.hits[p_number_count] <= greatest(p_now, r.hits[1]) - make_interval(secs => p_number_seconds);
        IF NOT FOUND THEN
            refusal := 'too_often';
        END IF;
    END IF;
    IF refusal IS NOT NULL THEN
        IF NOT wakes THEN
            UPDATE campaigns SET next_ordinal = number - 1 WHERE account_id = p_account AND campaign_id = p_campaign;
        END IF;
        RETURN;
    END IF;

    -- Nothing speaks against it.
    IF wakes THEN
        IF campaign.max_cost IS NOT NULL THEN
            UPDATE accounts SET held = held + more WHERE account_id = p_account;
            UPDATE campaign_guards SET hold = wanted WHERE account_id = p_account AND campaign_id = p_campaign;
        END IF;
        UPDATE campaigns SET next_ordinal = number, status = 'running', finished_at = NULL, updated_at = p_now
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
    VALUES (p_account, call_id, p_campaign, number, p_phone, p_country, p_trial, p_now,
        p_now + make_interval(secs => p_lifetime), p_label, p_overrides, clip_id, p_now, p_now);
END $$;

-- As before but for that, and with fewer statements for each call.
CREATE OR REPLACE FUNCTION accept_calls(
    p_calls jsonb, p_kind text, p_key_scope text, p_key_count integer, p_key_seconds integer, p_number_scope text
) RETURNS TABLE (place integer, refusal text, call_id bigint, balance numeric) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    c record;
    campaign record;
    labels text[] := '{}';
    places integer[] := '{}';
    balances numeric[] := '{}';
BEGIN
    PERFORM set_config('zvonar.rings_itself', 'on', true);
    FOR c IN SELECT * FROM jsonb_to_recordset(p_calls) AS c (place integer, account bigint, key bytea, campaign bigint,
            seen timestamptz, number bytea, number_count integer, number_seconds integer, label text, at timestamptz)
        ORDER BY key, place
    LOOP
        -- The campaign stays locked, so that what is found about its labels stays true until the end.
        SELECT k.key_hash IS NOT NULL AS authorised, a.balance INTO campaign
        FROM campaigns g
        JOIN accounts a ON a.account_id = g.account_id
        LEFT JOIN keys k ON k.key_hash = c.key AND k.kind = p_kind AND k.account_id = g.account_id
            AND k.revoked_at IS NULL AND k.blocked_at IS NULL AND a.inactive_at IS NULL
            AND (k.expires_at IS NULL OR k.expires_at > c.at)
        WHERE g.account_id = c.account AND g.campaign_id = c.campaign AND g.updated_at = c.seen
            AND g.status IN ('running', 'paused')
        FOR NO KEY UPDATE OF g SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN QUERY SELECT c.place, 'alone', NULL::bigint, NULL::numeric;
            CONTINUE;
        END IF;
        INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
        VALUES (p_key_scope, c.key, ARRAY[c.at], c.at + make_interval(secs => p_key_seconds))
        ON CONFLICT (scope, key_hash) DO UPDATE SET hits = (greatest(c.at, r.hits[1]) || r.hits)[1:p_key_count],
            until = greatest(excluded.until, r.until)
        WHERE r.hits[p_key_count] IS NULL
            OR r.hits[p_key_count] <= greatest(c.at, r.hits[1]) - make_interval(secs => p_key_seconds);
        IF NOT FOUND THEN
            RETURN QUERY SELECT c.place, 'too_many', NULL::bigint, NULL::numeric;
            CONTINUE;
        END IF;
        IF NOT campaign.authorised OR campaign.balance <= 0 THEN
            RETURN QUERY SELECT c.place, CASE WHEN campaign.authorised THEN 'no_balance' ELSE 'unauthorised' END,
                NULL::bigint, NULL::numeric;
            CONTINUE;
        END IF;
        IF c.label IS NOT NULL THEN
            IF c.campaign || ' ' || c.label = ANY(labels) OR EXISTS (SELECT FROM calls o WHERE o.account_id = c.account
                    AND o.campaign_id = c.campaign AND o.label = c.label) THEN
                RETURN QUERY SELECT c.place, 'label_taken', NULL::bigint, NULL::numeric;
                CONTINUE;
            END IF;
        END IF;
        INSERT INTO rate_limits AS r (scope, key_hash, hits, until)
        VALUES (p_number_scope, c.number, ARRAY[c.at], c.at + make_interval(secs => c.number_seconds))
        ON CONFLICT (scope, key_hash) DO UPDATE SET hits = (greatest(c.at, r.hits[1]) || r.hits)[1:c.number_count],
            until = greatest(excluded.until, r.until)
        WHERE r.hits[c.number_count] IS NULL
            OR r.hits[c.number_count] <= greatest(c.at, r.hits[1]) - make_interval(secs => c.number_seconds);
        IF NOT FOUND THEN
            RETURN QUERY SELECT c.place, 'too_often', NULL::bigint, NULL::numeric;
            CONTINUE;
        END IF;
        IF c.label IS NOT NULL THEN
            labels := labels || (c.campaign || ' ' || c.label);
        END IF;
        places := places || c.place;
        balances := balances || campaign.balance;
    END LOOP;
    RETURN QUERY
    WITH accepted AS MATERIALIZED (
        SELECT n.*, t.left_over, new_call_id(n.at) AS id,
            row_number() OVER (PARTITION BY n.account, n.campaign ORDER BY n.place) AS nth
        FROM unnest(places, balances) AS t (place, left_over)
        JOIN jsonb_to_recordset(p_calls) AS n (place integer, account bigint, campaign bigint, phone text, country text,
            trial boolean, label text, overrides jsonb, clip bigint, lifetime integer, at timestamptz) USING (place)
    ), numbered AS (
        UPDATE campaigns g SET next_ordinal = g.next_ordinal + more.calls
        FROM (SELECT account, campaign, max(nth) AS calls FROM accepted GROUP BY account, campaign) AS more
        WHERE g.account_id = more.account AND g.campaign_id = more.campaign
        RETURNING g.account_id AS account, g.campaign_id AS campaign, g.next_ordinal - more.calls AS earlier
    ), stored AS (
        INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, trial, due_at, expires_at, label,
                           overrides, clip_id, created_at, updated_at)
        SELECT a.account, a.id, a.campaign, b.earlier + a.nth, a.phone, a.country, a.trial, a.at,
            a.at + make_interval(secs => a.lifetime), a.label, a.overrides, a.clip, a.at, a.at
        FROM accepted a JOIN numbered b USING (account, campaign)
    )
    SELECT a.place, NULL::text, a.id, a.left_over FROM accepted a;
END $$;
