//! Files through the module, in a directory. The streams of HTTP and the stores of other programs are met in the crate
//! `tests`.

mod bounds;

use std::path::PathBuf;

use serde_json::{Value, json};
use shared::api::files::Uploaded;
use shared::id::FileId;
use shared::op::Permission::{FilesRead, FilesWrite};
use shared::problem::Code;

use super::{Files, Upload, store};
use crate::call::Call;
use crate::caller::{Caller, Permissions};
use crate::db::Query;
use crate::env::{HOUR, MINUTE, SECOND};
use crate::error::Error;
use crate::testing::TestApp;

const PASSWORD: &str = "correct horse battery";
const TYPE: &str = "multipart/form-data; boundary=x";

/// A person who is signed in.
async fn person(app: &TestApp, name: &str) -> Call {
    app.user(name, PASSWORD).await;
    let login = app.call("sessions.login", json!({ "username": name, "password": PASSWORD })).await.unwrap();
    let caller = app.caller(login["token"].as_str().unwrap()).await.unwrap();
    app.anonymous().of(caller)
}

/// The body of an upload of these files.
fn body(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        let head = format!("--x\r\nContent-Disposition: form-data; name=files; filename=\"{name}\"\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    body.extend(b"--x--\r\n");
    body
}

async fn begin(app: &TestApp, call: &Call) -> Upload {
    app.modules.files.begin(call, Some(TYPE), None).await.unwrap()
}

async fn upload(app: &TestApp, call: &Call, files: &[(&str, &[u8])]) -> Result<Vec<Uploaded>, Error> {
    let mut upload = begin(app, call).await;
    for chunk in body(files).chunks(100_000) {
        upload.push(chunk).await?;
    }
    upload.finish(call).await
}

/// Uploads one file: its key.
async fn store_one(app: &TestApp, call: &Call, name: &str, content: &[u8]) -> FileId {
    let all = upload(app, call, &[(name, content)]).await.unwrap();
    assert!(all[0].successful, "{all:?}");
    all[0].key.unwrap()
}

async fn listed(app: &TestApp, call: &Call) -> Vec<Value> {
    app.call_as(call.caller.clone(), "files.list", json!({})).await.unwrap()["files"].as_array().unwrap().clone()
}

/// The names in the directory of the objects.
fn objects(app: &TestApp) -> Vec<String> {
    let names = std::fs::read_dir(folder(app)).into_iter().flatten();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn folder(app: &TestApp) -> PathBuf {
    app.folder().join("files")
}

async fn content(app: &TestApp, call: &Call, key: FileId, first: u64, length: u64) -> Vec<u8> {
    let files = &app.modules.files;
    let mut content = files.read(&files.find(call, key).await.unwrap(), first, length).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = content.chunks.recv().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    all
}

async fn number(app: &TestApp, sql: &'static str) -> i64 {
    app.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap()
}

const LEFT: &str = "SELECT COUNT(*) FROM file_leftovers";
const USED: &str = "SELECT COALESCE(CAST(SUM(bytes) AS BIGINT), -1) FROM file_usage";

/// What an upload that was dropped left is removed by a task of its own.
async fn until_discarded(app: &TestApp) {
    for _ in 0..1_000_000 {
        if number(app, "SELECT COUNT(*) FROM file_leftovers WHERE claimed = 0").await == 0 && objects(app).is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("left: {:?}", objects(app));
}

#[tokio::test]
async fn each_file_of_an_upload_has_its_result() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    let large: Vec<u8> = b"%PDF-".iter().copied().chain((0..9 << 20).map(|n: u32| n.to_be_bytes()[3])).collect();
    let sent: [(&str, &[u8]); 5] = [
        ("../a.txt", "grüße".as_bytes()),
        ("b.exe", b"MZ\0\0"),
        ("c.pdf", &large),
        ("d.html", b"\x89PNG\r\n\x1a\n <script>"),
        ("e", b""),
    ];
    let all = upload(&app, &ann, &sent).await.unwrap();
    let of = |n: usize| (all[n].file_name.as_str(), all[n].content_type.as_deref(), all[n].error);
    assert_eq!(of(0), ("a.txt", Some("text/plain"), None));
    assert_eq!(of(1), ("b.exe", None, Some(Code::UnsupportedMediaType)));
    assert_eq!(of(2), ("c.pdf", Some("application/pdf"), None));
    assert_eq!(of(3), ("d.html", Some("image/png"), None), "the content decides, not the name");
    assert_eq!(of(4), ("e", Some("text/plain"), None));
    assert_eq!(all.iter().map(|file| file.successful).collect::<Vec<_>>(), [true, false, true, true, true]);
    let key = all[2].key.unwrap();
    assert_eq!(all[2].url.as_deref().unwrap(), format!("{}/files/{key}", app.config.server.public_url));
    assert_eq!(content(&app, &ann, key, 0, large.len() as u64).await, large);
    assert_eq!(content(&app, &ann, key, 7 << 20, 2 << 20).await, large[7 << 20..9 << 20]);
    assert_eq!(content(&app, &ann, all[0].key.unwrap(), 0, 7).await, "grüße".as_bytes());
    let files = listed(&app, &ann).await;
    assert_eq!(files.len(), 4);
    let first = files.iter().find(|file| file["file_name"] == "a.txt").unwrap();
    assert_eq!(first["sha256"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest("grüße")));
    assert_eq!((objects(&app).len(), number(&app, LEFT).await), (4, 0));
    let audit = app.call("audit.list", json!({ "action": "files.upload" })).await.unwrap();
    assert_eq!(audit["entries"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_upload_that_does_not_end_leaves_nothing() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    let large = vec![b'a'; 9 << 20];
    let whole = body(&[("a.txt", b"small"), ("b.txt", &large)]);
    for cut in [whole.len() / 2, whole.len() - 9, whole.len() - 5] {
        let mut upload = begin(&app, &ann).await;
        upload.push(&whole[..cut]).await.unwrap();
        assert!(!objects(&app).is_empty() && listed(&app, &ann).await.is_empty());
        if cut > whole.len() / 2 {
            assert_eq!(upload.finish(&ann).await.unwrap_err().code, Code::MalformedRequest);
        } else {
            drop(upload);
        }
        until_discarded(&app).await;
    }
    assert!(listed(&app, &ann).await.is_empty());
    assert_eq!(number(&app, USED).await, -1);
}

#[tokio::test]
async fn what_a_process_left_that_was_killed_is_swept() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    let files = app.modules.files.clone();
    let mut upload = begin(&app, &ann).await;
    upload.push(&body(&[("a.txt", b"text")])).await.unwrap();
    // As at a kill -9, nothing is done about it.
    std::mem::forget(upload);
    assert_eq!((objects(&app).len(), listed(&app, &ann).await.len()), (1, 0));
    app.clock.advance(239 * SECOND);
    assert_eq!(files.sweep_once().await.unwrap(), 0, "it may still end");
    app.clock.advance(2 * SECOND);
    assert_eq!(files.sweep_once().await.unwrap(), 1);
    assert_eq!((objects(&app).len(), number(&app, LEFT).await), (0, 0));
}

#[tokio::test]
async fn an_upload_whose_object_is_claimed_or_swept_cannot_end() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    for is_swept in [false, true] {
        let mut upload = begin(&app, &ann).await;
        upload.push(&body(&[("a.txt", b"text")])).await.unwrap();
        if is_swept {
            app.clock.advance(241 * SECOND);
            app.modules.files.sweep_once().await.unwrap();
        } else {
            let key = objects(&app)[0].parse().unwrap();
            assert!(store::claim(app.base.db.as_ref(), key, app.env.now() + HOUR).await.unwrap());
        }
        let all = upload.finish(&ann).await.unwrap();
        assert_eq!((all[0].successful, all[0].error), (false, Some(Code::RequestTimeout)), "{is_swept}");
        assert!(listed(&app, &ann).await.is_empty());
    }
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_tried_again() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    std::fs::write(folder(&app), "in the way").unwrap();
    let all = upload(&app, &ann, &[("a.txt", b"text")]).await.unwrap();
    assert_eq!((all[0].successful, all[0].error), (false, Some(Code::Unavailable)));
    std::fs::remove_file(folder(&app)).unwrap();
    let key = store_one(&app, &ann, "b.txt", b"text").await;
    // A folder cannot be removed as a file.
    let object = folder(&app).join(key.to_string());
    std::fs::remove_file(&object).unwrap();
    std::fs::create_dir(&object).unwrap();
    app.call_as(ann.caller.clone(), "files.delete", json!({ "key": key })).await.unwrap();
    app.modules.files.sweep_once().await.unwrap_err();
    std::fs::remove_dir(&object).unwrap();
    std::fs::write(&object, "text").unwrap();
    app.clock.advance(MINUTE);
    app.modules.files.sweep_once().await.unwrap();
    assert_eq!((objects(&app).len(), number(&app, LEFT).await), (0, 0));
}

#[tokio::test]
async fn a_file_is_its_owners_and_of_whoever_has_the_permission() {
    let app = TestApp::new().await;
    let (ann, bob) = (person(&app, "ann").await, person(&app, "bob").await);
    let key = store_one(&app, &ann, "a.txt", b"text").await;
    let peer = |permissions: &[shared::op::Permission]| {
        let permissions = permissions.iter().copied().collect::<Permissions>();
        app.anonymous().of(Caller::Peer { uid: 1, user: "ops".into(), permissions })
    };
    let (reader, writer, nobody) = (peer(&[FilesRead]), peer(&[FilesWrite]), peer(&[]));
    let refused = async |call: &Call, operation: &str, fields: Value| {
        app.refused_as(call.caller.clone(), operation, fields).await
    };
    for call in [&bob, &nobody, &writer] {
        assert_eq!(app.modules.files.find(call, key).await.unwrap_err().code, Code::NotFound);
        assert_eq!(refused(call, "files.link", json!({ "key": key })).await, "not_found");
        assert_eq!(refused(call, "files.list", json!({ "user": "ann" })).await, "forbidden");
        assert_eq!(refused(call, "files.list", json!({ "all": true })).await, "forbidden");
        assert_eq!(refused(call, "files.list", json!({ "user": "zoe" })).await, "forbidden");
    }
    assert!(listed(&app, &bob).await.is_empty());
    assert_eq!(refused(&bob, "files.delete", json!({ "key": key })).await, "not_found");
    assert_eq!(refused(&reader, "files.delete", json!({ "key": key })).await, "not_found");
    assert_eq!(refused(&reader, "files.list", json!({ "user": "zoe" })).await, "not_found");
    assert!(app.modules.files.find(&reader, key).await.is_ok() && app.modules.files.find(&ann, key).await.is_ok());
    for fields in [json!({}), json!({ "all": true }), json!({ "user": "ann" })] {
        let all = app.call_as(reader.caller.clone(), "files.list", fields.clone()).await.unwrap();
        assert_eq!(all["files"][0]["key"], json!(key), "{fields}");
    }
    assert_eq!(listed(&app, &ann).await[0]["file_name"], "a.txt");
    let error = app.modules.files.begin(&reader, Some(TYPE), None).await.unwrap_err();
    assert_eq!(error.code, Code::Forbidden, "files belong to people");
    app.call_as(writer.caller, "files.delete", json!({ "key": key })).await.unwrap();
    assert_eq!(refused(&ann, "files.delete", json!({ "key": key })).await, "not_found");
}

#[tokio::test]
async fn files_are_deleted_with_the_account() {
    let app = TestApp::new().await;
    let (ann, bob) = (person(&app, "ann").await, person(&app, "bob").await);
    store_one(&app, &ann, "a.txt", b"text").await;
    store_one(&app, &ann, "b.txt", b"text").await;
    let kept = store_one(&app, &bob, "c.txt", b"text").await;
    // An upload that ends after the account.
    let mut upload = begin(&app, &ann).await;
    upload.push(&body(&[("d.txt", b"text")])).await.unwrap();
    app.call("users.delete", json!({ "id": "ann" })).await.unwrap();
    assert!(upload.finish(&ann).await.is_err());
    app.clock.advance(MINUTE);
    app.modules.files.sweep_once().await.unwrap();
    app.clock.advance(MINUTE);
    app.modules.files.sweep_once().await.unwrap();
    assert_eq!((objects(&app), number(&app, LEFT).await), (vec![kept.to_string()], 0));
    assert_eq!((number(&app, "SELECT COUNT(*) FROM files").await, number(&app, USED).await), (1, 4));
}

#[tokio::test]
async fn a_link_gives_one_file_until_it_ends() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    let (key, other) = (store_one(&app, &ann, "a", b"one").await, store_one(&app, &ann, "b", b"two").await);
    let files: &Files = &app.modules.files;
    let link = app.call_as(ann.caller.clone(), "files.link", json!({ "key": key, "seconds": 60 })).await.unwrap();
    assert_eq!(link["size"], 3);
    let token = link["url"].as_str().unwrap().split_once("?link=").unwrap().1.to_owned();
    assert_eq!(files.find_by_link(key, &token).await.unwrap().key, key);
    assert!(files.find_by_link(other, &token).await.is_err());
    let (end, rest) = token.split_once('.').unwrap();
    let later = format!("{}.{rest}", end.parse::<i64>().unwrap() + 1_000);
    for wrong in ["", "1", "1.2.3", &later, &token[..token.len() - 1], &format!("{token}x")] {
        assert_eq!(files.find_by_link(key, wrong).await.unwrap_err().code, Code::Forbidden, "{wrong}");
    }
    app.clock.advance(60 * SECOND);
    assert_eq!(files.find_by_link(key, &token).await.unwrap_err().code, Code::Forbidden);
    for seconds in [0, 3_601] {
        assert_eq!(
            app.refused_as(ann.caller.clone(), "files.link", json!({ "key": key, "seconds": seconds })).await,
            "validation_failed"
        );
    }
    let link = app.call_as(ann.caller.clone(), "files.link", json!({ "key": key })).await.unwrap();
    let token = link["url"].as_str().unwrap().split_once("?link=").unwrap().1.to_owned();
    app.call_as(ann.caller.clone(), "files.delete", json!({ "key": key })).await.unwrap();
    assert!(files.find_by_link(key, &token).await.is_err());
}

#[tokio::test]
async fn a_leftover_of_a_wrong_clock_is_removed() {
    let app = TestApp::new().await;
    let key = FileId(app.env.uuid());
    let reserve = store::reserve(key, app.env.now() + 24 * HOUR);
    app.base.db.commit(vec![reserve]).await.unwrap();
    assert_eq!(app.modules.files.sweep_once().await.unwrap(), 1);
    assert_eq!(number(&app, LEFT).await, 0);
}
