//! Uploads of files, and their content. These are streams: they pass through here piece by piece, and are no operations;
//! access, metrics and the log are those of operations.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use ::http::{Response, StatusCode, request};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use shared::api::files::Uploaded;
use shared::op::{Access, Info, Method};
use shared::problem::Code;
use shared::secret::Secret;
use shared::wire::decode_pairs;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::Body;
use super::body::{JSON, Unread};
use super::browser::web::{Visit, files};
use super::connections::Connection;
use super::credentials;
use super::http::{Http, NO_STORE, Origin};
use super::operation::Arrived;
use super::refusal::refuse;
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::files::model::{self, Range};
use crate::files::{Content, Stored, Upload};

/// What is streamed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Streamed {
    Upload,
    Download,
}

/// Every stream, as operations are declared.
pub(super) static STREAMS: [(&Info, Streamed); 2] = [
    (
        &Info {
            name: "files.upload",
            method: Method::Post,
            path: "/upload",
            access: Access::User,
            status: 200,
            headers: &[],
            oauth: false,
            password: false,
            summary: "Upload files",
        },
        Streamed::Upload,
    ),
    (
        &Info {
            name: "files.download",
            method: Method::Get,
            path: "/files/{key}",
            access: Access::Authenticated,
            status: 200,
            headers: &[],
            oauth: false,
            password: false,
            summary: "Download a file",
        },
        Streamed::Download,
    ),
];

