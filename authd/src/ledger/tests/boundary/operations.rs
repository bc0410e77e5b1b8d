//! The operations: those that change nothing, those that prove themselves, and for each other one a call that changes
//! something, with what its caller must still hold at the commit.

use serde_json::{Value, json};

use super::{FILE, Made};
use crate::accounts::factors::testing::code;
use crate::accounts::passkeys::testing as passkeys;
use crate::ledger::tests::PASSWORD;

/// What changes nothing, or only what needs no proof: attempts, renewals, pending logins.
pub const READS: &[&str] = &[
    "audit.list",
    "backups.create",
    "backups.delete",
    "backups.read",
    "cli_login.start",
    "factors.list",
    "factors.list_of_user",
    "files.list",
    "grants.list",
    "grants.list_people",
    "grants.list_roles",
    "grants.list_services",
    "identities.list",
    "identities.list_own",
    "introspection.introspect",
    "lockouts.list",
    "mail.list",
    "mail.show",
    "passkeys.begin",
    "passkeys.begin_proof",
    "passkeys.list",
    "passkeys.list_of_user",
    "permissions.list",
    "permissions.show",
    "roles.list",
    "roles.list_permissions",
    "roles.show",
    "services.list",
    "services.list_roles",
    "services.list_tokens",
    "services.show",
    "sessions.check_access",
    "sessions.check_permission",
    "sessions.check_token",
    "sessions.explain_permission",
    "sessions.list",
    "sessions.list_own",
    "sessions.profile",
    "sessions.query_permission",
    "sessions.show",
    "sessions.whoami",
    "system.health",
    "system.live",
    "system.ready",
    "system.status",
    "tokens.list",
    "tokens.show",
    "tokens.validate",
    "users.list",
    "users.show",
];

/// What says itself, in its own statements, what must hold of whoever changes it.
pub const SELF_PROVING: &[&str] = &[
    // The user is active and the password is the one that was verified: see `sessions::tests`.
    "sessions.login",
    // Whoever ends themselves needs no proof.
    "sessions.logout",
    "sessions.end_this",
    // The device's session is alive: see `cli_login::tests`.
    "cli_login.status",
    "cli_login.renew",
    "cli_login.logout",
    // The token that was mailed is used up: see `accounts::tests::owning`.
    "accounts.verify_sign_up",
    "accounts.confirm_reset",
    "accounts.confirm_email",
    // Anybody may ask for a mail.
    "accounts.sign_up",
    "accounts.request_reset",
];

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A person, by permissions given directly.
    Person,
    /// A person, by a role that holds the permissions.
    InRole,
    Token,
    Service,
}

/// An operation, what it needs beside a caller, and who may be that.
pub struct Scenario {
    pub operation: &'static str,
    pub fields: fn(&Made) -> Value,
    /// Permissions of authd, each of which the caller must still hold at the commit.
    pub needs: &'static [&'static str],
    pub kinds: &'static [Kind],
    /// A TOTP of the caller's own: pending or on.
    pub totp: Option<bool>,
}

const EVERYBODY: &[Kind] = &[Kind::Person, Kind::InRole, Kind::Token];

pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut add = |operation, needs, fields: fn(&Made) -> Value| {
        all.push(Scenario { operation, fields, needs, kinds: EVERYBODY, totp: None });
    };
    let tokens: &[&str] = &["tokens.write"];
    add("tokens.create", tokens, |_| json!({ "name": "new", "scopes": ["read"] }));
    add("tokens.create", &["tokens.write", "users.read"], |_| json!({ "name": "new", "scopes": ["authd:users.read"] }));
    add("tokens.revoke", tokens, |_| json!({ "id": "ci" }));
    add("tokens.extend", tokens, |_| json!({ "id": "ci", "extend_days": 3 }));
    add("tokens.rotate", tokens, |_| json!({ "id": "ci" }));
    let users: &[&str] = &["users.write"];
    add("users.create", users, |_| json!({ "username": "new" }));
    add("users.update", users, |_| json!({ "id": "alice", "name": "A." }));
    // Alice has access to a service.
    let password = |_: &Made| json!({ "id": "alice", "password": "another long password" });
    add("users.update", &["users.write", "access.write"], password);
    add("users.update", users, |_| json!({ "id": "alice", "status": "inactive" }));
    add("users.update", &["users.write", "users.read"], |_| json!({ "id": "reader", "status": "inactive" }));
    add("users.delete", users, |_| json!({ "id": "alice" }));
    add("factors.reset_totp", users, |_| json!({ "id": "bob" }));
    add("factors.reset_totp", &["users.write", "access.write"], |_| json!({ "id": "alice" }));
    add("factors.reset_totp", &["users.write", "access.write", "users.read"], |_| json!({ "id": "reader" }));
    add("passkeys.remove_of_user", users, |made| json!({ "id": "bob", "passkey": made.passkeys["bob"] }));
    add(
        "passkeys.remove_of_user",
        &["users.write", "access.write"],
        |made| json!({ "id": "alice", "passkey": made.passkeys["alice"] }),
    );
    add(
        "passkeys.remove_of_user",
        &["users.write", "access.write", "users.read"],
        |made| json!({ "id": "reader", "passkey": made.passkeys["reader"] }),
    );
    add("identities.link", users, |_| json!({ "id": "bob", "provider": "corp", "subject": "new" }));
    add(
        "identities.link",
        &["users.write", "access.write", "users.read"],
        |_| json!({ "id": "reader", "provider": "corp", "subject": "new" }),
    );
    add("identities.unlink", users, |made| json!({ "id": "bob", "identity": made.identities["bob"] }));
    add(
        "identities.unlink",
        &["users.write", "users.read"],
        |made| json!({ "id": "reader", "identity": made.identities["reader"] }),
    );
    add("users.invite", users, |_| json!({ "email": "new@example.com" }));
    add("users.verify", users, |_| json!({ "id": "zoe" }));
    add("users.update", users, |_| json!({ "id": "zoe", "email": "zoe@example.org" }));
    add("users.update", &["users.write", "access.write"], |_| json!({ "id": "alice", "email": "alice@example.org" }));
    add("lockouts.clear", users, |_| json!({ "id": "name:mallory" }));
    let access: &[&str] = &["access.write"];
    add("services.create", access, |_| json!({ "name": "new" }));
    add("services.update", access, |_| json!({ "id": "shop", "status": "inactive" }));
    add("services.delete", access, |_| json!({ "id": "shop" }));
    add("services.create_token", access, |_| json!({ "id": "shop" }));
    add("services.revoke_token", access, |made| json!({ "id": "shop", "token_id": made.service_token["token_id"] }));
    add("roles.create", access, |_| json!({ "name": "new" }));
    add("roles.update", access, |_| json!({ "id": "clerk", "status": "inactive" }));
    add("roles.delete", access, |_| json!({ "id": "clerk" }));
    add("permissions.create", access, |_| json!({ "name": "new" }));
    add("permissions.update", access, |_| json!({ "id": "orders.read", "name": "orders.look" }));
    add("permissions.delete", access, |_| json!({ "id": "orders.read" }));
    add("roles.add_permission", access, |_| json!({ "role_id": "clerk", "permission_id": "orders.write" }));
    add(
        "roles.add_permission",
        &["access.write", "users.read"],
        |_| json!({ "role_id": "auditor", "permission_id": "users.read" }),
    );
    add("roles.remove_permission", access, |_| json!({ "role_id": "clerk", "permission_id": "orders.read" }));
    add("services.add_role", access, |_| json!({ "service_id": "shop", "role_id": "spare" }));
    add("services.add_role", access, |_| json!({ "service_id": "authd", "role_id": "spare" }));
    add("services.remove_role", access, |_| json!({ "service_id": "shop", "role_id": "clerk" }));
    let role = |_: &Made| json!({ "person_id": "bob", "service_id": "shop", "role_id": "clerk" });
    add("grants.add_role", access, role);
    add("grants.remove_role", access, |_| json!({ "person_id": "alice", "service_id": "shop", "role_id": "clerk" }));
    add(
        "grants.add_permission",
        &["access.write", "users.read"],
        |_| json!({ "person_id": "bob", "service_id": "authd", "permission_id": "users.read" }),
    );
    add(
        "grants.remove_permission",
        access,
        |_| json!({ "person_id": "alice", "service_id": "shop", "permission_id": "orders.write" }),
    );
    add(
        "grants.remove_permission",
        &["access.write", "users.read"],
        |_| json!({ "person_id": "reader", "service_id": "authd", "permission_id": "users.read" }),
    );
    let sessions: &[&str] = &["sessions.write"];
    add("sessions.end", sessions, |made| json!({ "id": made.other_session }));
    add("sessions.end_all", sessions, |_| json!({ "id": "alice" }));
    add("introspection.revoke", tokens, |made| json!({ "token": made.service_token["token"] }));
    let mails: &[&str] = &["mail.write"];
    add("mail.test", mails, |_| json!({ "to": "ada@example.com" }));
    add("mail.retry", mails, |made| json!({ "id": made.mail }));
    add("mail.drop", mails, |made| json!({ "id": made.mail }));
    add("files.delete", &["files.write"], |_| json!({ "key": FILE }));
    add("files.link", &["files.read"], |_| json!({ "key": FILE }));
    let mut only = |operation, kinds, fields| all.push(Scenario { operation, fields, needs: &[], kinds, totp: None });
    // Of others: a caller who gives back their own ends themselves.
    only("introspection.revoke", &[Kind::Person, Kind::Token, Kind::Service], |made| json!({ "token": made.session }));
    only(
        "sessions.change_password",
        &[Kind::Person],
        |_| json!({ "password": PASSWORD, "new_password": "another long password" }),
    );
    only("accounts.change_email", &[Kind::Person], |_| json!({ "password": PASSWORD, "email": "new@example.com" }));
    only("accounts.delete", &[Kind::Person], |_| json!({ "password": PASSWORD }));
    only("sessions.end_own", &[Kind::Person], |made| json!({ "id": made.own_session }));
    only("sessions.end_all_own", &[Kind::Person], |_| json!({}));
    only("sessions.reauthenticate", &[Kind::Person], |_| json!({ "password": PASSWORD }));
    only("factors.enable_totp", &[Kind::Person], |_| json!({ "password": PASSWORD }));
    only("passkeys.register", &[Kind::Person], |made| {
        let (user, _) = made.caller.unwrap();
        let new = passkeys::authenticator(&made.app.base, user);
        passkeys::registration(&new.create(&passkeys::party(), &passkeys::CHALLENGE))
    });
    let rename = |made: &Made| json!({ "id": made.passkey.as_ref().unwrap().0, "name": "phone" });
    only("passkeys.rename", &[Kind::Person], rename);
    only("passkeys.remove", &[Kind::Person], |made| json!({ "id": made.passkey.as_ref().unwrap().0 }));
    only("identities.unlink_own", &[Kind::Person], |made| json!({ "id": made.identities[&made.name] }));
    only("passkeys.prove", &[Kind::Person], |made| {
        let (_, authenticator) = made.passkey.as_ref().unwrap();
        passkeys::assertion(&authenticator.get(&passkeys::party(), &passkeys::CHALLENGE))
    });
    let mut with_totp = |operation, is_on, fields| {
        all.push(Scenario { operation, fields, needs: &[], kinds: &[Kind::Person], totp: Some(is_on) });
    };
    let by_code = |made: &Made| json!({ "password": PASSWORD, "code": code(&made.app.base, 0) });
    with_totp("factors.confirm_totp", false, |made| json!({ "code": code(&made.app.base, 0) }));
    with_totp("factors.disable_totp", true, by_code);
    with_totp("factors.renew_recovery_codes", true, by_code);
    let by_totp = |made: &Made| json!({ "password": PASSWORD, "totp": code(&made.app.base, 0) });
    with_totp("sessions.reauthenticate", true, by_totp);
    all
}
