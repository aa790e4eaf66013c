-- What an API by which clients create campaigns keeps: contacts, scenarios, the answers to repeated requests.

-- Lists of contacts belong to no campaign; a campaign that is given one gets a call for each of its contacts.
CREATE TABLE contacts (
    account_id bigint NOT NULL,
    phone_list_id bigint NOT NULL,
    contact_id bigint GENERATED ALWAYS AS IDENTITY,
    phone text NOT NULL,                       -- E.164
    country text NOT NULL,
    trial boolean NOT NULL DEFAULT false,
    extra text,                                -- the client's own label
    variables jsonb,                           -- name → text, for texts with {{name}}
    timezone text,                             -- IANA, where the client knows it
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, phone_list_id, contact_id),
    FOREIGN KEY (account_id, phone_list_id) REFERENCES phone_lists
);
CREATE INDEX contacts_by_phone ON contacts (account_id, phone_list_id, phone);
-- An account's lists on pages, newest first.
CREATE INDEX phone_lists_of_contacts ON phone_lists (account_id, phone_list_id) WHERE campaign_id IS NULL;
CREATE INDEX phone_lists_by_campaign ON phone_lists (account_id, campaign_id) WHERE campaign_id IS NOT NULL;

-- Which lists a campaign's calls came of, in the order in which they were given. A list may be deleted, its id stays.
CREATE TABLE campaign_lists (
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    place integer NOT NULL,                    -- from 1
    phone_list_id bigint NOT NULL,
    PRIMARY KEY (account_id, campaign_id, place),
    FOREIGN KEY (account_id, campaign_id) REFERENCES campaigns
);

ALTER TABLE campaigns
    ADD COLUMN archived_at timestamptz,        -- out of sight unless asked for
    ADD COLUMN purpose text;                   -- null: the client's own; else made by the service: flash_calls, test_call
CREATE UNIQUE INDEX campaigns_by_purpose ON campaigns (account_id, purpose) WHERE purpose = 'flash_calls';

-- Held back by the client: such a call waits until it is unlocked.
ALTER TABLE calls ADD COLUMN locked boolean NOT NULL DEFAULT false;

-- Scripts under a name. A campaign keeps a copy of the one that it was given, so a change here changes no campaign.
CREATE SEQUENCE scenario_ids START 1000000001 MAXVALUE 9999999999;
CREATE TABLE scenarios (
    account_id bigint NOT NULL REFERENCES accounts,
    scenario_id bigint NOT NULL DEFAULT nextval('scenario_ids'),
    name text NOT NULL,
    script jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, scenario_id)
);

-- What was answered to a request that its client may repeat. The row comes with what the request did, in one
-- transaction, so there is an answer exactly where something was done.
CREATE TABLE idempotency_keys (
    account_id bigint NOT NULL REFERENCES accounts,
    key_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,                -- of method, path and body
    status integer NOT NULL,
    content_type text NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, key_hash)
);
CREATE INDEX idempotency_keys_old ON idempotency_keys (created_at);

-- An account's own audio on pages, newest first.
CREATE INDEX clips_newest ON clips (account_id, clip_id DESC);

-- The lists that a campaign was given, then those that were loaded into it.
CREATE FUNCTION campaign_list_ids(p_account bigint, p_campaign bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(id ORDER BY place, id), '[]') FROM (
        SELECT place, phone_list_id AS id FROM campaign_lists
        WHERE account_id = p_account AND campaign_id = p_campaign
        UNION ALL
        SELECT 2147483647, phone_list_id FROM phone_lists
        WHERE account_id = p_account AND campaign_id = p_campaign) lists
$$;

-- As before, with the lists of contacts that a campaign was given.
CREATE OR REPLACE FUNCTION campaign_snapshot(c campaigns) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(c) - 'next_ordinal' || jsonb_build_object(
        'timezone', (SELECT a.timezone FROM accounts a WHERE a.account_id = c.account_id),
        'spent', (SELECT g.spent FROM campaign_guards g
                  WHERE g.account_id = c.account_id AND g.campaign_id = c.campaign_id),
        'phone_lists', campaign_list_ids(c.account_id, c.campaign_id),
        'tallies', (SELECT coalesce(jsonb_object_agg(t.key, t.n), '{}')
                    FROM (SELECT key, sum(n) AS n FROM campaign_tallies
                          WHERE account_id = c.account_id AND campaign_id = c.campaign_id GROUP BY key) t))
$$;
