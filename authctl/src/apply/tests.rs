//! Files with faults, plans, and that a plan carried out leaves nothing to plan.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::api::users::Status;
use shared::names::fold;

use super::current::{Current, Granted, Held};
use super::file::{File, Grant, Role, Service, Wanted};
use super::plan::{Plan, idle};
use super::step::Step;
use crate::commands::apply::FileFormat;

fn parse(format: FileFormat, text: &str) -> Result<File, String> {
    File::parse("f".to_owned(), format, text.to_owned())
}

fn faults(format: FileFormat, text: &str) -> Vec<String> {
    parse(format, text).unwrap_err().lines().map(str::to_owned).collect()
}

#[test]
fn every_fault_is_told_with_its_line() {
    let toml = "permissions = [\"a\", \"A\",\n  \" b\"]\n\n[[role]]\nname = \"r\"\n[[role]]\nname = \"Ｒ\"\n";
    let told = faults(FileFormat::Toml, toml);
    assert!(told[0].starts_with("f:1: the permission \"A\" has been named before as \"a\""), "{told:?}");
    assert!(told[1].starts_with("f:2: the permission \" b\": expected 1 to 128"), "{told:?}");
    assert!(told[2].starts_with("f:7: the role \"Ｒ\" has been named before as \"r\""), "{told:?}");
    assert_eq!(told.len(), 3);

    let yaml = "roles:\n- name: authd-admin\n- name: r\n  permissions: [x,\n    X]\nservices:\n- name: authd\n  status: active\n\
                grants:\n- {user: u, service: s}\n- {user: U,\n   service: s, roles: [0190a6f0-0000-7000-8000-000000000000]}\n";
    let told = faults(FileFormat::Yaml, yaml);
    let lines: Vec<&str> = told.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["f:2", "f:5", "f:7", "f:11", "f:12"], "{told:?}");
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    for (format, text, line, told) in [
        (FileFormat::Toml, "\n[[role]]\nname = \"r\"\nrank = 1\n", 4, "unknown field `rank`"),
        (FileFormat::Toml, "[[role]]\nname = \"r\"\n[[role]]\npermissions = []\n", 3, "missing field `name`"),
        (FileFormat::Toml, "permissions = []\npermissions = []\n", 2, "duplicate key"),
        (FileFormat::Toml, "\npermissions = [\n", 2, "unclosed array"),
        (FileFormat::Yaml, "roles:\n- name: r\n  rank: 1\n", 3, "unknown field `rank`"),
        (FileFormat::Yaml, "roles:\n- name: r\n  status: off\n", 3, "expected `active` or `inactive`"),
        (FileFormat::Yaml, "role: []\nroles: []\n", 1, "duplicate field"),
        (FileFormat::Yaml, "role: 3\n", 1, "expected a sequence"),
    ] {
        let error = parse(format, text).unwrap_err();
        assert!(error.starts_with(&format!("f:{line}: ")) && error.contains(told), "{text}: {error}");
    }
    assert!(parse(FileFormat::Yaml, &format!("permissions: {}", "[".repeat(1_000))).is_err());
}

#[test]
fn an_empty_file_wants_nothing() {
    for format in [FileFormat::Toml, FileFormat::Yaml] {
        let file = parse(format, "# nothing\n").or_else(|_| parse(format, "")).unwrap();
        assert!(Plan::new(&file.wanted, &seeded(), false).unwrap().is_empty());
    }
}

#[test]
fn what_is_referred_to_must_be_somewhere() {
    let file = parse(FileFormat::Yaml, "roles:\n- name: r\n  permissions: [p,\n   tokens.read]\n").unwrap();
    let told = file.tell(&Plan::new(&file.wanted, &seeded(), false).unwrap_err());
    assert!(told.starts_with("f:3: there is no permission \"p\"") && told.lines().count() == 1, "{told}");
}

#[test]
fn a_role_that_does_nothing_where_it_is_given_is_told() {
    let text = "roles:\n- name: r\nservices:\n- name: s\ngrants:\n- {user: u, service: s, roles: [r]}\n\
                - {user: u, service: authd, roles: [authd-admin]}\n";
    let file = parse(FileFormat::Yaml, text).unwrap();
    let told = file.tell(&idle(&file.wanted, &seeded()));
    assert!(told.starts_with("f:6: the role \"r\" does not count in \"s\"") && told.lines().count() == 1, "{told}");
}

