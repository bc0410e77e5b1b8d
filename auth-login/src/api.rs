//! The four calls to authd, and the errors that a person sees when they fail.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use shared::api::cli_login::{
    Authorized, EndLogin, EndedLogin, LoginAnswer, LoginStatus, RenewLogin, StartLogin, StartedLogin,
};
use shared::cli::Exit;
use shared::client::{Client, Endpoint, Error as CallError};
use shared::problem::Code;
use shared::secret::Secret;

use crate::error::Error;

/// Parses a server's URL: https, this machine, or explicitly allowed. Secrets are never sent in clear by accident.
pub fn parse_server(url: &str, insecure: bool) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::url(url).map_err(Error::usage)?;
    if endpoint.is_private() || insecure {
        return Ok(endpoint);
    }
    Err(Error::usage(format!(
        "{endpoint} is not encrypted: others on the network could read your keys. Use https, or --insecure for a \
         network that you trust"
    )))
}

/// A connection to authd.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
}

/// Why a session has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// authd's own word for it, such as `ended_by_administrator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for a person.
    pub detail: String,
}

impl End {
    fn new(reason: Option<String>) -> Self {
        let detail = match reason.as_deref() {
            Some("ended_by_administrator") => "an administrator has ended the session",
            Some("refused_by_provider") => "the identity provider has refused to renew the sign-in",
            Some("expired") => "the session has expired",
            Some("sign_in_expired") => "the sign-in at the identity provider has expired",
            Some("user_not_active") => "the account is not active any more",
            Some("refresh_token_reused") => "the session has ended: its token was used twice, perhaps by somebody else",
            Some("denied") => "the session was denied in the browser",
            Some("ended_by_user" | "logged_out") => "the session was signed out",
            Some(_) | None => "the session has ended",
        };
        Self { reason, detail: detail.to_owned() }
    }
}

/// Why a renewal failed.
#[derive(Debug)]
pub enum NoRenewal {
    /// The session has ended; a new sign-in is required.
    Ended(End),
    /// It may work later; the token is still valid.
    Failed(Error),
}

impl Api {
    pub fn new(server: &Endpoint) -> Self {
        Self { client: Client::new(server.clone()) }
    }

    pub async fn start(&self, request: &StartLogin) -> Result<StartedLogin, Error> {
        Ok(self.client.call(request).await?)
    }

    pub async fn status(&self, request: &LoginStatus) -> Result<LoginAnswer, CallError> {
        self.client.call(request).await
    }

    pub async fn renew(&self, token: Secret, role: Option<&str>) -> Result<Authorized, NoRenewal> {
        let request = RenewLogin { refresh_token: token, role: role.map(str::to_owned), duration_seconds: None };
        match self.client.call(&request).await {
            Ok(LoginAnswer::Authorized(answer)) => Ok(*answer),
            Ok(LoginAnswer::Expired(ended)) => Err(NoRenewal::Ended(End::new(ended.reason))),
            Ok(LoginAnswer::Denied(_)) => Err(NoRenewal::Ended(End::new(Some("denied".to_owned())))),
            Ok(LoginAnswer::Pending(_)) => {
                Err(NoRenewal::Failed(Error::unreachable("authd is still busy with this session; try again")))
            }
            Err(CallError::Refused(problem)) if matches!(problem.error, Code::SessionEnded | Code::InvalidToken) => {
                let reason = Some(problem.error.as_str().to_owned());
                Err(NoRenewal::Ended(End { reason, detail: problem.detail }))
            }
            Err(error) => Err(NoRenewal::Failed(error.into())),
        }
    }

    /// Ends the session; `None` if it had ended before.
    pub async fn logout(&self, token: Secret) -> Result<Option<EndedLogin>, Error> {
        match self.client.call(&EndLogin { refresh_token: token }).await {
            Ok(ended) => Ok(Some(ended)),
            Err(CallError::Refused(problem)) if problem.status == 401 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the error is temporary, so that the same call may succeed later.
pub fn is_passing(error: &CallError) -> bool {
    match error {
        // The login was started there, so an answer that is not authd's is a temporary one of a proxy in front of it.
        CallError::Unreachable { .. } | CallError::NoAnswer { .. } | CallError::NotAuthd { .. } => true,
        CallError::Refused(problem) => matches!(problem.status, 429 | 503),
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let hint = match &error {
            CallError::Unreachable { .. } => ". Is authd running there? If not, name its address with --server URL",
            CallError::NotAuthd { .. } => ". Name authd's address with --server URL",
            CallError::NoAnswer { .. } => ". Try again",
            CallError::Refused(_) => "",
        };
        let mut detail = format!("{error}{hint}");
        let CallError::Refused(problem) = &error else { return Self::new(Exit::from(&error), detail) };
        for field in &problem.fields {
            let _ = write!(detail, "\n  {}: {}", field.field, field.detail);
        }
        if let Some(request_id) = &problem.request_id {
            let _ = write!(detail, " (request {request_id})");
        }
        // For a script, a daemon that is unavailable is the same as one that is unreachable.
        let exit = if problem.status == 503 { Exit::Unreachable } else { Exit::from(&error) };
        Self::new(exit, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_text_stays_on_this_machine_unless_allowed() {
        assert!(parse_server("http://127.0.0.1:8080", false).is_ok());
        assert!(parse_server("http://localhost:8080/", false).is_ok());
        assert!(parse_server("https://auth.example.test", false).is_ok());
        assert!(parse_server("http://auth.example.test", true).is_ok());
        let error = parse_server("http://auth.example.test", false).unwrap_err();
        assert!(error.to_string().contains("--insecure"));
    }

    #[test]
    fn a_trailing_slash_makes_no_other_server() {
        let server = |url| parse_server(url, false).unwrap().to_string();
        assert_eq!(server("http://127.0.0.1:8080/"), server("http://127.0.0.1:8080"));
    }
}
