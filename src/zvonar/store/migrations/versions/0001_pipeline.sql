-- The whole pipeline: number → call → attempt → leg → result → session, ledger, event → delivery.
-- Every tenant's table begins its key with account_id. Money is numeric(16,4) in the account's currency.

CREATE TABLE tariffs (
    tariff_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE tariff_rates (
    tariff_id bigint NOT NULL REFERENCES tariffs,
    prefix text NOT NULL,                      -- E.164 digits without the plus; '' is everything
    per_minute numeric(16,4) NOT NULL CHECK (per_minute >= 0),
    connection_fee numeric(16,4) NOT NULL DEFAULT 0 CHECK (connection_fee >= 0),
    first_interval integer NOT NULL DEFAULT 1 CHECK (first_interval >= 1),
    step integer NOT NULL DEFAULT 1 CHECK (step >= 1),
    PRIMARY KEY (tariff_id, prefix)
);

CREATE TABLE accounts (
    account_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    currency text NOT NULL,
    timezone text NOT NULL,
    countries text[] NOT NULL,                 -- ISO 3166-1 alpha-2; where this account may call
    tariff_id bigint NOT NULL REFERENCES tariffs,
    balance numeric(16,4) NOT NULL DEFAULT 0,  -- the sum of the ledger
    held numeric(16,4) NOT NULL DEFAULT 0 CHECK (held >= 0),  -- what live legs and campaigns may still cost
    calls_per_callee_day integer NOT NULL DEFAULT 20,         -- attempts to one number in 24 hours
    attempts_per_minute integer NOT NULL DEFAULT 3000 CHECK (attempts_per_minute > 0),
    attempt_slot_at timestamptz NOT NULL DEFAULT '-infinity',  -- GCRA: so many at once, and so many a minute
    at_risk numeric(16,4) NOT NULL DEFAULT 0 CHECK (at_risk >= 0),  -- holds of live legs, whoever holds them
    spend_per_day numeric(16,4),               -- what a UTC day may cost; null is no cap beside the balance
    spent_on date,                             -- the UTC day that spent_today counts
    spent_today numeric(16,4) NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Keys are random and long, so a plain hash is enough to keep them from being read back.
CREATE TABLE keys (
    key_hash bytea PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    kind text NOT NULL,                        -- which dialect reads it
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX keys_by_account ON keys (account_id, kind);

CREATE TABLE logins (
    kind text NOT NULL,                        -- uis, dashboard, amocrm
    login text NOT NULL,
    account_id bigint NOT NULL REFERENCES accounts,
    password_hash text NOT NULL,               -- scrypt, with its parameters and salt
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, login)
);

-- A trunk without an account serves every account of the installation.
CREATE TABLE trunks (
    trunk_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint REFERENCES accounts,
    name text NOT NULL UNIQUE,
    gateway text NOT NULL DEFAULT 'gateway',   -- the Asterisk that carries it
    settings jsonb NOT NULL,                   -- the SIP side, without secrets
    trial boolean NOT NULL DEFAULT false,      -- leads to the town; only such a trunk carries town numbers
    enabled boolean NOT NULL DEFAULT true,
    priority integer NOT NULL DEFAULT 100,     -- lower is tried first
    max_channels integer NOT NULL CHECK (max_channels > 0),
    calls_per_second numeric(8,2) NOT NULL DEFAULT 0 CHECK (calls_per_second >= 0),  -- 0 is no limit
    caller_ids text[] NOT NULL DEFAULT '{}',
    in_use integer NOT NULL DEFAULT 0 CHECK (in_use >= 0),
    slot_at timestamptz NOT NULL DEFAULT '-infinity'  -- GCRA: when the next placement is due
) WITH (fillfactor = 50);

CREATE SEQUENCE campaign_ids START 1000000001 MAXVALUE 9999999999;
CREATE SEQUENCE clip_ids START 1000000001 MAXVALUE 9999999999;
CREATE SEQUENCE phone_list_ids START 100000000001 MAXVALUE 999999999999;
CREATE SEQUENCE call_numbers MAXVALUE 999999999 CYCLE;
CREATE SEQUENCE session_ids;

-- YYMMDD and nine digits as one integer of 15; JavaScript holds it exactly.
CREATE FUNCTION new_call_id(at timestamptz) RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT to_char(at AT TIME ZONE 'UTC', 'YYMMDD')::bigint * 1000000000 + nextval('call_numbers') $$;

CREATE TABLE campaigns (
    account_id bigint NOT NULL REFERENCES accounts,
    campaign_id bigint NOT NULL DEFAULT nextval('campaign_ids'),
    name text NOT NULL,
    type text NOT NULL,
    status text NOT NULL CHECK (status IN ('paused', 'running', 'completed', 'cancelled')),
    settings jsonb NOT NULL,
    next_ordinal bigint NOT NULL DEFAULT 0,    -- how many calls it was ever given
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (account_id, campaign_id),
    UNIQUE (campaign_id)
) WITH (fillfactor = 50);
CREATE INDEX campaigns_running ON campaigns (account_id, campaign_id) WHERE status = 'running';

-- Limits of a campaign that span processes; the row changes in the statement that it guards.
CREATE TABLE campaign_guards (
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    in_use integer NOT NULL DEFAULT 0 CHECK (in_use >= 0),
    slot_at timestamptz NOT NULL DEFAULT '-infinity',
    hold numeric(16,4),                        -- max_cost, while the balance holds what is left of it; else null
    spent numeric(16,4) NOT NULL DEFAULT 0,    -- what its legs took out of such holds, ever
    leg_held numeric(16,4) NOT NULL DEFAULT 0 CHECK (leg_held >= 0),  -- of hold - spent, promised to live legs
    PRIMARY KEY (account_id, campaign_id),
    FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns
) WITH (fillfactor = 50);

-- Counters of a campaign, exact at any moment: the shards of a key add up to it.
CREATE TABLE campaign_tallies (
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    key text NOT NULL,                         -- state/…, end/…, result/…, attempts, seconds, cost (in 0.0001)
    shard smallint NOT NULL,                   -- spreads the writers of one campaign
    n bigint NOT NULL,
    PRIMARY KEY (account_id, campaign_id, key, shard)
) WITH (fillfactor = 50);

CREATE TABLE phone_lists (
    account_id bigint NOT NULL REFERENCES accounts,
    phone_list_id bigint NOT NULL DEFAULT nextval('phone_list_ids'),
    campaign_id bigint,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    loaded integer NOT NULL DEFAULT 0,
    rejected integer NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, phone_list_id)
);

CREATE TABLE clips (
    account_id bigint NOT NULL REFERENCES accounts,
    clip_id bigint NOT NULL DEFAULT nextval('clip_ids'),
    kind text NOT NULL CHECK (kind IN ('synthesised', 'uploaded')),
    fingerprint text NOT NULL,                 -- sha256 of voice and text, or of the upload
    text text,
    voice jsonb,
    path text,                                 -- below the home; null until the first synthesis
    duration_ms integer,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, clip_id),
    UNIQUE (account_id, fingerprint)
);

