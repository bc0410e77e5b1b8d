//! `auth-login credential-process`: prints keys in the format of `credential_process`.
//!
//! The tool captures both streams, so this command never prompts and never opens a browser.
//! Source of the format: AWS SDKs reference, "Process credential provider".

use serde_json::json;

use super::{Context, renewal};
use crate::error::Error;

pub async fn run(context: &mut Context<'_>) -> Result<(), Error> {
    let keys = renewal::hand_out(context).await?;
    context.io.print_json(&json!({
        "Version": 1,
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key.expose(),
        "SessionToken": keys.session_token.expose(),
        "Expiration": keys.expiration(),
    }))
}
