-- A commit writes each page that it touches, and a new token touched nine with an Idempotency-Key.
--
-- The audit log only grows, so the number after its highest is never one that was used: AUTOINCREMENT would write the
-- table sqlite_sequence with every row to promise the same.
CREATE TABLE audit_copy (
    seq        INTEGER PRIMARY KEY,
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
INSERT INTO audit_copy SELECT seq, id, at, actor, action, subject, outcome, address, request_id, detail FROM audit;
DROP TABLE audit;
ALTER TABLE audit_copy RENAME TO audit;
CREATE TRIGGER audit_never_updated BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_never_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- Records that have ended are found slice by slice of their keys instead.
DROP INDEX idempotency_end;
