//! An upload as it arrives: its files are written part by part, and become visible when all of it has arrived.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::api::files::Uploaded;
use shared::id::{FileId, UserId};
use shared::problem::Code;
use shared::secret::Secret;
use tokio::runtime::Handle;

use super::form::FormToken;
use super::model::{self, MAGIC, TEXT, Text};
use super::multipart::{Event, Multipart, Part};
use super::objects::{PART, Writing};
use super::places::Place;
use super::{Files, Stored, Usage, store};
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::ledger::{self, Change, Refused};

/// The audit action.
pub const ACTION: &str = "files.upload";
/// The form's field of the files.
const FIELD: &str = "files";
const UNKNOWN: &str = "its content is of no type that is recognised";
/// What a body may have beside its files, in bytes for each.
const FRAMING: u64 = 16 << 10;
/// The first size of the buffer, which grows up to [`PART`].
const FIRST_BUFFER: usize = 64 << 10;

/// An upload under way. What is not complete when it is dropped is discarded.
#[derive(Debug)]
pub struct Upload {
    files: Arc<Files>,
    user: UserId,
    multipart: Multipart,
    /// How much of the body has arrived.
    arrived: u64,
    /// What the user's files take, with those of this upload.
    used: Usage,
    part: Vec<u8>,
    current: Option<Current>,
    ended: Vec<Ended>,
    /// Objects that were begun and belong to no file yet.
    begun: Vec<FileId>,
    /// Of the form that a browser sent.
    form_token: Option<FormToken>,
    _place: Place,
}

/// The file that arrives.
#[derive(Debug)]
struct Current {
    name: String,
    kind: Option<&'static str>,
    size: u64,
    hash: Sha256,
    text: Text,
    writing: Option<(FileId, Writing)>,
    /// Why it will not be stored. The rest of it is thrown away.
    refused: Option<Error>,
}

/// A file that has arrived.
#[derive(Debug)]
enum Ended {
    Written(Stored),
    Refused(String, Error),
}

impl Files {
    /// Begins an upload by a person: waits for a place. `length` is that of the body, if the client told it.
    pub async fn begin(
        self: &Arc<Self>,
        call: &Call,
        content_type: Option<&str>,
        length: Option<u64>,
    ) -> Result<Upload> {
        let Caller::User { id: user, .. } = call.caller else {
            return Err(Error::new(
                Code::Forbidden,
                format!("{} is not a person: files belong to people", call.caller),
            ));
        };
        let multipart = Multipart::new(content_type.unwrap_or_default()).map_err(|fault| {
            let detail = format!("{fault}: send multipart/form-data with the repeated field {FIELD}");
            Error::new(Code::UnsupportedMediaType, detail)
        })?;
        if length.is_some_and(|length| length > self.max_length()) {
            return Err(self.too_long());
        }
        let used = store::used(self.base.db.as_ref(), user).await?;
        let wait = Duration::from_secs(self.config.wait_seconds);
        let place = tokio::time::timeout(wait, self.places.acquire(user)).await;
        let place = place
            .map_err(|late| Error::unavailable("too many uploads at the same time; try again", late).retry_after(10))?;
        Ok(Upload {
            files: self.clone(),
            user,
            multipart,
            arrived: 0,
            used,
            part: Vec::new(),
            current: None,
            ended: Vec::new(),
            begun: Vec::new(),
            form_token: None,
            _place: place.ok_or_else(|| Error::internal("there are no places"))?,
        })
    }

    /// The longest body.
    fn max_length(&self) -> u64 {
        u64::from(self.config.max_files) * (self.config.max_bytes + FRAMING)
    }

    fn too_long(&self) -> Error {
        let (files, bytes) = (self.config.max_files, self.config.max_bytes);
        Error::new(Code::PayloadTooLarge, format!("an upload may have at most {files} files of {bytes} bytes"))
    }

    fn over_quota(&self) -> Error {
        let Usage { bytes, files } = self.quota();
        let detail = format!("you may have {files} files with {bytes} bytes together; delete some first");
        Error::new(Code::QuotaExceeded, detail)
    }
}

