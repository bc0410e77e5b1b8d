//! Many uploads at the same time, and clients that stop.

use super::*;

#[test]
fn fifty_uploads_at_the_same_time_are_all_stored_in_bounded_memory() {
    let authd = Setup::new().toml("[files]\nwait_seconds = 120\n").start();
    // As many as there are places: of one person fewer arrive at the same time.
    let tokens: Vec<String> = (0..12).map(|number| sign_in(&authd, &format!("person{number}"))).collect();
    let large = file(authd.dir(), "large.pdf", PDF, 10 << 20);
    let field = format!("files=@{}", large.display());
    let url = format!("{}/upload", authd.url());
    let all: Vec<_> = (0..50)
        .map(|number: usize| {
            let token = &tokens[number % tokens.len()];
            let spec = Spec::new("curl").args(["-sS", "--max-time", "180", "-H", &format!("token: {token}")]);
            spec.args(["-F", &field, "-o", "/dev/null", "-w", "%{http_code}", &url]).start_piped()
        })
        .collect();
    let mut most = 0;
    for upload in all {
        most = most.max(authd.memory());
        assert_eq!(stdout(&upload.finish(Duration::from_mins(3))), "200");
    }
    assert_eq!(tokens.iter().map(|token| list(&authd, token).len()).sum::<usize>(), 50);
    most = most.max(peak(&authd));
    assert!(most < 256 << 10, "{most} KiB");
}

#[test]
fn a_reader_that_stops_holds_no_memory_and_no_connection() {
    let authd = Authd::start();
    let token = sign_in(&authd, "ann");
    let (_, all) = upload(&authd, &token, &[&file(authd.dir(), "large.pdf", PDF, 10 << 20)]);
    let key = all[0]["key"].as_str().expect("a key");
    let request = format!("GET /files/{key} HTTP/1.1\r\nhost: a\r\ntoken: {token}\r\n\r\n");
    let before = authd.memory();
    let streams: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
            stream.write_all(request.as_bytes()).expect("it reads");
            let mut first = [0; 12];
            stream.read_exact(&mut first).expect("it answers");
            assert_eq!(&first, b"HTTP/1.1 200");
            stream
        })
        .collect();
    assert!(authd.memory() < before + (60 << 10), "{} KiB, {before} before", authd.memory());
    let open = || {
        let metrics = authd.socket().get("/metrics").expect("it answers").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("authd_connections ")).expect("a gauge");
        line.parse::<u64>().expect("a number")
    };
    assert!(open() >= 40);
    // The bound for a peer that does not read is half a minute.
    until(Duration::from_mins(2), "closed connections", || (open() < 5).then_some(()));
    drop(streams);
    assert_eq!(Http::tcp(authd.port()).get("/health").expect("it answers").status, 200);
}
