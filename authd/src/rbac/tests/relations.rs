//! Every relation, for its effect: what checks answer before and after, at once.

use super::*;

/// A state in which alice may write in app by the role, and one change after which she may not, with
/// the change that gives it back.
async fn gives_and_takes(scene: &Scene, take: (&str, Value), give: (&str, Value)) {
    assert!(scene.can().await, "before {take:?}");
    scene.must(take.0, take.1.clone()).await;
    assert!(!scene.can().await, "after {take:?}");
    scene.must(give.0, give.1.clone()).await;
    assert!(scene.can().await, "after {give:?}");
}

#[tokio::test]
async fn each_link_between_a_person_and_a_permission_is_needed() {
    let scene = Scene::furnished().await;
    assert!(!scene.can().await, "nothing is granted yet");
    scene.must("grants.add_role", alices_role()).await;
    let role_permission = json!({ "role_id": "editor", "permission_id": "write" });
    let service_role = json!({ "service_id": "app", "role_id": "editor" });
    for (take, give, fields) in [
        ("roles.remove_permission", "roles.add_permission", role_permission),
        ("services.remove_role", "services.add_role", service_role),
        ("grants.remove_role", "grants.add_role", alices_role()),
    ] {
        gives_and_takes(&scene, (take, fields.clone()), (give, fields)).await;
    }
}

#[tokio::test]
async fn what_is_not_active_gives_nothing_until_it_is_active_again() {
    let scene = Scene::furnished().await;
    scene.must("grants.add_role", alices_role()).await;
    for (operation, id) in [("users.update", "alice"), ("services.update", "app"), ("roles.update", "editor")] {
        let become_ = |status: &str| (operation, json!({ "id": id, "status": status }));
        gives_and_takes(&scene, become_("inactive"), become_("active")).await;
    }
    // A direct permission is not the role's business, but person and service must be active for it too.
    scene.must("grants.remove_role", alices_role()).await;
    let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "write" });
    scene.must("grants.add_permission", direct).await;
    scene.must("roles.update", json!({ "id": "editor", "status": "inactive" })).await;
    assert!(scene.can().await);
    for (operation, id) in [("users.update", "alice"), ("services.update", "app")] {
        let become_ = |status: &str| (operation, json!({ "id": id, "status": status }));
        gives_and_takes(&scene, become_("inactive"), become_("active")).await;
    }
}

#[tokio::test]
async fn a_direct_permission_works_where_it_was_granted_and_nowhere_else() {
    let scene = Scene::furnished().await;
    scene.make("services", "other").await;
    scene.make("users", "bob").await;
    let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "WRITE" });
    scene.must("grants.add_permission", direct.clone()).await;
    assert!(scene.can().await);
    assert!(!scene.has("alice", "other", "write").await && !scene.has("bob", "app", "write").await);
    assert!(scene.has("ALICE", " App", "Write").await, "names are compared folded");
    scene.must("grants.remove_permission", direct).await;
    assert!(!scene.can().await);
}

#[tokio::test]
async fn a_role_gives_nothing_in_a_service_that_does_not_have_it() {
    let scene = Scene::furnished().await;
    scene.make("services", "other").await;
    let elsewhere = json!({ "person_id": "alice", "service_id": "other", "role_id": "editor" });
    scene.must("grants.add_role", elsewhere.clone()).await;
    assert!(!scene.has("alice", "other", "write").await);
    assert!(!scene.can().await, "a role in one service is none in another");
    scene.must("services.add_role", json!({ "service_id": "other", "role_id": "editor" })).await;
    assert!(scene.has("alice", "other", "write").await && !scene.can().await);
}

