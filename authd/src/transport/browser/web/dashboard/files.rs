//! The page of a person's files. Its form sends files to `/upload`, which answers browsers with this page.

use ::http::Response;
use ::http::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use serde::Serialize;
use shared::api::files::{DeleteFile, File, ListFiles, Uploaded};
use shared::page::Limit;
use shared::problem::Code;

use super::super::super::form::Form;
use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::super::super::{Page, failure, minute, sentence};
use super::super::{NOT_OURS, Visit, signed_in};
use super::{Action, FILES, Told, Visitor, to_sign_in};
use crate::error::{Error, Result};
use crate::files::Usage;
use crate::files::model::TEXT;
use crate::transport::answer::Body;
use crate::transport::pages::Pages;

/// How many files a page shows.
const ROWS: u32 = 50;

/// Whether a form of a browser sends files, rather than a script or a program: it wants a page, and has no token.
pub fn is_form(headers: &HeaderMap) -> bool {
    let wants = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants_page = wants.flat_map(|value| value.split(',')).any(|part| {
        let essence = part.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("text/html")
    });
    wants_page && !headers.contains_key(AUTHORIZATION) && !headers.contains_key("token")
}

#[derive(Serialize)]
pub struct FilesPage {
    /// What became of the files of an upload.
    uploaded: Vec<Outcome>,
    files: Vec<Row>,
    is_first: bool,
    next_cursor: Option<String>,
    used: String,
    quota: String,
    percent: u64,
    count: String,
    quota_files: String,
    max_files: u32,
    max_size: String,
    types: String,
}

/// A file as the page shows it.
#[derive(Serialize)]
struct Row {
    key: String,
    name: String,
    kind: String,
    size: String,
    since: String,
}

/// What became of a file, as the page shows it.
#[derive(Serialize)]
struct Outcome {
    name: String,
    /// Why it was not stored, if it was not.
    reason: Option<String>,
}

impl View for FilesPage {
    const TEMPLATE: &'static str = "files.html";

    fn samples() -> Vec<Self> {
        let text = str::to_owned;
        let outcome = |reason| Outcome { name: text("a.png"), reason };
        let sample = |full: bool| Self {
            uploaded: if full { vec![outcome(None), outcome(Some(text("It is empty.")))] } else { Vec::new() },
            files: if full {
                let [key, name, kind, size, since] = ["1", "a.png", "PNG", "1 KiB", "2027-01-15 08:00"].map(text);
                vec![Row { key, name, kind, size, since }]
            } else {
                Vec::new()
            },
            is_first: full,
            next_cursor: full.then(|| text("cursor")),
            used: text("1 KiB"),
            quota: text("1 GiB"),
            percent: 1,
            count: text("1"),
            quota_files: text("10,000"),
            max_files: 16,
            max_size: text("10 MiB"),
            types: text("PNG, text"),
        };
        vec![sample(true), sample(false), Self { is_first: true, ..sample(false) }]
    }
}

impl From<&File> for Row {
    fn from(file: &File) -> Self {
        Self {
            key: file.key.to_string(),
            name: file.file_name.clone(),
            kind: name_of(&file.content_type),
            size: size(file.size),
            since: minute(file.created_at),
        }
    }
}

impl From<&Uploaded> for Outcome {
    fn from(file: &Uploaded) -> Self {
        let reason = || sentence(file.detail.as_deref().unwrap_or("it was not stored"));
        Self { name: file.file_name.clone(), reason: (!file.successful).then(reason) }
    }
}

/// `GET /dashboard/files?cursor=…`
pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    draw_page(at, told, &[]).await
}

/// `POST /dashboard/files/delete`
pub(super) async fn delete(at: &Visitor<'_>) -> Result<Page> {
    let gone = || Error::new(Code::NotFound, "this file was deleted already");
    let key = at.field("key").parse().map_err(|_| gone())?;
    match at.pages.files.delete(at.call.clone(), DeleteFile { key }).await {
        Ok(_) => Ok(redirect(FILES.to_owned())),
        Err(error) if error.code == Code::NotFound => Err(gone()),
        Err(error) => Err(error),
    }
}

