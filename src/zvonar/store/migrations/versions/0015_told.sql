-- A campaign's own words to those whom it has reached, or not; and callbacks that say of a call what a look at it says.

-- A text with what is known put in where it says {{name}}; what is not known says nothing.
CREATE FUNCTION filled(p_text text, p_variables jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    said text := '';
    rest text := p_text;
    place text[];
    at integer;
BEGIN
    LOOP
        -- From left to right and once, so that what is put in is never filled again.
        place := regexp_match(rest, '(\{\{[ \t]*([^{}\s]{1,64})[ \t]*\}\})');
        EXIT WHEN place IS NULL;
        at := position(place[1] IN rest);
        said := said || left(rest, at - 1) || coalesce(p_variables ->> place[2], '');
        rest := substr(rest, at + length(place[1]));
    END LOOP;
    RETURN said || rest;
END $$;

-- Once, in the transaction that ends the call. Nobody is written to who was never called, and nobody who is on a stop
-- list or was taken out.
CREATE FUNCTION call_ended_told() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    words text;
BEGIN
    SELECT CASE
        WHEN NEW.disposition = 'answered' AND NEW.script_result NOT IN ('machine', 'error')
            THEN g.settings ->> 'sms_text'
        WHEN NEW.call_end IN ('unsuccessful', 'attempts_exhausted', 'expired')
            AND (NEW.disposition IN ('busy', 'declined', 'no_answer', 'unreachable')
                OR NEW.disposition = 'answered' AND NEW.script_result = 'machine')
            THEN g.settings ->> 'sms_unanswered_text' END INTO words
    FROM campaigns g WHERE g.account_id = NEW.account_id AND g.campaign_id = NEW.campaign_id;
    IF words IS NOT NULL THEN
        INSERT INTO outbox (account_id, campaign_id, call_id, kind, at, payload)
        VALUES (NEW.account_id, NEW.campaign_id, NEW.call_id, 'reaction', NEW.updated_at, jsonb_build_object(
            'account_id', NEW.account_id, 'campaign_id', NEW.campaign_id, 'call_id', NEW.call_id,
            'attempt', NEW.attempts, 'number', 0, 'phone', NEW.phone, 'own_phone', NULL, 'node', '', 'choice', NULL,
            'at', NEW.updated_at, 'reaction', jsonb_build_object('sms', jsonb_build_object(
                'text', filled(words, NEW.overrides -> 'variables')))))
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER calls_ended_told AFTER UPDATE OF state ON calls FOR EACH ROW
    WHEN (OLD.call_end IS NULL AND NEW.call_end IS NOT NULL AND NEW.attempts > 0)
    EXECUTE FUNCTION call_ended_told();

-- As before, with what was chosen in each attempt, and whether the client holds the call back.
CREATE OR REPLACE FUNCTION call_snapshot(c calls) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
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
            FROM attempts t WHERE t.account_id = c.account_id AND t.call_id = c.call_id))
    FROM accounts a, campaigns g
    WHERE a.account_id = c.account_id AND g.account_id = c.account_id AND g.campaign_id = c.campaign_id
$$;