#[test]
fn roles_that_make_administrators_are_not_pruned() {
    let role = |name: &str| (name.to_owned(), Held { name: name.to_owned(), ..Held::default() });
    let mut current = seeded();
    current.roles.extend([role("counts"), role("given"), role("neither")]);
    held(&mut current.services, "authd").holds.insert("counts".into(), "counts".into());
    granted(&mut current, "Bob", "authd").roles.insert("given".into(), "given".into());
    let pruned = Plan::new(&Wanted::default(), &current, true).unwrap().render(false);
    assert_eq!(pruned, "- role neither\n");
}

#[test]
fn what_is_switched_on_comes_after_what_is_taken_from_it() {
    let before = wanted(&["p", "q"], &[("r", Status::Inactive, &["p"])]);
    let mut current = seeded();
    carry_out(&Plan::new(&before, &current, false).unwrap(), &mut current);
    let plan = Plan::new(&wanted(&[], &[("r", Status::Active, &["q"])]), &current, false).unwrap();
    let order: Vec<String> = plan.steps().iter().map(|(_, step)| step.describe()).collect();
    assert_eq!(order, ["+ permission q", "- permission p", "change"]);
    let text = plan.render(false);
    assert_eq!(text, "~ role r\n    ~ status inactive -> active\n    + permission q\n    - permission p\n");
}

#[test]
fn who_is_not_there_is_invited_before_grants_and_nobody_twice() {
    let text = "users:\n- {name: Zoe, email: zoe@example.com, invite: true}\n- {name: bob, email: bob@example.com, invite: true}\n\
                - {name: eve@example.com, email: Eve@example.com, invite: true}\npermissions: [p]\nservices:\n- name: s\n\
                grants:\n- {user: zoe, service: s, permissions: [p]}\n";
    let file = parse(FileFormat::Yaml, text).unwrap();
    let mut current = seeded();
    current.users.insert("bob".to_owned());
    let plan = Plan::new(&file.wanted, &current, true).unwrap();
    let order: Vec<String> = plan.steps().iter().map(|(_, step)| step.describe()).collect();
    let invitations = ["+ invitation to zoe@example.com", "+ invitation to Eve@example.com"];
    assert_eq!(order, ["create", "create", invitations[0], invitations[1], "+ permission p"]);
    assert!(plan.render(false).contains("+ user Zoe\n    + invitation to zoe@example.com\n"), "{}", plan.render(false));
    let names = plan.steps().into_iter().filter_map(|(_, step)| match step {
        Step::InviteUser(op) => Some(op.username.clone()),
        _ => None,
    });
    assert_eq!(names.collect::<Vec<_>>(), [Some("Zoe".to_owned()), None]);
    carry_out(&plan, &mut current);
    assert!(Plan::new(&file.wanted, &current, true).unwrap().is_empty());

    let text =
        "users:\n- {name: a, email: a@example.com}\n- {name: A,\n   email: A@Example.com}\n- {name: b, email: b}\n";
    let told = faults(FileFormat::Yaml, text);
    let lines: Vec<&str> = told.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["f:3", "f:4", "f:5"], "{told:?}");
    assert!(
        told[0].contains("the user \"A\" has been named before") && told[1].contains("has been named before"),
        "{told:?}"
    );
}

#[test]
fn names_cannot_drive_the_terminal() {
    let mut current = seeded();
    current.permissions.insert("x".into(), "x\u{1b}[2J".into());
    let text = Plan::new(&Wanted::default(), &current, true).unwrap().render(false);
    assert!(text.contains("\\u{1b}") && !text.contains('\u{1b}'), "{text}");
}

fn wanted(permissions: &[&str], roles: &[(&str, Status, &[&str])]) -> Wanted {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let role = |(name, status, permissions): &(&str, Status, &[&str])| Role {
        name: (*name).to_owned(),
        status: *status,
        permissions: owned(permissions),
    };
    Wanted { permissions: owned(permissions), roles: roles.iter().map(role).collect(), ..Wanted::default() }
}

/// A daemon at its first start, with an administrator.
fn seeded() -> Current {
    let one = |name: &str| BTreeMap::from([(name.to_owned(), name.to_owned())]);
    let mut current = Current {
        permissions: shared::op::Permission::ALL.iter().map(|p| (p.as_str().into(), p.as_str().into())).collect(),
        ..Current::default()
    };
    let (admin, authd) = ("authd-admin", "authd");
    current.roles.insert(admin.into(), Held { name: admin.into(), holds: one("admin"), ..Held::default() });
    let service = Held { name: authd.into(), description: "authd itself".into(), holds: one(admin), ..Held::default() };
    current.services.insert(authd.into(), service);
    let granted =
        Granted { user: "Ann".into(), service: authd.into(), roles: one(admin), permissions: BTreeMap::new() };
    current.grants.insert(("ann".into(), authd.into()), granted);
    current
}

