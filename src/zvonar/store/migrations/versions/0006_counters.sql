-- Counters of a campaign as columns of one row a shard, and its ends as one row each. As a row for every key they
-- took eleven index look-ups and as many row versions in the life of a call; now four.

CREATE TABLE campaign_counts (
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    shard smallint NOT NULL,                   -- spreads the writers of one campaign; the shards add up
    queued bigint NOT NULL DEFAULT 0,          -- calls by state
    dialing bigint NOT NULL DEFAULT 0,
    talking bigint NOT NULL DEFAULT 0,
    waiting bigint NOT NULL DEFAULT 0,
    finished bigint NOT NULL DEFAULT 0,
    removed bigint NOT NULL DEFAULT 0,
    blocked bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    seconds bigint NOT NULL DEFAULT 0,
    cost bigint NOT NULL DEFAULT 0,            -- in 0.0001 of the account's currency
    PRIMARY KEY (account_id, campaign_id, shard)
) WITH (fillfactor = 50);

CREATE TABLE campaign_ends (
    account_id bigint NOT NULL,
    campaign_id bigint NOT NULL,
    call_end text NOT NULL,                    -- '' in rows that come from before this table
    disposition text NOT NULL,                 -- of the last attempt, 'none' without one; '' as above
    script_result text NOT NULL,
    shard smallint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (account_id, campaign_id, call_end, disposition, script_result, shard)
) WITH (fillfactor = 50);

INSERT INTO campaign_counts
SELECT account_id, campaign_id, shard,
    coalesce(sum(n) FILTER (WHERE key = 'state/queued'), 0), coalesce(sum(n) FILTER (WHERE key = 'state/dialing'), 0),
    coalesce(sum(n) FILTER (WHERE key = 'state/talking'), 0), coalesce(sum(n) FILTER (WHERE key = 'state/waiting'), 0),
    coalesce(sum(n) FILTER (WHERE key = 'state/finished'), 0), coalesce(sum(n) FILTER (WHERE key = 'state/removed'), 0),
    coalesce(sum(n) FILTER (WHERE key = 'state/blocked'), 0), coalesce(sum(n) FILTER (WHERE key = 'state/expired'), 0),
    coalesce(sum(n) FILTER (WHERE key = 'attempts'), 0), coalesce(sum(n) FILTER (WHERE key = 'seconds'), 0),
    coalesce(sum(n) FILTER (WHERE key = 'cost'), 0)
FROM campaign_tallies GROUP BY account_id, campaign_id, shard;

INSERT INTO campaign_ends
SELECT account_id, campaign_id, CASE WHEN key LIKE 'end/%' THEN split_part(key, '/', 2) ELSE '' END,
    CASE WHEN key LIKE 'result/%' THEN split_part(key, '/', 2) ELSE '' END,
    CASE WHEN key LIKE 'result/%' THEN split_part(key, '/', 3) ELSE '' END, shard, n
FROM campaign_tallies WHERE key LIKE 'end/%' OR key LIKE 'result/%';

DROP TABLE campaign_tallies;

-- What readers see is as before: a number for each key and shard.
CREATE VIEW campaign_tallies AS
SELECT c.account_id, c.campaign_id, k.key, c.shard, k.n
FROM campaign_counts c, LATERAL (VALUES
    ('state/queued', c.queued), ('state/dialing', c.dialing), ('state/talking', c.talking),
    ('state/waiting', c.waiting), ('state/finished', c.finished), ('state/removed', c.removed),
    ('state/blocked', c.blocked), ('state/expired', c.expired), ('attempts', c.attempts), ('seconds', c.seconds),
    ('cost', c.cost)) AS k (key, n)
WHERE k.n <> 0
UNION ALL
SELECT account_id, campaign_id, 'end/' || call_end, shard, n FROM campaign_ends WHERE call_end <> ''
UNION ALL
SELECT account_id, campaign_id, 'result/' || disposition || '/' || script_result, shard, n FROM campaign_ends
WHERE disposition <> '';

