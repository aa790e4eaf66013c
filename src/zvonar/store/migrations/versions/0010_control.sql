-- Campaign control: statuses with their reasons, caps over several windows, the window looked at again when a leg is
-- placed, and subscribers who call back.

ALTER TABLE campaigns
    ADD COLUMN waits text CHECK (waits IN ('generating', 'moderation', 'awaiting')),
    ADD COLUMN reason text,                    -- why it has this status
    ADD COLUMN reason_details jsonb,           -- of a breaker: how many failed of how many, and which calls
    ADD COLUMN autostart boolean NOT NULL DEFAULT false,  -- runs by itself once it is prepared and approved
    ADD COLUMN approved_at timestamptz,        -- by the operator, where its account is moderated
    ADD COLUMN emptying boolean NOT NULL DEFAULT false,  -- cancelled, and calls of it may still wait
    ADD CHECK (CASE waits WHEN 'awaiting' THEN status = 'running' ELSE waits IS NULL OR status = 'paused' END);

ALTER TABLE accounts
    ADD COLUMN moderated boolean NOT NULL DEFAULT false,  -- its campaigns run only once they are approved
    -- How often a callee may be dialled by all of its campaigns: so many attempts in so many seconds, side by side.
    ADD COLUMN cap_attempts integer[],
    ADD COLUMN cap_seconds integer[],
    ADD CHECK (coalesce(cardinality(cap_attempts), 0) = coalesce(cardinality(cap_seconds), 0));

-- When a callee who was not reached called back.
ALTER TABLE calls ADD COLUMN recalled_at timestamptz;

-- Ended calls whose callees called back, by what they had come to; there they are counted as well.
CREATE TABLE campaign_recalls (
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    disposition text NOT NULL,
    script_result text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (account_id, campaign_id, disposition, script_result)
);

CREATE OR REPLACE VIEW campaign_tallies AS
SELECT c.account_id, c.campaign_id, k.key, c.shard, k.n
FROM campaign_counts c, LATERAL (VALUES
    ('state/queued', c.queued), ('state/dialing', c.dialing), ('state/talking', c.talking),
    ('state/waiting', c.waiting), ('state/finished', c.finished), ('state/removed', c.removed),
    ('state/blocked', c.blocked), ('state/expired', c.expired), ('attempts', c.attempts), ('seconds', c.seconds),
    ('cost', c.cost)) AS k (key, n)
WHERE k.n <> 0
UNION ALL
SELECT account_id, campaign_id, 'end/' || call_end, shard, n FROM campaign_ends WHERE call_end <> ''
UNION ALL
SELECT account_id, campaign_id, 'result/' || disposition || '/' || script_result, shard, n FROM campaign_ends
WHERE disposition <> ''
UNION ALL
SELECT account_id, campaign_id, 'recalled/' || disposition || '/' || script_result, 0::smallint, n
FROM campaign_recalls;

-- As before, and a callee who called back is a change too: told once, and counted in the same transaction.
CREATE OR REPLACE FUNCTION call_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.call_id, 'call', NEW.updated_at, call_snapshot(NEW)
        || jsonb_build_object(
            'before', jsonb_build_object('state', OLD.state, 'disposition', OLD.disposition,
                                         'script_result', OLD.script_result),
            -- A placement that is taken back lowers the count: no attempt has ended then.
            'attempt_ended', NEW.state NOT IN ('dialing', 'talking') AND (NEW.attempts > OLD.attempts
                OR NEW.attempts = OLD.attempts AND OLD.state IN ('dialing', 'talking')),
            'recalled_at', NEW.recalled_at));
    IF NEW.recalled_at IS NOT NULL AND OLD.recalled_at IS NULL THEN
        INSERT INTO campaign_recalls AS r (account_id, campaign_id, disposition, script_result, n)
        VALUES (NEW.account_id, NEW.campaign_id, coalesce(NEW.disposition, 'none'),
            coalesce(NEW.script_result, 'none'), 1)
        ON CONFLICT (account_id, campaign_id, disposition, script_result) DO UPDATE SET n = r.n + 1;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER calls_changed ON calls;
CREATE TRIGGER calls_changed AFTER UPDATE OF state, recalled_at ON calls FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.attempts < NEW.attempts
        OR OLD.recalled_at IS DISTINCT FROM NEW.recalled_at) EXECUTE FUNCTION call_changed();