/// Does what the daemon does, and refuses what it refuses.
fn carry_out(plan: &Plan, current: &mut Current) {
    for (_, step) in plan.steps() {
        take(step, current);
    }
}

fn held<'c>(things: &'c mut BTreeMap<String, Held>, name: &str) -> &'c mut Held {
    things.get_mut(&fold(name)).unwrap_or_else(|| panic!("there is no {name}"))
}

fn take(step: &Step, current: &mut Current) {
    let add = |names: &mut BTreeMap<String, String>, name: &String| {
        assert!(names.insert(fold(name), name.clone()).is_none(), "{name} is there already");
    };
    let drop = |names: &mut BTreeMap<String, String>, name: &str| {
        assert!(names.remove(&fold(name)).is_some(), "{name} is not there");
    };
    let known = current.permissions.clone();
    let check = |name: &str| assert!(known.contains_key(&fold(name)), "there is no permission {name}");
    match step {
        Step::CreatePermission(op) => add(&mut current.permissions, &op.name),
        Step::CreateRole(op) => {
            let role = Held { name: op.name.clone(), status: op.status.unwrap_or_default(), ..Held::default() };
            assert!(current.roles.insert(fold(&op.name), role).is_none());
        }
        Step::CreateService(op) => {
            let (status, description) = (op.status.unwrap_or_default(), op.description.clone().unwrap_or_default());
            let service = Held { name: op.name.clone(), status, description, ..Held::default() };
            assert!(current.services.insert(fold(&op.name), service).is_none());
        }
        Step::UpdateRole(op) => held(&mut current.roles, &op.id).status = op.status.unwrap(),
        Step::UpdateService(op) => {
            let service = held(&mut current.services, &op.id);
            service.status = op.status.unwrap_or(service.status);
            service.description = op.description.clone().unwrap_or_else(|| service.description.clone());
        }
        Step::AddRolePermission(op) => {
            check(&op.permission_id);
            add(&mut held(&mut current.roles, &op.role_id).holds, &op.permission_id);
        }
        Step::RemoveRolePermission(op) => drop(&mut held(&mut current.roles, &op.role_id).holds, &op.permission_id),
        Step::AddServiceRole(op) => {
            held(&mut current.roles, &op.role_id);
            add(&mut held(&mut current.services, &op.service_id).holds, &op.role_id);
        }
        Step::RemoveServiceRole(op) => drop(&mut held(&mut current.services, &op.service_id).holds, &op.role_id),
        Step::InviteUser(op) => {
            assert!(current.users.insert(fold(op.username.as_ref().unwrap_or(&op.email))), "{op:?} is there already");
        }
        Step::GrantRole(op) => {
            held(&mut current.roles, &op.role_id);
            add(&mut granted(current, &op.person_id, &op.service_id).roles, &op.role_id);
        }
        Step::GrantPermission(op) => {
            check(&op.permission_id);
            add(&mut granted(current, &op.person_id, &op.service_id).permissions, &op.permission_id);
        }
        Step::UngrantRole(op) => drop(&mut granted(current, &op.person_id, &op.service_id).roles, &op.role_id),
        Step::UngrantPermission(op) => {
            drop(&mut granted(current, &op.person_id, &op.service_id).permissions, &op.permission_id);
        }
        Step::DeleteService(op) => {
            assert!(current.services.remove(&fold(&op.id)).is_some_and(|service| service.name != "authd"));
            current.grants.retain(|(_, service), _| *service != fold(&op.id));
        }
        Step::DeleteRole(op) => {
            assert!(current.roles.remove(&fold(&op.id)).is_some_and(|role| role.name != "authd-admin"));
            current.services.values_mut().for_each(|service| service.holds.retain(|name, _| *name != fold(&op.id)));
            current.grants.values_mut().for_each(|granted| granted.roles.retain(|name, _| *name != fold(&op.id)));
        }
        Step::DeletePermission(op) => {
            assert!(shared::op::Permission::parse(&op.id).is_none());
            drop(&mut current.permissions, &op.id);
            current.roles.values_mut().for_each(|role| role.holds.retain(|name, _| *name != fold(&op.id)));
            current.grants.values_mut().for_each(|granted| granted.permissions.retain(|name, _| *name != fold(&op.id)));
        }
    }
}

