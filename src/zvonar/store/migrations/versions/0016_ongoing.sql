-- Calls that are up in reports, sessions of which no row can be made, and months that are made without a deadlock.

ALTER TABLE ended_sessions ADD COLUMN fault text;  -- why no row could be made of it: for a person to look at

-- Calls that are up, as rows of the report: those that an account may ask for beside what has ended. Their id is that of
-- the call, because a session has one of its own only when it is over.
CREATE VIEW ongoing_rows AS
SELECT r.* FROM (
    SELECT DISTINCT ON (l.account_id, l.call_id) l.account_id, l.call_id, l.attempt, l.direction, l.caller_id,
        date_trunc('second', t.started_at) AS start_time, t.answered_at, c.phone, c.country, c.campaign_id, g.name
    FROM legs l
    JOIN attempts t ON t.account_id = l.account_id AND t.call_id = l.call_id AND t.attempt = l.attempt
    JOIN calls c ON c.account_id = l.account_id AND c.call_id = l.call_id
    JOIN campaigns g ON g.account_id = c.account_id AND g.campaign_id = c.campaign_id
    WHERE l.ended_at IS NULL AND t.ended_at IS NULL
    ORDER BY l.account_id, l.call_id, l.leg
) l, LATERAL (SELECT extract(epoch FROM date_trunc('second', now()) - l.start_time)::integer AS lasted,
    floor(extract(epoch FROM coalesce(l.answered_at, now()) - l.start_time))::integer AS waited) n,
LATERAL jsonb_populate_record(NULL::report_rows, jsonb_build_object(
    'account_id', l.account_id, 'session_id', l.call_id, 'start_time', l.start_time, 'communication_id', l.call_id,
    'call_id', l.call_id, 'attempt', l.attempt, 'dial_campaign_id', l.campaign_id, 'direction', l.direction,
    'source', CASE l.direction WHEN 'out' THEN 'auto_out_calls' ELSE 'va' END, 'is_lost', l.answered_at IS NULL,
    'is_transfer', false, 'contact_phone_number', ltrim(l.phone, '+'), 'virtual_phone_number', ltrim(l.caller_id, '+'),
    'cpn_country_id', l.country, 'scenario_id', l.campaign_id, 'scenario_name', l.name,
    'auto_call_campaign_name', l.name, 'wait_duration', n.waited, 'total_wait_duration', n.waited,
    'talk_duration', greatest(n.lasted - n.waited, 0), 'clean_talk_duration', greatest(n.lasted - n.waited, 0),
    'total_duration', n.lasted)) r;

-- The same as narrow rows. A text that nobody has said in a session that is over has no code to be found by yet.
CREATE FUNCTION word_code(account bigint, field smallint, said text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT word_id FROM report_words w
    WHERE w.account_id = word_code.account AND w.field = word_code.field AND w.word = said
$$;
CREATE VIEW ongoing_filters AS
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
    r.first_answered_employee_id, r.last_talked_employee_id, r.first_talked_employee_id, NULL::bigint AS
    last_answered_employee_full_name, NULL::bigint AS first_answered_employee_full_name, NULL::bigint AS
    last_talked_employee_full_name, NULL::bigint AS first_talked_employee_full_name, r.scenario_id, r.site_id,
    r.campaign_id, r.contact_id, word_code(r.account_id, 45::smallint, r.scenario_name) AS scenario_name,
    NULL::bigint AS site_domain_name, NULL::bigint AS campaign_name, word_code(r.account_id, 48::smallint,
    r.auto_call_campaign_name) AS auto_call_campaign_name, NULL::bigint AS contact_full_name, r.visitor_id,
    r.person_id, r.visitor_session_id, r.visits_count, r.visitor_first_campaign_id, NULL::bigint AS visitor_type,
    NULL::bigint AS visitor_device, NULL::bigint AS visitor_first_campaign_name, NULL::bigint AS visitor_city,
    NULL::bigint AS visitor_region, NULL::bigint AS visitor_country, NULL::bigint AS communication_comment,
    NULL::bigint AS communication_comment_author, NULL::bigint AS received_by, NULL::bigint AS
    internal_first_employee, NULL::bigint AS internal_second_employee, NULL::bigint AS virtual_number_comment,
    r.attempt, r.wait_duration, r.total_wait_duration, r.lost_call_processing_duration, r.talk_duration,
    r.clean_talk_duration, r.total_duration, r.postprocess_duration, r.processed_mark_duration, r.is_lost,
    r.is_transfer, r.is_internal, r.is_coach_handled, r.is_blacklisted, r.contact_phone_number, r.sale_cost,
    r.last_answered_employee_rating, NULL::bigint[] AS scenario_operation_ids, NULL::bigint[] AS tag_ids,
    NULL::bigint[] AS employee_ids, NULL::bigint[] AS segment_ids, NULL::text[] AS attributes, NULL::text[] AS
    coaches
FROM ongoing_rows r;

-- One table at a time, each in a transaction of its own, and the strongest lock first: whoever reads or writes reports
-- meanwhile takes the tables in an order of his own, and would otherwise wait for us while we wait for him.
CREATE FUNCTION ensure_report_month(base text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    after timestamptz := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    month text := base || '_' || to_char(at AT TIME ZONE 'UTC', 'YYYYMM');
BEGIN
    IF to_regclass(month) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One maker at a time; locking a table, unlike an advisory lock, also shows what the last one made.
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', base || '_other');
    IF to_regclass(month) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', month, base);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE start_time >= %L AND start_time < %L RETURNING *)
                    INSERT INTO %I SELECT * FROM moved', base || '_other', first, after, month);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', base, month, first, after);
END $$;
DROP FUNCTION ensure_session_month(timestamptz);
