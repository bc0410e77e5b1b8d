//! The side of authd, for a test that decides what it answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// Long enough for the slowest machine; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The path and the body of a request; `null` if it has none.
pub fn read_request(stream: &mut TcpStream) -> (String, Value) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the request was cut off: {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or_default() {
            return (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap_or_default());
        }
    }
}

pub fn answer_request(stream: &mut TcpStream, answer: &Value) {
    let body = answer.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
    write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
}

pub fn authorized(token: &str) -> Value {
    json!({
        "status": "AUTHORIZED", "access_key_id": "ASIANEW", "secret_access_key": "new secret", "session_token": "new token",
        "expires_at": 4_000_000_000_u32, "refresh_token": token, "session_expires_at": 4_100_000_000_u32, "role": "default",
        "role_arn": "arn:aws:iam::123456789012:role/developer", "user": "alice@example.test", "roles": ["default"],
    })
}
