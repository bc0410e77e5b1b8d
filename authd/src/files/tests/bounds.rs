//! What bounds uploads: quotas, places, lengths; and the token of forms.

use super::super::{PART, POOL, Usage};
use super::*;

#[tokio::test]
async fn a_user_has_a_quota() {
    let app = TestApp::with("[files]\nquota = 10\nmax_bytes = 8\n").await;
    let (ann, bob) = (person(&app, "ann").await, person(&app, "bob").await);
    let all =
        upload(&app, &ann, &[("a", b"12345678"), ("b", b"123456789"), ("c", b"123"), ("d", b"12")]).await.unwrap();
    let errors: Vec<_> = all.iter().map(|file| file.error).collect();
    assert_eq!(errors, [None, Some(Code::PayloadTooLarge), Some(Code::QuotaExceeded), None]);
    store_one(&app, &bob, "a", b"12345678").await;
    assert_eq!(number(&app, USED).await, 18);
    app.call_as(ann.caller.clone(), "files.delete", json!({ "key": all[0].key })).await.unwrap();
    let again = store_one(&app, &ann, "e", b"12345678").await;
    assert_eq!(number(&app, USED).await, 18);
    app.call_as(ann.caller.clone(), "files.delete", json!({ "key": again })).await.unwrap();
    // Uploads at the same time are counted when they end.
    let mut uploads = Vec::new();
    for _ in 0..3 {
        let mut upload = begin(&app, &ann).await;
        upload.push(&body(&[("f", b"1234")])).await.unwrap();
        uploads.push(upload);
    }
    let mut ends = Vec::new();
    for upload in uploads {
        ends.push(upload.finish(&ann).await.unwrap()[0].error);
    }
    assert_eq!(ends, [None, None, Some(Code::QuotaExceeded)]);
}

#[tokio::test]
async fn a_user_has_a_number_of_files() {
    let app = TestApp::with("[files]\nquota_files = 2\n").await;
    let ann = person(&app, "ann").await;
    let all = upload(&app, &ann, &[("a", b"1"), ("b", b""), ("c", b"3")]).await.unwrap();
    let errors: Vec<_> = all.iter().map(|file| file.error).collect();
    assert_eq!(errors, [None, None, Some(Code::QuotaExceeded)]);
    app.call_as(ann.caller.clone(), "files.delete", json!({ "key": all[1].key })).await.unwrap();
    // Uploads at the same time are counted when they end.
    let (mut one, mut two) = (begin(&app, &ann).await, begin(&app, &ann).await);
    for upload in [&mut one, &mut two] {
        upload.push(&body(&[("d", b"4")])).await.unwrap();
    }
    assert_eq!(one.finish(&ann).await.unwrap()[0].error, None);
    assert_eq!(two.finish(&ann).await.unwrap()[0].error, Some(Code::QuotaExceeded));
    let Caller::User { id, .. } = ann.caller else { panic!("a person") };
    assert_eq!(app.modules.files.usage(id).await.unwrap(), Usage { bytes: 2, files: 2 });
}

#[tokio::test]
async fn a_form_sends_its_token_before_the_files() {
    let app = TestApp::new().await;
    let ann = person(&app, "ann").await;
    let field = |token: &str| format!("--x\r\nContent-Disposition: form-data; name=form_token\r\n\r\n{token}\r\n");
    let file = String::from_utf8(body(&[("a.txt", b"text")])).unwrap();
    let send = async |sent: String, size: usize| {
        let mut upload = begin(&app, &ann).await;
        upload.require_token("the token".into());
        for chunk in sent.as_bytes().chunks(size) {
            upload.push(chunk).await.map_err(|error| error.code)?;
        }
        upload.finish(&ann).await.map_err(|error| error.code)
    };
    for size in [1, 1000] {
        assert!(send(field("the token") + &file, size).await.unwrap()[0].successful);
        for before in
            [String::new(), field(""), field("the toke"), field("the token2"), field("the token") + &field("x")]
        {
            assert_eq!(send(before.clone() + &file, size).await.unwrap_err(), Code::Forbidden, "{before}");
        }
    }
    assert_eq!(listed(&app, &ann).await.len(), 2);
}

#[tokio::test]
async fn uploads_wait_for_a_place_and_are_refused_after_a_while() {
    let app = TestApp::with("[files]\nwait_seconds = 1\n").await;
    let (ann, bob) = (person(&app, "ann").await, person(&app, "bob").await);
    let mut running = Vec::new();
    for _ in 0..POOL / PART / 2 {
        running.push(begin(&app, &ann).await);
    }
    let error = app.modules.files.begin(&ann, Some(TYPE), None).await.unwrap_err();
    assert_eq!((error.code, error.retry_after), (Code::Unavailable, Some(10)));
    begin(&app, &bob).await;
    let (files, call) = (app.modules.files.clone(), ann.clone());
    let waiting = tokio::spawn(async move { files.begin(&call, Some(TYPE), None).await.map(drop) });
    tokio::task::yield_now().await;
    running.pop();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_upload_that_is_too_long_is_refused_before_it_is_read() {
    let app = TestApp::with("[files]\nmax_files = 2\nmax_bytes = 1000\n").await;
    let ann = person(&app, "ann").await;
    let files = &app.modules.files;
    let error = files.begin(&ann, Some(TYPE), Some(100_000)).await.unwrap_err();
    assert_eq!(error.code, Code::PayloadTooLarge);
    let mut upload = begin(&app, &ann).await;
    let flood = vec![b'a'; 50_000];
    assert_eq!(upload.push(&flood).await.unwrap_err().code, Code::PayloadTooLarge);
    let three: [(&str, &[u8]); 3] = [("a", b"1"), ("b", b"2"), ("c", b"3")];
    assert_eq!(self::upload(&app, &ann, &three).await.unwrap_err().code, Code::PayloadTooLarge);
    for content_type in [None, Some("application/json"), Some("multipart/form-data")] {
        let error = files.begin(&ann, content_type, None).await.unwrap_err();
        assert_eq!(error.code, Code::UnsupportedMediaType);
    }
    let none = self::upload(&app, &ann, &[]).await.unwrap_err();
    assert_eq!(none.code, Code::ValidationFailed);
}