CREATE TABLE calls (
    account_id bigint NOT NULL,
    call_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    ordinal bigint NOT NULL,                   -- from 1 within the campaign: any page of its calls is cheap
    phone text NOT NULL,                       -- E.164
    country text NOT NULL,
    trial boolean NOT NULL DEFAULT false,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN
        ('queued', 'dialing', 'talking', 'waiting', 'finished', 'removed', 'blocked', 'expired')),
    call_end text,
    due_at timestamptz NOT NULL,
    expires_at timestamptz,
    lease_epoch bigint,                        -- the dialer that holds it; a lease is not a state
    removing boolean NOT NULL DEFAULT false,   -- removed while up: its end honours this
    attempts integer NOT NULL DEFAULT 0,
    disposition text,                          -- of the last attempt, as are the five below
    script_result text,
    choice text,
    status_name text,
    last_attempt_at timestamptz,
    sip_code integer,
    talk_seconds integer NOT NULL DEFAULT 0,   -- of all attempts
    cost numeric(16,4) NOT NULL DEFAULT 0,     -- of all attempts
    label text,
    extra text,                                -- the contact's own label
    overrides jsonb,                           -- what this call says differently
    clip_id bigint,
    phone_list_id bigint,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    completed_at timestamptz,
    PRIMARY KEY (account_id, call_id),
    FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns,
    CHECK ((call_end IS NULL) = (state IN ('queued', 'dialing', 'talking', 'waiting')))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX calls_by_ordinal ON calls (account_id, campaign_id, ordinal);
