//! Changes of users, services, roles, permissions and grants.

use super::scene::{Change, Kind, Person, Place, Question, Scene, Subject, USE, inverted};
use serde_json::{Value, json};
use tests::authd::ADMIN_TOKEN;

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "users.update to inactive", make: disable_user },
    Kind { name: "users.delete", make: delete_user },
    Kind { name: "users.update of the name", make: rename_user },
    Kind { name: "grants.remove_role", make: ungrant_role },
    Kind { name: "grants.remove_permission", make: ungrant_permission },
    Kind { name: "grants.add_role", make: grant_role },
    Kind { name: "roles.remove_permission", make: remove_role_permission },
    Kind { name: "roles.update to inactive", make: disable_role },
    Kind { name: "roles.delete", make: delete_role },
    Kind { name: "permissions.delete", make: delete_permission },
    Kind { name: "services.remove_role", make: remove_service_role },
    Kind { name: "services.update to inactive", make: disable_service },
    Kind { name: "services.delete", make: delete_service },
];

/// A request of the administrator.
fn change(method: &'static str, path: String, body: Option<Value>) -> Change {
    let body = body.map(|body| body.to_string());
    Box::new(move |http| {
        let body = body.as_ref().map(|body| ("application/json", body.as_bytes()));
        http.clone().bearer(ADMIN_TOKEN).send(method, &path, body)
    })
}

/// Whether a list has an entry of which this field is that.
fn has(list: &'static str, field: &'static str, value: String) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    move |v| v[list].as_array().is_some_and(|all| all.iter().any(|entry| entry[field] == value.as_str()))
}

fn disable_user(scene: &Scene) -> Subject {
    let person = scene.person();
    let path = format!("/users/{}", person.id);
    let mut checks = scene.session_checks(&person);
    checks.extend(scene.access(&person, &scene.desk()).into_iter().take(1));
    Subject {
        change: change("PUT", path.clone(), Some(json!({"status": "inactive"}))),
        shown: scene.show(path, |v| v["status"] == "active"),
        checks,
    }
}

fn delete_user(scene: &Scene) -> Subject {
    let person = scene.person();
    let path = format!("/users/{}", person.id);
    let mut checks = scene.session_checks(&person);
    checks.extend(scene.access(&person, &scene.desk()).into_iter().take(1));
    Subject { change: change("DELETE", path.clone(), None), shown: scene.show(path, |_| true), checks }
}

fn rename_user(scene: &Scene) -> Subject {
    let person = scene.person();
    let path = format!("/users/{}", person.id);
    let body = json!({"token": person.session});
    let (name, same) = (person.name.clone(), person.name.clone());
    let check = scene.ask(
        move |http| http.post("/check-token", &body),
        move |v| v["valid"] == true && v["payload"]["username"] == name.as_str(),
    );
    Subject {
        change: change("PUT", path.clone(), Some(json!({"username": scene.name("renamed")}))),
        shown: scene.show(path, move |v| v["username"] == same.as_str()),
        checks: vec![("check-token", check)],
    }
}

/// A person who may use the desk by a role of their own, which is answered too.
fn by_role(scene: &Scene) -> (Person, String) {
    let person = scene.stranger();
    let role = scene.named("/roles", "role");
    scene.post("/role-permissions", json!({"role_id": role, "permission_id": USE}));
    scene.post("/service-roles", json!({"service_id": "desk", "role_id": role}));
    scene.post("/person-service-roles", json!({"person_id": person.id, "service_id": "desk", "role_id": role}));
    (person, role)
}

/// All that is asked about a person's access to the desk.
fn desk_checks(scene: &Scene, person: &Person) -> Vec<(&'static str, Question)> {
    let mut checks = scene.access(person, &scene.desk());
    checks.push(scene.forward(&person.session));
    checks
}

fn ungrant_role(scene: &Scene) -> Subject {
    let (person, role) = by_role(scene);
    let body = json!({"person_id": person.id, "service_id": "desk", "role_id": role});
    let path = format!("/people/{}/services/desk/roles", person.id);
    Subject {
        change: change("DELETE", "/person-service-roles".into(), Some(body)),
        shown: scene.show(path, has("roles", "name", role)),
        checks: desk_checks(scene, &person),
    }
}

