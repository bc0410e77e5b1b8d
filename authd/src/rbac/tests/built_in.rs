//! What authd stands on.

use super::super::{ADMIN_ROLE, AUTHD, seed};
use super::*;
use crate::db::Query;
use crate::ledger::Subscriber;

#[tokio::test]
async fn the_service_authd_its_permissions_and_its_role_are_there_from_the_start() {
    let scene = Scene::new().await;
    let service = scene.must("services.show", json!({ "id": "AUTHD" })).await;
    assert_eq!((&service["id"], &service["status"]), (&json!(AUTHD), &json!("active")));
    let listed = names(&scene.must("permissions.list", json!({})).await["permissions"], "name");
    let mut expected: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
    expected.sort_unstable();
    let mut sorted = listed;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let role = scene.must("services.list_roles", json!({ "id": "authd" })).await["roles"][0].clone();
    assert_eq!((&role["name"], &role["id"]), (&json!("authd-admin"), &json!(ADMIN_ROLE)));
    let held = scene.must("roles.list_permissions", json!({ "id": "authd-admin" })).await;
    assert_eq!(names(&held["permissions"], "name"), ["admin"]);
}

#[tokio::test]
async fn seeding_writes_once_and_repairs_what_is_missing() {
    let scene = Scene::new().await;
    let db = scene.app.base.db.as_ref();
    let count = async |sql: &'static str| db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap();
    let written = async || count("SELECT value FROM counters WHERE name = 'access.changes'").await;
    assert_eq!(written().await, 1);
    seed(db, &scene.app.env).await.unwrap();
    assert_eq!(written().await, 1, "nothing was missing");
    for broken in [
        "DELETE FROM service_roles",
        "DELETE FROM role_permissions",
        "DELETE FROM permissions WHERE name = 'audit.read'",
        "DELETE FROM permissions WHERE name = 'admin'",
    ] {
        db.commit(vec![crate::db::Statement::any("test", broken, [])]).await.unwrap();
        let before = written().await;
        seed(db, &scene.app.env).await.unwrap();
        assert_eq!(written().await, before + 1, "{broken}");
        scene.app.modules.rbac.forget_all();
        scene.the_admin_role_works().await;
    }
    assert_eq!(count("SELECT COUNT(*) FROM permissions").await, i64::try_from(Permission::ALL.len()).unwrap());
}

impl Scene {
    async fn the_admin_role_works(&self) {
        let id = self.make("users", "somebody").await;
        let fields = json!({ "person_id": id, "service_id": "authd", "role_id": "authd-admin" });
        self.must("grants.add_role", fields).await;
        assert!(self.has("somebody", "authd", "admin").await);
        self.must("users.delete", json!({ "id": id })).await;
    }
}

#[tokio::test]
async fn what_is_built_in_stays() {
    let scene = Scene::new().await;
    for (operation, fields) in [
        ("services.update", json!({ "id": "authd", "name": "else" })),
        ("services.update", json!({ "id": AUTHD, "status": "inactive" })),
        ("services.delete", json!({ "id": "Authd" })),
        ("roles.update", json!({ "id": "authd-admin", "name": "else" })),
        ("roles.update", json!({ "id": ADMIN_ROLE, "status": "inactive" })),
        ("roles.delete", json!({ "id": "authd-admin" })),
        ("permissions.update", json!({ "id": "tokens.write", "name": "else" })),
        ("permissions.delete", json!({ "id": "admin" })),
        ("roles.remove_permission", json!({ "role_id": "authd-admin", "permission_id": "admin" })),
        ("services.remove_role", json!({ "service_id": "authd", "role_id": "authd-admin" })),
    ] {
        let error = scene.app.call(operation, fields).await.unwrap_err();
        assert_eq!(error.code.as_str(), "conflict", "{operation}");
        assert!(error.detail.contains("built in"), "{}", error.detail);
    }
    scene.must("services.update", json!({ "id": "authd", "description": "ours" })).await;
    for variant in ["tokens.write", "Tokens.Write", "ＡＤＭＩＮ"] {
        assert_eq!(scene.refused("permissions.create", json!({ "name": variant })).await, "name_taken");
    }
    scene.make("permissions", "mine").await;
    let rename = json!({ "id": "mine", "name": "Admin" });
    assert_eq!(scene.refused("permissions.update", rename).await, "name_taken");
    scene.the_admin_role_works().await;
}