CREATE UNIQUE INDEX calls_by_label ON calls (account_id, campaign_id, label) WHERE label IS NOT NULL;
CREATE INDEX calls_by_phone ON calls (account_id, campaign_id, phone, call_id);
-- What a lease scans: due calls that nobody holds, oldest first. Not by state, so that a placement and an answer,
-- which change nothing else that is indexed, leave every index alone.
CREATE INDEX calls_due ON calls (account_id, campaign_id, due_at, ordinal)
    WHERE call_end IS NULL AND lease_epoch IS NULL;
CREATE INDEX calls_leased ON calls (lease_epoch) WHERE lease_epoch IS NOT NULL;
CREATE INDEX calls_expiring ON calls (expires_at)
    WHERE expires_at IS NOT NULL AND call_end IS NULL;

CREATE TABLE attempts (
    account_id bigint NOT NULL,
    call_id bigint NOT NULL,
    attempt integer NOT NULL,                  -- from 1
    campaign_id bigint NOT NULL,
    phone text NOT NULL,
    started_at timestamptz NOT NULL,
    answered_at timestamptz,
    ended_at timestamptz,
    disposition text,
    script_result text,
    hangup_cause integer,
    sip_code integer,
    talk_seconds integer NOT NULL DEFAULT 0,   -- answer to hang-up, rounded up
    billed_seconds integer NOT NULL DEFAULT 0,
    cost numeric(16,4) NOT NULL DEFAULT 0,
    caller_id text,
    choice text,
    status_name text,
    steps jsonb,                               -- what was pressed where
    recording text,                            -- file name below the recordings' directory
    session_id bigint,
    PRIMARY KEY (account_id, call_id, attempt),
    FOREIGN KEY (account_id, call_id) REFERENCES calls
);
-- For the cap per callee alone, which is counted at every placement.
CREATE INDEX attempts_by_phone ON attempts (phone, started_at);

CREATE TABLE legs (
    account_id bigint NOT NULL REFERENCES accounts,
    leg_id text NOT NULL,                      -- = Asterisk channel id = <call_id>.<attempt>.<leg>
    call_id bigint,
    attempt integer,
    leg integer,
    direction text NOT NULL DEFAULT 'out' CHECK (direction IN ('out', 'in')),
    trunk_id bigint NOT NULL REFERENCES trunks,
    gateway text NOT NULL,
    epoch bigint NOT NULL,                     -- the dialer that placed it
    phase text NOT NULL CHECK (phase IN ('placing', 'dialled', 'answered', 'ended')),
    caller_id text,
    hold numeric(16,4) NOT NULL,               -- its worst case
    held_by text NOT NULL CHECK (held_by IN ('account', 'campaign')),
    guarded boolean NOT NULL,                  -- counted by its campaign's guard, so its end counts there too
    rate jsonb NOT NULL,                       -- the tariff's rate at placing: what it will be billed by
    placed_at timestamptz NOT NULL,
    dialled_at timestamptz,                    -- committed before the INVITE: from here on it may have rung
    answered_at timestamptz,
    ended_at timestamptz,
    disposition text,
    hangup_cause integer,
    sip_code integer,
    cost numeric(16,4) NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, leg_id),
    CHECK ((ended_at IS NULL) = (phase <> 'ended'))
) WITH (fillfactor = 70);
CREATE INDEX legs_live ON legs (gateway, leg_id) WHERE ended_at IS NULL;  -- not by phase: see calls_due
-- The dialer's own. By account_id it would tempt whoever looks for one leg while the table has no statistics yet.
CREATE INDEX legs_by_call ON legs (call_id, attempt, leg);

-- Append-only: money is corrected by another entry.
CREATE TABLE ledger (
    account_id bigint NOT NULL REFERENCES accounts,
    entry_id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    kind text NOT NULL CHECK (kind IN ('topup', 'charge', 'adjustment')),
    amount numeric(16,4) NOT NULL,             -- signed: a charge is negative
    balance_after numeric(16,4) NOT NULL,
    leg_id text,
    note text,
    PRIMARY KEY (account_id, entry_id)
);
CREATE UNIQUE INDEX ledger_one_charge_per_leg ON ledger (account_id, leg_id) WHERE kind = 'charge';

CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$;
CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();

CREATE TABLE stop_list (
    account_id bigint NOT NULL REFERENCES accounts,
    phone text NOT NULL,
    reason text,
    until timestamptz,                         -- null is for good
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, phone)
);
-- Numbers that no account may call.
CREATE TABLE global_stop_list (
    phone text PRIMARY KEY,
    reason text,
    created_at timestamptz NOT NULL
);

-- Sessions: what happened on the line, the rows that reports read. The narrow table is what they filter and
-- sort by, the wide one what they show; both by UTC month, so that an old month can be rewritten or dropped.
CREATE TABLE sessions (
    account_id bigint NOT NULL,
    session_id bigint NOT NULL,
    start_time timestamptz NOT NULL,
    finish_time timestamptz NOT NULL,
    direction text NOT NULL,                   -- out, in
    is_lost boolean NOT NULL,
    disposition text NOT NULL,
    script_result text NOT NULL,
    campaign_id bigint,
    call_id bigint,
    attempt integer,
    contact_phone text NOT NULL,
    own_phone text,                            -- our caller ID, or the number that was called
    country text,
    wait_seconds integer NOT NULL,             -- from start to answer, or to the end
    talk_seconds integer NOT NULL,
    total_seconds integer NOT NULL,
    PRIMARY KEY (account_id, start_time, session_id)
) PARTITION BY RANGE (start_time);
CREATE INDEX sessions_by_id ON sessions (session_id);
CREATE INDEX sessions_by_contact ON sessions (account_id, contact_phone, start_time);

CREATE TABLE session_details (
    account_id bigint NOT NULL,
    session_id bigint NOT NULL,
    start_time timestamptz NOT NULL,
    details jsonb NOT NULL,                    -- everything that is shown and not filtered by
    PRIMARY KEY (account_id, start_time, session_id)
) PARTITION BY RANGE (start_time);

-- Finds a session's month from its id alone.
CREATE TABLE session_starts (
    session_id bigint PRIMARY KEY,
    account_id bigint NOT NULL,
    start_time timestamptz NOT NULL
);

-- A row must never be refused for want of a partition; the default one is empty as long as months are made ahead.
CREATE TABLE sessions_other PARTITION OF sessions DEFAULT;
CREATE TABLE session_details_other PARTITION OF session_details DEFAULT;

-- Rows that came before their month was made move out of the default partition. Attaching, unlike creating in
-- place, lets reports go on meanwhile.
CREATE FUNCTION ensure_session_month(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    after timestamptz := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    base text;
    month text;
BEGIN
    FOREACH base IN ARRAY ARRAY['sessions', 'session_details'] LOOP
        month := base || '_' || to_char(at AT TIME ZONE 'UTC', 'YYYYMM');
        CONTINUE WHEN to_regclass(month) IS NOT NULL;
        -- One maker at a time; locking a table, unlike an advisory lock, also shows what the last one made.
        EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', base || '_other');
        CONTINUE WHEN to_regclass(month) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', month, base);
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE start_time >= %L AND start_time < %L RETURNING *)
                        INSERT INTO %I SELECT * FROM moved', base || '_other', first, after, month);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', base, month, first, after);
    END LOOP;
END $$;

-- The outbox: facts, written in the transaction that made them true.
CREATE TABLE outbox (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    campaign_id bigint,
    call_id bigint,
    kind text NOT NULL,                        -- campaign, call
    at timestamptz NOT NULL,
    payload jsonb NOT NULL,                    -- the thing as it was at this moment
    fanned_out_at timestamptz
);
CREATE INDEX outbox_pending ON outbox (event_id) WHERE fanned_out_at IS NULL;