#[tokio::test]
async fn deleting_one_end_of_a_relation_takes_it_away_for_good() {
    for (what, name) in [("users", "alice"), ("services", "app"), ("roles", "editor"), ("permissions", "write")] {
        let scene = Scene::furnished().await;
        let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "write" });
        scene.must("grants.add_role", alices_role()).await;
        scene.must("grants.add_permission", direct.clone()).await;
        assert!(scene.can().await);
        scene.must(&format!("{what}.delete"), json!({ "id": name })).await;
        assert_eq!(scene.can().await, what == "roles", "without {name}");
        if what == "roles" {
            scene.must("grants.remove_permission", direct).await;
            assert!(!scene.can().await);
        }
        // One of the same name inherits nothing.
        scene.make(what, name).await;
        assert!(!scene.can().await, "with another {name}");
        let left = scene.must("grants.list", json!({})).await["grants"].as_array().unwrap().len();
        assert_eq!(left, usize::from(what == "permissions"), "{name}");
    }
}

#[tokio::test]
async fn a_relation_is_made_once_and_ended_once_between_things_that_are_there() {
    let scene = Scene::furnished().await;
    let direct = json!({ "person_id": "alice", "service_id": "app", "permission_id": "write" });
    for (add, remove, fields) in [
        ("roles.add_permission", "roles.remove_permission", json!({ "role_id": "editor", "permission_id": "write" })),
        ("services.add_role", "services.remove_role", json!({ "service_id": "app", "role_id": "editor" })),
        ("grants.add_role", "grants.remove_role", alices_role()),
        ("grants.add_permission", "grants.remove_permission", direct),
    ] {
        if add.starts_with("grants") {
            assert_eq!(scene.refused(remove, fields.clone()).await, "not_found", "{remove}");
            assert_eq!(scene.must(add, fields.clone()).await, json!({ "status": "success" }));
        }
        assert_eq!(scene.refused(add, fields.clone()).await, "conflict", "{add}");
        assert_eq!(scene.must(remove, fields.clone()).await, json!({ "status": "success" }));
        assert_eq!(scene.refused(remove, fields.clone()).await, "not_found", "{remove}");
        assert_eq!(scene.actions().await[0], remove);
        scene.must(add, fields.clone()).await;
        assert_eq!(scene.actions().await[0], add);
        for field in fields.as_object().unwrap().keys() {
            let mut missing = fields.clone();
            for nobody in ["nobody", "0190a6f0-0000-7000-8000-000000000000"] {
                missing[field] = json!(nobody);
                assert_eq!(scene.refused(add, missing.clone()).await, "not_found", "{add} {field}");
                assert_eq!(scene.refused(remove, missing.clone()).await, "not_found", "{remove} {field}");
            }
        }
    }
}

#[tokio::test]
async fn a_relation_that_races_with_a_delete_leaves_nothing_behind() {
    let scene = Scene::furnished().await;
    for round in 0..12 {
        let (what, field) = [("users", "person_id"), ("services", "service_id"), ("roles", "role_id")][round % 3];
        let name = format!("short-lived {round}");
        scene.make(what, &name).await;
        let mut fields = alices_role();
        fields[field] = json!(name);
        let adding = scene.app.spawn("grants.add_role", fields);
        let deleting = scene.app.spawn(&format!("{what}.delete"), json!({ "id": name }));
        let added = adding.await.unwrap();
        deleting.await.unwrap().unwrap();
        assert!(added.is_ok() || added.unwrap_err().code.as_str() == "not_found");
        let sql = "SELECT COUNT(*) FROM person_service_roles";
        let rows = scene.app.base.db.query(crate::db::Query::new(sql, [])).await.unwrap();
        assert_eq!(rows[0].cursor().int().unwrap(), 0, "round {round}");
    }
}

