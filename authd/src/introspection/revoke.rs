//! Revokes a token (RFC 7009).

use shared::api::introspection::{Revoke, Revoked};
use shared::api::tokens::RevokeToken;
use shared::op::{Operation, Permission};
use shared::problem::Code;

use super::Introspection;
use crate::call::Call;
use crate::cli_login::refresh_token;
use crate::error::{Error, Result};
use crate::sessions;

/// The action in the audit log, for both kinds of tokens.
const ACTION: &str = Revoke::INFO.name;
/// The reason that the owner of the token sees.
const REASON: &str = "revoked";

impl Introspection {
    /// The holder of a session token may end the session. An unknown token counts as revoked; a failed read or write is
    /// an error, never a success.
    pub(super) async fn revoke(&self, call: Call, op: Revoke) -> Result<Revoked> {
        let token = op.token.expose();
        if sessions::is_token(token) {
            // An earlier end is kept.
            if let Some((session, user)) = self.sessions.find_to_end(token).await? {
                self.sessions.end_login(&call, session, user, ACTION, REASON).await?;
            }
            return Ok(Revoked {});
        }
        let Some(found) = self.tokens.find(token).await? else {
            if refresh_token::verify(&self.base.keys, &op.token).is_ok() {
                // RFC 7009 §2.2.1, unsupported_token_type: a 200 would mean that the token is revoked.
                let detail = "this is the refresh token of a device: revoke it at /auth/cli/logout";
                return Err(Error::new(Code::MalformedRequest, detail));
            }
            return Ok(Revoked {});
        };
        let id = found.token_id;
        if !call.caller.is_token(id) && !call.caller.can(Permission::TokensWrite) {
            let detail = "an API token can be revoked by itself or with the permission tokens.write";
            return Err(Error::new(Code::Forbidden, detail));
        }
        let call = Call { permission: Some(Permission::TokensWrite), ..call };
        let revoke = RevokeToken { id: id.to_string(), reason: Some(REASON.to_owned()) };
        self.tokens.revoke_as(call, revoke, ACTION).await?;
        Ok(Revoked {})
    }
}
