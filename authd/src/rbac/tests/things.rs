//! Users, services, roles and permissions by themselves.

use super::*;

const KINDS: [(&str, &str, &str); 4] = [
    ("users", "username", "users"),
    ("services", "name", "services"),
    ("roles", "name", "roles"),
    ("permissions", "name", "permissions"),
];

#[tokio::test]
async fn what_is_made_can_be_shown_changed_and_deleted_by_id_and_by_name() {
    let room = Room::new().await;
    for (what, field, _) in KINDS {
        let id = room.make(what, "First").await;
        let shown = room.must(&format!("{what}.show"), json!({ "id": id })).await;
        assert_eq!(shown[field], "First");
        assert_eq!(room.must(&format!("{what}.show"), json!({ "id": "first" })).await, shown, "{what}");
        room.app.clock.advance(1_000);
        let changed = room.must(&format!("{what}.update"), json!({ "id": "first", field: "Second" })).await;
        assert_eq!((&changed[field], &changed["id"]), (&json!("Second"), &json!(id)));
        assert_eq!(changed["created_at"], shown["created_at"]);
        assert_ne!(changed["updated_at"], shown["updated_at"]);
        assert_eq!(room.must(&format!("{what}.show"), json!({ "id": id })).await, changed);
        assert_eq!(room.refused(&format!("{what}.show"), json!({ "id": "first" })).await, "not_found");
        room.must(&format!("{what}.delete"), json!({ "id": "second" })).await;
        for gone in [id.as_str(), "second", "first"] {
            for verb in ["show", "update", "delete"] {
                assert_eq!(
                    room.refused(&format!("{what}.{verb}"), json!({ "id": gone })).await,
                    "not_found",
                    "{what} {verb}"
                );
            }
        }
    }
}
