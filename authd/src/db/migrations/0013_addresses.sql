-- An e-mail address is a second name to sign in by. live_email is its folded form while the user is not deleted: unique
-- among the living, like live_name.
ALTER TABLE users ADD COLUMN email TEXT;
ALTER TABLE users ADD COLUMN live_email TEXT;
ALTER TABLE users ADD COLUMN email_verified_at BIGINT;
CREATE UNIQUE INDEX users_live_email ON users (live_email);

-- One-time tokens that were mailed. hash: SHA-256 of the token's jti; user_id is null for a sign-up.
CREATE TABLE links (
    hash       {bytes} NOT NULL PRIMARY KEY,
    kind       TEXT NOT NULL,
    user_id    TEXT,
    email      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) {without_rowid};
CREATE INDEX links_end ON links (expires_at);
CREATE INDEX links_user ON links (user_id);

-- When a key that signs becomes active; the others are from their creation.
ALTER TABLE key_ring ADD COLUMN active_at BIGINT;
