//! `user.User`: accounts that people own. Each method is two or three operations: the token or the code that a call has
//! says which.

use ::http::HeaderMap;
use prost::Message;
use shared::api::Done;
use shared::api::accounts::{
    ConfirmReset, DeleteAccount, MailRequested, RECOVERY_CODES_HEADER, RequestReset, SignUp, TOTP_SECRET_HEADER,
    VerifySignUp,
};
use shared::api::factors::{ConfirmTotp, DisableTotp, EnableTotp, PendingTotp, RecoveryCodes};
use shared::grpc::user::{Actions, DeleteRequest, ResetRequest, SignupRequest, TotpRequest};
use shared::problem::Code;
use shared::secret::Secret;

use super::method::text;
use super::session::signed_in;
use super::{Service, sso};
use crate::error::{Error, Result};

pub(super) fn register(service: &mut Service<'_>) -> anyhow::Result<()> {
    let by_token = |metadata: &HeaderMap, _: &[u8]| usize::from(sso::has_token(metadata));
    let sign_up = vec![service.operation(sign_up, mailed)?, service.operation(verify_sign_up, signed_in)?];
    service.method("Signup", sign_up, by_token)?;
    let reset = vec![service.operation(request_reset, mailed)?, service.operation(confirm_reset, done)?];
    service.method("Reset", reset, by_token)?;
    service.unary("Delete", delete, done)?;
    let totp = vec![
        service.operation(enable_totp, pending)?,
        service.operation(confirm_totp, confirmed)?,
        service.operation(disable_totp, done)?,
    ];
    service.method("Totp", totp, |_, message| match TotpRequest::decode(message) {
        Ok(message) if message.action() == Actions::Disable => 2,
        Ok(message) if !message.totp.is_empty() => 1,
        _ => 0,
    })
}

/// The token of a mail.
fn mailed_token(metadata: &HeaderMap) -> Result<Secret> {
    Ok(Secret::new(sso::sent(metadata)?.unwrap_or_default()))
}

/// Refuses a password that is not in base64 before a mail is sent.
fn check_password(pwd: String) -> Result<()> {
    if pwd.is_empty() { Ok(()) } else { sso::password(pwd).map(drop) }
}

fn sign_up(message: SignupRequest, _: &HeaderMap) -> Result<SignUp> {
    check_password(message.pwd)?;
    Ok(SignUp { email: text("email", message.email)? })
}

fn verify_sign_up(message: SignupRequest, metadata: &HeaderMap) -> Result<VerifySignUp> {
    let SignupRequest { email, pwd } = message;
    let (token, email) = (mailed_token(metadata)?, Some(text("email", email)?));
    Ok(VerifySignUp { token, email, password: sso::password(pwd)?, name: None })
}

fn request_reset(message: ResetRequest, _: &HeaderMap) -> Result<RequestReset> {
    check_password(message.pwd)?;
    Ok(RequestReset { email: text("email", message.email)? })
}

fn confirm_reset(message: ResetRequest, metadata: &HeaderMap) -> Result<ConfirmReset> {
    let ResetRequest { email, pwd, totp } = message;
    let (token, email) = (mailed_token(metadata)?, Some(text("email", email)?));
    Ok(ConfirmReset { token, email, password: sso::password(pwd)?, totp: sso::code(totp)? })
}

/// A mail was sent: the caller has to call again with its token.
fn mailed(_: MailRequested, _: &mut HeaderMap) -> Result<()> {
    let detail = "a token is mailed to this address: call again with it, in base64, as the metadata authorization";
    Err(Error::new(Code::VerificationRequired, detail))
}

fn delete(message: DeleteRequest, _: &HeaderMap) -> Result<DeleteAccount> {
    Ok(DeleteAccount { password: sso::password(message.pwd)?, totp: sso::code(message.totp)? })
}

#[expect(clippy::unnecessary_wraps, reason = "the function of a method may fail")]
fn done(_: Done, _: &mut HeaderMap) -> Result<()> {
    Ok(())
}

fn enable_totp(message: TotpRequest, _: &HeaderMap) -> Result<EnableTotp> {
    check_action(&message)?;
    Ok(EnableTotp { password: sso::password(message.pwd)? })
}

fn check_action(message: &TotpRequest) -> Result<()> {
    let unknown = |_| Error::new(Code::MalformedRequest, "action is neither ENABLE (0) nor DISABLE (1)");
    Actions::try_from(message.action).map(drop).map_err(unknown)
}

fn pending(view: PendingTotp, metadata: &mut HeaderMap) -> Result<()> {
    sso::add(metadata, TOTP_SECRET_HEADER, view.secret.expose())
}

fn confirm_totp(message: TotpRequest, _: &HeaderMap) -> Result<ConfirmTotp> {
    check_action(&message)?;
    let password = Some(sso::password(message.pwd)?);
    Ok(ConfirmTotp { code: Secret::new(text("totp", message.totp)?), password })
}

fn confirmed(view: RecoveryCodes, metadata: &mut HeaderMap) -> Result<()> {
    let codes: Vec<&str> = view.recovery_codes.iter().map(Secret::expose).collect();
    sso::add(metadata, RECOVERY_CODES_HEADER, &codes.join(" "))
}

fn disable_totp(message: TotpRequest, _: &HeaderMap) -> Result<DisableTotp> {
    Ok(DisableTotp { password: sso::password(message.pwd)?, code: Secret::new(text("totp", message.totp)?) })
}
