-- What another module, or somebody outside, has still to be told of a change that was committed.
CREATE TABLE outbox (
    seq           {serial},
    kind          TEXT NOT NULL,
    subject       TEXT NOT NULL,
    detail        TEXT,
    payload       {bytes},
    created_at    BIGINT NOT NULL,
    attempts      BIGINT NOT NULL,
    attempt_after BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (kind, attempt_after);
