-- A user's live sessions are those whose idle end is still to come: an end brings it forward. What is asked of one user
-- then reads no more than those, however many there were before.
DROP INDEX sessions_user;
CREATE INDEX sessions_user ON sessions (user_id, idle_expires_at);