/// The headers of every content: a browser saves it, takes it for nothing else, and runs nothing of it.
const GUARDS: [(HeaderName, HeaderValue); 4] = [
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (HeaderName::from_static("content-security-policy"), HeaderValue::from_static("default-src 'none'; sandbox")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
];

impl Http {
    /// Who sends a request for a stream.
    async fn call(&self, request: &Arrived<'_>) -> Result<Call> {
        let address = self.guard(&request.connection.origin, request.headers)?;
        let caller = self.authenticate(request, address, credentials::token).await?;
        Ok(Call { caller, address, request_id: request.id, permission: request.info.permission() })
    }

    /// Answers a form of authd's own page with the page, and everybody else with JSON.
    pub(super) async fn upload(&self, request: &Arrived<'_>, body: &mut Unread) -> Result<Response<Body>> {
        let is_socket = matches!(request.connection.origin, Origin::Admin(_));
        if is_socket || !files::is_form(request.headers) {
            return answer(&self.store(request, body, None).await?);
        }
        let web = &self.pages.web_login;
        let cookies = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let cookie = web.cookies.find_session(cookies).one().unwrap_or_default();
        let token = Secret::new(web.form_token(cookie)?);
        let uploaded = self.store(request, body, Some(token)).await;
        let uploaded = uploaded.map(|all| (status(&all), all));
        let address = self.address(&request.connection.origin, request.headers);
        let call = Call { caller: Caller::Anonymous, address, request_id: request.id, permission: None };
        let visit = Visit { call, headers: request.headers, path: request.info.path, query: None, body: None };
        files::uploaded(&self.pages, visit, uploaded).await
    }

    /// Stores the files of an upload; `form_token` has to come before them.
    async fn store(
        &self,
        request: &Arrived<'_>,
        body: &mut Unread,
        form_token: Option<Secret>,
    ) -> Result<Vec<Uploaded>> {
        let call = self.call(request).await?;
        let text = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
        let length = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let mut upload = self.files.begin(&call, text(CONTENT_TYPE), length).await?;
        if let Some(token) = form_token {
            upload.require_token(token);
        }
        let limit = self.files.upload_timeout();
        let arrived = timeout_at(Instant::now() + limit, self.receive(&mut upload, request.connection, body)).await;
        arrived.map_err(|_| {
            let detail = format!("the upload did not arrive within {} s", limit.as_secs());
            Error::new(Code::RequestTimeout, detail)
        })??;
        // The caller may have lost their session while it arrived.
        let call = self.call(request).await?;
        upload.finish(&call).await
    }

    async fn receive(&self, upload: &mut Upload, connection: &Arc<Connection>, body: &mut Unread) -> Result<()> {
        // Who stops sending does not hold a place for long.
        let seconds = self.config.body_seconds;
        loop {
            let piece = timeout(Duration::from_secs(seconds), body.piece(connection)).await;
            let piece = piece.map_err(|_| {
                Error::new(Code::RequestTimeout, format!("nothing of the upload arrived for {seconds} s"))
            })?;
            let Some(piece) = piece? else { return Ok(()) };
            upload.push(&piece).await?;
        }
    }

    pub(super) async fn download(
        &self,
        request: &Arrived<'_>,
        params: &[(&str, &str)],
        head: &request::Parts,
    ) -> Result<Response<Body>> {
        let key = params.iter().find(|(name, _)| *name == "key").and_then(|(_, key)| key.parse().ok());
        let link = link(head.uri.query())?;
        let file = if let Some(link) = link {
            self.guard(&request.connection.origin, request.headers)?;
            self.files.find_by_link(key.ok_or_else(|| Error::not_found("file"))?, &link).await?
        } else {
            let call = self.call(request).await?;
            self.files.find(&call, key.ok_or_else(|| Error::not_found("file"))?).await?
        };
        self.content(file, request, head.method == ::http::Method::HEAD).await
    }

    /// Answers with the content, as far as it is asked for (RFC 9110 §13 and §14).
    async fn content(&self, file: Stored, request: &Arrived<'_>, is_head: bool) -> Result<Response<Body>> {
        let headers = request.headers;
        let mut response = Response::new(Body::default());
        let own = response.headers_mut();
        own.extend(GUARDS);
        insert(own, ETAG, &format!("\"{}\"", file.etag))?;
        own.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if text(headers, &IF_MATCH).is_some_and(|list| !model::has_tag(list, &file.etag, false)) {
            return Err(Error::new(Code::PreconditionFailed, "the file has another ETag than If-Match names"));
        }
        if text(headers, &IF_NONE_MATCH).is_some_and(|list| model::has_tag(list, &file.etag, true)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        let is_current = text(headers, &IF_RANGE).is_none_or(|tag| model::has_tag(tag, &file.etag, false));
        let range = text(headers, &RANGE).filter(|_| is_current);
        let (first, length) = match range.map_or(Range::Whole, |range| model::range(range, file.size)) {
            Range::Whole => (0, file.size),
            Range::Bytes(first, last) => {
                insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes {first}-{last}/{}", file.size))?;
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                (first, last + 1 - first)
            }
            Range::Unsatisfiable => {
                let error = Error::new(Code::RangeNotSatisfiable, format!("the file has {} bytes", file.size));
                let address = self.address(&request.connection.origin, headers);
                response = refuse(request.id, address, Some(request.info), error);
                insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", file.size))?;
                return Ok(response);
            }
        };
        let own = response.headers_mut();
        own.insert(CONTENT_LENGTH, length.into());
        insert(own, CONTENT_TYPE, &model::content_type(&file.content_type))?;
        insert(own, CONTENT_DISPOSITION, &model::disposition(&file.name))?;
        if !is_head {
            let content = self.files.read(&file, first, length).await?;
            let streaming = Streaming { left: length, content, connection: request.connection.clone() };
            *response.body_mut() = Body::messages(tonic::body::Body::new(streaming));
        }
        Ok(response)
    }
}

/// The status of an upload: that of the first failure if there is nothing else.
fn status(all: &[Uploaded]) -> u16 {
    let is_stored = all.iter().any(|file| file.successful);
    all.iter().find_map(|file| file.error).filter(|_| !is_stored).map_or(200, Code::status)
}

/// The results of an upload.
fn answer(all: &[Uploaded]) -> Result<Response<Body>> {
    let body = serde_json::to_vec(all).map_err(Error::internal)?;
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status(all)).map_err(Error::internal)?;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// The parameter `link` of a query.
fn link(query: Option<&str>) -> Result<Option<String>> {
    let mut found = None;
    for pair in decode_pairs(query.unwrap_or_default()) {
        let (name, value) = pair?;
        if name != "link" {
            return Err(Error::field(&name, "this path takes only the parameter link"));
        }
        if found.replace(value.into_owned()).is_some() {
            return Err(Error::new(Code::MalformedRequest, "the parameter link is given twice"));
        }
    }
    Ok(found)
}

/// A header that is text and given once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<()> {
    headers.insert(name, HeaderValue::from_str(value).map_err(Error::internal)?);
    Ok(())
}

/// The content of a file as the body of an answer.
struct Streaming {
    left: u64,
    content: Content,
    connection: Arc<Connection>,
}

impl hyper::body::Body for Streaming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let Some(chunk) = ready!(this.content.chunks.poll_recv(context)) else {
            // The client must not take what it has for the whole.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        };
        let chunk = match chunk {
            Ok(chunk) if chunk.len() as u64 > this.left => Err(io::ErrorKind::InvalidData.into()),
            chunk => chunk,
        };
        if let Err(error) = &chunk {
            tracing::warn!(%error, "a download was cut off");
        }
        this.connection.streamed();
        this.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(Some(chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