/// What authd does not know by name means nothing there, and a later version may know it.
#[tokio::test]
async fn a_name_that_authd_does_not_know_cannot_be_given_there() {
    let scene = Scene::furnished().await;
    let on_authd = json!({ "service_id": "authd", "role_id": "editor" });
    let direct = |service: &str| json!({ "person_id": "alice", "service_id": service, "permission_id": "write" });
    let role = json!({ "role_id": "keeper", "permission_id": "write" });
    scene.make("roles", "keeper").await;
    scene.must("services.add_role", json!({ "service_id": "authd", "role_id": "keeper" })).await;
    for (operation, fields) in
        [("grants.add_permission", direct("authd")), ("services.add_role", on_authd), ("roles.add_permission", role)]
    {
        let error = scene.app.call(operation, fields).await.unwrap_err();
        assert_eq!(error.code.as_str(), "validation_failed", "{operation}");
        assert!(error.detail.contains("no permission of authd, which has: admin, tokens.read"), "{}", error.detail);
    }
    scene.must("grants.add_permission", direct("app")).await;
    scene.must("roles.add_permission", json!({ "role_id": "keeper", "permission_id": "audit.read" })).await;
}

/// As an older version left it: the name was somebody's own, planted on authd by every way there is, and used in app.
#[tokio::test]
async fn the_version_that_introduces_a_permission_ends_what_it_would_mean_once() {
    let scene = Scene::furnished().await;
    let db = scene.app.base.db.as_ref();
    let run = async |sql: &'static str| db.commit(vec![crate::db::Statement::any("test", sql, [])]).await.unwrap();
    let name = "system.read";
    for role in ["keeper", "editor"] {
        scene.app.call("roles.create", json!({ "name": role })).await.ok();
        scene.must("roles.add_permission", json!({ "role_id": role, "permission_id": name })).await;
    }
    scene.must("services.add_role", json!({ "service_id": "authd", "role_id": "keeper" })).await;
    scene.must("grants.add_role", json!({ "person_id": "alice", "service_id": "authd", "role_id": "keeper" })).await;
    scene.must("grants.add_role", alices_role()).await;
    for service in ["authd", "app"] {
        let fields = json!({ "person_id": "alice", "service_id": service, "permission_id": name });
        scene.must("grants.add_permission", fields).await;
    }
    run("UPDATE permissions SET introduced_at = NULL, name = 'System.Read' WHERE live_name = 'system.read'").await;

    let audited = scene.actions().await.len();
    for round in 0..2 {
        seed(db, &scene.app.env).await.unwrap();
        scene.app.modules.rbac.forget_all();
        assert!(!scene.has("alice", "authd", name).await, "{round}");
        assert!(scene.has("alice", "app", name).await, "what it means elsewhere stays");
        assert_eq!(scene.actions().await.len(), audited + 1, "it is told once");
    }
    let told = scene.must("audit.list", json!({ "limit": 1 })).await["entries"][0].clone();
    assert_eq!((&told["actor"], &told["action"]), (&json!("authd"), &json!("permissions.introduce")));
    assert_eq!(told["detail"], json!({ "name": name, "grants_removed": 1, "roles_removed": 1 }));
    let fields = json!({ "person_id": "alice", "service_id": "authd", "permission_id": name });
    scene.must("grants.add_permission", fields).await;
    seed(db, &scene.app.env).await.unwrap();
    scene.app.modules.rbac.forget_all();
    assert!(scene.has("alice", "authd", name).await, "what was granted since then stays");
}

#[tokio::test]
async fn permissions_that_this_version_does_not_know_are_left_alone() {
    let scene = Scene::furnished().await;
    let db = scene.app.base.db.as_ref();
    // As a newer version beside this one has made it.
    let newer = "INSERT INTO person_service_permissions (person_id, service_id, permission_id, created_at) \
         SELECT u.id, s.id, p.id, 0 FROM users u, services s, permissions p \
         WHERE u.live_name = 'alice' AND s.live_name = 'authd' AND p.live_name = 'write'";
    let introduced = "UPDATE permissions SET introduced_at = 0 WHERE live_name = 'write'";
    for sql in [
        newer,
        introduced,
        "DELETE FROM service_roles WHERE service_id = (SELECT id FROM services WHERE live_name = 'authd')",
    ] {
        db.commit(vec![crate::db::Statement::any("test", sql, [])]).await.unwrap();
    }
    seed(db, &scene.app.env).await.unwrap();
    let granted = scene.must("grants.list", json!({ "service_id": "authd" })).await;
    assert_eq!(granted["grants"][0]["permission"], "write", "{granted}");
}
