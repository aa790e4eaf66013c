-- Reports over a store of their own: a narrow table that is filtered and sorted, a wide one that is shown, both by UTC
-- month. What ends a session writes one small row; the worker makes the report's rows of many at a time.

CREATE EXTENSION IF NOT EXISTS btree_gin;

-- Sessions that have ended and are not in the report yet. Of a session with an attempt the attempt knows everything;
-- of another one `facts` does: keys are those of report_rows, and account_id, call_id, attempt where there are such.
CREATE TABLE ended_sessions (
    session_id bigint PRIMARY KEY,
    account_id bigint NOT NULL,
    call_id bigint,
    attempt integer,
    facts jsonb                                -- what goes before what the attempt says
);
-- It is empty most of the time and never large: dead rows go before there are many.
ALTER TABLE ended_sessions SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Texts of an account's sessions by field, so that the narrow table holds numbers. A text that no month uses any more
-- goes with the last month that did.
CREATE TABLE report_words (
    account_id bigint NOT NULL,
    field smallint NOT NULL,                   -- a number of reports.columns.WORDS
    word_id bigint GENERATED ALWAYS AS IDENTITY,
    seen date NOT NULL,                        -- the latest month of a session that says it
    digest bytea NOT NULL,                     -- of the text, which may be longer than an index entry
    word text NOT NULL,
    PRIMARY KEY (account_id, field, word_id),
    UNIQUE (account_id, field, digest)
) WITH (fillfactor = 90);

CREATE TABLE report_filters (
    account_id bigint NOT NULL,
    session_id bigint NOT NULL,
    start_time timestamptz NOT NULL,
    finish_time timestamptz,
    call_id bigint,
    dial_campaign_id bigint,
    communication_id bigint,
    cpn_region_id bigint,
    communication_number bigint,
    finish_reason bigint,
    direction bigint,
    source bigint,
    channel bigint,
    cpn_region_name bigint,
    cpn_country_name bigint,
    cpn_country_id bigint,
    virtual_phone_number bigint,
    operator_phone_number bigint,
    sale_date timestamptz,
    search_query bigint,
    search_engine bigint,
    referrer_domain bigint,
    referrer bigint,
    entrance_page bigint,
    gclid bigint,
    yclid bigint,
    ef_id bigint,
    utm_source bigint,
    utm_medium bigint,
    utm_term bigint,
    utm_content bigint,
    utm_campaign bigint,
    utm_referrer bigint,
    openstat_ad bigint,
    openstat_campaign bigint,
    openstat_service bigint,
    openstat_source bigint,
    eq_utm_source bigint,
    eq_utm_medium bigint,
    eq_utm_term bigint,
    eq_utm_content bigint,
    eq_utm_campaign bigint,
    eq_utm_referrer bigint,
    eq_utm_expid bigint,
    source_name bigint,
    source_new bigint,
    channel_new bigint,
    channel_code bigint,
    ext_id bigint,
    call_api_external_id bigint,
    source_id bigint,
    call_api_request_id bigint,
    last_answered_employee_id bigint,
    first_answered_employee_id bigint,
    last_talked_employee_id bigint,
    first_talked_employee_id bigint,
    last_answered_employee_full_name bigint,
    first_answered_employee_full_name bigint,
    last_talked_employee_full_name bigint,
    first_talked_employee_full_name bigint,
    scenario_id bigint,
    site_id bigint,
    campaign_id bigint,
    contact_id bigint,
    scenario_name bigint,
    site_domain_name bigint,
    campaign_name bigint,
    auto_call_campaign_name bigint,
    contact_full_name bigint,
    visitor_id bigint,
    person_id bigint,
    visitor_session_id bigint,
    visits_count bigint,
    visitor_first_campaign_id bigint,
    visitor_type bigint,
    visitor_device bigint,
    visitor_first_campaign_name bigint,
    visitor_city bigint,
    visitor_region bigint,
    visitor_country bigint,
    communication_comment bigint,
    communication_comment_author bigint,
    received_by bigint,
    internal_first_employee bigint,
    internal_second_employee bigint,
    virtual_number_comment bigint,
    attempt integer,
    wait_duration integer,
    total_wait_duration integer,
    lost_call_processing_duration integer,
    talk_duration integer,
    clean_talk_duration integer,
    total_duration integer,
    postprocess_duration integer,
    processed_mark_duration integer,
    is_lost boolean NOT NULL,
    is_transfer boolean,
    is_internal boolean,
    is_coach_handled boolean,
    is_blacklisted boolean,
    contact_phone_number text,
    sale_cost numeric,
    last_answered_employee_rating numeric,
    scenario_operation_ids bigint[],
    tag_ids bigint[],
    employee_ids bigint[],
    segment_ids bigint[],
    attributes text[],
    coaches text[],
    PRIMARY KEY (account_id, start_time, session_id)
) PARTITION BY RANGE (start_time);
CREATE INDEX report_filters_by_contact ON report_filters (account_id, contact_phone_number, start_time);
-- Lost calls that nobody has dealt with: few, and looked for whenever somebody talks to a contact.
CREATE INDEX report_filters_unsettled ON report_filters (account_id, contact_phone_number, start_time)
    WHERE is_lost AND lost_call_processing_duration IS NULL;
