use std::path::Path;

use super::*;
use crate::db::{Value, testing};
use crate::env::DAY;

async fn ring(db: &Arc<dyn Db>, configured: Option<&[u8]>, folder: &Path) -> Result<KeyRing, KeyError> {
    KeyRing::unlock(db.clone(), configured, &origin(configured, folder), Env::real()).await
}

fn origin(configured: Option<&[u8]>, folder: &Path) -> Origin {
    let (data_dir, database) = (folder.to_owned(), "sqlite:here".to_owned());
    Origin { data_dir, database, is_configured: configured.is_some(), may_be_new: false }
}

fn message(opened: Result<KeyRing, KeyError>) -> String {
    opened.expect_err("it must not open").to_string()
}

const HEX: &[u8] = b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER: &[u8] = b"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[tokio::test]
async fn the_first_start_makes_a_private_root_key_and_the_next_one_uses_it() {
    use std::os::unix::fs::PermissionsExt;
    let (db, folder) = testing::sqlite();
    let sealed = ring(&db, None, folder.path()).await.unwrap().seal("a", b"secret").unwrap();
    let file = folder.path().join(root::FILE);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let beside = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("root.key."));
    assert_eq!(beside.count(), 0, "nothing is left beside it");
    let again = ring(&db, None, folder.path()).await.unwrap();
    assert_eq!(*again.open("a", &sealed).unwrap(), b"secret");
}

#[tokio::test]
async fn a_missing_or_wrong_root_key_stops_the_start_and_is_not_replaced() {
    let (db, folder) = testing::sqlite();
    ring(&db, Some(HEX), folder.path()).await.unwrap();
    assert!(message(ring(&db, None, folder.path()).await).contains("not here: set AUTHD_ROOT_KEY"));
    assert!(!folder.path().join(root::FILE).exists());
    assert!(message(ring(&db, Some(OTHER), folder.path()).await).contains("is not the one"));
    assert!(message(ring(&db, Some(b"short"), folder.path()).await).contains("openssl rand -hex 32"));
    ring(&db, Some(HEX), folder.path()).await.expect("the right one still opens");
}

#[tokio::test]
async fn a_root_key_that_sealed_a_database_begins_no_other_unless_the_operator_says_so() {
    for configured in [None, Some(HEX)] {
        let ((first, folder), (empty, _other)) = (testing::sqlite(), testing::sqlite());
        let sealed = ring(&first, configured, folder.path()).await.unwrap().seal("a", b"secret").unwrap();
        let refused = message(ring(&empty, configured, folder.path()).await);
        assert!(refused.contains("missing or empty") && refused.contains("--new-database"), "{refused}");
        let rows = empty.query(Query::new("SELECT id FROM key_ring", [])).await.unwrap();
        assert!(rows.is_empty(), "nothing was written");
        assert_eq!(*ring(&first, configured, folder.path()).await.unwrap().open("a", &sealed).unwrap(), b"secret");
        let meant = Origin { may_be_new: true, ..origin(configured, folder.path()) };
        KeyRing::unlock(empty.clone(), configured, &meant, Env::real()).await.expect("it is said aloud");
        ring(&empty, configured, folder.path()).await.expect("said once");
    }
}

#[tokio::test]
async fn a_database_that_another_root_key_sealed_is_told_before_it_is_migrated() {
    let (db, folder) = testing::sqlite();
    ring(&db, Some(HEX), folder.path()).await.unwrap();
    drop(db);
    let open = |configured| {
        let identity = identity(Some(configured), origin(Some(configured), folder.path()));
        testing::sqlite_with(&folder, &identity).map(drop).map_err(|error| error.to_string())
    };
    assert!(open(OTHER).unwrap_err().contains("is not the one"));
    open(HEX).expect("the right one");
}

#[tokio::test]
async fn a_configured_root_key_begins_a_database_at_a_new_address() {
    let ((first, folder), (empty, _other)) = (testing::sqlite(), testing::sqlite());
    ring(&first, Some(HEX), folder.path()).await.unwrap();
    let elsewhere = Origin { database: "postgres://there/authd".into(), ..origin(Some(HEX), folder.path()) };
    KeyRing::unlock(empty, Some(HEX), &elsewhere, Env::real()).await.expect("a first start there");
}

