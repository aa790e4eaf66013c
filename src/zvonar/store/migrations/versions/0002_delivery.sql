-- Deliveries that are never lost: who sends them, what came of each try, which receivers are given up.

ALTER TABLE accounts ADD email text;            -- whom to tell what goes wrong; null: nobody

-- Standard Webhooks secrets. They sign, so they are readable, unlike keys.
CREATE TABLE webhook_secrets (
    account_id bigint NOT NULL REFERENCES accounts,
    secret text NOT NULL,                      -- whsec_ and base64
    created_at timestamptz NOT NULL,
    expires_at timestamptz,                    -- of one that was rotated; null: the current one
    PRIMARY KEY (account_id, secret)
);
CREATE UNIQUE INDEX webhook_secrets_current ON webhook_secrets (account_id) WHERE expires_at IS NULL;

-- A receiver that is in trouble, or was. Written when that changes, not at every delivery.
CREATE TABLE receivers (
    account_id bigint NOT NULL,
    address text NOT NULL,
    failing_since timestamptz,                 -- null: its last answer was good
    last_failed_at timestamptz,                -- to the minute
    disabled_at timestamptz,
    reason text CHECK (reason IN ('gone', 'failing', 'operator')),
    PRIMARY KEY (account_id, address),
    CHECK ((disabled_at IS NULL) = (reason IS NULL))
);

ALTER TABLE deliveries
    DROP CONSTRAINT deliveries_state_check,
    -- disabled: it waits for its receiver to be enabled again.
    ADD CONSTRAINT deliveries_state_check CHECK (state IN ('pending', 'disabled', 'delivered', 'dead')),
    -- The address is the receiver, by which order, pace and trouble are kept; the URL is what is asked for.
    ADD method text NOT NULL DEFAULT 'POST' CHECK (method IN ('GET', 'POST')),
    ADD url text,                              -- null: the address
    ADD tries_before integer NOT NULL DEFAULT 0,  -- tries of earlier lives, before it was sent again on purpose
    ADD leased_by bigint;                      -- the worker; when it dies, its leases are free at once
-- What of an address is due, the first of a call before later ones of it.
DROP INDEX deliveries_by_address;
CREATE INDEX deliveries_by_address ON deliveries (address, next_at, delivery_id) WHERE state = 'pending';
-- Whether something earlier of the same call is still on its way: a few rows, by one short key.
DROP INDEX deliveries_in_order;
CREATE INDEX deliveries_in_order ON deliveries (order_key, event_id) WHERE state = 'pending';
-- What somebody has to look after.
CREATE INDEX deliveries_stuck ON deliveries (account_id, address, event_id) WHERE state IN ('dead', 'disabled');

-- One try, written together with what it came to.
CREATE TABLE delivery_attempts (
    delivery_id bigint NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,                   -- when it began
    latency integer NOT NULL,                  -- milliseconds to the verdict
    status integer,                            -- HTTP or SMTP; null: no answer came
    error text,                                -- null: taken
    answer bytea NOT NULL,                     -- the first KiB of the answer's body, as it came
    PRIMARY KEY (delivery_id, attempt)
);

-- A worker is alive as long as it holds the advisory lock of its number.
CREATE SEQUENCE delivery_worker_ids AS integer CYCLE;
CREATE TABLE delivery_workers (
    worker_id integer PRIMARY KEY,
    started_at timestamptz NOT NULL
);

-- An event that no renderer could make anything of steps aside, and later ones of its call with it.
ALTER TABLE outbox
    ADD render_error text,                     -- null: not tried yet, or rendered
    ADD render_tries integer NOT NULL DEFAULT 0,
    ADD render_at timestamptz;                 -- when it is tried again; null with an error: given up
DROP INDEX outbox_pending;
CREATE INDEX outbox_pending ON outbox (event_id) WHERE fanned_out_at IS NULL AND render_error IS NULL;
-- Who is tried again now, and whether an event's call has one that stands aside.
CREATE INDEX outbox_parked_due ON outbox (render_at) WHERE fanned_out_at IS NULL AND render_error IS NOT NULL;
CREATE INDEX outbox_parked ON outbox (account_id, campaign_id, coalesce(call_id, 0), event_id)
    WHERE fanned_out_at IS NULL AND render_error IS NOT NULL;
