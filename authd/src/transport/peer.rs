//! The caller on the admin socket, identified by the kernel.

use std::fs;

use shared::op::Permission;

use super::config::Peer;
use crate::caller::{Caller, Permissions};

/// The largest `/etc/passwd` or `/etc/group` that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The caller of a connection. Root and the daemon's own user have all permissions; others have the configured
/// ones. Group membership is read from `/etc/group`; for users from a directory service, configure their uid.
pub fn caller(uid: u32, gid: u32, rules: &[Peer]) -> Caller {
    let user = name_of(&read("/etc/passwd"), uid).unwrap_or_else(|| uid.to_string());
    let own = rustix::process::geteuid().as_raw();
    let permissions = if uid == 0 || uid == own {
        Permissions::ALL
    } else {
        granted(uid, &user, &groups(&read("/etc/group"), gid, &user), rules)
    };
    Caller::Peer { uid, user, permissions }
}

fn granted(uid: u32, user: &str, groups: &[(String, u32)], rules: &[Peer]) -> Permissions {
    let matches = |rule: &Peer| {
        let is_user = rule.user.as_ref().is_some_and(|name| name == user || name.parse() == Ok(uid));
        let is_member = |name: &String| groups.iter().any(|(group, gid)| group == name || name.parse() == Ok(*gid));
        is_user || rule.group.as_ref().is_some_and(is_member)
    };
    let names = rules.iter().filter(|rule| matches(rule)).flat_map(|rule| &rule.permissions);
    names.filter_map(|name| Permission::parse(name)).collect()
}

fn read(path: &str) -> String {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() <= MAX_FILE => fs::read_to_string(path).unwrap_or_default(),
        _ => String::new(),
    }
}

/// The user's name from the text of `/etc/passwd`.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The groups from the text of `/etc/group`: the primary one, and those that list the user.
fn groups(group: &str, primary: u32, user: &str) -> Vec<(String, u32)> {
    let mut found: Vec<(String, u32)> = group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields[..] else { return None };
            let gid: u32 = gid.parse().ok()?;
            (gid == primary || members.split(',').any(|member| member == user)).then(|| (name.to_owned(), gid))
        })
        .collect();
    if !found.iter().any(|(_, gid)| *gid == primary) {
        found.push((primary.to_string(), primary));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "ops:x:900:alice,bob\ndev:x:901:bob\nalice:x:1000:\nbroken\n";

    fn rule(user: Option<&str>, group: Option<&str>, permission: &str) -> Peer {
        Peer { user: user.map(Into::into), group: group.map(Into::into), permissions: vec![permission.into()] }
    }

    #[test]
    fn permissions_come_from_every_rule_that_names_the_user_or_a_group_of_theirs() {
        let rules = [
            rule(None, Some("ops"), "tokens.write"),
            rule(Some("alice"), None, "audit.read"),
            rule(Some("1000"), None, "tokens.read"),
            rule(None, Some("dev"), "admin"),
        ];
        let alice = granted(1000, "alice", &groups(GROUP, 1000, "alice"), &rules);
        let wanted = [Permission::TokensWrite, Permission::AuditRead, Permission::TokensRead];
        assert_eq!(alice, wanted.into_iter().collect());
        assert_eq!(granted(1001, "mallory", &groups(GROUP, 1001, "mallory"), &rules), Permissions::NONE);
    }

    #[test]
    fn root_and_the_daemon_itself_may_do_everything() {
        for uid in [0, rustix::process::geteuid().as_raw()] {
            assert!(caller(uid, 0, &[]).can(Permission::Admin));
        }
        assert!(!caller(4_000_000, 4_000_000, &[]).can(Permission::TokensRead));
    }
}
