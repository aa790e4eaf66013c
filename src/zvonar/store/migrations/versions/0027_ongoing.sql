-- Calls that are up are found by the employees that they were put through to, and by their country where they came in.

-- As before, but for who of them answered, first and last, and for the country of what came in: the account's own, as in
-- the session that it becomes.
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
        'is_answered', m.since IS NOT NULL, 'is_talked', m.since IS NOT NULL) ORDER BY m.first) AS employees,
        (array_agg(m.employee_id ORDER BY m.since) FILTER (WHERE m.since IS NOT NULL))[1] AS first_id,
        (array_agg(m.full_name ORDER BY m.since) FILTER (WHERE m.since IS NOT NULL))[1] AS first_name,
        (array_agg(m.employee_id ORDER BY m.latest DESC) FILTER (WHERE m.since IS NOT NULL))[1] AS last_id,
        (array_agg(m.full_name ORDER BY m.latest DESC) FILTER (WHERE m.since IS NOT NULL))[1] AS last_name
    FROM (SELECT e.employee_id, e.full_name, min(x.answered_at) AS since, max(x.answered_at) AS latest,
            min(x.leg) AS first
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
    'first_answered_employee_id', m.first_id, 'first_answered_employee_full_name', m.first_name,
    'first_talked_employee_id', m.first_id, 'first_talked_employee_full_name', m.first_name,
    'last_answered_employee_id', m.last_id, 'last_answered_employee_full_name', m.last_name,
    'last_talked_employee_id', m.last_id, 'last_talked_employee_full_name', m.last_name, 'received_by', m.first_name,
    'contact_phone_number', ltrim(l.phone, '+'), 'virtual_phone_number', ltrim(l.caller_id, '+'),
    'cpn_country_id', l.country, 'scenario_id', l.campaign_id, 'scenario_name', l.name,
    'auto_call_campaign_name', l.name, 'wait_duration', least(n.waited, n.lasted),
    'total_wait_duration', greatest(n.lasted - p.clean, 0), 'talk_duration', k.talk, 'clean_talk_duration', p.clean,
    'total_duration', n.lasted)) r
UNION ALL
SELECT r.* FROM (
    SELECT l.*, date_trunc('second', l.placed_at) AS start_time,
        CASE WHEN l.contact IS NOT NULL THEN a.countries[1] END AS country
    FROM legs l JOIN accounts a ON a.account_id = l.account_id
    WHERE l.ended_at IS NULL AND l.call_id IS NULL AND l.promised_session IS NOT NULL
) l,
LATERAL (SELECT extract(epoch FROM date_trunc('second', now()) - l.start_time)::integer AS lasted,
    greatest(floor(extract(epoch FROM coalesce(l.answered_at, now()) - l.start_time)), 0)::integer AS waited) n,
LATERAL json_populate_record(NULL::report_rows, json_build_object(
    'account_id', l.account_id, 'session_id', l.promised_session, 'start_time', l.start_time,
    'communication_id', l.promised_session, 'direction', 'in', 'source', 'va', 'is_lost', l.answered_at IS NULL,
    'is_transfer', false, 'contact_phone_number', ltrim(l.contact, '+'), 'cpn_country_id', l.country,
    'virtual_phone_number', ltrim(l.caller_id, '+'), 'wait_duration', least(n.waited, n.lasted),
    'total_wait_duration', least(n.waited, n.lasted), 'talk_duration', greatest(n.lasted - n.waited, 0),
    'clean_talk_duration', greatest(n.lasted - n.waited, 0), 'total_duration', n.lasted)) r;

