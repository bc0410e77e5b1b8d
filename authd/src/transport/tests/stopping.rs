//! Nobody delays a stop, and what is complete is answered before it.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

impl Daemon {
    /// Tells the daemon to stop, and waits until the port is closed.
    async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let begun = Instant::now();
        while TcpStream::connect(self.addr).await.is_ok() {
            assert!(begun.elapsed() < DEADLINE, "nobody new is let in");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_complete_request_is_answered_before_the_end() {
    let mut daemon = Daemon::start("").await;
    let mut streams = Vec::new();
    for number in 0..8 {
        let body = json!({ "username": format!("nobody-{number}"), "password": "not the password" }).to_string();
        let mut stream = daemon.tcp().await;
        stream.write_all(post("/auth/login", "", &body).as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // The daemon has seen them once it has answered another one that came later.
    daemon.send(&request("GET", "/health/live", "", "")).await;
    daemon.stop().await;
    for stream in streams {
        assert_eq!(exchange(stream, "").await.status, 401);
    }
    tokio::time::timeout(DEADLINE, daemon.running).await.unwrap().unwrap().unwrap();
    assert!(!daemon.folder.path().join("admin.sock").exists());
}

/// It does not confirm that the connection ends, and goes on asking.
#[tokio::test]
async fn a_peer_of_http2_that_goes_on_asking_delays_no_stop() {
    let mut daemon = Daemon::start("").await;
    let mut stream = daemon.tcp().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let asking = tokio::spawn(async move {
        for number in 0_u32.. {
            // GET / of the static table (RFC 7541), END_STREAM and END_HEADERS.
            let stream = (2 * number + 1).to_be_bytes();
            let frame = [&[0, 0, 3, 1, 5][..], &stream, &[0x82, 0x86, 0x84]].concat();
            if writing.write_all(&frame).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    reading.read_u8().await.unwrap();
    let begun = Instant::now();
    daemon.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(DEADLINE, &mut daemon.running).await.unwrap().unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    asking.abort();
}

/// Each keeps its connection open and never reads to the end.
#[tokio::test]
async fn what_is_not_complete_delays_no_stop() {
    let idle = request("GET", "/health/live", "", "").replace("Connection: close\r\n", "");
    let half_body = "POST /auth/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"tok";
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for said in ["", "P", "POST /auth/validate HTTP/1.1\r\nHost: x\r\n", half_body, &idle, &format!("{idle}GET"), http2]
    {
        let mut daemon = Daemon::start("").await;
        let mut stream = daemon.tcp().await;
        stream.write_all(said.as_bytes()).await.unwrap();
        if said.contains("live") || said == http2 {
            stream.read_u8().await.unwrap();
        }
        daemon.send(&request("GET", "/health/live", "", "")).await;
        let begun = Instant::now();
        daemon.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(DEADLINE, &mut daemon.running).await.unwrap().unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(8), "{said:?} held it for {:?}", begun.elapsed());
        if said == half_body {
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer:?}");
        }
    }
}
