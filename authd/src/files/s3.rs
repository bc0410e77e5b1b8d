//! Objects in a bucket of S3, or of a server that speaks its protocol. rusty-s3 signs the requests; they go through our
//! pooled client.
//!
//! An object of one part is one PUT, a larger one a multipart upload. An upload that ends in between leaves parts that
//! nobody sees and everybody pays for: they are found by their key and aborted when the object is removed.

use std::io;
use std::time::Duration;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, ETAG, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use rusty_s3::actions::{AbortMultipartUpload, CompleteMultipartUpload};
use rusty_s3::{Credentials, S3Action, UrlStyle, signing};
use shared::problem::Code;
use shared::secret::Secret;
use tokio::sync::{Mutex, OnceCell, mpsc};
use tokio::time::timeout;

use super::Config;
use crate::aws;
use crate::env::{Env, MINUTE, Millis, SECOND};
use crate::error::{Chain, Error, Result};
use crate::https::Https;

/// Time limits: of a request without content, of one with a part, and of a piece of an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const PART_TIMEOUT: Duration = Duration::from_secs(60);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent.
const TRIES: usize = 2;
/// How long a signature is valid.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 1 << 20;
/// Credentials are replaced so long before they end, and after this time if they do not end.
const FRESH: Millis = 5 * MINUTE;

pub(super) struct Bucket {
    config: Config,
    env: Env,
    https: Https,
    loaded: OnceCell<Loaded>,
}

/// What is known once the settings of AWS were read, at the first use.
struct Loaded {
    bucket: rusty_s3::Bucket,
    provider: Option<SharedCredentialsProvider>,
    current: Mutex<Option<Current>>,
}

/// The current credentials.
struct Current {
    credentials: Credentials,
    used_until: Millis,
    /// When they end, and with them what was signed by them; `None` if they do not.
    end: Option<Millis>,
}

/// An object that is written.
#[derive(Debug)]
pub(super) struct Writing {
    object: String,
    /// Of a multipart upload, which begins with the first part that is not the last.
    upload_id: Option<String>,
    /// Of its parts.
    etags: Vec<String>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.config.bucket).finish_non_exhaustive()
    }
}

impl Writing {
    pub fn new(object: String) -> Self {
        Self { object, upload_id: None, etags: Vec::new() }
    }
}

impl Bucket {
    pub fn new(config: &Config, env: &Env) -> Self {
        Self { config: config.clone(), env: env.clone(), https: Https::default(), loaded: OnceCell::new() }
    }

