//! Files: the real daemon with a directory and with two servers of S3, and curl as the client.

mod content;
mod load;
mod page;

use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::authd::{Authd, Setup};
use tests::http::{Http, Response};
use tests::process::{Spec, both, stdout};
use tests::s3::{Line, S3};
use tests::{TIMEOUT, until};

const PASSWORD: &str = "correct horse battery";

/// The session of a new person.
fn sign_in(authd: &Authd, username: &str) -> String {
    let user = json!({"username": username, "password": PASSWORD});
    authd.admin().post("/users", &user).expect("it answers").expect(201);
    let login = authd.http().post("/auth/login", &user).expect("it answers").expect(200);
    login["token"].as_str().expect("a token").to_owned()
}

fn setup(s3: &S3, port: u16) -> Setup {
    s3.daemon(port).iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value))
}

fn curl(token: &str) -> Spec {
    Spec::new("curl").args(["-sS", "--max-time", "60", "-H", &format!("token: {token}")])
}

/// Uploads files with curl: the status and the results.
fn upload(authd: &Authd, token: &str, files: &[&Path]) -> (u16, Value) {
    // Quoted, since curl reads what follows a semicolon as a type.
    let quoted = |path: &Path| path.display().to_string().replace('"', "\\\"");
    let fields = files.iter().flat_map(|path| ["-F".to_owned(), format!("files=@\"{}\"", quoted(path))]);
    let spec = curl(token).args(fields).args(["-w", "\n%{http_code}"]).arg(format!("{}/upload", authd.url()));
    let said = stdout(&spec.run(TIMEOUT));
    let (body, status) = said.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {said}")))
}

/// A file with this beginning and size, whose bytes are all over the place.
fn file(dir: &Path, name: &str, begin: &[u8], size: usize) -> PathBuf {
    let mut content = begin.to_vec();
    let mut state = 0x9e37_79b9_u32;
    while content.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        content.extend(state.to_be_bytes());
    }
    content.truncate(size.max(begin.len()));
    let path = dir.join(name);
    fs::write(&path, content).expect("the folder is ours");
    path
}

const PDF: &[u8] = b"%PDF-1.7\n";

fn list(authd: &Authd, token: &str) -> Vec<Value> {
    let answer = authd.http().bearer(token).get("/files").expect("it answers").expect(200);
    answer["files"].as_array().expect("a list").clone()
}

/// Uploads, downloads by ranges as curl asks for them, links, and deletes; `checks_links`: whether
/// the store checks signatures; `is_empty`: whether it is empty.
fn works(authd: &Authd, checks_links: bool, is_empty: impl Fn() -> bool) {
    let token = sign_in(authd, "ann");
    let dir = authd.dir();
    let large = file(dir, "large.pdf", PDF, (9 << 20) + 123);
    let exact = file(dir, "exact.pdf", PDF, 8 << 20);
    let small = file(dir, "a \"b\"; c.txt", b"one two three four", 0);
    let (status, all) = upload(authd, &token, &[&small, &large, &exact]);
    assert_eq!(status, 200, "{all}");
    let keys: Vec<&str> = (0..3).map(|n| all[n]["key"].as_str().unwrap_or_else(|| panic!("{all}"))).collect();
    for (n, (path, kind)) in
        [(&small, "text/plain"), (&large, "application/pdf"), (&exact, "application/pdf")].iter().enumerate()
    {
        let content = fs::read(path).expect("it is ours");
        assert_eq!(all[n]["successful"], true, "{all}");
        assert_eq!(all[n]["content_type"], *kind, "{all}");
        assert_eq!(all[n]["url"], format!("{}/files/{}", authd.url(), keys[n]));
        let whole = curl(&token).arg(format!("{}/files/{}", authd.url(), keys[n])).run(TIMEOUT);
        assert_eq!(whole.stdout.len(), content.len());
        assert!(whole.stdout == content, "the content of {} is another", path.display());
    }
    assert_eq!(all[0]["file_name"], "a \"b\"; c.txt");
    let content = fs::read(&large).expect("it is ours");
    for (range, part) in [
        ("0-0", 0..1),
        ("100-299", 100..300),
        ("8388600-8388700", 8_388_600..8_388_701),
        ("9000000-", 9_000_000..content.len()),
        ("-77", content.len() - 77..content.len()),
    ] {
        let url = format!("{}/files/{}", authd.url(), keys[1]);
        let answer = curl(&token).args(["-r", range, "-w", "%{http_code}"]).arg(url).run(TIMEOUT);
        let (body, status) = answer.stdout.split_at(answer.stdout.len() - 3);
        assert!(status == b"206" && body == &content[part], "{range}: {}", both(&answer).len());
    }
    // An interrupted download goes on.
    let rest = dir.join("rest");
    fs::write(&rest, &content[..5_000_000]).expect("the folder is ours");
    let url = format!("{}/files/{}", authd.url(), keys[1]);
    stdout(&curl(&token).args(["-C", "-", "-o"]).arg(&rest).arg(&url).run(TIMEOUT));
    assert!(fs::read(&rest).expect("it is ours") == content);
    let large_is_elsewhere = links(authd, &token, keys[0], keys[1], checks_links);
    assert_eq!(large_is_elsewhere, !authd.dir().join("data/files").exists());
    assert_eq!(list(authd, &token).len(), 3);
    let removed = authd.authctl(&["file", "remove", keys[0], "--yes"]);
    assert_eq!(stdout(&removed), format!("Deleted {}\n", keys[0]));
    for key in &keys[1..] {
        let deleted = authd.http().bearer(&token).send("DELETE", &format!("/files/{key}"), None).expect("it answers");
        deleted.expect(200);
        let gone = authd.http().bearer(&token).get(&format!("/files/{key}")).expect("it answers");
        assert_eq!(gone.status, 404);
    }
    assert!(list(authd, &token).is_empty());
    until(TIMEOUT, "an empty store", || is_empty().then_some(()));
}