CREATE INDEX report_filters_by_tag ON report_filters USING gin (account_id, tag_ids);
CREATE INDEX report_filters_by_employee ON report_filters USING gin (account_id, employee_ids);

CREATE TABLE report_rows (
    account_id bigint NOT NULL,
    session_id bigint NOT NULL,
    start_time timestamptz NOT NULL,
    finish_time timestamptz,
    call_id bigint,
    dial_campaign_id bigint,
    communication_id bigint,
    cpn_region_id bigint,
    communication_number bigint,
    sale_date timestamptz,
    source_id bigint,
    call_api_request_id bigint,
    last_answered_employee_id bigint,
    first_answered_employee_id bigint,
    last_talked_employee_id bigint,
    first_talked_employee_id bigint,
    scenario_id bigint,
    site_id bigint,
    campaign_id bigint,
    contact_id bigint,
    visitor_id bigint,
    person_id bigint,
    visitor_session_id bigint,
    visits_count bigint,
    visitor_first_campaign_id bigint,
    attempt integer,
    hangup_cause integer,
    sip_code integer,
    wait_duration integer,
    total_wait_duration integer,
    lost_call_processing_duration integer,
    talk_duration integer,
    clean_talk_duration integer,
    total_duration integer,
    postprocess_duration integer,
    processed_mark_duration integer,
    is_lost boolean NOT NULL,
    is_transfer boolean,
    visit_other_campaign boolean,
    is_internal boolean,
    is_coach_handled boolean,
    is_blacklisted boolean,
    sale_cost numeric,
    last_answered_employee_rating numeric,
    disposition text,
    script_result text,
    cause text,
    finish_reason text,
    direction text,
    source text,
    channel text,
    cpn_region_name text,
    cpn_country_name text,
    cpn_country_id text,
    virtual_phone_number text,
    operator_phone_number text,
    contact_phone_number text,
    communication_page_url text,
    full_record_file_link text,
    properties text,
    ua_client_id text,
    ym_client_id text,
    ymclid text,
    search_query text,
    search_engine text,
    referrer_domain text,
    referrer text,
    entrance_page text,
    gclid text,
    yclid text,
    ef_id text,
    utm_source text,
    utm_medium text,
    utm_term text,
    utm_content text,
    utm_campaign text,
    utm_referrer text,
    openstat_ad text,
    openstat_campaign text,
    openstat_service text,
    openstat_source text,
    eq_utm_source text,
    eq_utm_medium text,
    eq_utm_term text,
    eq_utm_content text,
    eq_utm_campaign text,
    eq_utm_referrer text,
    eq_utm_expid text,
    source_name text,
    source_new text,
    channel_new text,
    channel_code text,
    ext_id text,
    call_api_external_id text,
    last_answered_employee_full_name text,
    first_answered_employee_full_name text,
    last_talked_employee_full_name text,
    first_talked_employee_full_name text,
    scenario_name text,
    site_domain_name text,
    campaign_name text,
    auto_call_campaign_name text,
    contact_full_name text,
    visitor_type text,
    visitor_device text,
    visitor_first_campaign_name text,
    visitor_city text,
    visitor_region text,
    visitor_country text,
    communication_comment text,
    communication_comment_author text,
    received_by text,
    internal_first_employee text,
    internal_second_employee text,
    virtual_number_comment text,
    call_records text[],
    wav_call_records text[],
    voice_mail_records text[],
    attributes text[],
    coaches text[],
    recognized_text json,
    scenario_operations json,
    tags json,
    employees json,
    segments json,
    visitor_custom_properties json,
    PRIMARY KEY (account_id, start_time, session_id)
) PARTITION BY RANGE (start_time);

-- A row must never be refused for want of a partition.
CREATE TABLE report_filters_other PARTITION OF report_filters DEFAULT;
CREATE TABLE report_rows_other PARTITION OF report_rows DEFAULT;