-- The same as narrow rows. A text that nobody has said in a session that is over has no code to be found by yet.
CREATE OR REPLACE VIEW ongoing_filters AS
SELECT
    r.account_id, r.session_id, r.start_time, r.finish_time, r.call_id, r.dial_campaign_id, r.communication_id,
    r.cpn_region_id, r.communication_number, NULL::bigint AS finish_reason, word_code(r.account_id, 2::smallint,
    r.direction) AS direction, word_code(r.account_id, 3::smallint, r.source) AS source, NULL::bigint AS channel,
    NULL::bigint AS cpn_region_name, NULL::bigint AS cpn_country_name, word_code(r.account_id, 7::smallint,
    r.cpn_country_id) AS cpn_country_id, word_code(r.account_id, 8::smallint, r.virtual_phone_number) AS
    virtual_phone_number, NULL::bigint AS operator_phone_number, r.sale_date, NULL::bigint AS search_query,
    NULL::bigint AS search_engine, NULL::bigint AS referrer_domain, NULL::bigint AS referrer, NULL::bigint AS
    entrance_page, NULL::bigint AS gclid, NULL::bigint AS yclid, NULL::bigint AS ef_id, NULL::bigint AS utm_source,
    NULL::bigint AS utm_medium, NULL::bigint AS utm_term, NULL::bigint AS utm_content, NULL::bigint AS utm_campaign,
    NULL::bigint AS utm_referrer, NULL::bigint AS openstat_ad, NULL::bigint AS openstat_campaign, NULL::bigint AS
    openstat_service, NULL::bigint AS openstat_source, NULL::bigint AS eq_utm_source, NULL::bigint AS eq_utm_medium,
    NULL::bigint AS eq_utm_term, NULL::bigint AS eq_utm_content, NULL::bigint AS eq_utm_campaign, NULL::bigint AS
    eq_utm_referrer, NULL::bigint AS eq_utm_expid, NULL::bigint AS source_name, NULL::bigint AS source_new,
    NULL::bigint AS channel_new, NULL::bigint AS channel_code, NULL::bigint AS ext_id, NULL::bigint AS
    call_api_external_id, r.source_id, r.call_api_request_id, r.last_answered_employee_id,
    r.first_answered_employee_id, r.last_talked_employee_id, r.first_talked_employee_id, word_code(r.account_id,
    41::smallint, r.last_answered_employee_full_name) AS last_answered_employee_full_name, word_code(r.account_id,
    42::smallint, r.first_answered_employee_full_name) AS first_answered_employee_full_name, word_code(r.account_id,
    43::smallint, r.last_talked_employee_full_name) AS last_talked_employee_full_name, word_code(r.account_id,
    44::smallint, r.first_talked_employee_full_name) AS first_talked_employee_full_name, r.scenario_id, r.site_id,
    r.campaign_id, r.contact_id, word_code(r.account_id, 45::smallint, r.scenario_name) AS scenario_name, NULL::bigint
    AS site_domain_name, NULL::bigint AS campaign_name, word_code(r.account_id, 48::smallint,
    r.auto_call_campaign_name) AS auto_call_campaign_name, NULL::bigint AS contact_full_name, r.visitor_id,
    r.person_id, r.visitor_session_id, r.visits_count, r.visitor_first_campaign_id, NULL::bigint AS visitor_type,
    NULL::bigint AS visitor_device, NULL::bigint AS visitor_first_campaign_name, NULL::bigint AS visitor_city,
    NULL::bigint AS visitor_region, NULL::bigint AS visitor_country, NULL::bigint AS communication_comment,
    NULL::bigint AS communication_comment_author, word_code(r.account_id, 58::smallint, r.received_by) AS received_by,
    NULL::bigint AS internal_first_employee, NULL::bigint AS internal_second_employee, NULL::bigint AS
    virtual_number_comment, r.attempt, r.wait_duration, r.total_wait_duration, r.lost_call_processing_duration,
    r.talk_duration, r.clean_talk_duration, r.total_duration, r.postprocess_duration, r.processed_mark_duration,
    r.is_lost, r.is_transfer, r.is_internal, r.is_coach_handled, r.is_blacklisted, r.contact_phone_number,
    r.sale_cost, r.last_answered_employee_rating, NULL::bigint[] AS scenario_operation_ids, NULL::bigint[] AS tag_ids,
    (SELECT array_agg(DISTINCT (e ->> 'employee_id')::bigint) FROM json_array_elements(r.employees) e) AS
    employee_ids, NULL::bigint[] AS segment_ids, NULL::text[] AS attributes, NULL::text[] AS coaches
FROM ongoing_rows r;
