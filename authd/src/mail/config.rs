//! The settings of mail: the server as a URL, the sender, the templates and the limits.

use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};
use shared::email::Email;
use shared::secret::{Secret, redacted};
use shared::{names, url, wire};

use super::template::Templates;
use crate::setting::Faults;

const URL: &str = "mail.smtp_url (SMTP_URL)";
const FROM: &str = "mail.from (SMTP_FROM)";
const FORM: &str = "smtp://USER:PASSWORD@HOST:587 (STARTTLS) or smtps://USER:PASSWORD@HOST:465 (TLS)";

/// `[mail]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The mail server: `smtp://…` requires STARTTLS, `smtps://…` begins with TLS, `smtp://…?tls=none` is plain text.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub smtp_url: Option<Secret>,
    /// The sender: an address, or `Name <address>`.
    pub from: String,
    /// A folder whose files replace the built-in templates of the same name; empty: none.
    pub templates: PathBuf,
    /// About how many mails may wait to be sent; those that tell of changes have room of their own.
    pub max_queued: u32,
    /// How many mails people may ask for in an hour: in all, to one address, and from one network.
    pub per_hour: u32,
    pub per_address_per_hour: u32,
    pub per_network_per_hour: u32,
    /// `authd --dev`: mails are printed.
    #[serde(skip)]
    pub is_printed: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            smtp_url: None,
            from: String::new(),
            templates: PathBuf::new(),
            max_queued: 10_000,
            per_hour: 1_000,
            per_address_per_hour: 5,
            per_network_per_hour: 20,
            is_printed: false,
        }
    }
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        if let Some(text) = &self.smtp_url {
            match Server::parse(text.expose()) {
                Err(fault) => faults.refuse(format!("{URL}: {fault}")),
                Ok(server) if server.security == Security::None && !url::is_loopback(&server.host) => {
                    faults.warn(format!(
                        "{URL}: mails and their links pass through an unencrypted connection to another machine; remove tls=none"
                    ));
                }
                Ok(_) => {}
            }
            if self.from.is_empty() {
                faults.refuse(format!("{FROM} is missing: the address from which mails are sent"));
            }
        }
        if !self.from.is_empty()
            && let Err(fault) = sender(&self.from)
        {
            faults.refuse(format!("{FROM}: {fault}"));
        }
        for (name, limit) in [
            ("max_queued", self.max_queued),
            ("per_hour", self.per_hour),
            ("per_address_per_hour", self.per_address_per_hour),
            ("per_network_per_hour", self.per_network_per_hour),
        ] {
            faults.require((1..=1_000_000).contains(&limit), &format!("mail.{name} must be from 1 to 1000000"));
        }
    }

    /// Checks the templates.
    pub fn check_place(&self, faults: &mut Faults) {
        Templates::load(self.templates()).err().into_iter().flatten().for_each(|fault| faults.refuse(fault));
    }

    pub(super) fn templates(&self) -> Option<&Path> {
        Some(self.templates.as_path()).filter(|folder| !folder.as_os_str().is_empty())
    }

    /// The mail server and the sender, if they are set; they were checked.
    pub(super) fn server(&self) -> Option<(Server, Mailbox)> {
        let server = Server::parse(self.smtp_url.as_ref()?.expose()).ok()?;
        Some((server, sender(&self.from).ok()?))
    }
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS from the start.
    Tls,
    StartTls,
    None,
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub login: Option<(String, Secret)>,
}

