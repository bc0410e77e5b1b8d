//! The page of a person's files. Its form sends files to `/upload`, which answers browsers with this page.

use std::borrow::Cow;

use ::http::Response;
use ::http::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use minijinja::{Value, context};
use shared::api::files::{DeleteFile, File, ListFiles, Uploaded};
use shared::page::Limit;
use shared::problem::Code;

use super::super::html::{UPLOAD_SCRIPT_URL, redirect};
use super::super::{Page, failure, form::Form, minute, sentence};
use super::{Visit, clear_session, draw, signed_in};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::files::Usage;
use crate::files::model::TEXT;
use crate::transport::answer::Body;
use crate::transport::pages::Pages;
use crate::web_login::WebLogin;

/// How many files a page shows.
const ROWS: u32 = 50;
const FILES: &str = "/dashboard/files";
const NOT_OURS: &str = "Nothing was done: the form was not sent by this page, or it was too old. Try again.";

/// Whether a form of a browser sends files, rather than a script or a program: it wants a page, and has no token.
pub fn is_form(headers: &HeaderMap) -> bool {
    let wants = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wants_page = wants.flat_map(|value| value.split(',')).any(|part| {
        let essence = part.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("text/html")
    });
    wants_page && !headers.contains_key(AUTHORIZATION) && !headers.contains_key("token")
}

/// What a page says beside the files.
#[derive(Debug, Default)]
struct Said {
    fault: Option<Cow<'static, str>>,
    /// What became of the files of an upload.
    uploaded: Vec<Uploaded>,
}

impl Said {
    fn fault(text: impl Into<Cow<'static, str>>) -> Self {
        Self { fault: Some(text.into()), uploaded: Vec::new() }
    }
}

/// `GET /dashboard/files?cursor=…`
pub(super) async fn show(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let (caller, is_stale) = signed_in(&pages.web_login, &visit).await?;
    match caller {
        Some(caller) => draw_page(pages, &visit, caller, 200, Said::default()).await,
        None => Ok(to_sign_in(&pages.web_login, is_stale)),
    }
}

/// `POST /dashboard/files/delete`
pub(super) async fn delete(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let (caller, is_stale) = signed_in(web, &visit).await?;
    let Some(caller) = caller else { return Ok(to_sign_in(web, is_stale)) };
    let form = visit.form();
    let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
    if visit.is_foreign(&web.origin) || !web.accepts_form(cookie, form.field("form_token").unwrap_or_default())? {
        return draw_page(pages, &visit, caller, 403, Said::fault(NOT_OURS)).await;
    }
    let deleted = match form.field("key").and_then(|key| key.parse().ok()) {
        Some(key) => pages.files.delete(visit.call.of(caller.clone()), DeleteFile { key }).await,
        None => Err(Error::not_found("file")),
    };
    match deleted {
        Ok(_) => Ok(redirect(FILES.to_owned())),
        Err(error) if error.code == Code::NotFound => {
            draw_page(pages, &visit, caller, 404, Said::fault("This file was deleted already.")).await
        }
        Err(error) => Err(error),
    }
}

/// The answer to a form with files. `status` is what a program would be told.
pub async fn uploaded(pages: &Pages, visit: Visit<'_>, result: Result<(u16, Vec<Uploaded>)>) -> Result<Response<Body>> {
    let caused_by = (visit.call.request_id, visit.call.address);
    let page = async {
        let (caller, is_stale) = signed_in(&pages.web_login, &visit).await?;
        let Some(caller) = caller else { return Ok(to_sign_in(&pages.web_login, is_stale)) };
        let (status, said) = match result {
            Ok((status, uploaded)) => (status, Said { fault: None, uploaded }),
            // There is a session, but the cookie was not taken.
            Err(error) if error.code == Code::Unauthenticated => (403, Said::fault(NOT_OURS)),
            Err(error) if error.code == Code::Internal => return Err(error),
            Err(error) => (error.code.status(), Said::fault(sentence(&error.detail))),
        };
        draw_page(pages, &visit, caller, status, said).await
    };
    page.await.unwrap_or_else(|error| failure(caused_by, &error)).into_response()
}

fn to_sign_in(web: &WebLogin, is_stale: bool) -> Page {
    let mut page = redirect(format!("/login?return_to={FILES}"));
    if is_stale {
        clear_session(web, &mut page);
    }
    page
}

async fn draw_page(pages: &Pages, visit: &Visit<'_>, caller: Caller, status: u16, said: Said) -> Result<Page> {
    let (web, files) = (&pages.web_login, &pages.files);
    let Caller::User { id, .. } = caller else { return Err(Error::internal("the session is of nobody")) };
    let cursor = visit.query.and_then(Form::parse).and_then(|query| query.field("cursor").map(str::to_owned));
    let is_first = cursor.is_none();
    let op = ListFiles { cursor, limit: Limit::new(ROWS), ..ListFiles::default() };
    let list = match files.list(visit.call.of(caller), op).await {
        // A cursor that no list returned.
        Err(error) if error.code == Code::ValidationFailed && !is_first => return Ok(redirect(FILES.to_owned())),
        list => list?,
    };
    let (usage, quota) = (files.usage(id).await?, files.quota());
    let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
    let context = context! {
        form_token => web.form_token(cookie)?,
        upload_script => &*UPLOAD_SCRIPT_URL,
        fault => said.fault,
        uploaded => said.uploaded.iter().map(result).collect::<Vec<_>>(),
        files => list.files.iter().map(row).collect::<Vec<_>>(),
        is_first,
        next_cursor => list.next_cursor,
        used => size(usage.bytes),
        quota => size(quota.bytes),
        percent => percent(usage, quota),
        count => thousands(usage.files),
        quota_files => thousands(quota.files),
        max_files => files.config.max_files,
        max_size => size(files.config.max_bytes),
        types => files.config.types.iter().map(|kind| name_of(kind)).collect::<Vec<_>>().join(", "),
    };
    draw(web, status, "files.html", context)
}

/// A file as the page shows it.
fn row(file: &File) -> Value {
    context! {
        key => file.key.to_string(),
        name => file.file_name.as_str(),
        kind => name_of(&file.content_type),
        size => size(file.size),
        since => minute(file.created_at),
    }
}

/// What became of a file, as the page shows it.
fn result(file: &Uploaded) -> Value {
    context! {
        name => file.file_name.as_str(),
        reason => (!file.successful).then(|| sentence(file.detail.as_deref().unwrap_or("it was not stored"))),
    }
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
