//! Users, services, roles and permissions by themselves.

use super::*;

/// Each kind, and the field that holds its name.
const KINDS: [(&str, &str); 4] =
    [("users", "username"), ("services", "name"), ("roles", "name"), ("permissions", "name")];

#[tokio::test]
async fn what_is_made_can_be_shown_changed_and_deleted_by_id_and_by_name() {
    let scene = Scene::new().await;
    for (what, field) in KINDS {
        let call = |verb: &str| format!("{what}.{verb}");
        let id = scene.make(what, "First").await;
        let shown = scene.must(&call("show"), json!({ "id": id })).await;
        assert_eq!(shown[field], "First");
        assert_eq!(scene.must(&call("show"), json!({ "id": "first" })).await, shown, "{what}");
        scene.app.clock.advance(1_000);
        let changed = scene.must(&call("update"), json!({ "id": "first", field: "Second" })).await;
        assert_eq!((&changed[field], &changed["id"]), (&json!("Second"), &json!(id)));
        assert_eq!(changed["created_at"], shown["created_at"]);
        assert_ne!(changed["updated_at"], shown["updated_at"]);
        assert_eq!(scene.must(&call("show"), json!({ "id": id })).await, changed);
        // A name may be spelt anew by its own owner.
        scene.must(&call("update"), json!({ "id": id, field: "SECOND" })).await;
        scene.must(&call("delete"), json!({ "id": "second" })).await;
        for gone in [id.as_str(), "second", "first"] {
            for verb in ["show", "update", "delete"] {
                assert_eq!(scene.refused(&call(verb), json!({ "id": gone })).await, "not_found", "{what} {verb}");
            }
        }
        let log = scene.actions().await;
        assert_eq!(log[..4], [call("delete"), call("update"), call("update"), call("create")]);
    }
}

#[tokio::test]
async fn variants_of_a_name_are_one_name_and_a_deleted_one_is_free() {
    let scene = Scene::new().await;
    for (what, field) in KINDS {
        let call = |verb: &str| format!("{what}.{verb}");
        let id = scene.make(what, "Zoë").await;
        let other = scene.make(what, "other").await;
        for variant in ["zoë", "ZOË", "Zoe\u{308}", "ｚoë"] {
            assert_eq!(scene.refused(&call("create"), json!({ field: variant })).await, "name_taken", "{variant}");
            let rename = json!({ "id": other, field: variant });
            assert_eq!(scene.refused(&call("update"), rename).await, "name_taken", "{variant}");
            assert_eq!(scene.must(&call("show"), json!({ "id": variant })).await["id"], id, "{variant}");
        }
        assert_eq!(scene.must(&call("show"), json!({ "id": " ZOË " })).await["id"], id);
        scene.must(&call("delete"), json!({ "id": "zoe\u{308}" })).await;
        let again = scene.make(what, "zoë").await;
        assert_ne!(again, id);
        scene.must(&call("delete"), json!({ "id": again })).await;
        scene.must(&call("update"), json!({ "id": other, field: "Zoë" })).await;
        scene.make(what, "other").await;
    }
}

#[tokio::test]
async fn names_are_visible_bounded_and_no_ids() {
    let scene = Scene::new().await;
    for (what, field) in KINDS {
        scene.make(what, "fine").await;
        for bad in ["", " ", " a", "a\u{200b}", "0190a6f0-0000-7000-8000-000000000000", &"x".repeat(129)] {
            for (verb, fields) in [("create", json!({ field: bad })), ("update", json!({ "id": "fine", field: bad }))] {
                let error = scene.app.call(&format!("{what}.{verb}"), fields).await.unwrap_err();
                assert_eq!(
                    (error.code.as_str(), error.fields[0].field.as_str()),
                    ("validation_failed", field),
                    "{bad}"
                );
            }
        }
    }
    let long = "x".repeat(1_001);
    for (operation, fields) in [
        ("services.create", json!({ "name": "a", "description": long })),
        ("services.update", json!({ "id": "fine", "description": "\u{7}" })),
        ("users.create", json!({ "username": "a", "document_number": "x".repeat(33) })),
        ("users.create", json!({ "username": "a", "document_number": "" })),
        ("users.create", json!({ "username": "a", "document_type": "PASSPORT" })),
        ("users.create", json!({ "username": "a", "person_type": "X" })),
        ("users.create", json!({ "username": "a", "name": "\u{200b}" })),
        ("users.create", json!({ "username": "a", "password": "short" })),
        ("users.create", json!({ "username": "long enough", "password": "Long Enough" })),
        ("users.update", json!({ "id": "fine", "password": "password" })),
        ("users.update", json!({ "id": "fine", "username": "battery staple", "password": "battery staple" })),
        ("roles.create", json!({ "name": "a", "status": "gone" })),
    ] {
        assert_eq!(scene.refused(operation, fields.clone()).await, "validation_failed", "{operation} {fields}");
    }
}

