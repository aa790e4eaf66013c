-- Audio that accounts bring: what a clip is called, and its bytes. Nothing accepted is ever lost, and several machines
-- may serve one database, so the bytes are here; a file on a machine's disk is a copy of them.

ALTER TABLE clips
    DROP COLUMN path,                          -- never filled: a file's name follows from the fingerprint
    ADD COLUMN name text,                      -- uploads only, as is speaker; an upload's text is its description
    ADD COLUMN speaker text,
    ADD COLUMN suffix text CHECK (suffix IN ('wav', 'mp3', 'ogg', 'flac'));  -- of the original, by its content

CREATE TABLE clip_audio (
    account_id bigint NOT NULL,
    clip_id bigint NOT NULL,
    form text NOT NULL CHECK (form IN ('original', 'converted')),
    part integer NOT NULL,                     -- from 0; in pieces, so that nobody holds a whole recording in memory
    data bytea NOT NULL,
    PRIMARY KEY (account_id, clip_id, form, part),
    FOREIGN KEY (account_id, clip_id) REFERENCES clips ON DELETE CASCADE
);
-- Sound is not worth trying to compress.
ALTER TABLE clip_audio ALTER COLUMN data SET STORAGE EXTERNAL;

-- Which of a page's calls have a recording: most have none, and then this has nothing to read.
CREATE INDEX attempts_recorded ON attempts (account_id, call_id, attempt) WHERE recording IS NOT NULL;