fn granted<'c>(current: &'c mut Current, user: &str, service: &str) -> &'c mut Granted {
    let service = held(&mut current.services, service).name.clone();
    let granted = current.grants.entry((fold(user), fold(&service))).or_default();
    (granted.user, granted.service) = (user.to_owned(), service);
    granted
}

/// Some of four names, in one spelling or another.
fn names(kind: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_map(0..4_u8, any::<bool>(), 0..4).prop_map(move |names| {
        let spelled = |(number, is_upper)| {
            let name = format!("{kind}{number}");
            if is_upper { name.to_uppercase() } else { name }
        };
        names.into_iter().map(spelled).collect()
    })
}

fn status() -> impl Strategy<Value = Status> {
    any::<bool>().prop_map(|is_active| if is_active { Status::Active } else { Status::Inactive })
}

/// A file without faults, that declares whatever it refers to.
fn some_file() -> impl Strategy<Value = Wanted> {
    let role = (names("p"), status()).prop_map(|(permissions, status)| (permissions, status));
    let service = (names("r"), status(), any::<bool>());
    let grant = (0..3_u8, 0..4_u8, names("r"), names("p"));
    let parts = (
        names("p"),
        prop::collection::btree_map(0..4_u8, role, 0..4),
        prop::collection::btree_map(0..4_u8, service, 0..4),
        prop::collection::vec(grant, 0..5),
        any::<bool>(),
    );
    parts.prop_map(|(permissions, roles, services, grants, names_authd)| {
        let mut file = Wanted { permissions, ..Wanted::default() };
        file.roles.extend(roles.into_iter().map(|(number, (permissions, status))| Role {
            name: format!("r{number}"),
            status,
            permissions,
        }));
        file.services.extend(services.into_iter().map(|(number, (roles, status, is_told))| Service {
            name: format!("s{number}"),
            description: is_told.then(|| format!("service {number}")),
            status: Some(status),
            roles,
        }));
        let mut pairs = std::collections::BTreeSet::new();
        for (user, service, roles, permissions) in grants {
            if pairs.insert((user, service)) {
                let (user, service) = (format!("u{user}"), format!("s{service}"));
                file.grants.push(Grant { user, service, roles, permissions });
            }
        }
        if names_authd {
            let roles = file.roles.first().map(|role| role.name.clone()).into_iter().collect();
            file.services.push(Service { name: "Authd".to_owned(), description: None, status: None, roles });
        }
        declare(&mut file);
        file
    })
}

fn declare(file: &mut Wanted) {
    let referred: Vec<(super::Kind, String)> =
        file.references().into_iter().map(|reference| (reference.kind, fold(reference.name))).collect();
    for (kind, name) in referred {
        match kind {
            super::Kind::Permission if !file.permissions.iter().any(|known| fold(known) == name) => {
                file.permissions.push(name);
            }
            super::Kind::Role if !file.roles.iter().any(|role| fold(&role.name) == name) => {
                file.roles.push(Role { name, status: Status::Active, permissions: Vec::new() });
            }
            super::Kind::Service if !file.services.iter().any(|service| fold(&service.name) == name) => {
                file.services.push(Service { name, description: None, status: None, roles: Vec::new() });
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_plan_can_be_carried_out_and_leaves_nothing_to_do(one in some_file(), two in some_file(), prune: bool) {
        let mut current = seeded();
        carry_out(&Plan::new(&one, &current, false).unwrap(), &mut current);
        let plan = Plan::new(&two, &current, prune).unwrap();
        carry_out(&plan, &mut current);
        prop_assert!(Plan::new(&two, &current, prune).unwrap().is_empty());
        // What authd brings itself is still there, and nobody has lost it.
        for (things, name) in [(&current.roles, "authd-admin"), (&current.services, "authd")] {
            prop_assert!(things.contains_key(name));
        }
        prop_assert!(current.grants[&("ann".to_owned(), "authd".to_owned())].roles.contains_key("authd-admin"));
        prop_assert!(current.services["authd"].holds.contains_key("authd-admin"));
        if prune {
            let names: Vec<String> = two.services.iter().map(|service| fold(&service.name)).collect();
            prop_assert!(current.services.keys().all(|name| name == "authd" || names.contains(name)));
        }
    }
}
