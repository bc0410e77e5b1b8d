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