impl Upload {
    /// Takes no files before this token, in the field `form_token`.
    pub fn require_token(&mut self, token: Secret) {
        self.form_token = Some(FormToken::new(token));
    }

    /// Takes bytes of the body.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.arrived += bytes.len() as u64;
        if self.arrived > self.files.max_length() {
            return Err(self.files.too_long());
        }
        self.multipart.push(bytes);
        while let Some(event) = self.multipart.event().map_err(malformed)? {
            match event {
                Event::Begin(part) => self.begin_part(part)?,
                Event::Data(data) => self.take(&data).await,
                Event::End => self.end_part().await,
            }
        }
        Ok(())
    }

    /// Makes files of what was written, once the whole body has arrived.
    pub async fn finish(mut self, call: &Call) -> Result<Vec<Uploaded>> {
        self.multipart.check_end().map_err(malformed)?;
        if self.ended.is_empty() {
            return Err(Error::field(FIELD, "no file was sent in this field"));
        }
        let mut all = Vec::new();
        for ended in std::mem::take(&mut self.ended) {
            let (name, error) = match ended {
                Ended::Written(file) => match self.complete(call, &file).await {
                    Ok(()) => {
                        self.files.counts.stored.inc();
                        all.push(self.stored(file));
                        continue;
                    }
                    // The caller may not act any more.
                    Err(error) if ledger::is_overtaken(&error) || matches!(error.code.status(), 401 | 403) => {
                        return Err(error);
                    }
                    Err(error) => (file.name, error),
                },
                Ended::Refused(name, error) => (name, error),
            };
            self.files.counts.refused.inc();
            if let Some(source) = error.source_text() {
                tracing::warn!(request_id = %call.request_id, code = error.code.as_str(), %source, "a file was not stored");
            }
            all.push(Uploaded {
                key: None,
                successful: false,
                url: None,
                file_name: name,
                content_type: None,
                error: Some(error.code),
                detail: Some(error.detail),
            });
        }
        Ok(all)
    }

    fn begin_part(&mut self, part: Part) -> Result<()> {
        if let Some(token) = &mut self.form_token {
            token.begin_part(&part)?;
        }
        let Some(name) = part.file_name.filter(|name| part.name == FIELD && !name.is_empty()) else {
            // Another field, or the field of a form in which no file was chosen.
            return Ok(());
        };
        if self.ended.len() >= self.files.config.max_files as usize {
            return Err(self.files.too_long());
        }
        self.part.clear();
        self.current = Some(Current {
            name: model::clean_name(&name),
            kind: None,
            size: 0,
            hash: Sha256::new(),
            text: Text::default(),
            writing: None,
            refused: None,
        });
        Ok(())
    }

    async fn take(&mut self, mut data: &[u8]) {
        if let Some(token) = &mut self.form_token {
            token.take(data);
        }
        let Some(mut file) = self.current.take() else { return };
        while file.refused.is_none() && !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(PART - self.part.len()));
            data = later;
            if let Err(error) = self.take_some(&mut file, now).await {
                file.refused = Some(error);
                self.part = Vec::new();
            }
        }
        self.current = Some(file);
    }

    /// Takes what fits into the buffer.
    async fn take_some(&mut self, file: &mut Current, data: &[u8]) -> Result<()> {
        let config = &self.files.config;
        file.size += data.len() as u64;
        if file.size > config.max_bytes {
            let detail = format!("a file may have at most {} bytes", config.max_bytes);
            return Err(Error::new(Code::PayloadTooLarge, detail));
        }
        if self.used.bytes + file.size > config.quota || self.used.files >= config.quota_files {
            return Err(self.files.over_quota());
        }
        file.hash.update(data);
        file.text.push(data);
        self.append(data);
        if file.kind.is_none() && self.part.len() >= MAGIC {
            file.kind = Some(self.kind_of(&self.part)?);
        }
        if file.kind == Some(TEXT) && file.text.is_broken() {
            return Err(self.not_allowed(UNKNOWN));
        }
        if self.part.len() == PART {
            let part = Bytes::from(std::mem::take(&mut self.part));
            let (_, writing) = self.writing(file).await?;
            self.files.objects.write(writing, part).await?;
        }
        Ok(())
    }

    /// The buffer doubles, and is never larger than a part.
    fn append(&mut self, data: &[u8]) {
        let needed = self.part.len() + data.len();
        if needed > self.part.capacity() {
            let capacity = needed.max(2 * self.part.capacity()).clamp(FIRST_BUFFER, PART);
            self.part.reserve_exact(capacity - self.part.len());
        }
        self.part.extend_from_slice(data);
    }

    async fn end_part(&mut self) {
        if let Some(token) = &mut self.form_token {
            token.end_part();
        }
        let Some(mut file) = self.current.take() else { return };
        let name = std::mem::take(&mut file.name);
        let written = match file.refused.take() {
            Some(error) => Err(error),
            None => self.write_rest(file, &name).await,
        };
        self.ended.push(match written {
            Ok(file) => {
                self.used = Usage { bytes: self.used.bytes + file.size, files: self.used.files + 1 };
                Ended::Written(file)
            }
            Err(error) => Ended::Refused(name, error),
        });
        self.part = Vec::new();
    }

    async fn write_rest(&mut self, mut file: Current, name: &str) -> Result<Stored> {
        let kind = match file.kind {
            Some(kind) => kind,
            None => self.kind_of(&self.part)?,
        };
        if kind == TEXT && !file.text.is_text() {
            return Err(self.not_allowed(UNKNOWN));
        }
        self.writing(&mut file).await?;
        let Some((key, writing)) = file.writing else { return Err(Error::internal("nothing is written")) };
        self.files.objects.finish(writing, Bytes::from(std::mem::take(&mut self.part))).await?;
        Ok(Stored {
            key,
            user_id: self.user,
            name: name.to_owned(),
            content_type: kind.to_owned(),
            size: file.size,
            etag: hex::encode(file.hash.finalize()),
            created_at: self.files.base.now(),
        })
    }

    /// The object of a file. It is known to the sweep before it is begun.
    async fn writing<'a>(&mut self, file: &'a mut Current) -> Result<&'a mut (FileId, Writing)> {
        if file.writing.is_none() {
            let key = FileId(self.files.base.env.uuid());
            let reserve = store::reserve(key, self.files.reserved_until());
            self.begun.push(key);
            self.files.base.db.commit(vec![reserve]).await?;
            file.writing = Some((key, self.files.objects.begin(key.to_string()).await?));
        }
        file.writing.as_mut().ok_or_else(|| Error::internal("nothing is written"))
    }

    fn kind_of(&self, head: &[u8]) -> Result<&'static str> {
        let kind = model::type_of(head);
        if self.files.config.types.iter().any(|allowed| allowed == kind) {
            return Ok(kind);
        }
        Err(self.not_allowed(&format!("its content is {kind}")))
    }

    fn not_allowed(&self, what: &str) -> Error {
        let types = self.files.config.types.join(", ");
        Error::new(Code::UnsupportedMediaType, format!("{what}; a file may be {types}"))
    }

    async fn complete(&mut self, call: &Call, file: &Stored) -> Result<()> {
        let change = Change::new(ACTION, file.key)
            .with(store::complete(file, self.files.quota()))
            .detail([("size", Some(json!(file.size))), ("content_type", Some(json!(file.content_type)))]);
        match self.files.base.ledger.commit(call, change).await {
            Ok(_) => {
                self.begun.retain(|key| *key != file.key);
                Ok(())
            }
            Err(Refused::ExpectationFailed(store::QUOTA)) => Err(self.files.over_quota()),
            Err(Refused::ExpectationFailed(store::COMPLETE)) => {
                Err(Error::new(Code::RequestTimeout, "the upload took too long; try again"))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    fn stored(&self, file: Stored) -> Uploaded {
        Uploaded {
            key: Some(file.key),
            successful: true,
            url: Some(self.files.url(file.key)),
            file_name: file.name,
            content_type: Some(file.content_type),
            error: None,
            detail: None,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (files, begun) = (self.files.clone(), std::mem::take(&mut self.begun));
        if !begun.is_empty()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                for key in begun {
                    files.discard(key).await;
                }
            });
        }
    }
}

fn malformed(fault: super::multipart::Fault) -> Error {
    Error::new(Code::MalformedRequest, fault.to_string())
}
