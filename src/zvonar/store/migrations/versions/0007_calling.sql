-- What happens on a line beyond a prompt and a key: transfers, machines, calls that come in.

-- What happened on the line, as core.facts.CallFacts; null where a prompt was played and that was all.
ALTER TABLE attempts ADD COLUMN facts jsonb;
-- Few attempts have a cause, and statistics want to know it of many calls at once.
CREATE INDEX attempts_caused ON attempts (account_id, campaign_id) WHERE cause IS NOT NULL;

ALTER TABLE legs ADD COLUMN target text;       -- of a transfer: whom it calls, E.164 or a SIP name; else null

-- Numbers on which an account may be called.
CREATE TABLE dids (
    phone text PRIMARY KEY,                    -- E.164
    account_id bigint NOT NULL REFERENCES accounts,
    greeting jsonb,                            -- core.inbound.Greeting: what callers hear; null: they are rejected
    created_at timestamptz NOT NULL
);
CREATE INDEX dids_by_account ON dids (account_id, phone);

-- A waiting call that is confirmed by its subscriber's own call expires by itself, whoever adds it.
CREATE FUNCTION waits_for(p_type text, p_settings jsonb) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((p_settings ->> 'lifetime')::integer,
        CASE WHEN p_type = 'pincode_incoming' THEN coalesce((p_settings -> 'incoming' ->> 'wait')::integer, 600) END)
$$;