-- One addition per shard and statement, in one order, so that two writers never wait for each other in a ring.
CREATE OR REPLACE FUNCTION calls_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_counts AS t (account_id, campaign_id, shard, queued, dialing, talking, waiting, finished,
        removed, blocked, expired, attempts, seconds, cost)
    SELECT n.account_id, n.campaign_id, mod(n.call_id, 8),
        sum((n.state = 'queued')::int - (o.state = 'queued')::int),
        sum((n.state = 'dialing')::int - (o.state = 'dialing')::int),
        sum((n.state = 'talking')::int - (o.state = 'talking')::int),
        sum((n.state = 'waiting')::int - (o.state = 'waiting')::int),
        sum((n.state = 'finished')::int - (o.state = 'finished')::int),
        sum((n.state = 'removed')::int - (o.state = 'removed')::int),
        sum((n.state = 'blocked')::int - (o.state = 'blocked')::int),
        sum((n.state = 'expired')::int - (o.state = 'expired')::int),
        sum(n.attempts - o.attempts), sum(n.talk_seconds - o.talk_seconds), sum(((n.cost - o.cost) * 10000)::bigint)
    FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id
    WHERE n.state <> o.state OR n.attempts <> o.attempts OR n.talk_seconds <> o.talk_seconds OR n.cost <> o.cost
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (account_id, campaign_id, shard) DO UPDATE SET queued = t.queued + excluded.queued,
        dialing = t.dialing + excluded.dialing, talking = t.talking + excluded.talking,
        waiting = t.waiting + excluded.waiting, finished = t.finished + excluded.finished,
        removed = t.removed + excluded.removed, blocked = t.blocked + excluded.blocked,
        expired = t.expired + excluded.expired, attempts = t.attempts + excluded.attempts,
        seconds = t.seconds + excluded.seconds, cost = t.cost + excluded.cost;

    -- Most changes end nothing, and this look is cheaper than finding that out by the join.
    IF EXISTS (SELECT FROM new_calls WHERE call_end IS NOT NULL) THEN
        INSERT INTO campaign_ends AS t (account_id, campaign_id, call_end, disposition, script_result, shard, n)
        SELECT n.account_id, n.campaign_id, n.call_end, coalesce(n.disposition, 'none'),
            coalesce(n.script_result, 'none'), mod(n.call_id, 8), count(*)
        FROM new_calls n JOIN old_calls o ON o.account_id = n.account_id AND o.call_id = n.call_id
        WHERE o.call_end IS NULL AND n.call_end IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (account_id, campaign_id, call_end, disposition, script_result, shard)
            DO UPDATE SET n = t.n + excluded.n;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION calls_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign_counts AS t (account_id, campaign_id, shard, queued, waiting, blocked)
    SELECT account_id, campaign_id, mod(min(call_id), 8)::smallint, count(*) FILTER (WHERE state = 'queued'),
        count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'blocked')
    FROM added GROUP BY account_id, campaign_id ORDER BY 1, 2
    ON CONFLICT (account_id, campaign_id, shard) DO UPDATE SET queued = t.queued + excluded.queued,
        waiting = t.waiting + excluded.waiting, blocked = t.blocked + excluded.blocked;
    -- As before: a statement may say that its caller rings for the dialer.
    IF coalesce(current_setting('zvonar.rings_itself', true), '') <> 'on' THEN
        NOTIFY zvonar_calls;
    END IF;
    RETURN NULL;
END $$;

-- The map from a session's id to its month is session_starts; an index in each month says the same again.
DROP INDEX sessions_by_id;

-- A commit that notifies waits for the one before it and wakes every listener, which for one event at a time costs more
-- than the events. The statements of a call's life leave it to their caller to ring, once for many of them.
CREATE OR REPLACE FUNCTION outbox_grew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('zvonar.rings_outbox', true), '') <> 'on' THEN
        NOTIFY zvonar_outbox;
    END IF;
    RETURN NULL;
END $$;