-- What no statement that changes a campaign may forget: nothing of a moderated account runs before it was approved;
-- another content has to be approved again; and whoever lets a campaign run leaves behind why it did not.
CREATE FUNCTION campaign_steered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    begins boolean := NEW.status = 'running' AND (TG_OP = 'INSERT' OR OLD.status <> 'running');
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.status = 'paused' AND NEW.settings IS DISTINCT FROM OLD.settings THEN
        NEW.approved_at := NULL;
    END IF;
    IF begins THEN
        IF NEW.approved_at IS NULL AND (SELECT moderated FROM accounts WHERE account_id = NEW.account_id) THEN
            NEW.status := 'paused';
            NEW.waits := 'moderation';
            NEW.reason := NULL;
            NEW.autostart := true;
            NEW.started_at := CASE WHEN TG_OP = 'UPDATE' THEN OLD.started_at END;
        ELSIF NEW.waits IS DISTINCT FROM 'awaiting' THEN
            NEW.waits := NULL;
            NEW.reason := NULL;
            NEW.reason_details := NULL;
        END IF;
    END IF;
    -- Whatever it waited for, another status knows nothing of it.
    IF NEW.waits IS NOT NULL AND NEW.status <> (CASE NEW.waits WHEN 'awaiting' THEN 'running' ELSE 'paused' END) THEN
        NEW.waits := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER campaigns_steered BEFORE INSERT OR UPDATE OF status, settings ON campaigns FOR EACH ROW
    EXECUTE FUNCTION campaign_steered();

-- A campaign's status is told by both columns.
DROP TRIGGER campaigns_changed ON campaigns;
CREATE TRIGGER campaigns_changed AFTER UPDATE OF status, waits ON campaigns FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.waits IS DISTINCT FROM NEW.waits)
    EXECUTE FUNCTION campaign_changed();

CREATE INDEX campaigns_emptying ON campaigns (account_id, campaign_id) WHERE emptying;

-- As before but for the parts marked "New": they cost a comparison with null where a campaign has no such limit.
DROP FUNCTION place_leg(bigint, bigint, bigint, text, bigint, bigint, text, jsonb, numeric, boolean, boolean, integer,
    numeric, boolean, timestamptz);