-- The second leg of an answered call: a leg id, or why there is none; then nothing was changed. Locks in the order of
-- place_leg.
CREATE FUNCTION place_transfer(
    p_account bigint, p_call bigint, p_campaign bigint, p_gateway text, p_epoch bigint, p_trunk bigint,
    p_caller_id text, p_target text, p_trial boolean, p_rate jsonb, p_hold numeric, p_held_by_campaign boolean,
    p_guarded boolean, p_now timestamptz
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    call record;
    guard record;
    trunk record;
    payer record;
    placed text;
BEGIN
    PERFORM FROM dialer_epochs WHERE gateway = p_gateway AND epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN 'fenced';
    END IF;
    SELECT attempts AS attempt INTO call FROM calls
    WHERE account_id = p_account AND call_id = p_call AND state IN ('dialing', 'talking')
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    IF EXISTS (SELECT FROM stop_list s WHERE s.account_id = p_account AND s.phone = p_target
               AND (s.until IS NULL OR s.until > p_now))
            OR EXISTS (SELECT FROM global_stop_list s WHERE s.phone = p_target) THEN
        RETURN 'stopped';
    END IF;
    -- It may be placed already, and its dialer never have heard of the commit.
    SELECT leg_id INTO placed FROM legs WHERE account_id = p_account AND call_id = p_call
        AND attempt = call.attempt AND target IS NOT NULL AND phase = 'placing' AND epoch = p_epoch;
    IF FOUND THEN
        RETURN placed;
    END IF;

    IF p_guarded THEN
        SELECT coalesce(hold, 0) - spent AS left_over, leg_held INTO guard FROM campaign_guards
        WHERE account_id = p_account AND campaign_id = p_campaign FOR NO KEY UPDATE;
        IF p_held_by_campaign AND guard.left_over - guard.leg_held < p_hold THEN
            RETURN 'no_money';
        END IF;
    END IF;
    SELECT in_use < max_channels AS free INTO trunk FROM trunks
    WHERE trunk_id = p_trunk AND enabled AND gateway = p_gateway AND trial = p_trial
      AND (account_id IS NULL OR account_id = p_account) FOR NO KEY UPDATE;
    IF trunk.free IS NOT TRUE THEN
        RETURN 'trunk_busy';
    END IF;
    SELECT balance, held, at_risk, spend_per_day,
        CASE WHEN spent_on = (p_now AT TIME ZONE 'UTC')::date THEN spent_today ELSE 0 END AS spent_today INTO payer
    FROM accounts WHERE account_id = p_account FOR NO KEY UPDATE;
    IF NOT p_held_by_campaign AND payer.balance - payer.held < p_hold
            OR payer.spend_per_day < payer.spent_today + payer.at_risk + p_hold THEN
        RETURN 'no_money';
    END IF;

    IF p_guarded THEN
        UPDATE campaign_guards SET in_use = in_use + 1,
            leg_held = leg_held + CASE WHEN p_held_by_campaign THEN p_hold ELSE 0 END
        WHERE account_id = p_account AND campaign_id = p_campaign;
    END IF;
    UPDATE trunks SET in_use = in_use + 1 WHERE trunk_id = p_trunk;
    UPDATE accounts SET held = held + CASE WHEN p_held_by_campaign THEN 0 ELSE p_hold END, at_risk = at_risk + p_hold
    WHERE account_id = p_account;
    INSERT INTO legs (account_id, leg_id, call_id, attempt, leg, trunk_id, gateway, epoch, phase, caller_id, hold,
                      held_by, guarded, rate, placed_at, target)
    SELECT p_account, format('%s.%s.%s', p_call, call.attempt, n.leg), p_call, call.attempt, n.leg, p_trunk, p_gateway,
        p_epoch, 'placing', p_caller_id, p_hold, CASE WHEN p_held_by_campaign THEN 'campaign' ELSE 'account' END,
        p_guarded, p_rate, p_now, p_target
    FROM (SELECT max(l.leg) + 1 AS leg FROM legs l
          WHERE l.account_id = p_account AND l.call_id = p_call AND l.attempt = call.attempt) n
    RETURNING leg_id INTO placed;
    RETURN placed;
END $$;

-- A subscriber for whom a call waits has called us: the call is on the line from now on, as an attempt of its own. Its
-- number, or null where the call was not there to be had any more. Whoever calls pays for it.
CREATE FUNCTION receive_call(
    p_account bigint, p_call bigint, p_gateway text, p_epoch bigint, p_trunk bigint, p_leg text, p_own_phone text,
    p_now timestamptz
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    call record;
BEGIN
    PERFORM FROM dialer_epochs WHERE gateway = p_gateway AND epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT c.phone, c.campaign_id, c.attempts + 1 AS attempt INTO call
    FROM calls c JOIN campaigns g USING (account_id, campaign_id)
    WHERE c.account_id = p_account AND c.call_id = p_call AND g.status = 'running'
      AND c.state IN ('queued', 'waiting') AND NOT c.removing AND (c.expires_at IS NULL OR c.expires_at > p_now)
    FOR NO KEY UPDATE OF c;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE trunks SET in_use = in_use + 1 WHERE trunk_id = p_trunk;
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, caller_id)
    VALUES (p_account, p_call, call.attempt, call.campaign_id, call.phone, p_now, p_own_phone);
    INSERT INTO legs (account_id, leg_id, call_id, attempt, direction, trunk_id, gateway, epoch, phase, caller_id,
                      hold, held_by, guarded, rate, placed_at)
    VALUES (p_account, p_leg, p_call, call.attempt, 'in', p_trunk, p_gateway, p_epoch, 'dialled', p_own_phone,
            0, 'account', false, '{}', p_now);
    UPDATE calls SET state = 'dialing', attempts = call.attempt, last_attempt_at = p_now, updated_at = p_now,
        lease_epoch = p_epoch
    WHERE account_id = p_account AND call_id = p_call;
    RETURN call.attempt;
END $$;

-- The session of a call that came in and belongs to no campaign: its id. The one place that knows where such sessions
-- are kept.
CREATE FUNCTION inbound_session(
    p_account bigint, p_started_at timestamptz, p_answered_at timestamptz, p_ended_at timestamptz, p_contact text,
    p_own_phone text, p_country text, p_disposition text, p_script_result text, p_facts jsonb
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    session bigint := nextval('session_ids');
BEGIN
    INSERT INTO sessions (account_id, session_id, start_time, finish_time, direction, is_lost, disposition,
        script_result, contact_phone, own_phone, country, wait_seconds, talk_seconds, total_seconds)
    VALUES (p_account, session, p_started_at, p_ended_at, 'in', p_answered_at IS NULL, p_disposition, p_script_result,
        p_contact, p_own_phone, p_country, ceil(extract(epoch FROM coalesce(p_answered_at, p_ended_at) - p_started_at)),
        coalesce(ceil(extract(epoch FROM p_ended_at - p_answered_at)), 0),
        ceil(extract(epoch FROM p_ended_at - p_started_at)));
    INSERT INTO session_details (account_id, session_id, start_time, details)
    VALUES (p_account, session, p_started_at, p_facts);
    INSERT INTO session_starts (session_id, account_id, start_time) VALUES (session, p_account, p_started_at);
    RETURN session;
END $$;

-- A call that came in and belongs to no campaign has ended: its session, and the event that tells of it. Null where it
-- had ended already. `p_received`: core.inbound.Received, but for the session.
CREATE FUNCTION end_inbound(
    p_account bigint, p_leg text, p_answered_at timestamptz, p_ended_at timestamptz, p_contact text, p_own_phone text,
    p_country text, p_disposition text, p_script_result text, p_hangup_cause integer, p_facts jsonb, p_received jsonb,
    p_now timestamptz
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    ended record;
    session bigint;
BEGIN
    UPDATE legs SET phase = 'ended', ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
        disposition = p_disposition, hangup_cause = p_hangup_cause
    WHERE account_id = p_account AND leg_id = p_leg AND phase <> 'ended'
    RETURNING trunk_id, placed_at INTO ended;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE trunks SET in_use = greatest(in_use - 1, 0) WHERE trunk_id = ended.trunk_id;
    session := inbound_session(p_account, ended.placed_at, p_answered_at, p_ended_at, p_contact, p_own_phone,
        p_country, p_disposition, p_script_result, p_facts);
    INSERT INTO outbox (account_id, kind, at, payload)
    VALUES (p_account, 'inbound', p_now, p_received || jsonb_build_object('session_id', session));
    RETURN session;
END $$;
