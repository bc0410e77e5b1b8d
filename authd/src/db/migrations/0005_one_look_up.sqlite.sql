-- Everything that a validate needs stands in one row, found by one look-up: the first eight bytes of the secret's hash
-- as a big-endian signed integer are its key (slot), the other 24 are compared (rest). An integer key keeps the inner
-- pages of a table with a million secrets so small that they stay in memory, where 32 bytes of hash did not.
--
-- name, scopes and cidrs never change and are copied from the token; expires_at and revoked are changed together with
-- the token's. replaced_until is the end of a rotation's grace. token_id is the id's 16 bytes.
CREATE TABLE secrets (
    slot           INTEGER PRIMARY KEY,
    rest           BLOB NOT NULL,
    token_id       BLOB NOT NULL,
    name           TEXT NOT NULL,
    scopes         TEXT NOT NULL,
    cidrs          TEXT NOT NULL,
    expires_at     BIGINT,
    replaced_until BIGINT,
    revoked        BIGINT NOT NULL
);
INSERT INTO secrets (slot, rest, token_id, name, scopes, cidrs, expires_at, replaced_until, revoked)
SELECT
    ((instr('0123456789ABCDEF', substr(hex(hash), 1, 1)) - 1) << 60) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 2, 1)) - 1) << 56) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 3, 1)) - 1) << 52) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 4, 1)) - 1) << 48) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 5, 1)) - 1) << 44) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 6, 1)) - 1) << 40) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 7, 1)) - 1) << 36) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 8, 1)) - 1) << 32) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 9, 1)) - 1) << 28) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 10, 1)) - 1) << 24) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 11, 1)) - 1) << 20) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 12, 1)) - 1) << 16) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 13, 1)) - 1) << 12) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 14, 1)) - 1) << 8) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 15, 1)) - 1) << 4) |
    ((instr('0123456789ABCDEF', substr(hex(hash), 16, 1)) - 1) << 0),
    substr(s.hash, 9), unhex(replace(t.id, '-', '')), t.name, t.scopes, t.cidrs, t.expires_at, s.expires_at,
    t.revoked_at IS NOT NULL
FROM token_secrets s JOIN tokens t ON t.id = s.token_id ORDER BY s.hash;
-- A token knows its newest secret, so only those that it replaced need an index.
CREATE INDEX secrets_token ON secrets (token_id);
ALTER TABLE tokens ADD COLUMN secret BIGINT;
UPDATE tokens SET secret =
    (SELECT slot FROM secrets WHERE token_id = unhex(replace(tokens.id, '-', '')) AND replaced_until IS NULL);
DROP INDEX secrets_token;
DROP TABLE token_secrets;
CREATE INDEX secrets_replaced ON secrets (token_id) WHERE replaced_until IS NOT NULL;
CREATE INDEX secrets_replaced_until ON secrets (replaced_until) WHERE replaced_until IS NOT NULL;
