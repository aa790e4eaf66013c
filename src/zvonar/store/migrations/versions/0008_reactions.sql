-- Reactions that leave the line: who their owner is, and what became of each.

ALTER TABLE accounts ADD phone text;           -- E.164; whom texts to the owner reach; null: nobody

-- What is delivered of a reaction, beside the call for as long as the call is kept.
CREATE TABLE reaction_deliveries (
    account_id bigint NOT NULL REFERENCES accounts,
    event_id bigint NOT NULL,
    kind text NOT NULL,                        -- reaction.sms, reaction.email, reaction.webhook
    call_id bigint NOT NULL,
    attempt integer NOT NULL,
    number integer NOT NULL,                   -- from 1 within the attempt
    state text NOT NULL,                       -- as the delivery's
    tries integer NOT NULL DEFAULT 0,
    error text,                                -- of the last try; null: taken, or not tried yet
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, event_id, kind)
) WITH (fillfactor = 70);
CREATE INDEX reaction_deliveries_by_call ON reaction_deliveries (account_id, call_id);

-- One that is said twice because its commit was in doubt is one. The moment tells it from what a script that was begun
-- anew, by another dialer, sets off at the same place.
CREATE UNIQUE INDEX outbox_reactions ON outbox (account_id, call_id, at, (payload->>'number'))
    WHERE kind = 'reaction';

-- The facts of a reaction that only the store has, as they were when it was set off.
CREATE FUNCTION reaction_facts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.payload := NEW.payload || (
        SELECT jsonb_build_object('owner_phone', a.phone, 'owner_email', a.email, 'label', c.label)
        FROM accounts a LEFT JOIN calls c ON c.account_id = a.account_id AND c.call_id = NEW.call_id
        WHERE a.account_id = NEW.account_id);
    RETURN NEW;
END $$;
CREATE TRIGGER reaction_facts BEFORE INSERT ON outbox FOR EACH ROW
    WHEN (NEW.kind = 'reaction') EXECUTE FUNCTION reaction_facts();

CREATE FUNCTION reaction_delivered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reaction_deliveries AS r
        (account_id, event_id, kind, call_id, attempt, number, state, tries, error, updated_at)
    SELECT NEW.account_id, NEW.event_id, NEW.kind, o.call_id, (o.payload->>'attempt')::integer,
        (o.payload->>'number')::integer, NEW.state, NEW.tries, NEW.last_error, clock_timestamp()
    FROM outbox o WHERE o.event_id = NEW.event_id AND o.kind = 'reaction'
    ON CONFLICT (account_id, event_id, kind) DO UPDATE
        SET state = excluded.state, tries = excluded.tries, error = excluded.error, updated_at = excluded.updated_at;
    IF NOT FOUND THEN  -- its event was swept before it was delivered
        UPDATE reaction_deliveries SET state = NEW.state, tries = NEW.tries, error = NEW.last_error,
            updated_at = clock_timestamp()
        WHERE account_id = NEW.account_id AND event_id = NEW.event_id AND kind = NEW.kind;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER reaction_queued AFTER INSERT ON deliveries FOR EACH ROW
    WHEN (NEW.kind LIKE 'reaction.%') EXECUTE FUNCTION reaction_delivered();
CREATE TRIGGER reaction_settled AFTER UPDATE OF state, tries, last_error ON deliveries FOR EACH ROW
    WHEN (NEW.kind LIKE 'reaction.%' AND (OLD.state <> NEW.state OR OLD.tries <> NEW.tries))
    EXECUTE FUNCTION reaction_delivered();
