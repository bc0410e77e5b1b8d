//! No request ends without an answer, however it is sent.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Everything that comes until the daemon closes; a reset behind it is no matter.
async fn until_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The head of one answer.
async fn one_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(DEADLINE, stream.read_u8()).await.expect("an answer in time");
        head.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))));
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// The whole request is sent before anything is read, as Python's http.client does.
#[tokio::test]
async fn a_refusal_before_the_body_reaches_a_client_that_is_still_sending() {
    let daemon = Daemon::start("").await;
    let body = format!("{{\"token\":\"{}\"}}", "x".repeat(1_200_000));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (request, status) in [
        (post("/auth/tokens", "", &body), "401"),
        (post("/nothing/here", "", &body), "404"),
        (request("DELETE", "/auth/validate", "", &body), "405"),
        (post("/auth/validate", "", &body), "413"),
        (request("POST", "/auth/validate", form, &body), "415"),
        (post("/auth/forward/none/x", "", &body), "403"),
    ] {
        for keeps in [false, true] {
            let request = if keeps { request.replace("Connection: close\r\n", "") } else { request.clone() };
            let mut stream = daemon.tcp().await;
            let sent = tokio::time::timeout(DEADLINE, stream.write_all(request.as_bytes())).await.expect("it reads");
            assert!(sent.is_ok(), "{status}: {sent:?}");
            let head = one_head(&mut stream).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        }
    }
    // Who asks first is told before it has sent.
    let asks = "POST /auth/tokens HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1200000\r\n\r\n";
    let mut stream = daemon.tcp().await;
    stream.write_all(asks.as_bytes()).await.unwrap();
    let answer = until_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_refusal_does_not_read_for_ever() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.tcp().await;
    let head = "POST /auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b'x'; 1 << 20];
    let endless = async {
        let mut sent = 0;
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    };
    let sent = tokio::time::timeout(DEADLINE, endless).await.expect("it stops reading");
    assert!(sent < 100 << 20, "{sent}");
}

#[tokio::test]
async fn a_line_end_behind_a_request_delays_no_answer() {
    let daemon = Daemon::start("").await;
    for more in ["\r\n", "\n", "\r\n\r\n"] {
        let mut stream = daemon.tcp().await;
        let request = request("GET", "/health/live", "", "").replace("Connection: close\r\n", "") + more;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(one_head(&mut stream).await.starts_with("HTTP/1.1 200"), "{more:?}");
    }
}

#[tokio::test]
async fn heads_that_cannot_be_read_are_told_so() {
    let daemon = Daemon::start("").await;
    let many: String = (0..101).map(|number| format!("X-{number}: x\r\n")).collect();
    let long = format!("X: {}\r\n", "x".repeat(100 << 10));
    for (headers, status) in [("no colon here\r\n", "400"), ("X : y\r\n", "400"), (&many, "431"), (&long, "431")] {
        let mut stream = daemon.tcp().await;
        stream.write_all(request("GET", "/health/live", headers, "").as_bytes()).await.unwrap();
        let answer = until_end(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status} {answer:?}");
    }
    let usual = format!("X: {}\r\n", "x".repeat(31 << 10));
    assert_eq!(daemon.send(&request("GET", "/health/live", &usual, "")).await.status, 200);
}

#[tokio::test]
async fn an_answer_is_not_lost_when_the_next_request_is_malformed() {
    let daemon = Daemon::start("").await;
    let good = post("/auth/validate", "", "{\"token\":\"x\"}").replace("Connection: close\r\n", "");
    let mut stream = daemon.tcp().await;
    stream.write_all(format!("{good}{good}nonsense\r\n\r\n").as_bytes()).await.unwrap();
    let answers = until_end(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 1, "{answers}");
}

#[tokio::test]
async fn a_client_may_close_its_half_behind_the_request() {
    let daemon = Daemon::start("").await;
    let body = json!({ "username": "nobody", "password": "not the password" }).to_string();
    let mut stream = daemon.tcp().await;
    stream.write_all(post("/auth/login", "", &body).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = until_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer:?}");
}

/// A form of another site can send cookies and passwords, but no JSON that says so.
#[tokio::test]
async fn passwords_and_cookies_come_with_a_media_type() {
    let daemon = Daemon::start("").await;
    let login = json!({ "username": "nobody", "password": "not the password" }).to_string();
    let validate = json!({ "token": "x" }).to_string();
    let with = |path: &str, headers: &str, body: &str| request("POST", path, headers, body);
    for (request, status) in [
        (with("/auth/login", "", &login), 415),
        (with("/auth/login", "Content-Type: text/plain\r\n", &login), 415),
        (with("/auth/login", "Content-Type: application/json; charset=utf-8\r\n", &login), 401),
        (with("/auth/login", "Content-Type: application/vnd.x+json\r\n", &login), 401),
        (with("/users", &bearer(ADMIN), &login), 415),
        (with("/auth/validate", "", &validate), 200),
        (with("/auth/validate", "Content-Type: text/plain\r\n", &validate), 415),
        (with("/auth/validate", "Cookie: a=b\r\n", &validate), 415),
        (with("/auth/validate", "Origin: https://example.org\r\n", &validate), 415),
        (with("/auth/tokens", &bearer(ADMIN), &json!({ "name": "x", "scopes": ["y"] }).to_string()), 201),
        (with("/auth/tokens/x/revoke", &format!("{}Content-Type: text/plain\r\n", bearer(ADMIN)), ""), 200),
    ] {
        let answer = daemon.send(&request).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
}
