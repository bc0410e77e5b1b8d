//! Backups of the SQLite database, which are made while authd runs and read in parts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::id::BackupId;
use crate::op::{Access, Permission, operations};
use crate::secret::Secret;

operations! {
    /// Begin a backup of the SQLite database: a consistent copy, which is made while changes go on
    CreateBackup => "backups.create", Post "/backups", Access::Permission(Permission::Admin), 201 Backup;
    /// Read a part of a backup
    ReadBackup => "backups.read", Get "/backups/{id}", Access::Permission(Permission::Admin), 200 BackupPart;
    /// Delete a backup from the daemon's disk
    DeleteBackup => "backups.delete", Delete "/backups/{id}", Access::Permission(Permission::Admin), 200 super::Done;
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBackup {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backup {
    pub id: BackupId,
}

#[skip_serializing_none]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadBackup {
    pub id: BackupId,
    /// Bytes before the part; 0 if it is absent.
    pub offset: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BackupPart {
    /// The size of the whole backup in bytes; absent while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The bytes from the offset on, base64 with padding; empty at the end, and while the backup is being made.
    pub data: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteBackup {
    pub id: BackupId,
}
