//! The proof, as a part of every change, that its caller may still make it: between the authorization of a request and
//! its commit, the caller's token may be revoked, the session ended, or the permission removed.
//!
//! The proof reads the caller's own rows, so changes of different callers never wait for one another: the presented
//! secret is valid (by its hash: a secret that was rotated out may not commit, though its token is live), session and
//! user are live, and the checked permissions are granted. An API token's scopes never change. The holder of
//! `ADMIN_TOKEN`, peers of the admin socket and the daemon itself have no row. The SQL here reads tables of several
//! modules, the one exception to the rule that each module's SQL is in its own store.

use shared::api::tokens::MAX_GRACE_SECONDS;
use shared::op::Permission;

use crate::caller::{AUTHD, Caller};
use crate::db::{Batch, Statement, split_hash};
use crate::env::{Millis, SECOND, SKEW};

/// The longest grace of a secret that was rotated out.
pub const MAX_GRACE: Millis = MAX_GRACE_SECONDS as Millis * SECOND;

/// The name of every statement of a proof.
pub const PROOF: &str = "authority";

const SECRET: &str = "SELECT 1 FROM secrets WHERE slot = $1 AND rest = $2 AND revoked = 0 \
     AND (expires_at IS NULL OR expires_at > $3) AND (replaced_until IS NULL OR (replaced_until > $3 AND replaced_until <= $4))";
const SERVICE: &str = "SELECT 1 FROM services WHERE id = $1 AND status = 'active' AND deleted_at IS NULL";
const SESSION: &str = "SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = $1 AND s.user_id = $2 AND s.ended_at IS NULL AND s.idle_expires_at > $3 \
       AND s.absolute_expires_at > $3 AND s.renewed_at <= $4 AND u.status = 'active' AND u.deleted_at IS NULL";
const PERMISSION: &str = "SELECT 1 FROM permissions p WHERE p.live_name IN ($3, $4) AND (\
     EXISTS (SELECT 1 FROM person_service_permissions g \
       WHERE g.person_id = $1 AND g.service_id = $2 AND g.permission_id = p.id) \
     OR EXISTS (SELECT 1 FROM person_service_roles g \
       JOIN service_roles sr ON sr.service_id = g.service_id AND sr.role_id = g.role_id \
       JOIN roles r ON r.id = g.role_id AND r.status = 'active' AND r.deleted_at IS NULL \
       JOIN role_permissions rp ON rp.role_id = g.role_id AND rp.permission_id = p.id \
       WHERE g.person_id = $1 AND g.service_id = $2))";

/// The statements that fail unless the caller may still act, with these permissions of the service `authd`.
pub fn proof(caller: &Caller, permissions: impl IntoIterator<Item = Permission>, now: Millis) -> Batch {
    match caller {
        Caller::Token { hash, .. } => vec![secret(hash, now)],
        Caller::Service { hash, service, .. } => {
            vec![secret(hash, now), Statement::exists(PROOF, SERVICE, [(*service).into()])]
        }
        Caller::User { id, session, .. } => {
            let session =
                Statement::exists(PROOF, SESSION, [(*session).into(), (*id).into(), now.into(), (now + SKEW).into()]);
            let granted = permissions.into_iter().map(|permission| {
                let admin = Permission::Admin.as_str().into();
                Statement::exists(PROOF, PERMISSION, [(*id).into(), AUTHD.into(), permission.as_str().into(), admin])
            });
            std::iter::once(session).chain(granted).collect()
        }
        // A device's changes check its session in their own statements.
        Caller::Anonymous | Caller::AdminToken | Caller::Peer { .. } | Caller::Device { .. } | Caller::System => {
            Batch::new()
        }
    }
}

fn secret(hash: &[u8; 32], now: Millis) -> Statement {
    let (slot, rest) = split_hash(hash);
    Statement::exists(PROOF, SECRET, [slot, rest, now.into(), (now + MAX_GRACE + SKEW).into()])
}