-- One event to one address. The body is rendered once; retries send those bytes.
CREATE TABLE deliveries (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL,
    event_id bigint NOT NULL,
    event_at timestamptz NOT NULL,             -- for the delivery lag
    kind text NOT NULL,                        -- which renderer made it
    address text NOT NULL,
    order_key text NOT NULL,                   -- deliveries of one key to one address go in the order of events
    content_type text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    tries integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL,
    leased_until timestamptz,
    last_status integer,
    last_error text,
    delivered_at timestamptz,
    created_at timestamptz NOT NULL,
    UNIQUE (account_id, event_id, kind, address)
) WITH (fillfactor = 70);
-- What a lease walks: each address that has something pending, and what of it is due.
CREATE INDEX deliveries_by_address ON deliveries (address, next_at) WHERE state = 'pending';
CREATE INDEX deliveries_in_order ON deliveries (account_id, order_key, address, event_id) WHERE state = 'pending';

-- How often somebody has asked lately. Unlogged: a crash forgets it, which costs a minute of strictness and no data.
CREATE UNLOGGED TABLE rate_limits (
    scope text NOT NULL,                       -- which rule
    key_hash bytea NOT NULL,                   -- for whom; hashed, because it may be made of a phone number
    hits timestamptz[] NOT NULL DEFAULT '{}',  -- a sliding rule: the latest, newest first, as many as it allows
    used integer NOT NULL DEFAULT 0,           -- a fixed window: how much of it is used
    until timestamptz NOT NULL,                -- when the window ends, or the last hit stops counting
    PRIMARY KEY (scope, key_hash)
) WITH (fillfactor = 50);
CREATE INDEX rate_limits_over ON rate_limits (until);

-- Whoever holds the current epoch of a gateway is its dialer; an older one is fenced off.
CREATE SEQUENCE epochs;
CREATE TABLE dialer_epochs (
    gateway text PRIMARY KEY,
    epoch bigint NOT NULL,
    started_at timestamptz NOT NULL
);

CREATE FUNCTION campaign_snapshot(c campaigns) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(c) - 'next_ordinal' || jsonb_build_object(
        'timezone', (SELECT a.timezone FROM accounts a WHERE a.account_id = c.account_id),
        'spent', (SELECT g.spent FROM campaign_guards g
                  WHERE g.account_id = c.account_id AND g.campaign_id = c.campaign_id),
        'phone_lists', (SELECT coalesce(jsonb_agg(l.phone_list_id ORDER BY l.phone_list_id), '[]') FROM phone_lists l
                        WHERE l.account_id = c.account_id AND l.campaign_id = c.campaign_id),
        'tallies', (SELECT coalesce(jsonb_object_agg(t.key, t.n), '{}')
                    FROM (SELECT key, sum(n) AS n FROM campaign_tallies
                          WHERE account_id = c.account_id AND campaign_id = c.campaign_id GROUP BY key) t))
$$;

CREATE FUNCTION call_snapshot(c calls) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'account_id', c.account_id, 'call_id', c.call_id, 'campaign_id', c.campaign_id, 'phone', c.phone,
        'state', c.state, 'call_end', c.call_end, 'removing', c.removing,
        'disposition', c.disposition, 'script_result', c.script_result, 'choice', c.choice,
        'status_name', c.status_name, 'talk_seconds', c.talk_seconds, 'cost', c.cost, 'extra', c.extra,
        'label', c.label, 'created_at', c.created_at, 'updated_at', c.updated_at, 'completed_at', c.completed_at,
        'timezone', a.timezone, 'callback_url', g.settings ->> 'callback_url',
        'attempts', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'attempt', t.attempt, 'started_at', t.started_at, 'ended_at', t.ended_at,
                'disposition', t.disposition, 'script_result', t.script_result, 'choice', t.choice,
                'talk_seconds', t.talk_seconds, 'cost', t.cost) ORDER BY t.attempt), '[]')
            FROM attempts t WHERE t.account_id = c.account_id AND t.call_id = c.call_id))
    FROM accounts a, campaigns g
    WHERE a.account_id = c.account_id AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id
$$;

