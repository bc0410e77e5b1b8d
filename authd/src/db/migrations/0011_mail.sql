-- Mails that are to be sent. They are deleted when the mail server has accepted them; those that it refused stay for the
-- operator to see. sealed has the values of the template, among them links that work once. A node sends a mail while it
-- has the lease. A link that has ended at expires_at is not sent any more.
CREATE TABLE mails (
    id            TEXT   NOT NULL PRIMARY KEY,
    template      TEXT   NOT NULL,
    recipient     TEXT   NOT NULL,
    sealed        {bytes} NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    state         TEXT   NOT NULL,
    attempts      BIGINT NOT NULL,
    attempt_after BIGINT NOT NULL,
    lease_until   BIGINT NOT NULL,
    error         TEXT
){without_rowid};
CREATE INDEX mails_state ON mails (state, attempt_after);
CREATE INDEX mails_created_at ON mails (created_at);
