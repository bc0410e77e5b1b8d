//! Every statement of the store, on every engine.

use std::sync::Arc;

use shared::api::rbac::{Permission as Named, Role, Service, UpdatePermission, UpdateRole, UpdateService};
use shared::api::users::{DocumentType, PersonType, Status, UpdateUser, User};
use shared::email::Email;
use shared::id::{PermissionId, RoleId, ServiceId, UserId};
use shared::time::Time;

use super::super::store::grants;
use super::super::store::relations::{self, Relation, delete_with_relations};
use super::super::store::{self, permissions, roles, services};
use super::super::{AUTHD, seed};
use crate::caller::Permissions;
use crate::db::{Db, DbError, Statement, testing};
use crate::entities::{self, Entity};
use crate::env::Env;
use crate::page::Page;
use crate::testing::NOW;
use crate::users::store as users;
use crate::users::store::Password;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let (db, _folder) = testing::sqlite();
    walk(db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let Some(db) = testing::postgres().await else { return };
    walk(db).await;
}

async fn must(db: &dyn Db, batch: Vec<Statement>) {
    let text = format!("{batch:?}");
    db.commit(batch).await.unwrap_or_else(|error| panic!("{error:?}: {text}"));
}

async fn walk(db: Arc<dyn Db>) {
    let (env, _) = Env::fixed(NOW);
    let db = db.as_ref();
    tokio::try_join!(seed(db, &env), seed(db, &env)).unwrap();
    let seeded = store::changes(db).await.unwrap();
    seed(db, &env).await.unwrap();
    assert_eq!(store::changes(db).await.unwrap(), seeded);
    must(db, vec![store::no_change_since(seeded), store::count_change(), store::no_change_since(seeded + 1)]).await;
    assert!(matches!(db.commit(vec![store::no_change_since(seeded)]).await, Err(DbError::ExpectationFailed(_))));

    let at = Time::from_millis(NOW);
    let user = User {
        id: UserId(env.uuid()),
        username: "Alice".into(),
        name: "Alice A.".into(),
        status: Status::Active,
        email: Some("Alice@example.com".into()),
        email_verified: true,
        has_password: true,
        person_type: Some(PersonType::N),
        document_type: Some(DocumentType::Ce),
        document_number: Some("1".into()),
        created_at: at,
        updated_at: at,
    };
    let password = Password { hash: "hash".into(), set_at: NOW };
    must(db, vec![users::insert(&user, Some("alice@example.com"), Some(&password))]).await;
    let again = vec![users::insert(&User { id: UserId(env.uuid()), ..user.clone() }, None, None)];
    assert!(matches!(db.commit(again).await, Err(DbError::Duplicate("user"))));
    for id in ["ALICE", &user.id.to_string()] {
        assert_eq!(entities::find(db, id).await.unwrap().as_ref(), Some(&user));
    }
    assert_eq!(entities::list::<User>(db, None, None, None).await.unwrap().0, std::slice::from_ref(&user));
    let nothing = (UpdateUser::default(), None);
    let everything = UpdateUser {
        username: Some("Bob".into()),
        name: Some("B".into()),
        status: Some(Status::Inactive),
        person_type: Some(PersonType::J),
        document_type: Some(DocumentType::Dni),
        document_number: Some("2".into()),
        ..UpdateUser::default()
    };
    let everything = (everything, Some(&password));
    for ((changes, password), username) in [(&nothing, "Alice"), (&everything, "Bob"), (&everything, "Bob")] {
        let email = password.map(|_| Email::parse("b@example.com").unwrap());
        let update = users::update(user.id, changes, email.as_ref(), *password, NOW + 9);
        let outcomes = db.commit(vec![users::is_free("b@example.com", user.id), update]).await.unwrap();
        let updated = User::read(&outcomes.rows("user")[0]).unwrap();
        assert_eq!((updated.username.as_str(), updated.updated_at.millis()), (username, NOW + 9));
    }

    let email = Email::parse("c@example.com").unwrap();
    must(db, vec![users::verify(user.id, "b@example.com", NOW + 9)]).await;
    let not_active = vec![users::change_email(user.id, &email, NOW + 9)];
    assert!(matches!(db.commit(not_active).await, Err(DbError::ExpectationFailed(users::EMAIL))));
    let active = UpdateUser { status: Some(Status::Active), ..UpdateUser::default() };
    must(db, vec![users::update(user.id, &active, None, None, NOW + 9)]).await;
    must(db, vec![users::change_email(user.id, &email, NOW + 9)]).await;
    must(db, vec![users::reset_password(user.id, email.folded(), "hash".into(), NOW + 9)]).await;
    let invited = users::accept_invitation(user.id, email.folded(), &password, Some("C"));
    assert!(matches!(db.commit(vec![invited]).await, Err(DbError::ExpectationFailed(users::PASSWORD))));
    assert_eq!(users::find_id(db, "C@example.com").await.unwrap(), Some(user.id));

    let service = Service {
        id: ServiceId(env.uuid()),
        name: "App".into(),
        description: "d".into(),
        status: Status::Active,
        created_at: at,
        updated_at: at,
    };
    must(db, vec![services::insert(&service)]).await;
    assert_eq!(entities::find(db, "app").await.unwrap().as_ref(), Some(&service));
    assert_eq!(entities::list::<Service>(db, None, None, None).await.unwrap().0.len(), 2);
    let (name, description, status) = (Some("App2".into()), Some(String::new()), Some(Status::Inactive));
    for changes in [UpdateService::default(), UpdateService { name, description, status, ..UpdateService::default() }] {
        let outcomes = db.commit(vec![services::update(service.id, &changes, NOW + 9)]).await.unwrap();
        Service::read(&outcomes.rows("service")[0]).unwrap();
    }
    let role =
        Role { id: RoleId(env.uuid()), name: "R".into(), status: Status::Active, created_at: at, updated_at: at };
    must(db, vec![roles::insert(&role)]).await;
    assert_eq!(entities::find(db, "R").await.unwrap().as_ref(), Some(&role));
    assert_eq!(entities::list::<Role>(db, None, None, None).await.unwrap().0.len(), 2);
    let (name, status) = (Some("R2".into()), Some(Status::Inactive));
    for changes in [UpdateRole::default(), UpdateRole { name, status, ..UpdateRole::default() }] {
        let outcomes = db.commit(vec![roles::update(role.id, &changes, NOW + 9)]).await.unwrap();
        Role::read(&outcomes.rows("role")[0]).unwrap();
    }
    let permission = Named { id: PermissionId(env.uuid()), name: "P".into(), created_at: at, updated_at: at };
    must(db, vec![permissions::insert(&permission)]).await;
    assert_eq!(entities::find(db, "P").await.unwrap().as_ref(), Some(&permission));
    assert!(entities::list(db, None, None, None).await.unwrap().0.contains(&permission));
    for name in [None, Some("P2".into())] {
        let changes = UpdatePermission { name, ..UpdatePermission::default() };
        let outcomes = db.commit(vec![permissions::update(permission.id, &changes, NOW + 9)]).await.unwrap();
        Named::read(&outcomes.rows("permission")[0]).unwrap();
    }

    let tokens_write = entities::stored::<Named>(db, "tokens.write").await.unwrap();
    let all = [
        Relation::RolePermission(role.id, permission.id),
        Relation::RolePermission(role.id, tokens_write.id),
        Relation::ServiceRole(service.id, role.id),
        Relation::ServiceRole(AUTHD, role.id),
        Relation::PersonRole(user.id, service.id, role.id),
        Relation::PersonRole(user.id, AUTHD, role.id),
        Relation::PersonPermission(user.id, service.id, permission.id),
    ];
    for relation in all {
        assert!(matches!(db.commit(vec![relation.delete()]).await, Err(DbError::ExpectationFailed("relation"))));
        must(db, relation.insert(NOW)).await;
        assert!(matches!(db.commit(relation.insert(NOW)).await, Err(DbError::Duplicate("relation"))));
        must(db, vec![relation.delete()]).await;
        must(db, relation.insert(NOW)).await;
    }
    let minting: Permissions = [shared::op::Permission::TokensWrite].into_iter().collect();
    assert_eq!(store::on_authd(db, user.id).await.unwrap(), minting);
    assert_eq!(roles::on_authd(db, role.id).await.unwrap(), minting);
    assert!(roles::counts_on_authd(db, role.id).await.unwrap());
    assert_eq!(relations::list_role_permissions(db, role.id, &first()).await.unwrap().0.len(), 2);
    assert_eq!(relations::list_service_roles(db, service.id, &first()).await.unwrap().0.len(), 1);
    assert_eq!(relations::list_person_roles(db, user.id, service.id, &first()).await.unwrap().0.len(), 1);
    assert_eq!(relations::list_role_people(db, service.id, role.id, &first()).await.unwrap().0.len(), 1);
    assert_eq!(relations::list_person_services(db, user.id, &first()).await.unwrap().0.len(), 2);
    let whole = Page::<grants::GrantKey>::new(None, None).unwrap();
    let listed = grants::list(db, None, None, &whole).await.unwrap();
    assert_eq!(listed.len(), 3);
    let after = Page::new(Some(&listed[0].0.to_string()), None).unwrap();
    assert!(grants::list(db, Some(user.id), Some(service.id), &after).await.unwrap().len() <= 2);
    assert_eq!(grants::find_direct(db, user.id, service.id, permission.id).await.unwrap(), Some(NOW));
    let given = grants::list_given_roles(db, user.id, service.id, permission.id).await.unwrap();
    assert!(!given[0].is_active && given[0].counts && given[0].has_permission && given[0].granted_at == NOW);
    let nobody = UserId(env.uuid());
    assert_eq!(
        grants::list_other_roles(db, nobody, service.id, permission.id).await.unwrap(),
        [("R2".to_owned(), false)]
    );

    for delete in [
        delete_with_relations::<Named>(permission.id, NOW + 9),
        delete_with_relations::<Role>(role.id, NOW + 9),
        delete_with_relations::<Service>(service.id, NOW + 9),
        [delete_with_relations::<User>(user.id, NOW + 9), vec![users::forget(user.id)]].concat(),
    ] {
        must(db, delete.clone()).await;
        assert!(matches!(db.commit(delete).await, Err(DbError::ExpectationFailed(_))));
    }
    assert!(grants::list(db, None, None, &whole).await.unwrap().is_empty());
    for relation in all {
        assert!(matches!(db.commit(relation.insert(NOW)).await, Err(DbError::ExpectationFailed(_))), "{relation:?}");
    }
    let (revoke, _) = crate::tokens::revoke_of_service(service.id, "gone", NOW + 9);
    must(db, revoke).await;
}

/// The first page of a list.
fn first<C: std::str::FromStr>() -> Page<C> {
    Page::new(None, None).unwrap()
}