#[tokio::test]
async fn a_root_key_is_read_in_three_forms() {
    let (db, folder) = testing::sqlite();
    let raw: Vec<u8> = (0..32).collect();
    ring(&db, Some(HEX), folder.path()).await.unwrap();
    ring(&db, Some(&raw), folder.path()).await.expect("raw");
    ring(&db, Some(b" AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), folder.path()).await.expect("base64");
    ring(&db, Some(b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"), folder.path()).await.expect("base64url");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_end_with_one_ring() {
    let (db, folder) = testing::sqlite();
    let starts = (0..6).map(|_| {
        let (db, folder) = (db.clone(), folder.path().to_owned());
        tokio::spawn(async move { ring(&db, None, &folder).await })
    });
    let mut rings = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        rings.push(start.await.unwrap().expect("it opens"));
    }
    let sealed = rings[0].seal("a", b"secret").unwrap();
    for ring in &rings {
        assert_eq!(*ring.open("a", &sealed).unwrap(), b"secret");
    }
    let rows = db.query(Query::new("SELECT count(*) FROM key_ring", [])).await.unwrap();
    assert_eq!(usize::try_from(rows[0].cursor().int().unwrap()).unwrap(), Purpose::ALL.len());
}

#[tokio::test]
async fn a_sealed_value_opens_only_unaltered_and_in_its_context() {
    let (db, folder) = testing::sqlite();
    let ring = ring(&db, None, folder.path()).await.unwrap();
    let sealed = ring.seal("sessions:1", b"secret").unwrap();
    assert_eq!(*ring.open("sessions:1", &sealed).unwrap(), b"secret");
    assert!(matches!(ring.open("sessions:2", &sealed), Err(KeyError::Broken)));
    for place in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[place] ^= 1;
        assert!(ring.open("sessions:1", &altered).is_err(), "byte {place}");
        assert!(ring.open("sessions:1", &sealed[..place]).is_err(), "cut at {place}");
    }
    assert_ne!(sealed, ring.seal("sessions:1", b"secret").unwrap(), "the same twice looks different");
}

#[tokio::test]
async fn a_rotated_key_still_opens_and_other_replicas_learn_of_the_new_one() {
    let (db, folder) = testing::sqlite();
    let (env, clock) = Env::fixed(DAY);
    let here = KeyRing::unlock(db.clone(), Some(HEX), &origin(Some(HEX), folder.path()), env).await.unwrap();
    let there = ring(&db, Some(HEX), folder.path()).await.unwrap();
    let (sealed, (old, mac)) = (here.seal("a", b"old").unwrap(), here.mac(Purpose::Mint, None, &[b"x"]).unwrap());
    clock.advance(1);
    here.rotate(Purpose::Seal, 0).await.unwrap();
    here.rotate(Purpose::Mint, 0).await.unwrap();
    assert_eq!(*here.open("a", &sealed).unwrap(), b"old");
    assert_eq!(here.mac(Purpose::Mint, Some(&old), &[b"x"]).unwrap(), (old.clone(), mac.clone()));
    let (new, other) = here.mac(Purpose::Mint, None, &[b"x"]).unwrap();
    assert!(new != old && other != mac);
    let resealed = here.seal("a", b"new").unwrap();
    assert!(matches!(there.open("a", &resealed), Err(KeyError::Unknown(_))));
    there.reload().await.unwrap();
    assert_eq!(*there.open("a", &resealed).unwrap(), b"new");
    let rows = db.query(Query::new("SELECT subject FROM invalidations WHERE kind = 'keys' ORDER BY seq", [])).await;
    assert_eq!(rows.unwrap(), [Row(vec!["seal".into()]), Row(vec!["mint".into()])]);
}

#[tokio::test]
async fn a_mac_is_of_its_parts_and_purpose_alone() {
    let (db, folder) = testing::sqlite();
    let ring = ring(&db, None, folder.path()).await.unwrap();
    let mac = |parts: &[&[u8]]| ring.mac(Purpose::Mint, None, parts).unwrap().1;
    assert_eq!(mac(&[b"ab", b"c"]), mac(&[b"ab", b"c"]));
    for other in [&[b"a".as_slice(), b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[]] {
        assert_ne!(mac(&[b"ab", b"c"]), mac(other));
    }
    let (id, _) = ring.mac(Purpose::Mint, None, &[]).unwrap();
    assert!(ring.mac(Purpose::Device, Some(&id), &[]).is_err(), "a key of another purpose");
    assert!(ring.mac(Purpose::Mint, Some("nobody"), &[]).is_err());
    assert!(ring.mac(Purpose::Seal, None, &[]).is_err());
}

#[tokio::test]
async fn no_key_is_in_the_database_in_clear() {
    let (db, folder) = testing::sqlite();
    let ring = ring(&db, Some(HEX), folder.path()).await.unwrap();
    let rows = db.query(Query::new(LIST, [])).await.unwrap();
    let opened = rows.iter().map(|row| open_row(&ring.root, &mut row.cursor()).unwrap().unwrap());
    let secrets: Vec<[u8; 32]> = opened.map(|(_, _, secret)| *secret).collect();
    let rows = db.query(Query::new("SELECT sealed FROM key_ring", [])).await.unwrap();
    assert_eq!(secrets.len(), Purpose::ALL.len());
    for Row(values) in &rows {
        let [Value::Bytes(sealed)] = values.as_slice() else { panic!("not bytes") };
        assert!(!secrets.iter().any(|secret| sealed.windows(32).any(|window| window == secret)));
    }
    assert_eq!(format!("{ring:?}"), "KeyRing");
}

#[tokio::test]
async fn signed_tokens_are_verified_by_every_node_until_their_key_retires() {
    let (db, folder) = testing::sqlite();
    let (env, clock) = Env::fixed(crate::testing::NOW);
    let origin = origin(Some(HEX), folder.path());
    let here = KeyRing::unlock(db.clone(), Some(HEX), &origin, env.clone()).await.unwrap();
    let there = KeyRing::unlock(db.clone(), Some(HEX), &origin, env).await.unwrap();
    let purpose = Purpose::SignLink;
    let first = here.sign(purpose, &claims("1")).unwrap();
    assert_eq!(there.verify(purpose, &first).await.unwrap().unwrap().jti, "1");
    assert!(there.verify(Purpose::SignSession, &first).await.unwrap().is_none(), "a key has one purpose");
    let (signed, signature) = first.rsplit_once('.').unwrap();
    for tampered in
        [format!("{signed}."), format!("{signed}.{}", &signature[1..]), first.replacen('e', "f", 1), String::new()]
    {
        assert!(there.verify(purpose, &tampered).await.unwrap().is_none(), "{tampered}");
    }

    // Another node signs with a new key only when everybody may know it. Ids of one millisecond have no order.
    clock.advance(1);
    here.rotate(purpose, DAY).await.unwrap();
    assert_eq!(key_of(&here.sign(purpose, &claims("0")).unwrap()), key_of(&first));
    clock.advance(signing::PUBLISHED);
    let second = here.sign(purpose, &claims("2")).unwrap();
    assert_ne!(key_of(&second), key_of(&first));
    assert_eq!(there.verify(purpose, &second).await.unwrap().unwrap().jti, "2", "an unknown key is looked for");
    assert!(there.verify(purpose, &first).await.unwrap().is_some());
    clock.advance(DAY + crate::env::SKEW);
    assert!(here.verify(purpose, &first).await.unwrap().is_none(), "its key has retired");
    assert!(here.verify(purpose, &second).await.unwrap().is_some());
}

fn claims(id: &str) -> Claims {
    Claims::new(
        "https://a",
        "Kind",
        "subject".to_owned(),
        id.to_owned(),
        crate::testing::NOW,
        crate::testing::NOW + DAY,
    )
}

fn key_of(token: &str) -> String {
    signing::key_id(Purpose::SignLink, token).unwrap()
}

#[tokio::test]
async fn unknown_signing_keys_are_looked_for_seldom() {
    let (db, folder) = testing::sqlite();
    let (env, clock) = Env::fixed(crate::testing::NOW);
    let ring = KeyRing::unlock(db, Some(HEX), &origin(Some(HEX), folder.path()), env).await.unwrap();
    assert!(ring.may_reload() && !ring.may_reload());
    clock.advance(signing::RELOAD_PAUSE - 1);
    assert!(!ring.may_reload());
    clock.advance(1);
    assert!(ring.may_reload());
    clock.advance(-DAY);
    assert!(ring.may_reload(), "the clock was set back");
}
