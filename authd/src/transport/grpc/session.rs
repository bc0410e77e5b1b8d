//! `session.Session`: sign-in and sign-out.

use ::http::HeaderMap;
use shared::api::sessions::{LoggedOut, Login, Logout};
use shared::grpc::session::LoginRequest;

use super::method::text;
use super::{Service, sso};
use crate::accounts::SignedIn;
use crate::error::Result;

pub(super) fn register(service: &mut Service<'_>) -> anyhow::Result<()> {
    service.unary("Login", login, signed_in)?;
    service.unary("Logout", |(), _| Ok(Logout {}), |_: LoggedOut, _| Ok(()))
}

fn login(message: LoginRequest, _: &HeaderMap) -> Result<Login> {
    let LoginRequest { ident, pwd, totp } = message;
    Ok(Login { username: text("ident", ident)?, password: sso::password(pwd)?, totp: sso::code(totp)? })
}

/// The answer to a sign-in: the session token, signed.
pub(super) fn signed_in(view: SignedIn, metadata: &mut HeaderMap) -> Result<()> {
    sso::add_token(metadata, &view.signed)
}
