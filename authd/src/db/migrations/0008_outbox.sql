-- What another module, or somebody outside, has still to be told of a change that was committed.
CREATE TABLE outbox (
    seq        {serial},
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    detail     TEXT,
    payload    {bytes},
    created_at BIGINT NOT NULL
);
