//! Files that are not what they seem.

use super::*;

/// A ZIP archive with one entry whose header declares that it unpacks to 4 GiB.
fn bomb() -> Vec<u8> {
    let (packed, unpacked) = (2_u32.to_le_bytes(), u32::MAX.to_le_bytes());
    // Version, flags, deflate, time, date; CRC and sizes; a name of one byte; an empty block.
    let head = [20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [b"PK\x03\x04", &head[..], &packed, &unpacked, &[1, 0, 0, 0, b'a', 3, 0]].concat()
}

#[test]
fn a_file_of_two_types_is_served_as_the_one_that_its_beginning_says() {
    let authd = Authd::start();
    let token = sign_in(&authd, "ann");
    let script = "/*<html><script>alert(1)</script>*/=1;alert(1)";
    let pdf_and_zip = [PDF, b"%\xe2\xe3\n", &bomb()].concat();
    let png_and_html = [b"\x89PNG\r\n\x1a\n", script.as_bytes()].concat();
    for (name, content, kind) in [
        ("a.js", ["GIF89a", script].concat().into_bytes(), "image/gif"),
        ("a.html", png_and_html, "image/png"),
        ("a.zip", pdf_and_zip, "application/pdf"),
        ("a.pdf", [b"PK\x03\x04", PDF].concat(), "application/zip"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec(), "text/plain; charset=utf-8"),
        ("a.png", b"<!doctype html><script>alert(1)</script>".to_vec(), "text/plain; charset=utf-8"),
    ] {
        let (status, all) = upload(&authd, &token, &[&file(authd.dir(), name, &content, 0)]);
        assert_eq!(status, 200, "{name}: {all}");
        let answer = get(&authd, &token, all[0]["key"].as_str().expect("a key"), &[]);
        assert_eq!(answer.header("content-type"), Some(kind), "{name}");
        assert!(answer.header("content-disposition").is_some_and(|value| value.starts_with("attachment;")), "{name}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; sandbox"), "{name}");
        assert!(answer.body == content, "{name}");
    }
    // Something in front of a known beginning is no text, and nothing that is recognised.
    let (status, _) = upload(&authd, &token, &[&file(authd.dir(), "b.gif", b"\0GIF89a", 0)]);
    assert_eq!(status, 415);
}

#[test]
fn an_archive_is_never_unpacked_whatever_it_declares() {
    let authd = Authd::start();
    let token = sign_in(&authd, "ann");
    let zip = bomb();
    // 4 GiB of zeros by gzip, whose trailer declares it.
    let packed = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &[0; 100], &u32::MAX.to_le_bytes()].concat();
    let before = authd.memory();
    for (name, content, kind) in [("a.zip", &zip, "application/zip"), ("a.gz", &packed, "application/gzip")] {
        let (status, all) = upload(&authd, &token, &[&file(authd.dir(), name, content, 0)]);
        assert_eq!((status, &all[0]["content_type"]), (200, &json!(kind)), "{all}");
    }
    let sizes: Vec<u64> = list(&authd, &token).iter().filter_map(|file| file["size"].as_u64()).collect();
    assert_eq!(sizes, [packed.len() as u64, zip.len() as u64], "what counts is what arrived");
    assert!(authd.memory() < before + (8 << 10), "{} KiB, {before} before", authd.memory());
}

#[test]
fn a_declared_length_is_neither_believed_nor_reserved() {
    let authd = Authd::start();
    let token = sign_in(&authd, "ann");
    let before = peak(&authd);
    let head = |length: u64| {
        format!(
            "POST /upload HTTP/1.1\r\nhost: a\r\ntoken: {token}\r\nconnection: close\r\n\
             content-type: multipart/form-data; boundary=b\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // More than any upload may have: refused before it is sent.
    let answer = authd.http().raw(head(u64::MAX / 2).as_bytes()).expect("it answers");
    assert_eq!((answer.status, &answer.json()["error"]), (413, &json!("payload_too_large")));
    // As much as one may have, of which nothing comes.
    let streams: Vec<TcpStream> = (0..6)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
            stream
                .write_all((head(150 << 20) + &part("a.txt", "text") + &part("b.txt", "")).as_bytes())
                .expect("it reads");
            stream
        })
        .collect();
    until(TIMEOUT, "begun uploads", || {
        fs::read_dir(authd.dir().join("data/files")).is_ok_and(|all| all.count() == 6).then_some(())
    });
    assert!(peak(&authd) < before + (16 << 10), "{} KiB, {before} before", peak(&authd));
    drop(streams);
}
