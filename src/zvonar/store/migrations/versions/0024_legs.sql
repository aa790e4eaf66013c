-- The legs of sessions as reports show them, sessions by the ids that others gave to their communications, and numbers
-- of scenarios that no campaign has.

-- Every leg of an attempt that has ended; to whom it was, what was recorded of it. A call that came in and belongs to
-- no campaign was one leg, of which its session knows everything. What others tell of their sessions has no
-- disposition, and no legs either.
CREATE VIEW session_legs AS
SELECT r.account_id, r.start_time, r.session_id, coalesce(l.leg, 1) AS number, l.direction,
    CASE l.direction WHEN 'out' THEN ltrim(l.caller_id, '+') ELSE r.contact_phone_number END AS calling,
    CASE l.direction WHEN 'out' THEN coalesce(ltrim(l.target, '+'), r.contact_phone_number)
        ELSE ltrim(l.caller_id, '+') END AS called,
    ltrim(l.caller_id, '+') AS own, l.placed_at, l.answered_at, l.ended_at, l.disposition, l.hangup_cause,
    l.target IS NOT NULL AS transferred,
    l.target IS NULL AND NOT EXISTS (SELECT FROM legs n WHERE n.call_id = l.call_id AND n.attempt = l.attempt
        AND n.account_id = l.account_id AND n.target IS NULL AND n.leg > l.leg) AS last,
    ARRAY(SELECT k.token FROM recording_links k WHERE k.account_id = r.account_id
        AND k.communication_id = r.session_id AND k.kind = 'talk' AND k.recording = l.leg_id || '.wav'
        AND k.revoked_at IS NULL) AS records,
    e.employee_id, e.full_name AS employee_name, ltrim(e.phone, '+') AS employee_phone,
    CASE WHEN e.employee_id = r.last_answered_employee_id THEN r.last_answered_employee_rating END AS rating,
    r.finish_reason, r.contact_id, r.contact_full_name AS contact_name, r.contact_phone_number AS contact_phone,
    r.scenario_id, r.scenario_name
FROM report_rows r
JOIN legs l ON l.call_id = r.call_id AND l.attempt = r.attempt AND l.account_id = r.account_id
    AND l.ended_at IS NOT NULL
LEFT JOIN LATERAL (SELECT * FROM employees e WHERE e.account_id = l.account_id
    AND (e.phone = l.target OR e.extension = l.target) ORDER BY e.employee_id LIMIT 1) e ON true
UNION ALL
SELECT r.account_id, r.start_time, r.session_id, 1, 'in', r.contact_phone_number, r.virtual_phone_number,
    r.virtual_phone_number, r.start_time,
    CASE r.disposition WHEN 'answered' THEN r.start_time + r.wait_duration * interval '1 second' END,
    r.finish_time, r.disposition, r.hangup_cause, false, true, '{}', NULL, NULL, NULL, NULL, r.finish_reason,
    r.contact_id, r.contact_full_name, r.contact_phone_number, r.scenario_id, r.scenario_name
FROM report_rows r WHERE r.call_id IS NULL AND r.disposition IS NOT NULL;

-- Communications whose number somebody else gave; every other one has the number of its session.
CREATE TABLE told_communications (
    account_id bigint NOT NULL REFERENCES accounts,
    communication_id bigint NOT NULL,
    session_id bigint NOT NULL,
    PRIMARY KEY (account_id, communication_id)
);

-- A session was led by a scenario or, where it had none, by its campaign's own script: one list names both.
ALTER SEQUENCE campaign_ids MAXVALUE 4999999999;
ALTER SEQUENCE scenario_ids RESTART WITH 5000000001;

-- A session has its number from its beginning, so that whoever has read of a call that was up knows the one that is
-- over as the same. What is up while this is migrated gets its number at its end.
ALTER TABLE attempts ADD COLUMN promised_session bigint;
ALTER TABLE attempts ALTER COLUMN promised_session SET DEFAULT nextval('session_ids');
-- Of a call that came in and is nobody's, its session's number and who calls (E.164).
ALTER TABLE legs ADD COLUMN promised_session bigint, ADD COLUMN contact text;