/// The answer to a form with files. `status` is what a program would be told.
pub async fn uploaded(pages: &Pages, visit: Visit<'_>, result: Result<(u16, Vec<Uploaded>)>) -> Result<Response<Body>> {
    let caused_by = (visit.call.request_id, visit.call.address);
    let page = async {
        let (caller, is_stale) = signed_in(&pages.web_login, &visit).await?;
        let Some(caller) = caller else { return Ok(to_sign_in(&pages.web_login, FILES, is_stale)) };
        let at = Visitor::new(pages, Action::Files, &visit, caller).await?;
        match result {
            Ok((status, uploaded)) => draw_page(&at, &Told { status, ..Told::NOTHING }, &uploaded).await,
            // There is a session, but the cookie was not taken.
            Err(error) if error.code == Code::Unauthenticated => draw_page(&at, &Told::fault(403, NOT_OURS), &[]).await,
            Err(error) if error.code == Code::Internal => Err(error),
            Err(error) => draw_page(&at, &Told::refused(&error), &[]).await,
        }
    };
    page.await.or_else(|error| failure(pages, caused_by, &error))?.into_response(&pages.mount)
}

async fn draw_page(at: &Visitor<'_>, told: &Told, uploaded: &[Uploaded]) -> Result<Page> {
    let files = &at.pages.files;
    let cursor = at.visit.query.and_then(Form::parse).and_then(|query| query.field("cursor").map(str::to_owned));
    let is_first = cursor.is_none();
    let op = ListFiles { cursor, limit: Limit::new(ROWS), ..ListFiles::default() };
    let list = match files.list(at.call.clone(), op).await {
        // A cursor that no list returned.
        Err(error) if error.code == Code::ValidationFailed && !is_first => return Ok(redirect(FILES.to_owned())),
        list => list?,
    };
    let (usage, quota) = (files.usage(at.person.id).await?, files.quota());
    let view = FilesPage {
        uploaded: uploaded.iter().map(Outcome::from).collect(),
        files: list.files.iter().map(Row::from).collect(),
        is_first,
        next_cursor: list.next_cursor,
        used: size(usage.bytes),
        quota: size(quota.bytes),
        percent: percent(usage, quota),
        count: thousands(usage.files),
        quota_files: thousands(quota.files),
        max_files: files.config.max_files,
        max_size: size(files.config.max_bytes),
        types: files.config.types.iter().map(|kind| name_of(kind)).collect::<Vec<_>>().join(", "),
    };
    at.draw(told, &view)
}

/// A type as people call it.
fn name_of(kind: &str) -> String {
    if kind == TEXT {
        return "text".to_owned();
    }
    let name = kind.split_once('/').map_or(kind, |(_, name)| name);
    if name == "gzip" { name.to_owned() } else { name.to_uppercase() }
}

/// A number of bytes for people, with at most one decimal, rounded down.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    let (mut unit, mut whole, mut rest) = (0, bytes, 0);
    while whole >= 1024 && unit + 1 < UNITS.len() {
        (unit, whole, rest) = (unit + 1, whole / 1024, whole % 1024);
    }
    match rest * 10 / 1024 {
        0 => format!("{whole} {}", UNITS[unit]),
        tenths => format!("{whole}.{tenths} {}", UNITS[unit]),
    }
}

/// A number with commas between its thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let is_first_of_three = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    digits
        .char_indices()
        .flat_map(|(at, digit)| is_first_of_three(at).then_some(',').into_iter().chain([digit]))
        .collect()
}

/// How much of the quota is used, by bytes or by files, whichever is more.
fn percent(usage: Usage, quota: Usage) -> u64 {
    let part = |used: u64, of: u64| u128::from(used) * 100 / u128::from(of.max(1));
    let most = part(usage.bytes, quota.bytes).max(part(usage.files, quota.files));
    u64::try_from(most.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_short() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            ((10 << 20) - 1, "9.9 MiB"),
            (1 << 30, "1 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!([7, 123, 1_000, 1_234_567].map(thousands), ["7", "123", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_form_wants_a_page_and_has_no_token() {
        let is = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (::http::HeaderName::from_static(name), ::http::HeaderValue::from_str(value).unwrap())
            });
            is_form(&headers.collect())
        };
        let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        assert!(is(&[browser]) && is(&[("accept", "application/json, Text/HTML ;q=1")]));
        assert!(!is(&[]) && !is(&[("accept", "*/*")]) && !is(&[("accept", "application/json")]));
        assert!(!is(&[browser, ("token", "x")]) && !is(&[browser, ("authorization", "Bearer x")]));
    }

    #[test]
    fn the_fuller_quota_counts() {
        let quota = Usage { bytes: 1_000, files: 10 };
        assert_eq!(percent(Usage { bytes: 100, files: 5 }, quota), 50);
        assert_eq!(percent(Usage { bytes: 900, files: 5 }, quota), 90);
        assert_eq!(percent(Usage { bytes: u64::MAX, files: 5 }, quota), 100);
        assert_eq!(percent(Usage::default(), Usage::default()), 0);
    }
}
