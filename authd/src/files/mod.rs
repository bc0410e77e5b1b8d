//! Files that people upload.
//!
//! Invariants: authd chooses the key; the type is what the content says, from a list; a file is seen once its content is
//! complete and its request was read to the end, with its owner's quota counted in the same commit; an object without a
//! file is known before it is written, and is removed ([`sweep`]); who may read a file is its owner, whoever has
//! `files.read`, and whoever has a link that has not ended; memory for content is bounded as a whole ([`POOL`]), and
//! nobody takes all of it ([`places`]).

mod directory;
mod form;
mod link;
pub mod model;
pub mod multipart;
mod objects;
mod ops;
mod places;
mod s3;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::api::files::File;
use shared::id::FileId;
use shared::time::Time;
use tokio::sync::Notify;

use self::objects::Objects;
pub use self::objects::{Content, PART};
use self::places::Places;
pub use self::store::{Stored, Usage, delete_all};
pub use self::upload::Upload;
use crate::base::Base;
use crate::metrics::{Count, Metrics};
use crate::registry::Registry;
use crate::setting::{Faults, check_folder};
use crate::users::Users;

/// Memory for content that arrives, in bytes, for all uploads together.
pub const POOL: usize = 96 << 20;

/// `[files]`: uploads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `S3_BUCKET`: the bucket of the files. If empty, they are in `directory`.
    pub bucket: String,
    /// Another server that speaks S3's protocol. If empty, AWS.
    pub endpoint_url: String,
    /// The bucket's region; if empty, as the AWS SDK finds it.
    pub region: String,
    /// Whether the bucket is in the path of URLs and not in their host; by default if there is an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// What the objects' names begin with.
    pub prefix: String,
    /// If empty, `files` in the data directory.
    pub directory: PathBuf,
    /// The largest file, in bytes.
    pub max_bytes: u64,
    /// The most files of an upload.
    pub max_files: u32,
    /// Seconds for an upload to arrive.
    pub upload_seconds: u64,
    /// Seconds that an upload waits for others to end.
    pub wait_seconds: u64,
    /// What the files of a user may take together, in bytes.
    pub quota: u64,
    /// The most files of a user.
    pub quota_files: u64,
    /// The media types of files, by their content.
    pub types: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            endpoint_url: String::new(),
            region: String::new(),
            path_style: None,
            prefix: String::new(),
            directory: PathBuf::new(),
            max_bytes: 10 << 20,
            max_files: 16,
            upload_seconds: 120,
            wait_seconds: 30,
            quota: 1 << 30,
            quota_files: 10_000,
            types: model::types().map(str::to_owned).collect(),
        }
    }
}

impl Config {
    pub fn check(&mut self, data_dir: &Path, faults: &mut Faults) {
        if self.directory.as_os_str().is_empty() {
            self.directory = data_dir.join("files");
        }
        let is_in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if !self.bucket.is_empty()
            && (!(3..=63).contains(&self.bucket.len())
                || !self.bucket.bytes().all(|byte| is_in_name(byte) || byte.is_ascii_uppercase()))
        {
            faults.refuse(format!("files.bucket (S3_BUCKET): {:?} is not the name of a bucket", self.bucket));
        }
        let name = "files.endpoint_url (S3_ENDPOINT_URL)";
        if !self.endpoint_url.is_empty()
            && let Some(uri) = faults.base_url(name, &self.endpoint_url)
            && !shared::url::is_private(&uri)
        {
            faults.warn(format!("{name}: files pass through an unencrypted connection to another machine; use https"));
        }
        let is_prefix = self.prefix.len() <= 256
            && self.prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        faults.require(is_prefix, "files.prefix must have at most 256 letters, digits and characters of /._-");
        faults.require((1..=5 << 30).contains(&self.max_bytes), "files.max_bytes must be from 1 to 5368709120");
        faults.require((1..=1_000).contains(&self.max_files), "files.max_files must be from 1 to 1000");
        faults.require((1..=86_400).contains(&self.upload_seconds), "files.upload_seconds must be from 1 to 86400");
        faults.require((1..=600).contains(&self.wait_seconds), "files.wait_seconds must be from 1 to 600");
        faults.require(i64::try_from(self.quota).is_ok(), "files.quota must be at most 9223372036854775807");
        let is_count = (1..=1_000_000_000).contains(&self.quota_files);
        faults.require(is_count, "files.quota_files must be from 1 to 1000000000");
        for unknown in self.types.iter().filter(|name| model::types().all(|known| known != name.as_str())) {
            let known: Vec<&str> = model::types().collect();
            faults.refuse(format!("files.types: authd does not recognise {unknown:?}; it does {}", known.join(", ")));
        }
    }

    /// Checks the directory on this machine.
    pub fn check_place(&self, faults: &mut Faults) {
        if self.bucket.is_empty()
            && let Some(fault) = self.directory.exists().then(|| check_folder(&self.directory).err()).flatten()
        {
            faults.refuse(format!("files.directory: {fault}"));
        }
    }
}

/// The counters by what became of files.
#[derive(Debug)]
struct Counts {
    stored: Count,
    refused: Count,
}

#[derive(Debug)]
pub struct Files {
    base: Base,
    pub config: Config,
    public_url: String,
    users: Arc<Users>,
    objects: Objects,
    /// Parts of [`POOL`]. An upload holds one while it arrives.
    places: Places,
    counts: Counts,
    /// Notified when there are objects to remove.
    left: Notify,
}

impl Files {
    pub fn new(base: &Base, config: Config, public_url: &str, users: Arc<Users>, metrics: &mut Metrics) -> Arc<Self> {
        let [stored, refused] =
            metrics.outcomes("files", "Uploaded files by what became of them", ["stored", "refused"]);
        Arc::new(Self {
            base: base.clone(),
            objects: Objects::new(&config, &base.env),
            config,
            public_url: public_url.to_owned(),
            users,
            places: Places::new(POOL / PART),
            counts: Counts { stored, refused },
            left: Notify::new(),
        })
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::list);
        registry.add(self, Self::delete);
        registry.add(self, Self::link);
    }

    /// How long an upload may take.
    pub fn upload_timeout(&self) -> Duration {
        Duration::from_secs(self.config.upload_seconds)
    }

    /// What the files of a user may take.
    pub fn quota(&self) -> Usage {
        Usage { bytes: self.config.quota, files: self.config.quota_files }
    }

    fn url(&self, key: FileId) -> String {
        format!("{}/files/{key}", self.public_url)
    }

    fn view(&self, file: Stored) -> File {
        File {
            key: file.key,
            user_id: file.user_id,
            url: self.url(file.key),
            file_name: file.name,
            content_type: file.content_type,
            size: file.size,
            sha256: file.etag,
            created_at: Time::from_millis(file.created_at),
        }
    }
}
