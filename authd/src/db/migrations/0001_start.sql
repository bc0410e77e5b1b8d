-- Times are milliseconds since 1970, ids UUIDv7 text (they sort by creation), hashes SHA-256, JSON is text.
-- One text for every engine: the words in braces are replaced (see migrate.rs).

-- live_name holds the name while the token is not revoked: that makes names unique among the live ones only.
CREATE TABLE tokens (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    live_name     TEXT UNIQUE,
    scopes        TEXT NOT NULL,
    metadata      TEXT NOT NULL,
    cidrs         TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    expires_at    BIGINT,
    revoked_at    BIGINT,
    revoke_reason TEXT,
    last_used_at  BIGINT
) {without_rowid};
-- The list without revoked ones, newest first; the list of all is the primary key read backwards.
CREATE INDEX tokens_unrevoked ON tokens (id) WHERE revoked_at IS NULL;

-- A token has one secret, or two while a rotation's grace lasts; expires_at is the end of that grace.
CREATE TABLE token_secrets (
    hash       {bytes} NOT NULL PRIMARY KEY,
    token_id   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
) {without_rowid};
CREATE INDEX token_secrets_token ON token_secrets (token_id);

-- key: hash of caller, Idempotency-Key and operation; request: hash of the request; subject: id of what was made;
-- key_id: the mint key that derives its secret again.
CREATE TABLE idempotency (
    key        {bytes} NOT NULL PRIMARY KEY,
    request    {bytes} NOT NULL,
    subject    TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) {without_rowid};
CREATE INDEX idempotency_end ON idempotency (expires_at);

CREATE TABLE counters (
    name  TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) {without_rowid};
INSERT INTO counters (name, value) VALUES ('tokens.live', 0), ('tokens.all', 0);

CREATE TABLE identities (
    id         TEXT NOT NULL PRIMARY KEY,
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user_id    TEXT,
    email      TEXT,
    name       TEXT,
    attributes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    UNIQUE (issuer, subject)
) {without_rowid};

-- token_hash is null once nothing can present the session any more; sealed holds the provider's tokens.
CREATE TABLE sessions (
    id                  TEXT NOT NULL PRIMARY KEY,
    kind                TEXT NOT NULL,
    identity_id         TEXT,
    user_id             TEXT,
    token_hash          {bytes} UNIQUE,
    generation          BIGINT NOT NULL,
    created_at          BIGINT NOT NULL,
    renewed_at          BIGINT NOT NULL,
    last_used_at        BIGINT NOT NULL,
    idle_expires_at     BIGINT NOT NULL,
    absolute_expires_at BIGINT NOT NULL,
    ended_at            BIGINT,
    end_reason          TEXT,
    provider            TEXT,
    device_name         TEXT,
    os                  TEXT,
    client_version      TEXT,
    address             TEXT,
    lease_until         BIGINT NOT NULL,
    sealed              {bytes},
    attributes          TEXT NOT NULL
) {without_rowid};
CREATE INDEX sessions_identity ON sessions (identity_id, id);
CREATE INDEX sessions_user ON sessions (user_id, id);
CREATE INDEX sessions_kind ON sessions (kind, id);
CREATE INDEX sessions_idle_end ON sessions (idle_expires_at);
CREATE INDEX sessions_absolute_end ON sessions (absolute_expires_at);

CREATE TABLE audit (
    seq        {serial},
    id         TEXT NOT NULL,
    at         BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    action     TEXT NOT NULL,
    subject    TEXT,
    outcome    TEXT NOT NULL,
    address    TEXT,
    request_id TEXT,
    detail     TEXT NOT NULL
);

-- Who must forget what: written in the batch that changes it, tailed by the other nodes.
CREATE TABLE invalidations (
    seq     {serial},
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX invalidations_at ON invalidations (at);

-- Keys, each sealed under the root key. A retired key still opens what it sealed.
CREATE TABLE key_ring (
    id         TEXT NOT NULL PRIMARY KEY,
    purpose    TEXT NOT NULL,
    sealed     {bytes} NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
) {without_rowid};

CREATE TABLE ephemeral (
    key        TEXT NOT NULL PRIMARY KEY,
    value      {bytes},
    count      BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) {without_rowid};
CREATE INDEX ephemeral_end ON ephemeral (expires_at);