/// A link needs no credentials, and pins type and name. Text is served by authd, which sends `nosniff`; whether the other
/// one is served elsewhere.
fn links(authd: &Authd, token: &str, text: &str, pdf: &str, checks_links: bool) -> bool {
    let of = |key: &str| {
        let link = authd.http().bearer(token).post(&format!("/files/{key}/link"), &json!({})).expect("it answers");
        link.expect(200)["url"].as_str().expect("a URL").to_owned()
    };
    let (text_link, pdf_link) = (of(text), of(pdf));
    let get = |link: &str| stdout(&Spec::new("curl").args(["-sS", "-i", "-r", "0-17", link]).run(TIMEOUT));
    let (plain, document) = (get(&text_link), get(&pdf_link));
    assert!(plain.ends_with("\r\n\r\none two three four"), "{plain}");
    assert!(document.contains("\r\n\r\n%PDF-1.7"), "{document}");
    let (plain, document) = (plain.to_lowercase(), document.to_lowercase());
    for answer in [&plain, &document] {
        assert!(answer.contains("content-disposition: attachment;"), "{answer}");
    }
    assert!(plain.contains("content-type: text/plain; charset=utf-8"), "{plain}");
    assert!(plain.contains("x-content-type-options: nosniff") && text_link.starts_with(&authd.url()), "{plain}");
    assert!(document.contains("content-type: application/pdf"), "{document}");
    let is_presigned =
        pdf_link.contains("X-Amz-Expires=300&") && pdf_link.contains("response-content-disposition=attachment");
    assert_eq!(is_presigned, !pdf_link.starts_with(&authd.url()), "{pdf_link}");
    for link in [text_link.replace(text, pdf), pdf_link.replace(pdf, text)] {
        let status = Spec::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", &link]).run(TIMEOUT);
        if checks_links || link.starts_with(&authd.url()) {
            assert_eq!(stdout(&status), "403", "a link to another file");
        }
    }
    is_presigned
}

pub fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn files_are_kept_in_a_directory() {
    let authd = Authd::start();
    let folder = authd.dir().join("data/files");
    works(&authd, true, || is_empty_folder(&folder));
}

#[test]
fn files_are_kept_in_moto() {
    let s3 = S3::moto();
    let authd = setup(&s3, s3.port).start();
    works(&authd, false, || s3.stored() == (vec![], vec![]));
    assert!(!authd.dir().join("data/files").exists());
}

#[test]
fn files_are_kept_in_rclone() {
    let s3 = S3::rclone();
    let authd = setup(&s3, s3.port).start();
    works(&authd, true, || is_empty_folder(&s3.folder()));
}

