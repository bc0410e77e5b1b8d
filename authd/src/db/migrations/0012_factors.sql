-- Second factors: an authenticator app now, a passkey later. handle is the id of a passkey's credential, sealed the secret
-- under the key ring, counter the last accepted step (TOTP) or signature count (a passkey). A factor counts once it is
-- confirmed; until then it is void from expires_at on.
CREATE TABLE factors (
    id           TEXT NOT NULL PRIMARY KEY,
    user_id      TEXT NOT NULL,
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    handle       {bytes} UNIQUE,
    sealed       {bytes},
    attributes   TEXT NOT NULL,
    counter      BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    confirmed_at BIGINT,
    last_used_at BIGINT
) {without_rowid};
CREATE INDEX factors_user ON factors (user_id, kind);
CREATE INDEX factors_end ON factors (expires_at);

-- Hashes of the codes that stand in for a lost factor, each usable once.
CREATE TABLE recovery_codes (
    user_id    TEXT NOT NULL,
    hash       {bytes} NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT,
    PRIMARY KEY (user_id, hash)
) {without_rowid};

-- When the person last proved all factors in this session.
ALTER TABLE sessions ADD COLUMN factor_at BIGINT;
