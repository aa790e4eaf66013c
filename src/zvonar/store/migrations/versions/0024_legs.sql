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