/// One download with these headers.
fn get(authd: &Authd, token: &str, key: &str, headers: &[(&str, &str)]) -> Response {
    let http = headers.iter().fold(authd.http().bearer(token), |http, (name, value)| http.with(name, value));
    http.get(&format!("/files/{key}")).expect("it answers")
}

#[test]
fn a_download_is_answered_as_its_conditions_say() {
    let authd = Authd::start();
    let token = sign_in(&authd, "ann");
    let (_, all) = upload(&authd, &token, &[&file(authd.dir(), "x.svg", b"<svg onload=alert(1)>", 0)]);
    let key = all[0]["key"].as_str().expect("a key");
    let whole = get(&authd, &token, key, &[]);
    let etag = whole.header("etag").expect("a tag").to_owned();
    assert_eq!((whole.status, whole.text().as_str()), (200, "<svg onload=alert(1)>"));
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-disposition", "attachment; filename=\"x.svg\""),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("content-length", "21"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    let head = authd.http().bearer(&token).send("HEAD", &format!("/files/{key}"), None).expect("it answers");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("21"), 0));
    for (headers, status, body) in [
        (&[("if-none-match", etag.as_str())][..], 304, Some("")),
        (&[("if-none-match", "\"other\"")], 200, None),
        (&[("if-match", "\"other\"")], 412, None),
        (&[("range", "bytes=1-3")], 206, Some("svg")),
        (&[("range", "bytes=1-3"), ("if-range", etag.as_str())], 206, Some("svg")),
        (&[("range", "bytes=1-3"), ("if-range", "\"other\"")], 200, None),
        (&[("range", "bytes=1-3,5-6")], 200, None),
        (&[("range", "bytes=21-")], 416, None),
    ] {
        let answer = get(&authd, &token, key, headers);
        assert_eq!(answer.status, status, "{headers:?}");
        assert!(body.is_none_or(|body| answer.text() == body), "{headers:?}: {}", answer.text());
        if status == 416 {
            assert_eq!(answer.header("content-range"), Some("bytes */21"));
            assert_eq!(answer.json()["error"], "range_not_satisfiable");
        }
    }
    for (token, status) in [("", 401), (&*sign_in(&authd, "bob"), 404)] {
        let http = if token.is_empty() { authd.http() } else { authd.http().bearer(token) };
        assert_eq!(http.get(&format!("/files/{key}")).expect("it answers").status, status);
    }
    // It is not SVG or HTML in any spelling, and somebody who knows the key has nothing of it.
    assert_eq!(get(&authd, &token, "x", &[]).status, 404);
    assert_eq!(authd.admin().get(&format!("/files/{key}")).expect("it answers").status, 200, "an administrator");
}

/// The most memory that it ever had, in KiB.
fn peak(authd: &Authd) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", authd.pid().as_raw_nonzero())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}

/// A part of a multipart body, by hand.
fn part(name: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\r\n{content}\r\n")
}

#[test]
fn a_body_that_is_not_as_it_should_be_is_refused_with_an_answer() {
    let authd = Authd::start();
    let token = sign_in(&authd, "ann");
    let post = |kind: &str, body: &str| {
        authd.http().bearer(&token).send("POST", "/upload", Some((kind, body.as_bytes()))).expect("it answers")
    };
    let form = "multipart/form-data; boundary=b";
    let whole = part("a.txt", "text") + "--b--\r\n";
    for (kind, body, status) in [
        ("multipart/form-data; boundary=c", &whole, 400),
        (form, &part("a.txt", "text"), 400),
        (form, &(part("a.txt", "text") + "--bx\r\n"), 400),
        (form, &"--b--\r\n".to_owned(), 422),
        ("application/json", &"{}".to_owned(), 415),
        (form, &(part("a.exe", "MZ\0") + "--b--"), 415),
        (form, &whole, 200),
    ] {
        let answer = post(kind, body);
        assert_eq!(answer.status, status, "{kind} {body:?}: {}", answer.text());
    }
    assert_eq!(list(&authd, &token).len(), 1);
    let only_one = || fs::read_dir(authd.dir().join("data/files")).is_ok_and(|all| all.count() == 1).then_some(());
    until(TIMEOUT, "a store without what was refused", only_one);
    // Without credentials nothing is read, whatever is announced.
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 9000000\r\n\r\n";
    assert_eq!(authd.http().raw(head.as_bytes()).expect("it answers").status, 401);
    let as_admin = authd.admin().send("POST", "/upload", Some((form, whole.as_bytes()))).expect("it answers");
    assert_eq!(as_admin.status, 403, "files belong to people");
    // Larger than a file may be: the client reads the answer although it is still sending.
    let large = file(authd.dir(), "large.pdf", PDF, 40 << 20);
    let (status, all) = upload(&authd, &token, &[&large]);
    assert_eq!((status, &all[0]["error"]), (413, &json!("payload_too_large")), "{all}");
    let flood = file(authd.dir(), "flood.pdf", PDF, 200 << 20);
    let (status, problem) = upload(&authd, &token, &[&flood]);
    assert_eq!((status, &problem["error"]), (413, &json!("payload_too_large")), "{problem}");
}

