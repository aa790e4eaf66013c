-- A small CRM: cards of people, companies and deals, who is linked with what, and what was noted about them.

-- In this order somebody is looked for by a number: a contact comes before a company.
CREATE TYPE crm_kind AS ENUM ('contact', 'company', 'lead', 'customer');

CREATE SEQUENCE crm_user_ids START 500001;
CREATE SEQUENCE crm_pipeline_ids START 3000001;
CREATE SEQUENCE crm_status_ids START 32000001;
CREATE SEQUENCE crm_card_ids START 11000001;
CREATE SEQUENCE crm_note_ids START 37000001;
CREATE SEQUENCE crm_tag_ids START 200001;
CREATE SEQUENCE crm_task_ids START 7000001;
CREATE SEQUENCE crm_webhook_ids START 800001;

-- What access tokens are signed with. One that is forged with it is still refused: its hash is not among the keys.
CREATE TABLE crm_signing_key (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),  -- there is one row
    secret bytea NOT NULL
);
INSERT INTO crm_signing_key (secret)
SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');

CREATE TABLE crm_settings (
    account_id bigint PRIMARY KEY REFERENCES accounts,
    uuid uuid NOT NULL DEFAULT gen_random_uuid(),
    redirect_uri text                          -- the only one that tokens are given to; null: any
);

CREATE TABLE crm_users (
    account_id bigint NOT NULL REFERENCES accounts,
    user_id bigint NOT NULL DEFAULT nextval('crm_user_ids'),
    name text NOT NULL,
    email text NOT NULL,
    phone text,                                -- as it was written
    phone_tail text,                           -- see crm_tail
    lang text NOT NULL DEFAULT 'ru',
    role text NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, user_id)
);
CREATE UNIQUE INDEX crm_users_by_email ON crm_users (account_id, lower(email));

CREATE TABLE crm_pipelines (
    account_id bigint NOT NULL REFERENCES accounts,
    pipeline_id bigint NOT NULL DEFAULT nextval('crm_pipeline_ids'),
    name text NOT NULL,
    sort integer NOT NULL DEFAULT 1,
    is_main boolean NOT NULL DEFAULT false,
    is_archive boolean NOT NULL DEFAULT false,
    PRIMARY KEY (account_id, pipeline_id)
);
CREATE UNIQUE INDEX crm_pipelines_main ON crm_pipelines (account_id) WHERE is_main;

-- 142 and 143, won and lost, are in every pipeline and nowhere in this table.
CREATE TABLE crm_statuses (
    account_id bigint NOT NULL,
    pipeline_id bigint NOT NULL,
    status_id bigint NOT NULL DEFAULT nextval('crm_status_ids'),
    name text NOT NULL,
    sort integer NOT NULL,
    color text NOT NULL,
    unsorted boolean NOT NULL DEFAULT false,   -- what comes in before somebody has taken it
    PRIMARY KEY (account_id, pipeline_id, status_id),
    FOREIGN KEY (account_id, pipeline_id) REFERENCES crm_pipelines
);

CREATE TABLE crm_entities (
    account_id bigint NOT NULL REFERENCES accounts,
    kind crm_kind NOT NULL,
    card_id bigint NOT NULL DEFAULT nextval('crm_card_ids'),
    name text NOT NULL,
    first_name text NOT NULL DEFAULT '',
    last_name text NOT NULL DEFAULT '',
    fields jsonb NOT NULL DEFAULT '[]',        -- [{"code", "values": [{"value", "enum"}]}]; codes PHONE and EMAIL
    tags bigint[] NOT NULL DEFAULT '{}',
    price bigint NOT NULL DEFAULT 0,           -- of a lead; of a customer, of the next purchase
    pipeline_id bigint,                        -- of leads
    status_id bigint,                          -- of leads
    closed_at timestamptz,                     -- of leads
    next_date timestamptz,                     -- of customers: the next purchase
    periodicity integer NOT NULL DEFAULT 0,    -- of customers, days
    unsorted jsonb,                            -- what a lead came in with; null where it did not, or was taken
    responsible_user_id bigint NOT NULL,
    created_by bigint NOT NULL,                -- 0 is a robot
    updated_by bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, kind, card_id),
    CHECK ((kind = 'lead') = (pipeline_id IS NOT NULL AND status_id IS NOT NULL))
);
CREATE UNIQUE INDEX crm_cards_by_id ON crm_entities (account_id, card_id);
CREATE UNIQUE INDEX crm_cards_unsorted ON crm_entities (account_id, (unsorted ->> 'uid')) WHERE unsorted IS NOT NULL;
CREATE INDEX crm_cards_by_change ON crm_entities (account_id, kind, updated_at, card_id);

