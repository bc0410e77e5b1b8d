//! One mail to the mail server (RFC 5321), by lettre's messages and commands; the steps are taken here, because what a refusal means
//! depends on the step: what the server says of the recipient or of the mail is about this mail, and anything before is
//! about the server or our settings, and no reason to give up a mail.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use shared::id::MailId;
use shared::names;

use super::config::Server;
use super::connection::Tls;
use super::template::Rendered;
use crate::env::Millis;

/// Time limits: of the connection with TLS, of each command, and of the mail's own text, which a
/// server may look through before it answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);
const DATA_TIMEOUT: Duration = Duration::from_secs(60);
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Of everything before the mail's own text.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time from the start of the text to its end.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(75);

/// Maximum number of characters of an error that is kept.
const MAX_ERROR: usize = 300;

/// Why a mail was not sent. The text is cleaned and bounded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server refuses this mail for good.
    Refused(String),
    /// Another attempt may succeed.
    Later(String),
}

/// The mail server.
pub(super) struct Smtp {
    server: Server,
    from: Mailbox,
    hello: ClientId,
    tls: Tls,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.server.fmt(f)
    }
}

/// A connection on which the server has accepted the recipient.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
}

/// A mail as it is sent.
pub(super) struct Letter {
    to: Address,
    bytes: Vec<u8>,
}

impl Smtp {
    /// `host` is that of the public URL.
    pub(super) fn new(server: Server, from: Mailbox, host: &str) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let hello = match bare.parse() {
            Ok(std::net::IpAddr::V4(address)) => ClientId::Ipv4(address),
            Ok(std::net::IpAddr::V6(address)) => ClientId::Ipv6(address),
            Err(_) => ClientId::Domain(host.to_owned()),
        };
        Self { server, from, hello, tls: Tls::default() }
    }

    /// The mail with its headers. Its Message-ID is the same at every attempt, so that a mailbox can tell repetitions.
    pub(super) fn letter(&self, id: MailId, at: Millis, to: &str, words: Rendered) -> Result<Letter, Failure> {
        let unusable = |error: &dyn std::fmt::Display| Failure::Refused(cleaned(&error.to_string()));
        let to: Address = to.parse().map_err(|error| unusable(&error))?;
        let date = UNIX_EPOCH + Duration::from_millis(at.max(0).unsigned_abs());
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(words.subject)
            .date(date)
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(words.text, words.html));
        let bytes = message.map_err(|error| unusable(&error))?.formatted();
        Ok(Letter { to, bytes })
    }

    /// Connects, signs in, and names sender and recipient.
    pub(super) async fn open(&self, letter: &Letter) -> Result<Session, Failure> {
        let opening = tokio::time::timeout(OPEN_TIMEOUT, async {
            let mut connection = self.connect().await?;
            let outcome = self.address(&mut connection, letter).await;
            match outcome {
                Ok(()) => Ok(Session { connection }),
                Err(failure) => {
                    quit(connection).await;
                    Err(failure)
                }
            }
        });
        opening.await.unwrap_or_else(|_| Err(Failure::Later("the mail server is too slow".to_owned())))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.tls.connect(&self.server, &self.hello));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure::Later(cleaned(&format!("connecting: {error}")))),
            Err(_) => return Err(Failure::Later("connecting: the mail server does not answer".to_owned())),
        };
        let greeting = AsyncSmtpConnection::connect_with_transport(stream, &self.hello);
        let mut connection = step("EHLO", COMMAND_TIMEOUT, greeting).await.map_err(later)?;
        if let Some((user, password)) = &self.server.login {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let signing_in = connection.auth(DEFAULT_MECHANISMS, &credentials);
            step("AUTH", COMMAND_TIMEOUT, signing_in).await.map_err(later)?;
        }
        Ok(connection)
    }

    async fn address(&self, connection: &mut AsyncSmtpConnection, letter: &Letter) -> Result<(), Failure> {
        let mut parameters = Vec::new();
        if !<Address as AsRef<str>>::as_ref(&letter.to).is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let detail = "the mail server does not take addresses with characters outside of ASCII (SMTPUTF8)";
                return Err(Failure::Refused(detail.to_owned()));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !letter.bytes.is_ascii() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let sender = Mail::new(Some(self.from.email.clone()), parameters);
        step("MAIL FROM", COMMAND_TIMEOUT, connection.command(sender)).await.map_err(later)?;
        let recipient = Rcpt::new(letter.to.clone(), Vec::new());
        step("RCPT TO", COMMAND_TIMEOUT, connection.command(recipient)).await.map_err(judged)?;
        Ok(())
    }
}

impl Session {
    /// Sends the text. Once this has returned without a failure, the server has the mail.
    pub(super) async fn send(&mut self, letter: &Letter) -> Result<(), Failure> {
        step("DATA", COMMAND_TIMEOUT, self.connection.command(Data)).await.map_err(judged)?;
        step("the text", DATA_TIMEOUT, self.connection.message(&letter.bytes)).await.map_err(judged)?;
        Ok(())
    }

    pub(super) async fn end(self) {
        quit(self.connection).await;
    }
}

async fn quit(mut connection: AsyncSmtpConnection) {
    let _ = tokio::time::timeout(QUIT_TIMEOUT, connection.abort()).await;
}

/// Why a step failed: the text, and whether the server refused for good.
struct StepError {
    text: String,
    is_permanent: bool,
}

fn later(error: StepError) -> Failure {
    Failure::Later(error.text)
}

fn judged(error: StepError) -> Failure {
    if error.is_permanent { Failure::Refused(error.text) } else { Failure::Later(error.text) }
}

async fn step<T>(
    name: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, SmtpError>>,
) -> Result<T, StepError> {
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let text = match error.status() {
                Some(code) => format!("{name}: the mail server answers {code} {reason}"),
                None => format!("{name}: {reason}"),
            };
            Err(StepError { text: cleaned(&text), is_permanent: error.is_permanent() })
        }
        Err(_) => Err(StepError { text: format!("{name}: no answer in {} s", limit.as_secs()), is_permanent: false }),
    }
}

/// Text of another program, in one line and bounded.
fn cleaned(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control() && !names::is_invisible(*c)).take(MAX_ERROR).collect()
}

/// `Auto-Submitted: auto-generated` (RFC 3834): no vacation notice answers it.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