#[test]
fn a_client_that_stops_is_let_go_and_leaves_nothing() {
    let authd = Setup::new().toml("[server]\nbody_seconds = 1\n").start();
    let token = sign_in(&authd, "ann");
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\ntoken: {token}\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: 30000000\r\n\r\n"
    );
    let begun = head + &part("a.pdf", &("%PDF-".to_owned() + &"a".repeat(9 << 20)));
    let folder = authd.dir().join("data/files");
    let has_object = || fs::read_dir(&folder).is_ok_and(|mut all| all.next().is_some()).then_some(());
    // It stops sending, and waits.
    let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    stream.write_all(begun.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    until(TIMEOUT, "an empty store", || is_empty_folder(&folder).then_some(()));
    // It goes away.
    let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
    stream.write_all(begun.as_bytes()).expect("it reads");
    until(TIMEOUT, "a begun object", has_object);
    drop(stream);
    until(TIMEOUT, "an empty store", || is_empty_folder(&folder).then_some(()));
    assert!(list(&authd, &token).is_empty());
}

#[test]
fn a_process_that_is_killed_in_an_upload_leaves_nothing_for_long() {
    let moto = S3::moto();
    for is_s3 in [false, true] {
        let setup = if is_s3 { setup(&moto, moto.port) } else { Setup::new() };
        let mut authd = setup.toml("[files]\nupload_seconds = 5\nmax_bytes = 30000000\n").start();
        let token = sign_in(&authd, "ann");
        let folder = authd.dir().join("data/files");
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: a\r\ntoken: {token}\r\ncontent-type: multipart/form-data; boundary=b\r\n\
             content-length: 30000000\r\n\r\n"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
        let begun = head + &part("a.pdf", &("%PDF-".to_owned() + &"a".repeat(9 << 20)));
        stream.write_all(begun.as_bytes()).expect("it reads");
        let left = || if is_s3 { moto.stored().1.len() } else { fs::read_dir(&folder).map_or(0, Iterator::count) };
        until(TIMEOUT, "a begun object", || (left() == 1).then_some(()));
        authd.start_again();
        assert!(left() == 1 && list(&authd, &token).is_empty());
        until(TIMEOUT, "a swept store", || (left() == 0).then_some(()));
        assert!(list(&authd, &token).is_empty());
    }
}

#[test]
fn a_store_that_breaks_in_the_middle_is_told_and_leaves_nothing() {
    let s3 = S3::moto();
    let line = Line::to(s3.port);
    let authd = setup(&s3, line.port).toml("[files]\nmax_bytes = 30000000\nupload_seconds = 5\n").start();
    let token = sign_in(&authd, "ann");
    let large = file(authd.dir(), "large.pdf", PDF, 20 << 20);
    let small = file(authd.dir(), "small.txt", b"text", 0);
    line.break_after(10 << 20);
    let (status, all) = upload(&authd, &token, &[&large]);
    assert!(line.is_broken());
    assert_eq!((status, &all[0]["successful"], &all[0]["error"]), (503, &json!(false), &json!("unavailable")), "{all}");
    assert_eq!(s3.stored().1.len(), 1, "the parts that were written");
    line.mend();
    let (status, all) = upload(&authd, &token, &[&small]);
    assert_eq!(status, 200, "{all}");
    until(TIMEOUT, "a swept store", || s3.stored().1.is_empty().then_some(()));
    assert_eq!((s3.stored().0.len(), list(&authd, &token).len()), (1, 1));
    // A download from a store that is down.
    line.break_after(0);
    let key = all[0]["key"].as_str().expect("a key");
    assert_eq!(get(&authd, &token, key, &[]).status, 503);
}