-- A leg id, or why there is none; then nothing was changed. `p_next_leg`: the attempt goes on over another trunk; the
-- leg that it replaces has lost its channel and ends after this, so both count for a moment.
CREATE FUNCTION place_leg(
    p_account bigint, p_call bigint, p_campaign bigint, p_gateway text, p_epoch bigint, p_trunk bigint,
    p_caller_id text, p_rate jsonb, p_hold numeric, p_held_by_campaign boolean, p_guarded boolean,
    p_max_channels integer, p_calls_per_second numeric, p_next_leg boolean, p_now timestamptz,
    -- New. When the callee's window closes, and what he may be dialled at most; null is no such limit.
    p_open_until timestamptz DEFAULT NULL, p_cap_attempts integer[] DEFAULT NULL, p_cap_seconds integer[] DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    call record;
    guard record;
    trunk record;
    payer record;
    placed text;
BEGIN
    -- Locked, so that a new dialer's claim waits for this placement and then sees its leg.
    PERFORM FROM dialer_epochs WHERE gateway = p_gateway AND epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RETURN 'fenced';
    END IF;

    SELECT c.phone, c.trial, c.attempts + 1 - p_next_leg::int AS attempt INTO call
    FROM calls c JOIN campaigns g USING (account_id, campaign_id)
    WHERE c.account_id = p_account AND c.call_id = p_call AND g.status = 'running'
      AND CASE WHEN p_next_leg THEN c.state = 'dialing' ELSE c.state IN ('queued', 'waiting') END
      -- Not "=": the index of leases would tempt.
      AND c.lease_epoch IS NOT DISTINCT FROM p_epoch AND NOT c.removing
      AND (c.expires_at IS NULL OR c.expires_at > p_now)
      AND NOT EXISTS (SELECT FROM legs l WHERE l.account_id = c.account_id AND l.call_id = c.call_id
                      AND l.phase = 'placing')
      AND NOT EXISTS (SELECT FROM stop_list s WHERE s.account_id = c.account_id AND s.phone = c.phone
                      AND (s.until IS NULL OR s.until > p_now))
      AND NOT EXISTS (SELECT FROM global_stop_list s WHERE s.phone = c.phone)
    FOR NO KEY UPDATE OF c;
    IF NOT FOUND THEN
        -- It may be placed already, and its dialer never have heard of the commit.
        RETURN coalesce((SELECT leg_id FROM legs WHERE account_id = p_account AND call_id = p_call
                         AND phase = 'placing' AND epoch = p_epoch AND trunk_id = p_trunk), 'gone');
    END IF;

    IF p_guarded THEN
        SELECT in_use, slot_at, coalesce(hold, 0) - spent AS left_over, leg_held INTO guard FROM campaign_guards
        WHERE account_id = p_account AND campaign_id = p_campaign FOR NO KEY UPDATE;
        IF p_max_channels > 0 AND guard.in_use >= p_max_channels::bigint + p_next_leg::int
                OR p_calls_per_second > 0 AND guard.slot_at > p_now + pace_tolerance() THEN
            RETURN 'campaign_busy';
        ELSIF p_held_by_campaign AND guard.left_over - guard.leg_held < p_hold THEN
            RETURN CASE WHEN guard.left_over >= p_hold THEN 'no_money_yet' ELSE 'no_money' END;
        END IF;
    END IF;

    SELECT in_use < max_channels AND (calls_per_second = 0 OR slot_at <= p_now + pace_tolerance()) AS free INTO trunk FROM trunks
    WHERE trunk_id = p_trunk AND enabled AND gateway = p_gateway AND trial = call.trial
      AND (account_id IS NULL OR account_id = p_account) FOR NO KEY UPDATE;
    IF trunk.free IS NOT TRUE THEN
        RETURN 'trunk_busy';
    END IF;

    SELECT balance, held, at_risk, spend_per_day, calls_per_callee_day, attempts_per_minute, attempt_slot_at,
        CASE WHEN spent_on = (p_now AT TIME ZONE 'UTC')::date THEN spent_today ELSE 0 END AS spent_today,
        cap_attempts, cap_seconds INTO payer
    FROM accounts WHERE account_id = p_account FOR NO KEY UPDATE;
    IF NOT p_next_leg THEN
        -- Counted under the account's lock, so that two dialers never both see the last free place.
        -- Not "account_id =": the primary key would tempt, and read every attempt of the account.
        IF payer.calls_per_callee_day <= (SELECT count(*) FROM attempts WHERE phone = call.phone
                AND started_at > p_now - interval '1 day' AND account_id IS NOT DISTINCT FROM p_account) THEN
            RETURN 'capped';
        ELSIF payer.attempt_slot_at > p_now + interval '1 minute' - interval '1 minute' / payer.attempts_per_minute THEN
            RETURN 'campaign_busy';
        END IF;
        -- New: the campaign's caps and the account's. Skipped where there are none.
        IF coalesce(p_cap_attempts, payer.cap_attempts) IS NOT NULL AND EXISTS (
                SELECT FROM unnest(p_cap_attempts || payer.cap_attempts, p_cap_seconds || payer.cap_seconds)
                    AS cap (attempts, seconds)
                WHERE cap.attempts <= (SELECT count(*) FROM attempts WHERE phone = call.phone
                    AND started_at > p_now - make_interval(secs => cap.seconds)
                    AND account_id IS NOT DISTINCT FROM p_account AND (ended_at IS NULL OR session_id IS NOT NULL))) THEN
            RETURN 'capped';
        END IF;
    END IF;
    IF NOT p_held_by_campaign AND payer.balance - payer.held < p_hold THEN
        RETURN CASE WHEN payer.balance >= p_hold THEN 'no_money_yet' ELSE 'no_money' END;
    ELSIF payer.spend_per_day < payer.spent_today + payer.at_risk + p_hold THEN
        RETURN CASE WHEN payer.spend_per_day >= payer.spent_today + p_hold THEN 'no_money_yet' ELSE 'no_money' END;
    END IF;

    -- New: the window as it is now, with what the locks have cost; `p_now` is when this was asked.
    IF p_open_until <= p_now + (clock_timestamp() - statement_timestamp()) THEN
        RETURN 'closed';
    END IF;

    -- Nothing speaks against it.
    IF p_guarded THEN
        UPDATE campaign_guards SET in_use = in_use + 1,
            slot_at = CASE WHEN p_calls_per_second > 0
                THEN greatest(slot_at, p_now) + interval '1 second' / p_calls_per_second::float8 ELSE slot_at END,
            leg_held = leg_held + CASE WHEN p_held_by_campaign THEN p_hold ELSE 0 END
        WHERE account_id = p_account AND campaign_id = p_campaign;
    END IF;
    UPDATE trunks SET in_use = in_use + 1,
        slot_at = CASE WHEN calls_per_second > 0
            THEN greatest(slot_at, p_now) + interval '1 second' / calls_per_second::float8 ELSE slot_at END
    WHERE trunk_id = p_trunk;
    UPDATE accounts SET held = held + CASE WHEN p_held_by_campaign THEN 0 ELSE p_hold END, at_risk = at_risk + p_hold,
        attempt_slot_at = CASE WHEN p_next_leg THEN attempt_slot_at
            ELSE greatest(attempt_slot_at, p_now) + interval '1 minute' / attempts_per_minute END
    WHERE account_id = p_account;
    -- The attempt is there already where an earlier leg of it has sent an INVITE.
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, caller_id)
    VALUES (p_account, p_call, call.attempt, p_campaign, call.phone, p_now, p_caller_id)
    ON CONFLICT (account_id, call_id, attempt) DO UPDATE SET caller_id = excluded.caller_id;
    INSERT INTO legs (account_id, leg_id, call_id, attempt, leg, trunk_id, gateway, epoch, phase, caller_id, hold,
                      held_by, guarded, rate, placed_at)
    SELECT p_account, format('%s.%s.%s', p_call, call.attempt, n.leg), p_call, call.attempt, n.leg, p_trunk, p_gateway,
        p_epoch, 'placing', p_caller_id, p_hold, CASE WHEN p_held_by_campaign THEN 'campaign' ELSE 'account' END,
        p_guarded, p_rate, p_now
    FROM (SELECT coalesce(max(l.leg), 0) + 1 AS leg FROM legs l
          WHERE l.account_id = p_account AND l.call_id = p_call AND l.attempt = call.attempt) n
    RETURNING leg_id INTO placed;
    UPDATE calls SET state = 'dialing', attempts = call.attempt, last_attempt_at = p_now, updated_at = p_now
    WHERE account_id = p_account AND call_id = p_call;
    RETURN placed;
END $$;