-- What visitors did before they called: told for a number of ours while it is valid, or for a call.
CREATE TABLE visits (
    account_id bigint NOT NULL REFERENCES accounts,
    visit_id bigint GENERATED ALWAYS AS IDENTITY,
    phone text,                                -- digits, as reports have it
    call_id bigint,
    at timestamptz NOT NULL,
    until timestamptz NOT NULL,
    fields jsonb NOT NULL,                     -- columns of report_rows
    PRIMARY KEY (account_id, visit_id),
    CHECK ((phone IS NULL) <> (call_id IS NULL))
);
CREATE INDEX visits_by_phone ON visits (account_id, phone, at) WHERE phone IS NOT NULL;
CREATE INDEX visits_by_call ON visits (account_id, call_id, at) WHERE call_id IS NOT NULL;
CREATE INDEX visits_over ON visits (until);

-- Sessions that came from elsewhere, by the ids that they have there: what is sent again is the same session.
CREATE TABLE uploaded_sessions (
    account_id bigint NOT NULL REFERENCES accounts,
    ext_id text NOT NULL,
    session_id bigint NOT NULL,
    PRIMARY KEY (account_id, ext_id)
);

-- Tags that sessions get by themselves.
CREATE TABLE tag_rules (
    account_id bigint NOT NULL,
    rule_id bigint GENERATED ALWAYS AS IDENTITY,
    tag_id bigint NOT NULL,
    conditions jsonb NOT NULL,                 -- all of them must be true: [{"field", "operator", "value"}]
    PRIMARY KEY (account_id, rule_id),
    FOREIGN KEY (account_id, tag_id) REFERENCES tags ON DELETE CASCADE
);

-- How often a month of an account has changed: a total that was counted then is right as long as this is the same.
CREATE TABLE report_revisions (
    account_id bigint NOT NULL,
    month date NOT NULL,                       -- its first day, UTC
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (account_id, month)
) WITH (fillfactor = 50);

