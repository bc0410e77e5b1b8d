-- Anybody can cause refusals of callers without credentials: those are kept for a while. The rest only grows.
DROP TRIGGER audit_never_changed ON audit;
CREATE TRIGGER audit_never_updated BEFORE UPDATE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_never_deleted BEFORE DELETE ON audit
    FOR EACH ROW WHEN (NOT (OLD.actor = 'anonymous' AND OLD.outcome <> 'ok')) EXECUTE FUNCTION audit_append_only();
CREATE INDEX audit_refusals ON audit (at) WHERE actor = 'anonymous' AND outcome <> 'ok';