impl Server {
    /// Parses `smtp://` and `smtps://`. The error does not quote the URL, which has a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("it is not of the form {FORM}");
        let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let security = match (scheme.to_ascii_lowercase().as_str(), query) {
            ("smtps", None) => Security::Tls,
            ("smtp", None) => Security::StartTls,
            ("smtp", Some("tls=none")) => Security::None,
            ("smtp" | "smtps", Some(_)) => return Err("after ? it can only have tls=none, for smtp://".to_owned()),
            _ => return Err(form()),
        };
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        // The one reader of hosts and ports; its errors do not quote them.
        let uri = url::parse(&format!("https://{place}")).map_err(|_| form())?;
        if uri.path() != "/" || place.contains('/') {
            return Err(form());
        }
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').ok_or("a password is missing: USER:PASSWORD@")?;
            let decode = |part: &str| {
                let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/@#[]\"<>\\^`{|}:".contains(&byte);
                let decoded = wire::percent_decode(part, false).ok().filter(|_| part.bytes().all(is_plain));
                let decoded = decoded.map(std::borrow::Cow::into_owned);
                decoded
                    .ok_or("special characters of user name and password must be percent-encoded (@ is %40, / is %2F)")
            };
            let (user, password) = (decode(user)?, decode(password)?);
            if user.is_empty() || user.chars().chain(password.chars()).any(char::is_control) {
                return Err("the user name is empty, or there are control characters in it or in the password");
            }
            Ok((user, Secret::new(password)))
        });
        Ok(Self {
            host: uri.host().ok_or_else(form)?.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(if security == Security::Tls { 465 } else { 587 }),
            security,
            login: login.transpose()?,
        })
    }
}

/// Parses the sender.
fn sender(text: &str) -> Result<Mailbox, String> {
    let (name, address) = match text.trim().strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim(), address),
        None => ("", text.trim()),
    };
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    if !name.is_empty() {
        names::check_visible(name, names::MAX).map_err(|fault| format!("the name before the address: {fault}"))?;
    }
    let email = Email::parse(address)?;
    if !email.address().is_ascii() {
        return Err(
            "the sender's address must be ASCII before the @, because not every mail server takes others".to_owned()
        );
    }
    let address = email.address().parse().map_err(|error| format!("{error}"))?;
    Ok(Mailbox::new(Some(name.to_owned()).filter(|name| !name.is_empty()), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_a_url() {
        let parse = |text| Server::parse(text).unwrap();
        let login = Some(("ada@example.com".to_owned(), Secret::new("p@ss/w%rd")));
        let full = parse("smtp://ada%40example.com:p%40ss%2Fw%25rd@mail.example.com:2525");
        let expected =
            Server { host: "mail.example.com".into(), port: 2525, security: Security::StartTls, login: login.clone() };
        assert_eq!(full, expected);
        let tls = parse("SMTPS://ada%40example.com:p%40ss%2Fw%25rd@mail.example.com/");
        assert_eq!((tls.port, tls.security, tls.login), (465, Security::Tls, login));
        let plain = parse("smtp://[::1]?tls=none");
        assert_eq!((plain.host.as_str(), plain.port, plain.security), ("::1", 587, Security::None));
        for (text, says) in [
            ("mail.example.com:587", "form"),
            ("http://mail.example.com", "form"),
            ("smtp://", "form"),
            ("smtp://mail.example.com:99999", "form"),
            ("smtp://mail.example.com/x", "form"),
            ("smtp://c4n4ry@mail.example.com", "password is missing"),
            ("smtp://a:c4n4ry/x@mail.example.com", "percent-encoded"),
            ("smtp://a:c4n4ry%0d%0aRCPT@mail.example.com", "control characters"),
            ("smtp://a:c4n4ry@mail.example.com?tls=off", "tls=none"),
            ("smtps://a:c4n4ry@mail.example.com?tls=none", "tls=none"),
        ] {
            let error = Server::parse(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("c4n4ry"), "{text}: {error}");
        }
    }

    #[test]
    fn a_sender_has_an_address_and_may_have_a_name() {
        let shown = |text| sender(text).map(|mailbox| mailbox.to_string());
        assert_eq!(shown("auth@example.com").unwrap(), "auth@example.com");
        assert_eq!(shown("Example <Auth@Example.com>").unwrap(), "Example <Auth@example.com>");
        assert_eq!(shown("\"Example, Inc.\" <auth@example.com>").unwrap(), "\"Example, Inc.\" <auth@example.com>");
        for wrong in
            ["", "Example", "Example <auth>", "a\r\nBcc: x <auth@example.com>", "a@b.c, d@e.f", "zoë@example.com"]
        {
            assert!(sender(wrong).is_err(), "{wrong:?}");
        }
    }
}