-- As before, but for the session's number.
CREATE OR REPLACE FUNCTION end_leg(
    p_account bigint, p_campaign bigint, p_leg text, p_ended_at timestamptz, p_answered_at timestamptz,
    p_disposition text, p_script_result text, p_hangup_cause integer, p_sip_code integer, p_talk_seconds integer,
    p_billed_seconds integer, p_cost numeric, p_choice text, p_status_name text, p_steps jsonb, p_recording text,
    p_final boolean, p_state text, p_call_end text, p_due_at timestamptz, p_now timestamptz
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    ended record;
    from_campaign numeric;
    left_over numeric;
    session bigint;
BEGIN
    UPDATE legs SET phase = 'ended', ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
        disposition = p_disposition, hangup_cause = p_hangup_cause, sip_code = p_sip_code, cost = p_cost
    WHERE account_id = p_account AND leg_id = p_leg AND phase <> 'ended'
    RETURNING call_id, attempt, trunk_id, hold, held_by, guarded INTO ended;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Locked now and changed last, because the change also counts.
    PERFORM FROM calls WHERE account_id = p_account AND call_id = ended.call_id FOR NO KEY UPDATE;

    IF p_final THEN
        UPDATE attempts SET ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
            disposition = p_disposition, script_result = p_script_result, hangup_cause = p_hangup_cause,
            sip_code = p_sip_code, talk_seconds = p_talk_seconds, billed_seconds = billed_seconds + p_billed_seconds,
            cost = cost + p_cost, choice = p_choice, status_name = p_status_name, steps = p_steps,
            recording = p_recording, session_id = coalesce(promised_session, nextval('session_ids'))
        WHERE account_id = p_account AND call_id = ended.call_id AND attempt = ended.attempt AND ended_at IS NULL
        RETURNING session_id INTO session;  -- null where another leg has ended the attempt before
    END IF;
    IF session IS NOT NULL THEN
        INSERT INTO ended_sessions (session_id, account_id, call_id, attempt)
        VALUES (session, p_account, ended.call_id, ended.attempt);
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

-- The same of what came in; there the network's cause is told, too.
CREATE OR REPLACE FUNCTION end_inbound(
    p_account bigint, p_leg text, p_answered_at timestamptz, p_ended_at timestamptz, p_contact text, p_own_phone text,
    p_country text, p_disposition text, p_script_result text, p_hangup_cause integer, p_facts jsonb, p_received jsonb,
    p_now timestamptz
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    ended record;
BEGIN
    UPDATE legs SET phase = 'ended', ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
        disposition = p_disposition, hangup_cause = p_hangup_cause
    WHERE account_id = p_account AND leg_id = p_leg AND phase <> 'ended'
    RETURNING trunk_id, placed_at, coalesce(promised_session, nextval('session_ids')) AS session INTO ended;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE trunks SET in_use = greatest(in_use - 1, 0) WHERE trunk_id = ended.trunk_id;
    INSERT INTO ended_sessions (session_id, account_id, facts)
    VALUES (ended.session, p_account, coalesce(p_facts, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'direction', 'in', 'start_time', ended.placed_at, 'answered_at', p_answered_at, 'finish_time', p_ended_at,
        'disposition', p_disposition, 'script_result', p_script_result, 'hangup_cause', p_hangup_cause,
        'contact_phone', p_contact, 'own_phone', p_own_phone, 'country', p_country)));
    INSERT INTO outbox (account_id, kind, at, payload)
    VALUES (p_account, 'inbound', p_now, p_received || jsonb_build_object('session_id', ended.session));
    RETURN ended.session;
END $$;
DROP FUNCTION inbound_session(bigint, timestamptz, timestamptz, timestamptz, text, text, text, text, text, jsonb);

-- Calls that are up: with the employees that they were put through to, and those that came in and are nobody's.
CREATE OR REPLACE VIEW ongoing_rows AS
SELECT r.* FROM (
    SELECT DISTINCT ON (l.account_id, l.call_id) l.account_id, coalesce(t.promised_session, l.call_id) AS session_id,
        l.call_id, l.attempt, l.direction, l.caller_id, date_trunc('second', t.started_at) AS start_time,
        t.answered_at, c.phone, c.country, c.campaign_id, g.name
    FROM legs l
    JOIN attempts t ON t.account_id = l.account_id AND t.call_id = l.call_id AND t.attempt = l.attempt
    JOIN calls c ON c.account_id = l.account_id AND c.call_id = l.call_id
    JOIN campaigns g ON g.account_id = c.account_id AND g.campaign_id = c.campaign_id
    WHERE l.ended_at IS NULL AND t.ended_at IS NULL
    ORDER BY l.account_id, l.call_id, l.leg
) l
LEFT JOIN LATERAL (SELECT count(*) AS called, min(x.answered_at) AS answered_at,
        sum(extract(epoch FROM coalesce(x.ended_at, now()) - x.answered_at)) AS talked
    FROM legs x WHERE x.call_id = l.call_id AND x.attempt = l.attempt AND x.account_id = l.account_id
      AND x.target IS NOT NULL) x ON true
LEFT JOIN LATERAL (SELECT json_agg(json_build_object('employee_id', m.employee_id, 'employee_full_name', m.full_name,
        'is_answered', m.answered, 'is_talked', m.answered) ORDER BY m.first) AS employees
    FROM (SELECT e.employee_id, e.full_name, bool_or(x.answered_at IS NOT NULL) AS answered, min(x.leg) AS first
        FROM legs x CROSS JOIN LATERAL (SELECT * FROM employees e WHERE e.account_id = x.account_id
            AND (e.phone = x.target OR e.extension = x.target) ORDER BY e.employee_id LIMIT 1) e
        WHERE x.call_id = l.call_id AND x.attempt = l.attempt AND x.account_id = l.account_id
        GROUP BY e.employee_id, e.full_name) m) m ON x.called > 0,
LATERAL (SELECT extract(epoch FROM date_trunc('second', now()) - l.start_time)::integer AS lasted,
    greatest(floor(extract(epoch FROM coalesce(CASE WHEN x.called > 0 THEN x.answered_at ELSE l.answered_at END, now())
        - l.start_time)), 0)::integer AS waited) n,
LATERAL (SELECT greatest(n.lasted - n.waited, 0) AS talk) k,
LATERAL (SELECT CASE WHEN x.called > 0 THEN least(k.talk, coalesce(floor(x.talked), 0)::integer) ELSE k.talk END
    AS clean) p,
LATERAL json_populate_record(NULL::report_rows, json_build_object(
    'account_id', l.account_id, 'session_id', l.session_id, 'start_time', l.start_time,
    'communication_id', l.session_id, 'call_id', l.call_id, 'attempt', l.attempt, 'dial_campaign_id', l.campaign_id,
    'direction', l.direction, 'source', CASE l.direction WHEN 'out' THEN 'auto_out_calls' ELSE 'va' END,
    'is_lost', l.answered_at IS NULL, 'is_transfer', x.called > 0, 'employees', m.employees,
    'contact_phone_number', ltrim(l.phone, '+'), 'virtual_phone_number', ltrim(l.caller_id, '+'),
    'cpn_country_id', l.country, 'scenario_id', l.campaign_id, 'scenario_name', l.name,
    'auto_call_campaign_name', l.name, 'wait_duration', least(n.waited, n.lasted),
    'total_wait_duration', greatest(n.lasted - p.clean, 0), 'talk_duration', k.talk, 'clean_talk_duration', p.clean,
    'total_duration', n.lasted)) r
UNION ALL
SELECT r.* FROM (
    SELECT l.*, date_trunc('second', l.placed_at) AS start_time FROM legs l
    WHERE l.ended_at IS NULL AND l.call_id IS NULL AND l.promised_session IS NOT NULL
) l,
LATERAL (SELECT extract(epoch FROM date_trunc('second', now()) - l.start_time)::integer AS lasted,
    greatest(floor(extract(epoch FROM coalesce(l.answered_at, now()) - l.start_time)), 0)::integer AS waited) n,
LATERAL json_populate_record(NULL::report_rows, json_build_object(
    'account_id', l.account_id, 'session_id', l.promised_session, 'start_time', l.start_time,
    'communication_id', l.promised_session, 'direction', 'in', 'source', 'va', 'is_lost', l.answered_at IS NULL,
    'is_transfer', false, 'contact_phone_number', ltrim(l.contact, '+'),
    'virtual_phone_number', ltrim(l.caller_id, '+'), 'wait_duration', least(n.waited, n.lasted),
    'total_wait_duration', least(n.waited, n.lasted), 'talk_duration', greatest(n.lasted - n.waited, 0),
    'clean_talk_duration', greatest(n.lasted - n.waited, 0), 'total_duration', n.lasted)) r;
