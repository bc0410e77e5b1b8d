-- Since when a permission is authd's own. The version that introduces a name takes it from whoever had it on authd before
-- (rbac/seed.rs); these are the names of the versions that did not record it.
ALTER TABLE permissions ADD COLUMN introduced_at BIGINT;
UPDATE permissions SET introduced_at = created_at WHERE live_name IN ('admin', 'tokens.read', 'tokens.write',
    'sessions.read', 'sessions.write', 'users.read', 'users.write', 'access.read', 'access.write', 'tokens.introspect',
    'audit.read', 'system.read');
