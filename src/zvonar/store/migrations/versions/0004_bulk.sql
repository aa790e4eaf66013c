-- Lists of numbers that are accepted at once and worked off in the background, a batch of rows in a transaction.

ALTER TABLE phone_lists
    ADD COLUMN state text NOT NULL DEFAULT 'loaded' CHECK (state IN ('accepted', 'loading', 'loaded', 'failed')),
    ADD COLUMN total integer NOT NULL DEFAULT 0,   -- rows with something in them, as counted when it came
    ADD COLUMN done integer NOT NULL DEFAULT 0,    -- how many of these are calls or rejected by now
    ADD COLUMN layout jsonb NOT NULL DEFAULT '{}', -- which column holds what
    ADD COLUMN deaths integer NOT NULL DEFAULT 0,  -- processes that died over its next batch
    ADD COLUMN error text,                         -- why it failed, one word
    ADD COLUMN updated_at timestamptz,
    ADD COLUMN finished_at timestamptz;
UPDATE phone_lists SET total = loaded + rejected, done = loaded + rejected, updated_at = created_at,
    finished_at = created_at;
ALTER TABLE phone_lists ALTER COLUMN updated_at SET NOT NULL;
CREATE INDEX phone_lists_unfinished ON phone_lists (updated_at) WHERE state IN ('accepted', 'loading');

-- The list as it was sent, until it has been loaded.
CREATE TABLE phone_list_chunks (
    account_id bigint NOT NULL,
    phone_list_id bigint NOT NULL,
    chunk integer NOT NULL,                    -- from 0
    bytes bytea NOT NULL,
    PRIMARY KEY (account_id, phone_list_id, chunk),
    FOREIGN KEY (account_id, phone_list_id) REFERENCES phone_lists
);
ALTER TABLE phone_list_chunks ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Which calls came of a list: runs of ordinals. A run is promised in a transaction of its own, so that nobody who adds
-- a single call waits for a whole batch, and is taken up again where its loader died before it filled it.
CREATE TABLE phone_list_runs (
    account_id bigint NOT NULL,
    phone_list_id bigint NOT NULL,
    after_row integer NOT NULL,                -- rows of the list that were done before
    first_ordinal bigint NOT NULL,             -- one less than the ordinal of its first call
    promised integer NOT NULL,
    loaded integer NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, phone_list_id, after_row),
    FOREIGN KEY (account_id, phone_list_id) REFERENCES phone_lists
);
INSERT INTO phone_list_runs (account_id, phone_list_id, after_row, first_ordinal, promised, loaded)
SELECT account_id, phone_list_id, 0, min(ordinal) - 1, count(*), count(*) FROM calls
WHERE phone_list_id IS NOT NULL GROUP BY account_id, phone_list_id;

-- Rows that did not become calls.
CREATE TABLE phone_list_rejects (
    account_id bigint NOT NULL,
    phone_list_id bigint NOT NULL,
    line integer NOT NULL,                     -- of the file, from 1
    reason text NOT NULL,
    value text NOT NULL,                       -- the number as typed
    earlier integer,                           -- the line that a duplicate repeats
    PRIMARY KEY (account_id, phone_list_id, line),
    FOREIGN KEY (account_id, phone_list_id) REFERENCES phone_lists
);