-- Rows that came before their month was made move out of the default partition. Attaching, unlike creating in
-- place, lets reports go on meanwhile.
CREATE OR REPLACE FUNCTION ensure_session_month(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    after timestamptz := (date_trunc('month', at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    base text;
    month text;
BEGIN
    FOREACH base IN ARRAY ARRAY['report_filters', 'report_rows'] LOOP
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

-- Months that were rewritten in the order of accounts, so that a tenant's rows lie side by side.
CREATE TABLE report_months (
    month date PRIMARY KEY,                    -- its first day, UTC
    rewritten_at timestamptz NOT NULL
);

-- A month is rewritten beside itself while it is read and written: what changes meanwhile is noted, made up for at the
-- end, and the new table takes the place of the old one in a moment. In three steps, each a transaction of its own.
CREATE FUNCTION report_month_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I VALUES ($1, $2, $3)', TG_ARGV[0])
        USING coalesce(NEW.account_id, OLD.account_id), coalesce(NEW.start_time, OLD.start_time),
            coalesce(NEW.session_id, OLD.session_id);
    RETURN NULL;
END $$;

-- One: from the commit of this on, changes are noted. What an interrupted rewrite has left is thrown away.
CREATE FUNCTION begin_report_rewrite(base text, month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    old text := base || to_char(month, '_YYYYMM');
BEGIN
    PERFORM set_config('lock_timeout', '50ms', true);
    EXECUTE format('DROP TRIGGER IF EXISTS noted ON %I', old);
    EXECUTE format('DROP TABLE IF EXISTS %I, %I', old || '_new', old || '_changed');
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', old || '_new', base);
    EXECUTE format('CREATE TABLE %I (account_id bigint, start_time timestamptz, session_id bigint)', old || '_changed');
    EXECUTE format('CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH ROW
                    EXECUTE FUNCTION report_month_changed(%L)', old, old || '_changed');
END $$;

-- Two: the copy, in order. The check is what lets it be attached without being read once more.
CREATE FUNCTION copy_report_month(base text, month date) RETURNS bigint LANGUAGE plpgsql
SET enable_sort = off SET enable_seqscan = off SET statement_timeout = 0 AS $$
DECLARE
    old text := base || to_char(month, '_YYYYMM');
    copied bigint;
BEGIN
    EXECUTE format('INSERT INTO %I SELECT * FROM %I ORDER BY account_id, start_time, session_id', old || '_new', old);
    GET DIAGNOSTICS copied = ROW_COUNT;
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT bounds CHECK (start_time >= %L AND start_time < %L)', old || '_new',
        month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    EXECUTE format('ANALYZE %I', old || '_new');
    RETURN copied;
END $$;

-- Three: what has changed meanwhile, and the swap. It takes no lock that it does not get at once.
CREATE FUNCTION finish_report_rewrite(base text, month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    old text := base || to_char(month, '_YYYYMM');
BEGIN
    PERFORM set_config('lock_timeout', '50ms', true);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', base);
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', base, old);
    EXECUTE format('DELETE FROM %1$I n USING %2$I c WHERE (n.account_id, n.start_time, n.session_id)
        = (c.account_id, c.start_time, c.session_id)', old || '_new', old || '_changed');
    EXECUTE format('INSERT INTO %1$I SELECT o.* FROM (SELECT DISTINCT * FROM %2$I) c JOIN %3$I o
        ON (o.account_id, o.start_time, o.session_id) = (c.account_id, c.start_time, c.session_id)',
        old || '_new', old || '_changed', old);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', base, old || '_new',
        month::timestamp AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT bounds', old || '_new');
    EXECUTE format('DROP TABLE %I, %I', old, old || '_changed');
    EXECUTE format('ALTER TABLE %I RENAME TO %I', old || '_new', old);
END $$;

-- A month that nobody may see any more. Whether it was there.
CREATE FUNCTION drop_report_month(month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    there boolean := to_regclass('report_rows' || to_char(month, '_YYYYMM')) IS NOT NULL;
BEGIN
    PERFORM set_config('lock_timeout', '50ms', true);
    EXECUTE format('DROP TABLE IF EXISTS %I, %I', 'report_filters' || to_char(month, '_YYYYMM'),
        'report_rows' || to_char(month, '_YYYYMM'));
    DELETE FROM report_months m WHERE m.month = drop_report_month.month;
    -- Totals that were counted with it are not right any more.
    UPDATE report_revisions r SET revision = revision + 1 WHERE r.month = drop_report_month.month;
    RETURN there;
END $$;

-- What reports had so far goes through the same gate as what ends from now on.
INSERT INTO ended_sessions (session_id, account_id, call_id, attempt, facts)
SELECT s.session_id, s.account_id, s.call_id, s.attempt, CASE WHEN t.attempt IS NULL THEN
    jsonb_strip_nulls(jsonb_build_object(
        'start_time', s.start_time, 'finish_time', s.finish_time, 'direction', s.direction, 'is_lost', s.is_lost,
        'disposition', s.disposition, 'script_result', s.script_result, 'dial_campaign_id', s.campaign_id,
        'contact_phone_number', ltrim(s.contact_phone, '+'), 'virtual_phone_number', ltrim(s.own_phone, '+'),
        'cpn_country_id', s.country, 'wait_duration', s.wait_seconds, 'total_wait_duration', s.wait_seconds,
        'talk_duration', s.talk_seconds, 'clean_talk_duration', s.talk_seconds, 'total_duration', s.total_seconds,
        'auto_call_campaign_name', d.details ->> 'campaign_name')) END
FROM sessions s
LEFT JOIN session_details d USING (account_id, start_time, session_id)
LEFT JOIN attempts t ON t.account_id = s.account_id AND t.call_id = s.call_id AND t.attempt = s.attempt;
DROP TABLE sessions;
DROP TABLE session_details;
-- It is filled again together with the report's rows.
TRUNCATE session_starts;

-- As before, but one row where there were three.
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
        session := nextval('session_ids');
        UPDATE attempts SET ended_at = p_ended_at, answered_at = coalesce(answered_at, p_answered_at),
            disposition = p_disposition, script_result = p_script_result, hangup_cause = p_hangup_cause,
            sip_code = p_sip_code, talk_seconds = p_talk_seconds, billed_seconds = billed_seconds + p_billed_seconds,
            cost = cost + p_cost, choice = p_choice, status_name = p_status_name, steps = p_steps,
            recording = p_recording, session_id = session
        WHERE account_id = p_account AND call_id = ended.call_id AND attempt = ended.attempt AND ended_at IS NULL;
        IF NOT FOUND THEN
            session := NULL;  -- another leg has ended the attempt before
        END IF;
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

-- A call that came in and belongs to no campaign goes the same way, with all that is known of it.
CREATE OR REPLACE FUNCTION inbound_session(
    p_account bigint, p_started_at timestamptz, p_answered_at timestamptz, p_ended_at timestamptz, p_contact text,
    p_own_phone text, p_country text, p_disposition text, p_script_result text, p_facts jsonb
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    session bigint := nextval('session_ids');
BEGIN
    INSERT INTO ended_sessions (session_id, account_id, facts)
    VALUES (session, p_account, coalesce(p_facts, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'direction', 'in', 'start_time', p_started_at, 'answered_at', p_answered_at, 'finish_time', p_ended_at,
        'disposition', p_disposition, 'script_result', p_script_result, 'contact_phone', p_contact,
        'own_phone', p_own_phone, 'country', p_country)));
    RETURN session;
END $$;
