//! Nobody gives, or takes away, what they do not hold on authd: each route, and its twin who holds it.

use super::*;

/// May manage people and access, but not API tokens.
const LESSER: [Permission; 4] =
    [Permission::AccessRead, Permission::AccessWrite, Permission::UsersRead, Permission::UsersWrite];
/// The same, and holds what is given or taken here.
const TWIN: [Permission; 5] = [
    Permission::AccessRead,
    Permission::AccessWrite,
    Permission::UsersRead,
    Permission::UsersWrite,
    Permission::TokensWrite,
];

/// May manage people and nothing else.
const CLERK: [Permission; 2] = [Permission::UsersRead, Permission::UsersWrite];

#[tokio::test]
async fn the_password_of_somebody_with_access_to_a_service_takes_access_write() {
    let scene = Scene::furnished().await;
    let set = json!({ "id": "alice", "password": PASSWORD });
    assert_eq!(scene.outcome(&CLERK, "users.update", set.clone()).await, "ok", "she holds nothing");
    let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "write" });
    for (give, take, fields) in [
        ("grants.add_role", "grants.remove_role", alices_role()),
        ("grants.add_permission", "grants.remove_permission", direct),
    ] {
        scene.must(give, fields.clone()).await;
        let error = scene.app.call_as(holder(&CLERK), "users.update", set.clone()).await.unwrap_err();
        assert_eq!(error.code.as_str(), "forbidden", "{give}");
        assert!(error.detail.contains("access.write"), "{}", error.detail);
        assert_eq!(scene.outcome(&CLERK, "users.update", json!({ "id": "alice", "name": "Alice" })).await, "ok");
        assert_eq!(scene.outcome(&LESSER, "users.update", set.clone()).await, "ok");
        scene.must(take, fields).await;
    }
    // What is granted while the password is hashed counts at the commit.
    let grant = scene.app.later("grants.add_role", alices_role());
    scene.app.before_next_change(async { drop(grant.await.unwrap()) });
    assert_eq!(scene.outcome(&CLERK, "users.update", set).await, "forbidden");
}

fn role_of(person: &str, service: &str, role: &str) -> Value {
    json!({ "person_id": person, "service_id": service, "role_id": role })
}

fn direct(person: &str, service: &str) -> Value {
    json!({ "person_id": person, "service_id": service, "permission_id": "tokens.write" })
}

fn permission_of(role: &str) -> Value {
    json!({ "role_id": role, "permission_id": "tokens.write" })
}

fn on_authd(role: &str) -> Value {
    json!({ "service_id": "authd", "role_id": role })
}

/// bob, and a role minter that has tokens.write and does not count on authd.
async fn with_minter(more: &[(&str, Value)]) -> Scene {
    let scene = Scene::new().await;
    scene.make("users", "bob").await;
    scene.make("roles", "minter").await;
    scene.must("roles.add_permission", permission_of("minter")).await;
    for (operation, fields) in more {
        scene.must(operation, fields.clone()).await;
    }
    scene
}

/// The lesser is refused, is told what is missing, and nothing changes; the twin succeeds, with effect.
async fn only_the_twin(more: &[(&str, Value)], operation: &str, fields: Value, before: bool, after: bool) {
    let scene = with_minter(more).await;
    let holds = async || scene.has("bob", "authd", "tokens.write").await;
    let shown = async || scene.must("users.list", json!({})).await;
    let (was, people) = (holds().await, shown().await);
    assert_eq!(was, before, "{operation} {fields}");
    let error = scene.app.call_as(holder(&LESSER), operation, fields.clone()).await.unwrap_err();
    assert_eq!(error.code.as_str(), "forbidden", "{operation} {fields}");
    assert!(error.detail.contains("tokens.write"), "{}", error.detail);
    assert_eq!((holds().await, shown().await), (was, people));
    assert_eq!(scene.outcome(&TWIN, operation, fields.clone()).await, "ok", "{operation} {fields}");
    if operation == "users.delete" {
        assert_eq!(scene.refused("users.show", json!({ "id": "bob" })).await, "not_found");
    } else {
        assert_eq!(holds().await, after, "{operation} {fields}");
    }
}

#[tokio::test]
async fn nobody_gives_a_permission_on_authd_that_they_do_not_hold() {
    let counts = ("services.add_role", on_authd("minter"));
    let given = ("grants.add_role", role_of("bob", "authd", "minter"));
    only_the_twin(&[], "grants.add_permission", direct("bob", "authd"), false, true).await;
    only_the_twin(std::slice::from_ref(&counts), "grants.add_role", role_of("bob", "authd", "minter"), false, true)
        .await;
    // Given before it counts for anything.
    only_the_twin(&[], "grants.add_role", role_of("bob", "authd", "minter"), false, false).await;
    only_the_twin(std::slice::from_ref(&given), "services.add_role", on_authd("minter"), false, true).await;
    let empty = ("roles.remove_permission", permission_of("minter"));
    let ready = [counts.clone(), given.clone(), empty];
    only_the_twin(&ready, "roles.add_permission", permission_of("minter"), false, true).await;
    let asleep = ("roles.update", json!({ "id": "minter", "status": "inactive" }));
    let awake = json!({ "id": "minter", "status": "active" });
    only_the_twin(&[counts.clone(), given.clone(), asleep], "roles.update", awake, false, true).await;
    let asleep = ("users.update", json!({ "id": "bob", "status": "inactive" }));
    let awake = json!({ "id": "bob", "status": "active" });
    only_the_twin(&[counts, given, asleep.clone()], "users.update", awake.clone(), false, true).await;
    let given = ("grants.add_permission", direct("bob", "authd"));
    only_the_twin(&[given, asleep], "users.update", awake, false, true).await;
}

