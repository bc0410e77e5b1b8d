//! Links by which a file is downloaded without credentials, for a short time. Those of S3 are presigned by authd and served
//! there; others are authd's own URLs with an HMAC over file, size and end.
//!
//! S3 cannot be told to send `nosniff` (GetObject overrides only six headers), so what could be a script or a style sheet
//! of another site is never served there: that is text, which may be anything. Of the other types browsers run nothing:
//! images are refused as scripts by their type, and the first bytes of archives and PDF are not the beginning of a script.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;
use shared::api::files::{FileLink, LINK_SECONDS, LinkFile, MAX_LINK_SECONDS};
use shared::id::FileId;
use shared::op::{Operation, Permission};
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;
use subtle::ConstantTimeEq;

use super::objects::Objects;
use super::{Files, Stored, model, store};
use crate::call::Call;
use crate::env::{Millis, SECOND, is_ahead};
use crate::error::{Error, Result};
use crate::keys::Purpose;
use crate::ledger::Change;

/// The longest life of a link.
const LONGEST: Millis = MAX_LINK_SECONDS as Millis * SECOND;

impl Files {
    pub(super) async fn link(&self, call: Call, op: LinkFile) -> Result<FileLink> {
        let seconds = op.seconds.unwrap_or(LINK_SECONDS);
        if !(1..=MAX_LINK_SECONDS).contains(&seconds) {
            return Err(Error::field("seconds", format!("must be from 1 to {MAX_LINK_SECONDS}")));
        }
        let (file, requires) = self.find_for(&call, op.key, Permission::FilesRead).await?;
        let expires_at = self.base.now() + Millis::from(seconds) * SECOND;
        let key = file.key.to_string();
        let (url, expires_at) = match &self.objects {
            Objects::S3(bucket) if file.content_type != model::TEXT => {
                let (kind, disposition) = (model::content_type(&file.content_type), model::disposition(&file.name));
                bucket.link(&key, &kind, &disposition, expires_at).await?
            }
            Objects::S3(_) | Objects::Directory(_) => {
                let (key_id, signature) = self.signature(&file, expires_at, None)?;
                let url = format!("{}?link={expires_at}.{key_id}.{signature}", self.url(file.key));
                (Secret::new(url), expires_at)
            }
        };
        // It lets others in, so it is proved and recorded like a change.
        let change = Change::new(LinkFile::INFO.name, &key)
            .requires(requires)
            .detail([("user", Some(json!(file.user_id))), ("seconds", Some(json!(seconds)))]);
        self.base.ledger.commit(&call, change).await?;
        Ok(FileLink { url, size: file.size, expires_at: Time::from_millis(expires_at) })
    }

    /// The file that a link of authd's own is to.
    pub async fn find_by_link(&self, key: FileId, link: &str) -> Result<Stored> {
        let refused = || Error::new(Code::Forbidden, "this link has ended, or was changed; ask for a new one");
        let mut parts = link.splitn(3, '.');
        let (Some(end), Some(key_id), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused());
        };
        let expires_at: Millis = end.parse().map_err(|_| refused())?;
        if !is_ahead(expires_at, self.base.now(), LONGEST) {
            return Err(refused());
        }
        // A link of a deleted file is a link that has ended.
        let file = store::find(self.base.db.as_ref(), key).await?.ok_or_else(refused)?;
        let (_, expected) = self.signature(&file, expires_at, Some(key_id)).map_err(|_| refused())?;
        if expected.as_bytes().ct_eq(signature.as_bytes()).into() { Ok(file) } else { Err(refused()) }
    }

    /// The id of the key, and the signature.
    fn signature(&self, file: &Stored, expires_at: Millis, key_id: Option<&str>) -> Result<(String, String)> {
        let (size, end) = (file.size.to_be_bytes(), expires_at.to_be_bytes());
        let parts: [&[u8]; 3] = [file.key.0.as_bytes(), &size, &end];
        let (key_id, mac) = self.base.keys.mac(Purpose::FileLink, key_id, &parts)?;
        Ok((key_id, BASE64_URL_SAFE_NO_PAD.encode(*mac)))
    }
}
