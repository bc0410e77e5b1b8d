//! `auth-login exec -- COMMAND`: runs the command with fresh keys, and no other source of keys, in its environment.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{Context, renewal};
use crate::error::Error;

/// Variables that an SDK could use instead of, or together with, the keys that are set.
const UNSET: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

pub async fn run(context: &mut Context<'_>, command: &[OsString]) -> Result<(), Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::usage("exec needs a command: auth-login exec -- aws sts get-caller-identity"));
    };
    let keys = renewal::hand_out(context).await?;
    let region = region(context);
    let mut child = Command::new(program);
    for name in UNSET {
        child.env_remove(name);
    }
    child
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", keys.secret_access_key.expose())
        .env("AWS_SESSION_TOKEN", keys.session_token.expose())
        .env("AWS_CREDENTIAL_EXPIRATION", keys.expiration());
    if let Some(region) = region {
        // The SDKs read the first one, the AWS CLI and boto3 the other.
        child.env("AWS_REGION", &region).env("AWS_DEFAULT_REGION", &region);
    }
    // Returns only if it failed; the locks and sockets of this process are closed on exec.
    let error = child.exec();
    // The exit codes of shells.
    let code: u8 = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
    Err(Error::new(code, format!("cannot run {}: {error}", program.to_string_lossy())))
}

/// The region of the profile, which the command is not told to use. Set by the caller, it stays.
fn region(context: &mut Context<'_>) -> Option<String> {
    if ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| context.io.var(name).is_some()) {
        return None;
    }
    context.files.region(&context.profile).unwrap_or_else(|error| {
        context.io.say(format!("auth-login: warning: the region of the profile is unknown: {error}"));
        None
    })
}