fn ungrant_permission(scene: &Scene) -> Subject {
    let person = scene.person();
    let body = json!({"person_id": person.id, "service_id": "desk", "permission_id": USE});
    let path = format!("/grants?person_id={}", person.id);
    Subject {
        change: change("DELETE", "/person-service-permissions".into(), Some(body)),
        shown: scene.show(path, has("grants", "permission", USE.into())),
        checks: desk_checks(scene, &person),
    }
}

/// What is given must be seen as well as what is taken away.
fn grant_role(scene: &Scene) -> Subject {
    let (person, role) = by_role(scene);
    let body = json!({"person_id": person.id, "service_id": "desk", "role_id": role});
    let taken = change("DELETE", "/person-service-roles".into(), Some(body.clone()))(&scene.authd.http());
    taken.expect("it answers").expect(200);
    let path = format!("/people/{}/services/desk/roles", person.id);
    let is_granted = has("roles", "name", role);
    Subject {
        change: change("POST", "/person-service-roles".into(), Some(body)),
        shown: scene.show(path, move |v| !is_granted(v)),
        checks: inverted(desk_checks(scene, &person)),
    }
}

fn remove_role_permission(scene: &Scene) -> Subject {
    let (person, role) = by_role(scene);
    let body = json!({"role_id": role, "permission_id": USE});
    Subject {
        change: change("DELETE", "/role-permissions".into(), Some(body)),
        shown: scene.show(format!("/roles/{role}/permissions"), has("permissions", "name", USE.into())),
        checks: desk_checks(scene, &person),
    }
}

fn disable_role(scene: &Scene) -> Subject {
    let (person, role) = by_role(scene);
    let path = format!("/roles/{role}");
    Subject {
        change: change("PUT", path.clone(), Some(json!({"status": "inactive"}))),
        shown: scene.show(path, |v| v["status"] == "active"),
        checks: desk_checks(scene, &person),
    }
}

fn delete_role(scene: &Scene) -> Subject {
    let (person, role) = by_role(scene);
    let path = format!("/roles/{role}");
    Subject {
        change: change("DELETE", path.clone(), None),
        shown: scene.show(path, |_| true),
        checks: desk_checks(scene, &person),
    }
}

fn delete_permission(scene: &Scene) -> Subject {
    let person = scene.stranger();
    let permission = scene.named("/permissions", "permission");
    let grant = json!({"person_id": person.id, "service_id": "desk", "permission_id": permission});
    scene.post("/person-service-permissions", grant);
    let path = format!("/permissions/{permission}");
    let place = Place { permission, ..scene.desk() };
    Subject {
        change: change("DELETE", path.clone(), None),
        shown: scene.show(path, |_| true),
        checks: scene.access(&person, &place),
    }
}

fn remove_service_role(scene: &Scene) -> Subject {
    let (person, role) = by_role(scene);
    let body = json!({"service_id": "desk", "role_id": role});
    Subject {
        change: change("DELETE", "/service-roles".into(), Some(body)),
        shown: scene.show("/services/desk/roles?limit=1000".into(), has("roles", "name", role)),
        checks: desk_checks(scene, &person),
    }
}

/// A service of its own, with its own token, where a person holds a permission.
fn own_service(scene: &Scene) -> (Person, Place) {
    let person = scene.stranger();
    let service = scene.named("/services", "service");
    let grant = json!({"person_id": person.id, "service_id": service, "permission_id": USE});
    scene.post("/person-service-permissions", grant);
    let (token, _) = scene.service_token_of(&service);
    (person, Place { service, token, permission: USE.into() })
}

fn disable_service(scene: &Scene) -> Subject {
    let (person, place) = own_service(scene);
    let path = format!("/services/{}", place.service);
    Subject {
        change: change("PUT", path.clone(), Some(json!({"status": "inactive"}))),
        shown: scene.show(path, |v| v["status"] == "active"),
        checks: scene.access(&person, &place),
    }
}

/// Its tokens end with it.
fn delete_service(scene: &Scene) -> Subject {
    let (person, place) = own_service(scene);
    let path = format!("/services/{}", place.service);
    let mut checks = scene.access(&person, &place);
    let body = json!({"token": place.token});
    checks.push(("validate", scene.ask(move |http| http.post("/auth/validate", &body), |v| v["valid"] == true)));
    Subject { change: change("DELETE", path.clone(), None), shown: scene.show(path, |_| true), checks }
}