-- Laws that no statement can forget: a final state is never left, counters follow the calls, and each change of
-- state is in the outbox exactly once, in the same transaction.
CREATE FUNCTION call_keeps_its_end() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'call % is %, which is final', OLD.call_id, OLD.state USING ERRCODE = 'check_violation'; END $$;
CREATE TRIGGER calls_final BEFORE UPDATE OF state ON calls FOR EACH ROW
    WHEN (OLD.state IN ('finished', 'removed', 'blocked', 'expired') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION call_keeps_its_end();

CREATE FUNCTION call_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
    VALUES (NEW.account_id, NEW.campaign_id, NEW.call_id, 'call', NEW.updated_at, call_snapshot(NEW)
        || jsonb_build_object(
            'before', jsonb_build_object('state', OLD.state, 'disposition', OLD.disposition,
                                         'script_result', OLD.script_result),
            -- A placement that is taken back lowers the count: no attempt has ended then.
            'attempt_ended', NEW.state NOT IN ('dialing', 'talking') AND (NEW.attempts > OLD.attempts
                OR NEW.attempts = OLD.attempts AND OLD.state IN ('dialing', 'talking'))));
    RETURN NULL;
END $$;
CREATE TRIGGER calls_changed AFTER UPDATE OF state ON calls FOR EACH ROW
    -- An attempt that never became a leg may leave a waiting call waiting.
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.attempts < NEW.attempts) EXECUTE FUNCTION call_changed();

-- One addition per counter and statement, in one order, so that two writers never wait for each other in a ring.
CREATE FUNCTION calls_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_tallies AS t (account_id, campaign_id, key, shard, n)
    SELECT n.account_id, n.campaign_id, k.key, mod(n.call_id, 8), sum(k.n)
    FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id, LATERAL (VALUES
        ('state/' || o.state, -1), ('state/' || n.state, 1), ('attempts', n.attempts - o.attempts),
        ('seconds', n.talk_seconds - o.talk_seconds), ('cost', ((n.cost - o.cost) * 10000)::bigint),
        (CASE WHEN o.call_end IS NULL THEN 'end/' || n.call_end END, 1),
        (CASE WHEN o.call_end IS NULL AND n.call_end IS NOT NULL THEN
             'result/' || coalesce(n.disposition, 'none') || '/' || coalesce(n.script_result, 'none') END, 1)
    ) AS k (key, n)
    WHERE k.key IS NOT NULL AND (o.state, o.attempts, o.talk_seconds, o.cost)
        IS DISTINCT FROM (n.state, n.attempts, n.talk_seconds, n.cost)
    GROUP BY 1, 2, 3, 4 HAVING sum(k.n) <> 0 ORDER BY 1, 2, 3, 4
    ON CONFLICT (account_id, campaign_id, key, shard) DO UPDATE SET n = t.n + excluded.n;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_counted AFTER UPDATE ON calls REFERENCING OLD TABLE AS old_calls NEW TABLE AS new_calls
    FOR EACH STATEMENT EXECUTE FUNCTION calls_counted();

CREATE FUNCTION calls_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_tallies AS t (account_id, campaign_id, key, shard, n)
    SELECT account_id, campaign_id, 'state/' || state, mod(min(call_id), 8)::smallint, count(*)
    FROM added GROUP BY account_id, campaign_id, state ORDER BY 1, 2, 3
    ON CONFLICT (account_id, campaign_id, key, shard) DO UPDATE SET n = t.n + excluded.n;
    NOTIFY zvonar_calls;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_added AFTER INSERT ON calls REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION calls_added();

CREATE FUNCTION campaign_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (account_id, campaign_id, kind, at, payload)
    VALUES (NEW.account_id, NEW.campaign_id, 'campaign', NEW.updated_at, campaign_snapshot(NEW));
    NOTIFY zvonar_campaigns;
    RETURN NULL;
END $$;
CREATE TRIGGER campaigns_created AFTER INSERT ON campaigns FOR EACH ROW EXECUTE FUNCTION campaign_changed();
CREATE TRIGGER campaigns_changed AFTER UPDATE OF status ON campaigns FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION campaign_changed();

CREATE FUNCTION outbox_grew() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NOTIFY zvonar_outbox; RETURN NULL; END $$;
CREATE TRIGGER outbox_grew AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_grew();

CREATE FUNCTION deliveries_grew() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NOTIFY zvonar_deliveries; RETURN NULL; END $$;
CREATE TRIGGER deliveries_grew AFTER INSERT ON deliveries FOR EACH STATEMENT EXECUTE FUNCTION deliveries_grew();

