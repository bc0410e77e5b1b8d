-- Anybody can cause refusals of callers without credentials: those are kept for a while. The rest only grows.
DROP TRIGGER audit_never_deleted;
CREATE TRIGGER audit_never_deleted BEFORE DELETE ON audit
WHEN NOT (OLD.actor = 'anonymous' AND OLD.outcome <> 'ok')
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE INDEX audit_refusals ON audit (at) WHERE actor = 'anonymous' AND outcome <> 'ok';