#[tokio::test]
async fn what_is_not_given_stays_as_it_is() {
    let scene = Scene::new().await;
    let made = json!({ "username": "alice", "name": "Alice A.", "status": "inactive", "person_type": "N",
        "document_type": "DNI", "document_number": "12345678", "password": PASSWORD });
    let user = scene.must("users.create", made).await;
    assert!(!user.to_string().contains(PASSWORD) && user["has_password"] == true);
    let changes = [
        ("name", json!("Alice")),
        ("status", json!("active")),
        ("person_type", json!("J")),
        ("document_type", json!("RUC")),
        ("document_number", json!("20123456789")),
        ("username", json!("alicia")),
    ];
    let mut expected = user.clone();
    for (field, value) in changes {
        let answer = scene.must("users.update", json!({ "id": user["id"], field: value })).await;
        expected[field] = value;
        assert_eq!(answer, expected);
        assert_eq!(scene.must("users.show", json!({ "id": user["id"] })).await, expected);
    }
    let service = scene.must("services.create", json!({ "name": "app", "description": "two\nlines" })).await;
    assert_eq!(scene.must("services.update", json!({ "id": "app" })).await, service);
    let answer = scene.must("services.update", json!({ "id": "app", "status": "inactive" })).await;
    assert_eq!((&answer["description"], &answer["status"]), (&json!("two\nlines"), &json!("inactive")));
    let answer = scene.must("services.update", json!({ "id": "app", "description": "" })).await;
    assert_eq!((&answer["description"], &answer["name"]), (&json!(""), &json!("app")));
    let bare = scene.must("users.create", json!({ "username": "Bob" })).await;
    assert_eq!(
        (&bare["name"], &bare["has_password"], &bare["status"]),
        (&json!("Bob"), &json!(false), &json!("active"))
    );
    assert!(bare.get("document_number").is_none());
}

#[tokio::test]
async fn lists_come_in_pages_oldest_first_without_what_is_deleted() {
    let scene = Scene::new().await;
    for (what, field) in KINDS {
        let call = format!("{what}.list");
        let before = names(&scene.must(&call, json!({})).await[what], field);
        for number in 0..7 {
            scene.app.clock.advance(1);
            scene.make(what, &format!("n{number}")).await;
        }
        scene.must(&format!("{what}.delete"), json!({ "id": "n3" })).await;
        let mut expected = before;
        expected.extend(["n0", "n1", "n2", "n4", "n5", "n6"].map(str::to_owned));
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let page = scene.must(&call, json!({ "limit": 2, "cursor": cursor })).await;
            assert!(page[what].as_array().unwrap().len() <= 2);
            seen.extend(names(&page[what], field));
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(seen, expected);
        assert_eq!(scene.refused(&call, json!({ "cursor": "n1" })).await, "validation_failed");
        assert_eq!(scene.refused(&call, json!({ "limit": 0 })).await, "validation_failed");
    }
}

#[tokio::test]
async fn of_two_that_want_a_name_at_the_same_time_one_gets_it() {
    let scene = Scene::new().await;
    for (what, field) in KINDS {
        let call = format!("{what}.create");
        let tries: Vec<_> = (0..8).map(|_| scene.app.spawn(&call, json!({ field: "wanted" }))).collect();
        let mut made = 0;
        for answer in tries {
            match answer.await.unwrap() {
                Ok(_) => made += 1,
                Err(error) => assert_eq!(error.code.as_str(), "name_taken"),
            }
        }
        assert_eq!(made, 1, "{what}");
    }
}

#[tokio::test]
async fn a_failing_database_is_unavailable_and_changes_nothing() {
    let scene = Scene::furnished().await;
    scene.app.break_db(true);
    for (operation, fields) in [
        ("users.create", json!({ "username": "bob" })),
        ("users.list", json!({})),
        ("roles.delete", json!({ "id": "editor" })),
        ("grants.add_role", alices_role()),
    ] {
        assert_eq!(scene.refused(operation, fields).await, "unavailable", "{operation}");
    }
    scene.app.break_db(false);
    assert_eq!(scene.refused("users.show", json!({ "id": "bob" })).await, "not_found");
    assert!(!scene.can().await);
}

#[tokio::test]
async fn a_list_is_filtered_by_the_beginning_of_a_name_in_any_case() {
    let scene = Scene::new().await;
    for (what, field) in KINDS {
        for name in ["Deploy-a", "deploy-b", "DEPLOY_c", "other deploy", "Ödeploy"] {
            scene.app.clock.advance(1);
            scene.make(what, name).await;
        }
        scene.must(&format!("{what}.delete"), json!({ "id": "deploy-b" })).await;
        for (prefix, expected) in [
            ("deploy", &["Deploy-a", "DEPLOY_c"][..]),
            ("DEPLOY-", &["Deploy-a"]),
            ("deploy_", &["DEPLOY_c"]),
            ("ö", &["Ödeploy"]),
            ("%", &[]),
        ] {
            let list = scene.must(&format!("{what}.list"), json!({ "prefix": prefix })).await;
            let names: Vec<&str> =
                list[what].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap()).collect();
            assert_eq!(names, expected, "{what} {prefix}");
        }
        let first = scene.must(&format!("{what}.list"), json!({ "prefix": "deploy", "limit": 1 })).await;
        let next = json!({ "prefix": "deploy", "limit": 1, "cursor": first["next_cursor"] });
        let next = scene.must(&format!("{what}.list"), next).await;
        assert_eq!((&next[what][0][field], &next["next_cursor"]), (&json!("DEPLOY_c"), &Value::Null), "{what}");
    }
}