-- Numbers are compared by their last ten digits; a shorter one as a whole.
CREATE FUNCTION crm_tail(phone text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT right(regexp_replace(phone, '[^0-9]', '', 'g'), 10) $$;

-- Who has which number, for calls. In the order of the key somebody is chosen: contacts before companies, and of
-- several the one that was there first.
CREATE TABLE crm_phones (
    account_id bigint NOT NULL,
    tail text NOT NULL,
    kind crm_kind NOT NULL,
    card_id bigint NOT NULL,
    PRIMARY KEY (account_id, tail, kind, card_id)
);

CREATE FUNCTION crm_phones_of(fields jsonb) RETURNS SETOF text LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT crm_tail(v ->> 'value')
    FROM jsonb_array_elements(fields) f, jsonb_array_elements(f -> 'values') v
    WHERE f ->> 'code' = 'PHONE' AND crm_tail(v ->> 'value') <> ''
$$;

-- No statement that changes a card can forget its numbers.
CREATE FUNCTION crm_cards_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO crm_phones (account_id, tail, kind, card_id)
    SELECT n.account_id, tail, n.kind, n.card_id FROM new_cards n, crm_phones_of(n.fields) tail
    WHERE n.kind IN ('contact', 'company') AND n.fields <> '[]';
    RETURN NULL;
END $$;
CREATE TRIGGER crm_cards_added AFTER INSERT ON crm_entities
    REFERENCING NEW TABLE AS new_cards FOR EACH STATEMENT EXECUTE FUNCTION crm_cards_added();

CREATE FUNCTION crm_cards_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM crm_phones p USING new_cards n, old_cards o
    WHERE n.account_id = o.account_id AND n.kind = o.kind AND n.card_id = o.card_id AND n.fields <> o.fields
      AND p.account_id = o.account_id AND p.kind = o.kind AND p.card_id = o.card_id
      AND p.tail IN (SELECT crm_phones_of(o.fields));
    INSERT INTO crm_phones (account_id, tail, kind, card_id)
    SELECT n.account_id, tail, n.kind, n.card_id FROM new_cards n
    JOIN old_cards o ON n.account_id = o.account_id AND n.kind = o.kind AND n.card_id = o.card_id
    CROSS JOIN LATERAL crm_phones_of(n.fields) tail
    WHERE n.kind IN ('contact', 'company') AND n.fields <> o.fields;
    RETURN NULL;
END $$;
CREATE TRIGGER crm_cards_changed AFTER UPDATE ON crm_entities
    REFERENCING NEW TABLE AS new_cards OLD TABLE AS old_cards
    FOR EACH STATEMENT EXECUTE FUNCTION crm_cards_changed();

-- A link is two rows, one from each side, so that either side finds the other by the key.
CREATE TABLE crm_links (
    account_id bigint NOT NULL,
    from_id bigint NOT NULL,
    to_kind crm_kind NOT NULL,
    to_id bigint NOT NULL,
    from_kind crm_kind NOT NULL,
    is_main boolean NOT NULL DEFAULT false,    -- a lead's main contact
    PRIMARY KEY (account_id, from_id, to_kind, to_id)
);

CREATE TABLE crm_notes (
    account_id bigint NOT NULL REFERENCES accounts,
    note_id bigint NOT NULL DEFAULT nextval('crm_note_ids'),
    kind crm_kind NOT NULL,
    card_id bigint NOT NULL,
    note_type text NOT NULL,                   -- common, call_in, call_out, …
    params jsonb NOT NULL,
    responsible_user_id bigint NOT NULL,
    created_by bigint NOT NULL,
    updated_by bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, note_id)
);
CREATE INDEX crm_notes_by_card ON crm_notes (account_id, card_id, note_id);
CREATE INDEX crm_notes_by_change ON crm_notes (account_id, kind, updated_at, note_id);
CREATE INDEX crm_notes_by_time ON crm_notes (account_id, created_at, note_id);  -- as crm_events_by_time

