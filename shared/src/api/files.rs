//! Files that people upload. `POST /upload` takes multipart/form-data with the repeated field `files` and answers with a
//! list of [`Uploaded`]; `GET /files/{key}` is the content. Both are streams, and no operations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::id::{FileId, UserId};
use crate::number;
use crate::op::{Access, operations};
use crate::page::Limit;
use crate::problem::Code;
use crate::secret::Secret;
use crate::time::Time;

/// The longest life of a link in seconds, and the usual one.
pub const MAX_LINK_SECONDS: u32 = 3_600;
pub const LINK_SECONDS: u32 = 300;

operations! {
    /// List files, newest first: your own, or with the permission files.read those of others
    ListFiles => "files.list", Get "/files", Access::Authenticated, 200 FileList;
    /// Delete a file: your own, or with the permission files.write that of another
    DeleteFile => "files.delete", Delete "/files/{key}", Access::Authenticated, 200 super::Done;
    /// Create a link by which a file can be downloaded without credentials for a short time
    LinkFile => "files.link", Post "/files/{key}/link", Access::Authenticated, 200 FileLink;
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFiles {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
    /// The files of this user, by id or name. Of others: with the permission `files.read`.
    pub user: Option<String>,
    /// The files of everybody, with the permission `files.read`. Whoever has it and is not a person gets these anyway. It
    /// has no effect if a user is named.
    #[serde(default)]
    pub all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileList {
    pub files: Vec<File>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    pub key: FileId,
    /// Whose file it is.
    pub user_id: UserId,
    /// As the person's browser named it.
    pub file_name: String,
    /// By its content, whatever the browser said.
    pub content_type: String,
    /// In bytes.
    pub size: u64,
    /// The SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// Where it can be downloaded, with credentials.
    pub url: String,
    pub created_at: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteFile {
    pub key: FileId,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkFile {
    pub key: FileId,
    /// How long the link works, 300 seconds if it is not given.
    #[schemars(range(min = 1, max = MAX_LINK_SECONDS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub seconds: Option<u32>,
}

/// A link that whoever has it can download the file by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileLink {
    pub url: Secret,
    /// How many bytes it gives.
    pub size: u64,
    pub expires_at: Time,
}

/// What became of a file of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Uploaded {
    /// Chosen by authd.
    pub key: Option<FileId>,
    pub successful: bool,
    /// Where it can be downloaded, with credentials.
    pub url: Option<String>,
    /// As the person's browser named it.
    pub file_name: String,
    /// By its content, whatever the browser said.
    pub content_type: Option<String>,
    /// Why it was not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Code>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
