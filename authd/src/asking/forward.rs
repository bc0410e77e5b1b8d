//! May this request pass? Asked by a proxy for each request, decided by a policy of the configuration.

use std::net::IpAddr;

use shared::problem::Code;

use super::model::Asked;
use crate::app::App;
use crate::config::{Policy, Rule};
use crate::error::{Error, Result};
use crate::names;
use crate::sessions::live;

/// Who makes a request that may pass, as the service behind the proxy is told: visible ASCII and spaces. What does
/// not apply is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The id of the API token, or of the user.
    pub subject: String,
    /// The name of the API token, or of the user; percent-encoded.
    pub name: String,
    /// Of an API token, separated by spaces.
    pub scopes: String,
    /// Of a person in the policy's service, percent-encoded, separated by spaces.
    pub roles: String,
    pub permissions: String,
    pub token_id: String,
    pub session_id: String,
}

/// Decides by the first rule that fits; how the credential could not be read is told only where one is needed. `address` is the client's, as far as trusted proxies tell.
pub async fn decide(
    app: &App,
    policy: &Policy,
    asked: &Asked,
    credential: Result<Option<&str>>,
    address: Option<IpAddr>,
) -> Result<Identity> {
    let Some(rule) = policy.rule(asked) else {
        return Err(Error::new(Code::Forbidden, "no rule lets anybody make this request"));
    };
    if rule.public {
        return Ok(Identity::default());
    }
    match credential? {
        None => {
            let detail = "this needs credentials: Authorization: Bearer <token>, or the header token";
            Err(Error::new(Code::Unauthenticated, detail))
        }
        Some(token) if live::is_token(token) => person(app, policy, rule, token).await,
        Some(token) => api_token(app, rule, token, address).await,
    }
}

async fn api_token(app: &App, rule: &Rule, token: &str, address: Option<IpAddr>) -> Result<Identity> {
    let found = app.tokens.look_up(app, token).await?;
    let found = found.ok_or_else(|| Error::new(Code::InvalidToken, "no token is known by this secret"))?;
    let (grant, now) = (found.grant(), app.world.now());
    grant.judge(now, &[], address).map_err(|refusal| Error::new(Code::InvalidToken, refusal.detail()))?;
    // A service's own token asks about others; it is nobody's identity.
    if grant.scopes.service.is_some() || !rule.admits_token(grant.scopes.list()) {
        return Err(Error::new(Code::Forbidden, "the token may not make this request"));
    }
    app.tokens.mark_use(&found, now);
    let name: String = serde_json::from_str(&grant.name_json).map_err(Error::internal)?;
    let id = grant.token_id.to_string();
    Ok(Identity {
        subject: id.clone(),
        name: encoded(&name),
        scopes: grant.scopes.list().join(" "),
        token_id: id,
        ..Identity::default()
    })
}

async fn person(app: &App, policy: &Policy, rule: &Rule, token: &str) -> Result<Identity> {
    let touched = app.sessions.touch(app, token).await?;
    let (live, _) = touched.ok_or_else(|| Error::new(Code::InvalidToken, "the session has ended; sign in again"))?;
    let refused = || Error::new(Code::Forbidden, "you may not make this request");
    let named = policy.service.as_deref().ok_or_else(refused)?;
    let service = app.rbac.service(app, named).await?.filter(|service| service.is_active).ok_or_else(refused)?;
    let access = app.rbac.access(app, live.user_id, service.id).await?;
    if !rule.admits_person(&access) {
        return Err(refused());
    }
    Ok(Identity {
        subject: live.user_id.to_string(),
        name: encoded(&live.username()?),
        roles: names::encode_list(&access.roles),
        permissions: access.scope().to_owned(),
        session_id: live.id.to_string(),
        ..Identity::default()
    })
}

fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    names::encode(name, &mut text);
    text
}