    async fn loaded(&self) -> Result<&Loaded> {
        self.loaded
            .get_or_try_init(|| async {
                let sdk = aws::sdk(&self.config.region, "us-east-1").await;
                let region = sdk.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string);
                let configured = Some(self.config.endpoint_url.as_str()).filter(|url| !url.is_empty());
                let endpoint = configured.or_else(|| sdk.endpoint_url());
                let is_path = self.config.path_style.unwrap_or(endpoint.is_some());
                let style = if is_path { UrlStyle::Path } else { UrlStyle::VirtualHost };
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                let endpoint = endpoint.map_or_else(|| format!("https://s3.{region}.{domain}"), str::to_owned);
                let endpoint = endpoint.parse().map_err(Error::internal)?;
                let bucket = rusty_s3::Bucket::new(endpoint, style, self.config.bucket.clone(), region);
                let bucket = bucket.map_err(Error::internal)?;
                Ok(Loaded { bucket, provider: sdk.credentials_provider(), current: Mutex::default() })
            })
            .await
    }

    async fn credentials(&self, loaded: &Loaded) -> Result<Credentials> {
        self.credentials_and_end(loaded).await.map(|(credentials, _)| credentials)
    }

    async fn credentials_and_end(&self, loaded: &Loaded) -> Result<(Credentials, Option<Millis>)> {
        let mut current = loaded.current.lock().await;
        let now = self.env.now();
        if let Some(Current { credentials, used_until, end }) = &*current
            && now < *used_until
        {
            return Ok((credentials.clone(), *end));
        }
        let provider = loaded.provider.as_ref().ok_or_else(no_credentials)?;
        let provided = timeout(CALL_TIMEOUT, provider.provide_credentials()).await;
        let found = match provided {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(no_credentials().because(Chain(&error).to_string())),
            Err(late) => return Err(no_credentials().because(late)),
        };
        let (key, secret) = (found.access_key_id(), found.secret_access_key());
        let credentials = match found.session_token() {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        };
        let end = found.expiry().and_then(|end| end.duration_since(std::time::UNIX_EPOCH).ok());
        let end = end.and_then(|end| Millis::try_from(end.as_millis()).ok());
        let used_until = end.map_or(now + FRESH, |end| (end - FRESH).max(now + SECOND));
        *current = Some(Current { credentials: credentials.clone(), used_until, end });
        Ok((credentials, end))
    }

    fn name_of(&self, key: &str) -> String {
        format!("{}{key}", self.config.prefix)
    }

    fn now(&self) -> Result<Timestamp> {
        Timestamp::from_millisecond(self.env.now()).map_err(Error::internal)
    }

    /// Writes a part that is not the last.
    pub async fn write(&self, writing: &mut Writing, part: Bytes) -> Result<()> {
        let loaded = self.loaded().await?;
        let object = self.name_of(&writing.object);
        if writing.upload_id.is_none() {
            let credentials = self.credentials(loaded).await?;
            let url = loaded.bucket.create_multipart_upload(Some(&credentials), &object);
            let url = url.sign_with_time(SIGNED_FOR, &self.now()?);
            let answer = self.call(Method::POST, url.as_str(), Bytes::new()).await?;
            let created = texts(&answer, "UploadId").next();
            writing.upload_id = Some(created.ok_or_else(|| unreadable("an upload without an id"))?.to_owned());
        }
        let upload_id = writing.upload_id.as_deref().unwrap_or_default();
        let number = u16::try_from(writing.etags.len() + 1).map_err(Error::internal)?;
        let credentials = self.credentials(loaded).await?;
        let url = loaded.bucket.upload_part(Some(&credentials), &object, number, upload_id);
        let url = url.sign_with_time(SIGNED_FOR, &self.now()?);
        let answer = self.send(Method::PUT, url.as_str(), None, part, PART_TIMEOUT).await?;
        let etag = answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok());
        writing.etags.push(etag.ok_or_else(|| unreadable("a part without an ETag"))?.to_owned());
        Ok(())
    }

    /// Writes the last part, and completes the object.
    pub async fn finish(&self, mut writing: Writing, part: Bytes) -> Result<()> {
        let loaded = self.loaded().await?;
        let object = self.name_of(&writing.object);
        if writing.upload_id.is_none() {
            let credentials = self.credentials(loaded).await?;
            let url = loaded.bucket.put_object(Some(&credentials), &object).sign_with_time(SIGNED_FOR, &self.now()?);
            return self.send(Method::PUT, url.as_str(), None, part, PART_TIMEOUT).await.map(drop);
        }
        if !part.is_empty() {
            self.write(&mut writing, part).await?;
        }
        let upload_id = writing.upload_id.as_deref().unwrap_or_default();
        let credentials = self.credentials(loaded).await?;
        let etags = writing.etags.iter().map(String::as_str);
        let complete = CompleteMultipartUpload::new(&loaded.bucket, Some(&credentials), &object, upload_id, etags);
        let url = complete.sign_with_time(SIGNED_FOR, &self.now()?);
        let answer = self.call(Method::POST, url.as_str(), complete.body().into()).await?;
        // A failure may come after the status 200.
        if texts(&answer, "ETag").next().is_some() {
            return Ok(());
        }
        Err(unreadable(format!("an upload was not completed: {}", code_of(&answer))))
    }

    /// Reads a part of an object into the channel.
    pub async fn read(
        &self,
        key: &str,
        first: u64,
        length: u64,
        to: mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<impl Future<Output = ()> + Send + 'static> {
        let loaded = self.loaded().await?;
        let credentials = self.credentials(loaded).await?;
        let object = self.name_of(key);
        let url = loaded.bucket.get_object(Some(&credentials), &object).sign_with_time(SIGNED_FOR, &self.now()?);
        let range = format!("bytes={first}-{}", first + length - 1);
        let answer = self.send(Method::GET, url.as_str(), Some(&range), Bytes::new(), CALL_TIMEOUT).await?;
        let announced = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced != length) {
            return Err(unreadable("an object of another size"));
        }
        let mut body = answer.into_body();
        Ok(async move {
            let mut left = length;
            while left > 0 {
                let frame = match timeout(READ_TIMEOUT, body.frame()).await {
                    Ok(Some(Ok(frame))) => Ok(frame),
                    Ok(Some(Err(error))) => Err(io::Error::other(error)),
                    Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                let chunk = match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => Ok(data),
                    Ok(Err(_)) => continue,
                    Err(error) => Err(error),
                };
                let read = chunk.as_ref().map_or(0, |data| data.len() as u64);
                let is_end = chunk.is_err();
                left = left.saturating_sub(read);
                if to.send(chunk).await.is_err() || is_end {
                    return;
                }
            }
        })
    }

    /// Removes an object if it is there; of an upload also the parts that were written.
    pub async fn remove(&self, key: &str, is_upload: bool) -> Result<()> {
        let loaded = self.loaded().await?;
        let object = self.name_of(key);
        if is_upload {
            self.abort(loaded, &object).await?;
        }
        let credentials = self.credentials(loaded).await?;
        let url = loaded.bucket.delete_object(Some(&credentials), &object).sign_with_time(SIGNED_FOR, &self.now()?);
        match self.send(Method::DELETE, url.as_str(), None, Bytes::new(), CALL_TIMEOUT).await {
            Err(error) if error.code == Code::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Aborts the multipart uploads of an object.
    async fn abort(&self, loaded: &Loaded, object: &str) -> Result<()> {
        let credentials = self.credentials(loaded).await?;
        let query = [("prefix", object), ("uploads", "1")];
        let url = signing::sign(
            &self.now()?,
            rusty_s3::Method::Get,
            loaded.bucket.base_url().clone(),
            credentials.key(),
            credentials.secret(),
            credentials.token(),
            loaded.bucket.region(),
            SIGNED_FOR.as_secs(),
            query.into_iter(),
            std::iter::empty(),
        );
        let list = self.call(Method::GET, url.as_str(), Bytes::new()).await?;
        for upload_id in texts(&list, "UploadId") {
            let abort = AbortMultipartUpload::new(&loaded.bucket, Some(&credentials), object, upload_id);
            let url = abort.sign_with_time(SIGNED_FOR, &self.now()?);
            match self.send(Method::DELETE, url.as_str(), None, Bytes::new(), CALL_TIMEOUT).await {
                Err(error) if error.code != Code::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// A URL by which whoever has it gets the object, and when it ends: no later than the credentials that sign it.
    pub async fn link(&self, key: &str, kind: &str, disposition: &str, expires_at: Millis) -> Result<(Secret, Millis)> {
        let loaded = self.loaded().await?;
        let (credentials, end) = self.credentials_and_end(loaded).await?;
        let expires_at = end.map_or(expires_at, |end| expires_at.min(end));
        let life = u64::try_from(expires_at - self.env.now()).map_err(|_| no_credentials())?;
        let object = self.name_of(key);
        let mut action = loaded.bucket.get_object(Some(&credentials), &object);
        action.query_mut().insert("response-content-disposition", disposition);
        action.query_mut().insert("response-content-type", kind);
        let url = action.sign_with_time(Duration::from_millis(life), &self.now()?);
        Ok((Secret::new(url.as_str().to_owned()), expires_at))
    }

    /// The body of an answer.
    async fn call(&self, method: Method, url: &str, body: Bytes) -> Result<String> {
        let answer = self.send(method, url, None, body, CALL_TIMEOUT).await?;
        text(answer).await
    }

    /// Sends a signed request, again if the server did not answer it. Refusals are errors.
    async fn send(
        &self,
        method: Method,
        url: &str,
        range: Option<&str>,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response<Incoming>> {
        let mut tries = 1;
        loop {
            let mut request = Request::builder().method(method.clone()).uri(url);
            if let Some(range) = range {
                request = request.header(RANGE, range);
            }
            let request = request.body(Full::new(body.clone())).map_err(Error::internal)?;
            let error = match timeout(limit, self.https.request(request)).await {
                Ok(Ok(answer)) if answer.status().is_success() => return Ok(answer),
                Ok(Ok(answer)) => refused(answer).await,
                // Not the URL, which is a credential.
                Ok(Err(error)) => no_answer(Chain(&error).to_string()),
                Err(_) => no_answer(format!("no answer within {} s", limit.as_secs())),
            };
            if error.code != Code::Unavailable || tries == TRIES {
                return Err(error);
            }
            tries += 1;
        }
    }
}

async fn text(answer: Response<Incoming>) -> Result<String> {
    let body = timeout(CALL_TIMEOUT, Limited::new(answer.into_body(), MAX_ANSWER).collect()).await;
    let body = body.map_err(|late| no_answer(late.to_string()))?.map_err(|error| no_answer(error.to_string()))?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(unreadable)
}

/// The texts of the elements of this name, as they are written. Servers differ in namespaces and roots of what they answer
/// (rclone's in both), and what is read here has no characters that XML would escape.
fn texts<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    xml.split('<').filter_map(move |rest| rest.strip_prefix(name)?.strip_prefix('>'))
}

/// The code of an error in XML.
fn code_of(body: &str) -> &str {
    let code = texts(body, "Code").next().unwrap_or_default();
    if code.bytes().all(|c| c.is_ascii_alphanumeric()) { code } else { "" }
}

async fn refused(answer: Response<Incoming>) -> Error {
    let status = answer.status();
    let body = text(answer).await.unwrap_or_default();
    let source = format!("S3 answers {status} {}", code_of(&body));
    match status {
        StatusCode::NOT_FOUND => Error::new(Code::NotFound, "the store of files does not have this").because(source),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => no_answer(source),
        _ => Error::new(Code::UpstreamFailed, "the store of files refused this; its operator finds why in the log")
            .because(source),
    }
}

fn no_answer(source: String) -> Error {
    Error::unavailable("the store of files does not answer; try again", source).retry_after(5)
}

fn unreadable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Code::UpstreamFailed, "the store of files sent an unreadable answer").because(source)
}

fn no_credentials() -> Error {
    Error::new(
        Code::UpstreamFailed,
        "authd has no AWS credentials for its files: give it AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a \
         role of the machine it runs on",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_codes_are_found_in_answers() {
        let list =
            "<R><Upload><Key>a</Key><UploadId>x-1</UploadId></Upload><Upload><UploadId>y</UploadId></Upload></R>";
        assert_eq!(texts(list, "UploadId").collect::<Vec<_>>(), ["x-1", "y"]);
        assert_eq!(texts("<R/>", "UploadId").count(), 0);
        assert_eq!(code_of("<Error><Code>NoSuchBucket</Code></Error>"), "NoSuchBucket");
        assert_eq!(code_of("<Code>a\nb</Code>"), "");
    }

    #[tokio::test]
    async fn a_link_ends_with_the_credentials_that_sign_it() {
        const NOW: Millis = 1_800_000_000_000;
        let now = std::time::UNIX_EPOCH + Duration::from_millis(NOW.unsigned_abs());
        for (credentials_end, expected) in
            [(None, 60 * MINUTE), (Some(120 * MINUTE), 60 * MINUTE), (Some(8 * MINUTE), 8 * MINUTE)]
        {
            let end = credentials_end.map(|end: Millis| now + Duration::from_millis(end.unsigned_abs()));
            let given = aws_credential_types::Credentials::new("AKIDEXAMPLE", "secret", None, end, "test");
            let provider = Some(SharedCredentialsProvider::new(given));
            let endpoint = "https://s3.eu-west-1.amazonaws.com".parse().unwrap();
            let bucket = rusty_s3::Bucket::new(endpoint, UrlStyle::VirtualHost, "files", "eu-west-1").unwrap();
            let (env, _) = Env::fixed(NOW);
            let bucket = Bucket {
                loaded: OnceCell::new_with(Some(Loaded { bucket, provider, current: Mutex::default() })),
                ..Bucket::new(&Config::default(), &env)
            };
            // The second one is signed by the credentials that the first has loaded.
            for _ in 0..2 {
                let link = bucket.link("key", "image/png", "attachment", NOW + 60 * MINUTE).await;
                let (url, end) = link.unwrap();
                assert_eq!(end, NOW + expected, "{credentials_end:?}");
                let life = format!("X-Amz-Expires={}&", expected / SECOND);
                assert!(url.expose().contains(&life), "{}", url.expose());
            }
        }
    }
}