#[tokio::test]
async fn a_change_whose_caller_goes_away_is_made_and_seen_all_the_same() {
    if crate::testing::on_postgres() {
        // There the look-ups before take longer than the caller stays.
        return;
    }
    let scene = Scene::furnished().await;
    loop {
        scene.must("grants.add_role", alices_role()).await;
        assert!(scene.can().await);
        let taking = scene.app.spawn("grants.remove_role", alices_role());
        // It runs until it waits for the commit, and is gone, unless the commit is faster.
        tokio::task::yield_now().await;
        taking.abort();
        match taking.await {
            Ok(removed) => drop(removed.unwrap()),
            Err(gone) => {
                assert!(gone.is_cancelled());
                break;
            }
        }
    }
    // While the change is on its way, the ways to ask may differ: nobody was told of it yet.
    let asked = json!({ "person_id": "alice", "service_id": "app", "permission_name": "write" });
    let seen = async {
        while scene.must("sessions.check_permission", asked.clone()).await["has_permission"] == true {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.expect("it is taken, and checks know");
    assert!(!scene.can().await);
}

#[tokio::test]
async fn lists_of_relations_hold_what_was_given_in_pages() {
    let scene = Scene::furnished().await;
    for number in 0..5 {
        scene.app.clock.advance(1);
        let name = format!("n{number}");
        for what in ["users", "services", "roles", "permissions"] {
            scene.make(what, &name).await;
        }
        scene.must("roles.add_permission", json!({ "role_id": "editor", "permission_id": name })).await;
        scene.must("services.add_role", json!({ "service_id": "app", "role_id": name })).await;
        let grant = |person: &str, service: &str, role: &str| json!({ "person_id": person, "service_id": service, "role_id": role });
        scene.must("grants.add_role", grant("alice", "app", &name)).await;
        scene.must("grants.add_role", grant(&name, "app", "editor")).await;
        let direct = json!({ "person_id": "alice", "service_id": name, "permission_id": "write" });
        scene.must("grants.add_permission", direct).await;
    }
    let five: Vec<String> = (0..5).map(|number| format!("n{number}")).collect();
    let with = |first: &str| [vec![first.to_owned()], five.clone()].concat();
    let everything = [
        ("roles.list_permissions", json!({ "id": "EDITOR" }), "permissions", "name", with("write")),
        ("services.list_roles", json!({ "id": "app" }), "roles", "name", with("editor")),
        ("grants.list_roles", json!({ "id": "alice", "service_id": "app" }), "roles", "name", five.clone()),
        ("grants.list_people", json!({ "id": "app", "role_id": "editor" }), "users", "username", five.clone()),
        ("grants.list_services", json!({ "id": "alice" }), "services", "name", with("app")),
    ];
    for (operation, fields, list, field, expected) in everything {
        assert_eq!(paged(&scene, operation, fields.clone(), list, field).await, expected, "{operation}");
        for missing in fields.as_object().unwrap().keys() {
            let mut nobody = fields.clone();
            nobody[missing] = json!("nobody");
            assert_eq!(scene.refused(operation, nobody).await, "not_found", "{operation} {missing}");
        }
    }
    let people = paged(&scene, "grants.list", json!({}), "grants", "username").await;
    assert_eq!(people, [vec!["alice".to_owned(); 10], five.clone()].concat());
    let here = paged(&scene, "grants.list", json!({ "service_id": "n2" }), "grants", "permission").await;
    assert_eq!(here, ["write"]);
    let own = json!({ "person_id": "alice", "service_id": "app" });
    assert_eq!(paged(&scene, "grants.list", own, "grants", "role").await, five);
    assert_eq!(scene.refused("grants.list", json!({ "person_id": "nobody" })).await, "not_found");
    assert_eq!(scene.refused("grants.list", json!({ "cursor": "_".repeat(109) })).await, "validation_failed");
    let entry = &scene.must("grants.list", json!({ "person_id": "n1" })).await["grants"][0];
    assert_eq!((&entry["service"], &entry["role"]), (&json!("app"), &json!("editor")));
    assert!(entry.get("permission").is_none());
}

/// A whole list, two entries at a time.
async fn paged(scene: &Scene, operation: &str, mut fields: Value, list: &str, field: &str) -> Vec<String> {
    let mut seen = Vec::new();
    fields["limit"] = json!(2);
    loop {
        let page = scene.must(operation, fields.clone()).await;
        assert!(page[list].as_array().unwrap().len() <= 2);
        seen.extend(names(&page[list], field));
        fields["cursor"] = page["next_cursor"].clone();
        if fields["cursor"].is_null() {
            return seen;
        }
    }
}
