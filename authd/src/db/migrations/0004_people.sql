-- Users, services, roles, permissions and their relations. live_name is the folded name (see names.rs) while the row
-- is not deleted: unique among the living only, so that the name of something deleted can be used again.

CREATE TABLE users (
    id                  TEXT NOT NULL PRIMARY KEY,
    username            TEXT NOT NULL,
    live_name           TEXT UNIQUE,
    name                TEXT NOT NULL,
    status              TEXT NOT NULL,
    password_hash       TEXT,
    password_changed_at BIGINT,
    person_type         TEXT,
    document_type       TEXT,
    document_number     TEXT,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    deleted_at          BIGINT
) {without_rowid};

CREATE TABLE services (
    id          TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    live_name   TEXT UNIQUE,
    description TEXT NOT NULL,
    status      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    deleted_at  BIGINT
) {without_rowid};

CREATE TABLE roles (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    live_name  TEXT UNIQUE,
    status     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
) {without_rowid};

CREATE TABLE permissions (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    live_name  TEXT UNIQUE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
) {without_rowid};

-- Relations are deleted with what they relate; a batch that makes one checks that both ends are alive.
CREATE TABLE role_permissions (
    role_id       TEXT NOT NULL,
    permission_id TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (role_id, permission_id)
) {without_rowid};
CREATE INDEX role_permissions_permission ON role_permissions (permission_id);

CREATE TABLE service_roles (
    service_id TEXT NOT NULL,
    role_id    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (service_id, role_id)
) {without_rowid};
CREATE INDEX service_roles_role ON service_roles (role_id);

CREATE TABLE person_service_roles (
    person_id  TEXT NOT NULL,
    service_id TEXT NOT NULL,
    role_id    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (person_id, service_id, role_id)
) {without_rowid};
CREATE INDEX person_service_roles_service ON person_service_roles (service_id, role_id, person_id);
CREATE INDEX person_service_roles_role ON person_service_roles (role_id);

CREATE TABLE person_service_permissions (
    person_id     TEXT NOT NULL,
    service_id    TEXT NOT NULL,
    permission_id TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    PRIMARY KEY (person_id, service_id, permission_id)
) {without_rowid};
CREATE INDEX person_service_permissions_service ON person_service_permissions (service_id);
CREATE INDEX person_service_permissions_permission ON person_service_permissions (permission_id);

-- Failed logins of a name or an address. blocked counts the attempts during a lock: 0 means that the latest attempt
-- may go on. failures of a name are those since the last good login, of an address those of the window.
CREATE TABLE login_attempts (
    key          TEXT NOT NULL PRIMARY KEY,
    failures     BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    blocked      BIGINT NOT NULL,
    last_at      BIGINT NOT NULL
) {without_rowid};
CREATE INDEX login_attempts_last ON login_attempts (last_at);
