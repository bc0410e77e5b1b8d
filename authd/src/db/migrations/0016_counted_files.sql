-- How many files a user has.
ALTER TABLE file_usage ADD COLUMN files BIGINT NOT NULL DEFAULT 0;
UPDATE file_usage SET files = (SELECT COUNT(*) FROM files WHERE files.user_id = file_usage.user_id);
