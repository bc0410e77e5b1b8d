//! Gives a token back (RFC 7009).

use serde_json::json;
use shared::api::introspection::{Revoke, Revoked};
use shared::api::tokens::RevokeToken;
use shared::id::TokenId;
use shared::op::Permission;
use shared::problem::Code;

use crate::app::Ctx;
use crate::caller::Caller;
use crate::cli_login::refresh_token;
use crate::error::{Error, Result};
use crate::ledger::Change;
use crate::sessions::{self, live, login, store};
use crate::tokens;

/// What an audit row of either kind of token is named.
const ACTION: &str = "introspection.revoke";
/// Why the token ended, as its owner is told.
const REASON: &str = "revoked";

/// Whoever has a session's token may end the session. What is not known is as good as revoked; what could not be
/// looked up or written is an error, never a success.
pub(super) async fn revoke(ctx: Ctx, op: Revoke) -> Result<Revoked> {
    let token = op.token.expose();
    if live::is_token(token) {
        end_session(&ctx, token).await?;
        return Ok(Revoked {});
    }
    let Some(found) = ctx.app.tokens.look_up(&ctx.app, token).await? else {
        if refresh_token::verify(&ctx.app.keys, &op.token).is_ok() {
            // RFC 7009 §2.2.1, unsupported_token_type: a 200 would say that it is over.
            let detail = "this is the refresh token of a device: it is given back at /auth/cli/logout";
            return Err(Error::new(Code::MalformedRequest, detail));
        }
        return Ok(Revoked {});
    };
    let id = TokenId(found.grant().token_id);
    if !ctx.caller.is_token(id) && !ctx.caller.can(Permission::TokensWrite) {
        let detail = "an API token is revoked by itself, or by whoever holds the permission tokens.write";
        return Err(Error::new(Code::Forbidden, detail));
    }
    let ctx = Ctx { permission: Some(Permission::TokensWrite), ..ctx };
    tokens::revoke_as(ctx, RevokeToken { id: id.to_string(), reason: Some(REASON.to_owned()) }, ACTION).await?;
    Ok(Revoked {})
}

/// Ends the session of a token, if it is alive: the first end stands.
async fn end_session(ctx: &Ctx, token: &str) -> Result<()> {
    let Some(live) = ctx.app.sessions.find(&ctx.app, token).await? else { return Ok(()) };
    let mut change = Change::new(ACTION, live.id)
        .with([store::end_login(live.id, Some(live.user_id), REASON, ctx.now())])
        .invalidates(sessions::invalidation(live.user_id))
        .detail([("reason", Some(json!(REASON))), ("user", Some(json!(live.user_id)))]);
    if matches!(ctx.caller, Caller::User { session, .. } if session == live.id) {
        change = change.self_proving();
    }
    login::ended(ctx.app.ledger.commit(ctx, change).await)?;
    Ok(())
}