-- How far ahead of its slot a placement may come. Dialers pace themselves; this guard holds the rate in the long
-- run, and must not refuse one who is early by a moment because another was late.
CREATE FUNCTION pace_tolerance() RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT interval '0.25 seconds' $$;

-- The two statements that every call comes through. As functions they take their locks in a visible order, the one
-- order of the whole store (epoch, call, guard, trunk, account, counters), look at rows as they are under the lock,
-- and cost half of what one statement of as many parts does.

-- A leg id, or why there is none; then nothing was changed. `p_next_leg`: the attempt goes on over another trunk; the
-- leg that it replaces has lost its channel and ends after this, so both count for a moment.
CREATE FUNCTION place_leg(
    p_account bigint, p_call bigint, p_campaign bigint, p_gateway text, p_epoch bigint, p_trunk bigint,
    p_caller_id text, p_rate jsonb, p_hold numeric, p_held_by_campaign boolean, p_guarded boolean,
    p_max_channels integer, p_calls_per_second numeric, p_next_leg boolean, p_now timestamptz
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
        CASE WHEN spent_on = (p_now AT TIME ZONE 'UTC')::date THEN spent_today ELSE 0 END AS spent_today INTO payer
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
    END IF;
    IF NOT p_held_by_campaign AND payer.balance - payer.held < p_hold THEN
        RETURN CASE WHEN payer.balance >= p_hold THEN 'no_money_yet' ELSE 'no_money' END;
    ELSIF payer.spend_per_day < payer.spent_today + payer.at_risk + p_hold THEN
        RETURN CASE WHEN payer.spend_per_day >= payer.spent_today + p_hold THEN 'no_money_yet' ELSE 'no_money' END;
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

-- Whether the leg ended just now: whoever ends it second changes nothing. With `p_final` the attempt ends too, and the
-- call goes where the decision says, unless it was removed meanwhile.
CREATE FUNCTION end_leg(
    p_account bigint, p_campaign bigint, p_leg text, p_ended_at timestamptz, p_answered_at timestamptz,
    p_disposition text, p_script_result text, p_hangup_cause integer, p_sip_code integer, p_talk_seconds integer,
    p_billed_seconds integer, p_cost numeric, p_choice text, p_status_name text, p_steps jsonb, p_recording text,
    p_final boolean, p_state text, p_call_end text, p_due_at timestamptz, p_now timestamptz
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    ended record;
    tried record;
    from_campaign numeric;
    left_over numeric;
    session bigint;
    called record;
BEGIN
    UPDATE legs SET phase = 'ended', ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
        disposition = p_disposition, hangup_cause = p_hangup_cause, sip_code = p_sip_code, cost = p_cost
    WHERE account_id = p_account AND leg_id = p_leg AND phase <> 'ended'
    RETURNING call_id, attempt, trunk_id, hold, held_by, guarded INTO ended;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Locked now and changed last, because the change also counts.
    SELECT country INTO called FROM calls WHERE account_id = p_account AND call_id = ended.call_id FOR NO KEY UPDATE;

    IF p_final THEN
        session := nextval('session_ids');
        UPDATE attempts SET ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
            disposition = p_disposition, script_result = p_script_result, hangup_cause = p_hangup_cause,
            sip_code = p_sip_code, talk_seconds = p_talk_seconds, billed_seconds = billed_seconds + p_billed_seconds,
            cost = cost + p_cost, choice = p_choice, status_name = p_status_name, steps = p_steps,
            recording = p_recording, session_id = session
        WHERE account_id = p_account AND call_id = ended.call_id AND attempt = ended.attempt AND ended_at IS NULL
        RETURNING campaign_id, phone, started_at, answered_at, caller_id, cost INTO tried;
        IF NOT FOUND THEN
            session := NULL;  -- another leg has ended the attempt before
        END IF;
    END IF;
    IF session IS NOT NULL THEN
        INSERT INTO sessions (account_id, session_id, start_time, finish_time, direction, is_lost, disposition,
            script_result, campaign_id, call_id, attempt, contact_phone, own_phone, country, wait_seconds,
            talk_seconds, total_seconds)
        VALUES (p_account, session, tried.started_at, p_ended_at, 'out', p_disposition <> 'answered', p_disposition,
            p_script_result, tried.campaign_id, ended.call_id, ended.attempt, tried.phone, tried.caller_id,
            called.country, ceil(extract(epoch FROM coalesce(tried.answered_at, p_ended_at) - tried.started_at)),
            p_talk_seconds, ceil(extract(epoch FROM p_ended_at - tried.started_at)));
        INSERT INTO session_details (account_id, session_id, start_time, details)
        SELECT p_account, session, tried.started_at, jsonb_build_object('campaign_name', g.name,
            'answered_at', tried.answered_at, 'hangup_cause', p_hangup_cause, 'sip_code', p_sip_code,
            'choice', p_choice, 'status_name', p_status_name, 'recording', p_recording, 'cost', tried.cost)
        FROM campaigns g WHERE g.account_id = p_account AND g.campaign_id = tried.campaign_id;
        INSERT INTO session_starts (session_id, account_id, start_time) VALUES (session, p_account, tried.started_at);
    ELSIF p_cost > 0 THEN
        UPDATE attempts SET cost = cost + p_cost, billed_seconds = billed_seconds + p_billed_seconds
        WHERE account_id = p_account AND call_id = ended.call_id AND attempt = ended.attempt;
    END IF;

    -- What a leg cost beyond its hold comes from the balance alone.
    from_campaign := CASE WHEN ended.held_by = 'campaign' THEN least(ended.hold, p_cost) ELSE 0 END;
    IF ended.guarded THEN
        UPDATE campaign_guards SET in_use = greatest(in_use - 1, 0), spent = spent + from_campaign,
            leg_held = leg_held - CASE WHEN ended.held_by = 'campaign' THEN ended.hold ELSE 0 END
        WHERE account_id = p_account AND campaign_id = p_campaign;
    END IF;
    UPDATE trunks SET in_use = greatest(in_use - 1, 0) WHERE trunk_id = ended.trunk_id;
    UPDATE accounts SET balance = balance - p_cost, at_risk = at_risk - ended.hold,
        held = held - CASE WHEN ended.held_by = 'account' THEN ended.hold ELSE from_campaign END,
        spent_today = p_cost + CASE WHEN spent_on = (p_now AT TIME ZONE 'UTC')::date THEN spent_today ELSE 0 END,
        spent_on = (p_now AT TIME ZONE 'UTC')::date
    WHERE account_id = p_account RETURNING balance INTO left_over;
    IF p_cost > 0 THEN
        INSERT INTO ledger (account_id, at, kind, amount, balance_after, leg_id)
        VALUES (p_account, p_now, 'charge', -p_cost, left_over, p_leg);
    END IF;

    IF session IS NOT NULL THEN
        UPDATE calls SET
            state = CASE WHEN removing AND p_state IN ('waiting', 'queued') THEN 'finished' ELSE p_state END,
            call_end = CASE WHEN removing AND p_state IN ('waiting', 'queued') THEN 'removed' ELSE p_call_end END,
            completed_at = CASE WHEN removing OR p_call_end IS NOT NULL THEN p_now END,
            due_at = coalesce(p_due_at, due_at), lease_epoch = NULL, updated_at = p_now, disposition = p_disposition,
            script_result = p_script_result, choice = p_choice, status_name = p_status_name, sip_code = p_sip_code,
            talk_seconds = talk_seconds + p_talk_seconds, cost = cost + p_cost
        WHERE account_id = p_account AND call_id = ended.call_id AND state IN ('dialing', 'talking');
    ELSIF p_cost > 0 THEN
        UPDATE calls SET cost = cost + p_cost WHERE account_id = p_account AND call_id = ended.call_id;
    END IF;
    RETURN true;
END $$;

-- The installation's default price list: the operator edits it; a trial account needs one to be billed at all.
INSERT INTO tariffs (name) VALUES ('default');
INSERT INTO tariff_rates (tariff_id, prefix, per_minute, connection_fee, first_interval, step)
SELECT tariff_id, prefix, per_minute, 0, 1, 1 FROM tariffs,
    (VALUES ('', 6.0000), ('7', 1.8000), ('7000', 1.8000)) AS rates (prefix, per_minute);