#[tokio::test]
async fn nobody_becomes_somebody_mightier() {
    let counts = ("services.add_role", on_authd("minter"));
    let by_role = [counts, ("grants.add_role", role_of("bob", "authd", "minter"))];
    let by_grant = [("grants.add_permission", direct("bob", "authd"))];
    for fields in [
        json!({ "id": "bob", "password": PASSWORD }),
        json!({ "id": "bob", "username": "bob" }),
        json!({ "id": "bob", "status": "active" }),
    ] {
        only_the_twin(&by_role, "users.update", fields.clone(), true, true).await;
        only_the_twin(&by_grant, "users.update", fields, true, true).await;
    }
    only_the_twin(&by_role, "users.update", json!({ "id": "bob", "status": "inactive" }), true, false).await;
    only_the_twin(&by_role, "users.delete", json!({ "id": "bob" }), true, false).await;
    only_the_twin(&by_grant, "users.delete", json!({ "id": "bob" }), true, false).await;
    // What cannot be used to sign in as somebody may be changed, and so may all of those who hold nothing.
    let scene = with_minter(&by_grant).await;
    assert_eq!(scene.outcome(&LESSER, "users.update", json!({ "id": "bob", "name": "Bob" })).await, "ok");
    scene.make("users", "eve").await;
    assert_eq!(scene.outcome(&LESSER, "users.update", json!({ "id": "eve", "password": PASSWORD })).await, "ok");
    assert_eq!(scene.outcome(&LESSER, "users.delete", json!({ "id": "eve" })).await, "ok");
}

#[tokio::test]
async fn nobody_takes_away_what_they_do_not_hold() {
    let counts = ("services.add_role", on_authd("minter"));
    let by_role = [counts, ("grants.add_role", role_of("bob", "authd", "minter"))];
    let by_grant = [("grants.add_permission", direct("bob", "authd"))];
    only_the_twin(&by_grant, "grants.remove_permission", direct("bob", "authd"), true, false).await;
    only_the_twin(&by_role, "grants.remove_role", role_of("bob", "authd", "minter"), true, false).await;
    only_the_twin(&by_role, "roles.remove_permission", permission_of("minter"), true, false).await;
    only_the_twin(&by_role, "services.remove_role", on_authd("minter"), true, false).await;
    only_the_twin(&by_role, "roles.update", json!({ "id": "minter", "status": "inactive" }), true, false).await;
    only_the_twin(&by_role, "roles.update", json!({ "id": "minter", "name": "else" }), true, true).await;
    only_the_twin(&by_role, "roles.delete", json!({ "id": "minter" }), true, false).await;
}

#[tokio::test]
async fn in_other_services_the_permissions_of_authd_are_names_like_any_other() {
    let scene = with_minter(&[]).await;
    scene.make("services", "app").await;
    for (operation, fields) in [
        ("services.add_role", json!({ "service_id": "app", "role_id": "minter" })),
        ("grants.add_role", role_of("bob", "app", "minter")),
        ("grants.add_permission", direct("bob", "app")),
        ("roles.remove_permission", permission_of("minter")),
        ("roles.add_permission", permission_of("minter")),
        ("users.update", json!({ "id": "bob", "password": PASSWORD })),
    ] {
        assert_eq!(scene.outcome(&LESSER, operation, fields).await, "ok", "{operation}");
    }
    assert!(scene.has("bob", "app", "tokens.write").await && !scene.has("bob", "authd", "tokens.write").await);
    let caller = scene.app.caller(&scene.sign_in("bob").await).await.unwrap();
    assert!(!caller.can(Permission::TokensWrite));
}

#[tokio::test]
async fn two_changes_that_overlap_do_not_give_away_together_what_neither_may() {
    for _ in 0..4 {
        let scene = Scene::new().await;
        scene.make("users", "eve").await;
        for number in 0..6 {
            let role = format!("role {number}");
            scene.make("roles", &role).await;
            let (lesser, other) = (holder(&LESSER), holder(&LESSER));
            let counting = scene.app.call_as(lesser, "services.add_role", on_authd(&role));
            let having = scene.app.call_as(other, "roles.add_permission", permission_of(&role));
            let (counting, having) = tokio::join!(counting, having);
            let refused = [counting, having].into_iter().filter_map(Result::err).map(|error| error.code.as_str());
            assert_eq!(refused.collect::<Vec<_>>(), ["forbidden"], "{role}");
        }
    }
}

#[tokio::test]
async fn those_who_hold_everything_wait_for_nobody() {
    let scene = Scene::furnished().await;
    for number in 0..8 {
        scene.make("users", &format!("n{number}")).await;
    }
    let tries = (0..8).map(|number| {
        let role = json!({ "person_id": format!("n{number}"), "service_id": "authd", "role_id": "authd-admin" });
        scene.app.spawn("grants.add_role", role)
    });
    for answer in tries.collect::<Vec<_>>() {
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_person_manages_with_what_they_hold_and_loses_it_at_once() {
    let scene = Scene::new().await;
    scene.must("users.create", json!({ "username": "root", "password": PASSWORD })).await;
    scene.make("users", "bob").await;
    let admin = role_of("root", "authd", "authd-admin");
    scene.must("grants.add_role", admin.clone()).await;
    let token = scene.sign_in("root").await;
    let caller = async || scene.app.caller(&token).await.unwrap();
    scene.app.call_as(caller().await, "grants.add_permission", direct("bob", "authd")).await.unwrap();
    assert!(scene.has("bob", "authd", "tokens.write").await);
    scene.must("grants.remove_role", admin).await;
    let refused = scene.app.refused_as(caller().await, "grants.remove_permission", direct("bob", "authd")).await;
    assert_eq!(refused, "forbidden");
}