CREATE TABLE crm_tags (
    account_id bigint NOT NULL REFERENCES accounts,
    tag_id bigint NOT NULL DEFAULT nextval('crm_tag_ids'),
    kind crm_kind NOT NULL,
    name text NOT NULL,
    color text,
    PRIMARY KEY (account_id, tag_id)
);
CREATE UNIQUE INDEX crm_tags_by_name ON crm_tags (account_id, kind, lower(name));

CREATE TABLE crm_tasks (
    account_id bigint NOT NULL REFERENCES accounts,
    task_id bigint NOT NULL DEFAULT nextval('crm_task_ids'),
    kind crm_kind,                             -- null where it is about no card
    card_id bigint,
    text text NOT NULL,
    task_type_id bigint NOT NULL DEFAULT 1,
    complete_till timestamptz NOT NULL,
    duration integer NOT NULL DEFAULT 0,       -- seconds
    is_completed boolean NOT NULL DEFAULT false,
    result text,
    responsible_user_id bigint NOT NULL,
    created_by bigint NOT NULL,
    updated_by bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, task_id)
);
CREATE INDEX crm_tasks_by_card ON crm_tasks (account_id, card_id, is_completed, complete_till);

-- What happened to cards, beside their notes, which tell of themselves.
CREATE TABLE crm_events (
    account_id bigint NOT NULL REFERENCES accounts,
    event_id bigint NOT NULL DEFAULT nextval('crm_note_ids'),  -- notes are events, too: one count for both
    type text NOT NULL,
    kind crm_kind NOT NULL,
    card_id bigint NOT NULL,
    created_by bigint NOT NULL,
    created_at timestamptz NOT NULL,
    value_after jsonb NOT NULL DEFAULT '[]',
    value_before jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (account_id, event_id)
);
CREATE INDEX crm_events_by_time ON crm_events (account_id, created_at, event_id);

CREATE TABLE crm_webhooks (
    account_id bigint NOT NULL REFERENCES accounts,
    webhook_id bigint NOT NULL DEFAULT nextval('crm_webhook_ids'),
    destination text NOT NULL,
    settings text[] NOT NULL,                  -- what it wants to hear: note_lead, add_contact, …
    created_by bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, destination)
);

-- What every account's CRM begins with: whoever owns it, and one pipeline.
CREATE FUNCTION crm_furnish(account accounts) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    pipeline bigint := nextval('crm_pipeline_ids');
BEGIN
    INSERT INTO crm_settings (account_id) VALUES (account.account_id);
    INSERT INTO crm_users (account_id, name, email, role, created_at)
    VALUES (account.account_id, account.name, coalesce(account.email, 'owner@account-' || account.account_id), 'admin',
            account.created_at);
    INSERT INTO crm_pipelines (account_id, pipeline_id, name, is_main)
    VALUES (account.account_id, pipeline, 'Воронка', true);
    INSERT INTO crm_statuses (account_id, pipeline_id, name, sort, color, unsorted) VALUES
        (account.account_id, pipeline, 'Неразобранное', 10, '#c1c1c1', true),
        (account.account_id, pipeline, 'Первичный контакт', 20, '#99ccff', false),
        (account.account_id, pipeline, 'Переговоры', 30, '#ffff99', false),
        (account.account_id, pipeline, 'Принимают решение', 40, '#ffcc66', false),
        (account.account_id, pipeline, 'Согласование договора', 50, '#ffcccc', false);
END $$;

CREATE FUNCTION account_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM crm_furnish(NEW);
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_furnished AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION account_added();

SELECT crm_furnish(a) FROM accounts a;
