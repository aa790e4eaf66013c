-- Calls that are logged in a company's own CRM. Each is a delivery to the address `amocrm:ACCOUNT`; what only a CRM
-- needs is here: the connection, the pace of its host, and what became of each call there.

CREATE TABLE push_connections (
    account_id bigint PRIMARY KEY REFERENCES accounts,
    tag text NOT NULL,                         -- begins each call's `uniq`; stays the same for good
    base_url text NOT NULL,                    -- https://example.amocrm.ru
    state text NOT NULL CHECK (state IN ('connected', 'lost', 'off')),
    kind text NOT NULL CHECK (kind IN ('oauth', 'long_lived')),
    credentials bytea,                         -- encrypted; null once it is off
    version bigint NOT NULL DEFAULT 1,         -- of the credentials
    expires_at timestamptz,                    -- of the access token
    refreshing_until timestamptz,              -- one process is at it until then at the latest
    settings jsonb NOT NULL,
    crm_account_id bigint,                     -- as the CRM numbers it
    customers boolean NOT NULL DEFAULT true,   -- whether it may have cards of customers
    trouble text,                              -- what the CRM objects to; null: nothing
    trouble_status integer,                    -- HTTP
    trouble_since timestamptz,
    troubles integer NOT NULL DEFAULT 0,       -- in a row, for the pauses between tries
    connected_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((credentials IS NULL) = (state = 'off'))
);

-- How often a CRM is asked, by all processes and accounts together.
CREATE TABLE push_paces (
    origin text PRIMARY KEY,                   -- scheme, host and port
    granted timestamptz[] NOT NULL DEFAULT '{}',  -- slots of requests that may not be on their way yet
    sent timestamptz[] NOT NULL DEFAULT '{}',  -- when the latest ones had surely left, newest first
    wait_until timestamptz NOT NULL DEFAULT '-infinity'  -- the CRM wants to be left alone
) WITH (fillfactor = 50);

-- When the next request may leave, or null: not within `p_ahead` seconds. In any stretch of a second, and a margin for
-- the way to the CRM, there are at most `p_count` requests; one that was granted and is not reported as sent counts
-- for as long as its process may live. `granted_at` is this server's clock: what is slept and measured counts from it.
CREATE FUNCTION push_slot(
    p_origin text, p_count integer, p_ahead double precision, p_margin double precision,
    OUT slot timestamptz, OUT granted_at timestamptz, OUT free_at timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    pace record;
    waiting timestamptz[];
    leaving timestamptz;
BEGIN
    INSERT INTO push_paces (origin) VALUES (p_origin) ON CONFLICT DO NOTHING;
    SELECT * INTO pace FROM push_paces WHERE origin = p_origin FOR NO KEY UPDATE;
    granted_at := clock_timestamp();
    SELECT coalesce(array_agg(g ORDER BY g), '{}') INTO waiting FROM unnest(pace.granted) g
        WHERE g > granted_at - interval '15 seconds';
    IF cardinality(waiting) >= p_count THEN
        free_at := granted_at + interval '0.02 seconds';
        RETURN;
    END IF;
    -- The one that leaves the stretch when this one enters it, and an even beat as far as that allows.
    leaving := pace.sent[p_count - cardinality(waiting)];
    free_at := greatest(granted_at, pace.wait_until, leaving + make_interval(secs => 1 + p_margin),
        greatest(pace.sent[1], waiting[cardinality(waiting)]) + make_interval(secs => 0.97 / p_count));
    IF free_at > granted_at + make_interval(secs => p_ahead) THEN
        RETURN;
    END IF;
    slot := free_at;
    UPDATE push_paces SET granted = waiting || slot WHERE origin = p_origin;
END $$;

-- A granted request has left at that time, or (null) never will.
CREATE FUNCTION push_sent(p_origin text, p_slot timestamptz, p_at timestamptz, p_count integer) RETURNS void
LANGUAGE sql AS $$
    UPDATE push_paces SET granted = array_remove(granted, p_slot),
        sent = CASE WHEN p_at IS NULL THEN sent ELSE
            ARRAY(SELECT s FROM unnest(sent || p_at) s ORDER BY s DESC LIMIT greatest(p_count, 20)) END
    WHERE origin = p_origin
$$;

-- One call in the CRM. Kept for good: it is why a call is never logged twice.
CREATE TABLE push_calls (
    account_id bigint NOT NULL REFERENCES accounts,
    uniq text NOT NULL,
    call_id bigint NOT NULL,
    attempt integer NOT NULL,
    -- posting: on its way, or nobody knows; logged; skipped: no card has its number; refused: not acceptable.
    state text NOT NULL CHECK (state IN ('posting', 'logged', 'skipped', 'refused')),
    posted_at timestamptz,                     -- while posting: the last time that it may have arrived; null: it has not
    way text NOT NULL DEFAULT 'calls' CHECK (way IN ('calls', 'unsorted')),
    note_id bigint,
    entity_type text,                          -- contact, company, lead, customer, unsorted
    entity_id text,                            -- a number, except that of unsorted
    settled_at timestamptz,
    PRIMARY KEY (account_id, uniq)
) WITH (fillfactor = 70);
CREATE INDEX push_calls_settled ON push_calls (account_id, settled_at);

-- Cards that we made for unknown numbers. The row is there before the card, so that two processes do not make two.
CREATE TABLE push_cards (
    account_id bigint NOT NULL REFERENCES accounts,
    phone text NOT NULL,                       -- E.164
    contact_id bigint,                         -- null: being made, or nobody knows
    lead_id bigint,
    claimed_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, phone)
);

-- A receiver may also have lost its keys.
ALTER TABLE receivers
    DROP CONSTRAINT receivers_reason_check,
    ADD CONSTRAINT receivers_reason_check CHECK (reason IN ('gone', 'failing', 'operator', 'unauthorised'));
