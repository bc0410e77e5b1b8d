-- Uploaded files. The content is an object of the key's name in a directory or in S3; etag: its SHA-256, hexadecimal.
CREATE TABLE files (
    key          TEXT NOT NULL PRIMARY KEY,
    user_id      TEXT NOT NULL,
    name         TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size         BIGINT NOT NULL,
    etag         TEXT NOT NULL,
    created_at   BIGINT NOT NULL
) {without_rowid};
CREATE INDEX files_user ON files (user_id, key);

-- What the files of a user take together.
CREATE TABLE file_usage (
    user_id TEXT NOT NULL PRIMARY KEY,
    bytes   BIGINT NOT NULL
) {without_rowid};

-- Objects that belong to no file: of uploads that are not complete (is_upload), and of deleted files. They are removed from
-- remove_after on; claimed: whether that has begun, after which an upload cannot be completed any more.
CREATE TABLE file_leftovers (
    key          TEXT NOT NULL PRIMARY KEY,
    is_upload    BIGINT NOT NULL,
    claimed      BIGINT NOT NULL,
    remove_after BIGINT NOT NULL
) {without_rowid};
CREATE INDEX file_leftovers_due ON file_leftovers (remove_after);
