//! The listener as a browser meets it.

use std::fmt::Write as _;

use tokio::sync::mpsc::{Receiver, channel};

use super::*;

const HOST: &str = "Host: 127.0.0.1:99\r\n";
const GOOD: &str = "GET /?state=s1&release=r-1 HTTP/1.1\r\nHost: 127.0.0.1:99\r\n\r\n";
const AUTH_URL: &str = "https://login.example.test/oauth2/authorize?state=s1";

fn served() -> Served {
    Served {
        port: 99,
        entry: "once".into(),
        is_entered: AtomicBool::new(false),
        auth_url: AUTH_URL.into(),
        state: "s1".into(),
        page: Arc::default(),
        releases: channel(1).0,
    }
}

fn read(head: &str) -> Option<String> {
    match served().read(head)? {
        Request::Release(release) => Some(release.expose().to_owned()),
        _ => None,
    }
}

#[test]
fn only_the_redirect_of_this_login_brings_a_release() {
    assert_eq!(read(GOOD).unwrap(), "r-1");
    assert_eq!(read(&GOOD.replace("127.0.0.1:99", "localhost:99")).unwrap(), "r-1");
    for (from, to) in [
        ("GET", "POST"),
        ("GET", "OPTIONS"),
        ("/?", "/x?"),
        ("/?", "/once?"),
        ("state=s1", "state=s2"),
        ("state=s1&", ""),
        ("state=s1", "state=s1&state=s1"),
        ("release=r-1", "release="),
        ("release=r-1", "release=a%20b"),
        ("127.0.0.1:99", "evil.test:99"),
        ("127.0.0.1:99", "127.0.0.1:98"),
        ("Host: 127.0.0.1:99", "X: y"),
        ("Host: 127.0.0.1:99", "Host: 127.0.0.1:99\r\nHost: evil.test"),
    ] {
        assert!(GOOD.contains(from));
        assert_eq!(read(&GOOD.replace(from, to)), None, "{from} -> {to}");
    }
    assert_eq!(read(&GOOD.replace("r-1", &"r".repeat(257))), None);
}

/// A running listener.
struct Running {
    port: u16,
    releases: Receiver<Secret>,
    _task: JoinSet<()>,
}

impl Running {
    async fn start() -> Self {
        let loopback = Loopback::bind("once".to_owned()).await.unwrap();
        let port = loopback.port();
        assert_eq!(loopback.url(), format!("http://127.0.0.1:{port}/once"));
        let (sender, releases) = channel(4);
        let mut task = JoinSet::new();
        task.spawn(async move { loopback.serve(AUTH_URL, "s1", sender).await });
        Self { port, releases, _task: task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// The answer to a request whose `Host` names port 99.
    async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let request = request.as_ref();
        let host = request.windows(HOST.len()).position(|bytes| bytes == HOST.as_bytes()).unwrap();
        let real = format!("Host: 127.0.0.1:{}\r\n", self.port);
        let request = [&request[..host], real.as_bytes(), &request[host + HOST.len()..]].concat();
        let mut stream = self.connect().await;
        stream.write_all(&request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
}

#[tokio::test]
async fn a_silent_connection_keeps_nobody_waiting() {
    let mut running = Running::start().await;
    let mut silent = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        silent.push(running.connect().await);
    }
    // As long as the silent ones may stay: with a free place it takes no time.
    let asking = async {
        assert_status(&running.ask(format!("GET /favicon.ico HTTP/1.1\r\n{HOST}\r\n")).await, 404);
        assert_status(&running.ask(GOOD).await, 200);
    };
    tokio::time::timeout(HEAD_TIME, asking).await.expect("an answer before the silent connections end");
    assert_eq!(running.releases.recv().await.unwrap().expose(), "r-1");
}

#[tokio::test]
async fn the_one_time_address_redirects_its_first_use_alone() {
    let running = Running::start().await;
    let get = format!("GET /once HTTP/1.1\r\n{HOST}\r\n");
    // A browser that looks ahead opens nothing.
    for ahead in ["Sec-Purpose: prefetch;prerender", "Purpose: prefetch", "X-Moz: prefetch"] {
        let answer = running.ask(get.replace("\r\n\r\n", &format!("\r\n{ahead}\r\n\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && !answer.contains(AUTH_URL), "{answer}");
    }
    assert!(!running.ask(get.replace("GET", "HEAD")).await.contains(AUTH_URL));
    assert!(!running.ask(get.replace("GET", "POST")).await.contains(AUTH_URL));
    assert_status(&running.ask(get.replace("/once", "/onc")).await, 404);

    let first = running.ask(&get).await;
    assert_status(&first, 303);
    assert!(first.contains(&format!("\r\nLocation: {AUTH_URL}\r\n")) && first.contains("no-referrer"), "{first}");
    let second = running.ask(&get).await;
    assert_status(&second, 410);
    assert!(second.contains("goes on in another window") && !second.contains("state=s1"), "{second}");
}

#[tokio::test]
async fn a_head_is_read_with_whatever_cookies_other_ports_have_set() {
    let mut running = Running::start().await;
    let mut cookies = String::from("Cookie: ");
    while cookies.len() < 32 << 10 {
        let _ = write!(cookies, "other{}=0123456789abcdef; ", cookies.len());
    }
    let large = GOOD.replace("\r\n\r\n", &format!("\r\n{cookies}\r\n\r\n"));
    assert_status(&running.ask(large).await, 200);
    let latin1 = [GOOD.trim_end().as_bytes(), b"\r\nCookie: name=caf\xe9\r\n\r\n"].concat();
    assert_status(&running.ask(latin1).await, 200);
    for _ in 0..2 {
        assert_eq!(running.releases.recv().await.unwrap().expose(), "r-1");
    }
}

#[tokio::test]
async fn a_browser_that_asks_first_may_send_the_redirect_and_nothing_else() {
    let mut running = Running::start().await;
    let ask = GOOD.replace("GET", "OPTIONS").replace(
        "\r\n\r\n",
        "\r\nOrigin: https://auth.example.test\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Private-Network: true\r\n\r\n",
    );
    let answer = running.ask(&ask).await;
    assert_status(&answer, 204);
    for header in
        ["Access-Control-Allow-Origin: https://auth.example.test", "Access-Control-Allow-Private-Network: true"]
    {
        assert!(answer.contains(&format!("\r\n{header}\r\n")), "{answer}");
    }
    assert!(running.releases.try_recv().is_err(), "it asks and brings nothing");
    assert_status(&running.ask(ask.replace("/?", "/once?")).await, 404);
    // A page of another origin may cause the request, but not read its answer.
    let read = GOOD.replace("\r\n\r\n", "\r\nOrigin: https://evil.test\r\n\r\n");
    assert!(!running.ask(read).await.contains("Access-Control"));
}
