-- What was said on recorded attempts, by whom and when.
CREATE TABLE transcripts (
    account_id bigint NOT NULL REFERENCES accounts,
    call_id bigint NOT NULL,
    attempt integer NOT NULL,
    claimed_at timestamptz NOT NULL,           -- by the worker that is at it, or was
    tries integer NOT NULL DEFAULT 1,
    done_at timestamptz,                       -- null: not yet, or given up
    segments jsonb,                            -- [{"channel": 0, "start": 1.2, "end": 3.4, "text": "…"}], by their start
    error text,                                -- class of the last failure
    PRIMARY KEY (account_id, call_id, attempt)
);
CREATE INDEX transcripts_open ON transcripts (claimed_at) WHERE done_at IS NULL;

-- What may have to be written down, the newest first.
CREATE INDEX attempts_recorded_lately ON attempts (ended_at) WHERE recording IS NOT NULL;
