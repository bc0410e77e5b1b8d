//! Why somebody has a permission, or why not.

use super::*;

impl Scene {
    async fn explain(&self, person: &str, service: &str, permission: &str) -> (bool, Value, String) {
        let fields = json!({ "person_id": person, "service_id": service, "permission_name": permission });
        let answer = self.must("sessions.explain_permission", fields).await;
        let obstacles: Vec<&str> =
            answer["obstacles"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        (answer["has_permission"] == true, answer["because"].clone(), obstacles.join("\n"))
    }

    async fn obstacles(&self) -> String {
        let (has, because, obstacles) = self.explain("alice", "app", "write").await;
        assert_eq!((has, because), (false, json!([])), "{obstacles}");
        obstacles
    }
}

#[tokio::test]
async fn every_way_is_told_with_its_time() {
    let scene = Scene::furnished().await;
    let now = || json!(shared::time::Time::from_millis(scene.app.env.now()));
    scene.must("grants.add_role", alices_role()).await;
    let first = now();
    scene.app.clock.advance(1_000);
    let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "write" });
    scene.must("grants.add_permission", direct).await;
    let (has, because, obstacles) = scene.explain("alice", "app", "WRITE").await;
    assert!(has && obstacles.is_empty(), "{obstacles}");
    assert_eq!(because, json!([{ "granted_at": now() }, { "role": "editor", "granted_at": first }]));
    // A way that does not work is told beside the one that does.
    scene.must("roles.update", json!({ "id": "editor", "status": "inactive" })).await;
    let (has, because, obstacles) = scene.explain("alice", "app", "write").await;
    assert!(has && obstacles.contains("\"editor\"") && obstacles.contains("not active"), "{obstacles}");
    assert_eq!(because, json!([{ "granted_at": now() }]));
}

#[tokio::test]
async fn every_near_miss_is_told() {
    let scene = Scene::furnished().await;
    let none = scene.obstacles().await;
    assert!(none.contains("granted nothing") && none.contains("the role \"editor\" would give it"), "{none}");
    scene.must("grants.add_role", alices_role()).await;
    for (operation, id, told) in [
        ("users.update", "alice", "the user \"alice\" is not active"),
        ("services.update", "app", "the service \"app\" is not active"),
        ("roles.update", "editor", "has the permission, but is not active"),
    ] {
        scene.must(operation, json!({ "id": id, "status": "inactive" })).await;
        let obstacles = scene.obstacles().await;
        assert!(obstacles.contains(told), "{obstacles}");
        scene.must(operation, json!({ "id": id, "status": "active" })).await;
        assert!(scene.can().await);
    }
    scene.must("services.remove_role", json!({ "service_id": "app", "role_id": "editor" })).await;
    let obstacles = scene.obstacles().await;
    assert!(obstacles.contains("not in the service \"app\""), "{obstacles}");
    scene.must("services.add_role", json!({ "service_id": "app", "role_id": "editor" })).await;
    scene.must("roles.remove_permission", json!({ "role_id": "editor", "permission_id": "write" })).await;
    let obstacles = scene.obstacles().await;
    assert!(obstacles.contains("does not have the permission \"write\""), "{obstacles}");
    for (person, service, permission, told) in [
        ("bob", "app", "write", "there is no user \"bob\""),
        ("alice", "nowhere", "write", "there is no service \"nowhere\""),
        ("alice", "app", "fly", "there is no permission \"fly\""),
    ] {
        let (has, because, obstacles) = scene.explain(person, service, permission).await;
        assert!(!has && because == json!([]) && obstacles.contains(told), "{obstacles}");
    }
    let id = scene.must("permissions.show", json!({ "id": "write" })).await["id"].as_str().unwrap().to_owned();
    assert!(!scene.explain("alice", "app", &id).await.0, "checks know permissions by name");
}

#[tokio::test]
async fn who_has_not_accepted_an_invitation_is_told_beside_what_they_have() {
    let scene = Scene::furnished().await;
    let invited = json!({ "username": "zoe", "email": "zoe@example.com" });
    let zoe = scene.must("users.create", invited).await["id"].as_str().unwrap().to_owned();
    let told = "\"zoe\" has set no password yet to sign in by: authctl user invite zoe@example.com";
    let (has, _, obstacles) = scene.explain("zoe@EXAMPLE.com", "app", "write").await;
    assert!(!has && obstacles.contains(told) && obstacles.contains("granted nothing"), "{obstacles}");
    scene
        .must("grants.add_permission", json!({ "person_id": zoe, "service_id": "app", "permission_id": "write" }))
        .await;
    let (has, because, obstacles) = scene.explain(&zoe, "app", "write").await;
    assert!(has && because.as_array().unwrap().len() == 1 && obstacles.contains(told), "{obstacles}");
    for change in [
        json!({ "id": "zoe", "password": "correct horse battery" }),
        json!({ "id": "zoe", "email": "zoe@example.org" }),
    ] {
        scene.must("users.update", change).await;
        assert_eq!(scene.explain("zoe", "app", "write").await.2, "", "she has a password");
    }
}

#[tokio::test]
async fn explanations_and_checks_agree_whatever_is_given_or_missing() {
    let scene = Scene::furnished().await;
    let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "write" });
    let switches = [
        ("users.update", json!({ "id": "alice", "status": "inactive" }), json!({ "id": "alice", "status": "active" })),
        ("services.update", json!({ "id": "app", "status": "inactive" }), json!({ "id": "app", "status": "active" })),
        (
            "roles.update",
            json!({ "id": "editor", "status": "inactive" }),
            json!({ "id": "editor", "status": "active" }),
        ),
    ];
    for combination in 0..32_u32 {
        let is_set = |bit: u32| combination & (1 << bit) != 0;
        for (bit, (operation, off, on)) in (0..).zip(&switches) {
            scene.must(operation, if is_set(bit) { on.clone() } else { off.clone() }).await;
        }
        for (bit, what, fields) in [(3, "role", alices_role()), (4, "permission", direct.clone())] {
            let verb = if is_set(bit) { "add" } else { "remove" };
            // Given or taken before already, it stays so.
            let _ = scene.app.call(&format!("grants.{verb}_{what}"), fields).await;
        }
        let expected = is_set(0) && is_set(1) && ((is_set(2) && is_set(3)) || is_set(4));
        // `can` asks in every way, and compares the answers.
        assert_eq!(scene.can().await, expected, "{combination:05b}");
    }
}

#[tokio::test]
async fn on_authd_who_has_admin_has_everything_and_is_told_by_which_role() {
    let scene = Scene::new().await;
    scene.must("users.create", json!({ "username": "root-of-all" })).await;
    let grant = json!({ "person_id": "root-of-all", "service_id": "authd", "role_id": "authd-admin" });
    assert!(!scene.explain("root-of-all", "authd", "tokens.write").await.0);
    scene.must("grants.add_role", grant).await;
    let (has, because, obstacles) = scene.explain("root-of-all", "authd", "tokens.write").await;
    assert!(has && because[0]["role"] == "authd-admin" && obstacles.is_empty(), "{because} {obstacles}");
    assert!(!scene.explain("root-of-all", "authd", "no.such.permission").await.0);
}
