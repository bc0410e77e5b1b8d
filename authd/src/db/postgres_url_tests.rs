use std::time::Duration;

use tokio_postgres::config::Host;

use super::postgres_url::PostgresUrl;

fn faults(url: &str) -> String {
    PostgresUrl::parse(url).expect_err(url).join("\n")
}

#[test]
fn every_part_is_read_as_libpq_reads_it() {
    let read = |url: &str| PostgresUrl::parse(url).unwrap().config;
    let config = read("PostgreSQL://ann:a%40b,c%2Fd@H1:1,[::1],h3:3/name?application_name=x%40y&connect_timeout=7");
    assert_eq!(config.get_user(), Some("ann"));
    assert_eq!(config.get_password(), Some(&b"a@b,c/d"[..]));
    assert_eq!(config.get_hosts(), ["H1", "::1", "h3"].map(|name| Host::Tcp(name.into())));
    assert_eq!(config.get_ports(), [1, 5432, 3]);
    assert_eq!((config.get_dbname(), config.get_application_name()), (Some("name"), Some("x@y")));
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
    let config = read("postgres://h/d?options=-c%20a=b@c&host=/run/pg&port=7");
    assert_eq!((config.get_hosts(), config.get_ports()), (&[Host::Unix("/run/pg".into())][..], &[7][..]));
    assert_eq!(config.get_options(), Some("-c a=b@c"));
    let config = read("postgres://%2Frun%2Fpg/d");
    assert_eq!(config.get_hosts(), [Host::Unix("/run/pg".into())]);
    let config = read("postgres:///d?hostaddr=127.0.0.1");
    assert_eq!((config.get_hosts().len(), config.get_hostaddrs().len(), config.get_user()), (1, 1, None));
}

#[test]
fn a_parameter_of_libpq_is_followed_or_has_no_meaning_here() {
    for query in [
        "sslmode=allow",
        "sslmode=prefer",
        "sslmode=disable",
        "ssl=true",
        "sslmode=verify%2Dfull",
        "gssencmode=disable",
        "gssencmode=prefer",
        "krbsrvname=postgres",
        "gssdelegation=0",
        "target_session_attrs=primary",
        "target_session_attrs=read-write",
        "target_session_attrs=any",
        "client_encoding=UTF8",
        "client_encoding=utf-8",
        "client_encoding=auto",
        "sslcompression=0",
        "sslsni=1",
        "fallback_application_name=x",
        "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3",
        "tcp_user_timeout=10000",
        "connect_timeout=10",
        "load_balance_hosts=random",
        "channel_binding=prefer",
        "sslcertmode=disable",
        "ssl_min_protocol_version=TLSv1.2",
        "sslnegotiation=postgres",
        "replication=false",
        "sslmode=",
        "passfile=",
        "sslrootcert=system",
    ] {
        let read = PostgresUrl::parse(&format!("postgres://h/d?{query}"));
        assert!(read.is_ok(), "{query}: {read:?}");
    }
}

#[test]
fn a_parameter_that_cannot_be_followed_is_refused_with_the_reason() {
    for (query, says) in [
        ("sslmode=bogus", "use disable, prefer"),
        ("gssencmode=require", "by TLS"),
        ("target_session_attrs=standby", "authd writes"),
        ("target_session_attrs=prefer-standby", "authd writes"),
        ("target_session_attrs=bogus", "read-write, primary or any"),
        ("client_encoding=LATIN1", "UTF-8"),
        ("sslcert=/a", "client certificate"),
        ("sslcrl=/a", "revocation lists"),
        ("sslsni=0", "cannot do that"),
        ("ssl_min_protocol_version=TLSv1.3", "at the server"),
        ("require_auth=scram-sha-256", "channel_binding"),
        ("requirepeer=postgres", "server's user"),
        ("passfile=/a", "DATABASE_URL_FILE"),
        ("service=a", "service file"),
        ("replication=database", "ordinary"),
        ("sslmod=require", "no such parameter"),
        ("user", "has no value"),
        ("connect_timeout=soon", "seconds"),
        ("sslmode=verify-ca", "sslrootcert=FILE"),
        ("sslmode=require&sslrootcert=system", "verify-full"),
        ("sslmode=disable&channel_binding=require", "needs TLS"),
        ("sslrootcert=%4", "%25"),
        ("hostaddr=localhost", "not an IP address"),
        ("hostaddr=127.0.0.1,127.0.0.2", "same number"),
        ("port=http", "not a number"),
    ] {
        let told = faults(&format!("postgres://ann:hunter2@h/d?{query}"));
        assert!(told.contains(says) && !told.contains("hunter2"), "{query}: {told}");
    }
    let told = faults("postgres://h/d?sslmode=bogus&gssencmode=require&client_encoding=SJIS");
    assert_eq!(told.lines().count(), 3, "all at once: {told}");
}

#[test]
fn a_url_that_says_two_things_is_refused_without_the_password() {
    for (url, says) in [
        ("postgres://ann:hunter2@5/x@h/d", "%2F"),
        ("postgres://ann:hunter2/x@h/d", "%2F"),
        ("postgres://ann:hunter2@x@h/d", "%40"),
        ("postgres://ann:hunter2#x@h/d", "%23"),
        ("postgres://h/d?hunter2@h", "%3F"),
        ("postgres://h/d?hunter2==@h", "no such parameter"),
        ("postgres://h/d?hostaddr=hunter2", "not an IP address"),
        ("postgres://ann:hunter2%@h/d", "%25"),
        ("postgres://ann:hunter2@/d", "name the host"),
        ("postgres://ann:hunter2@h1,,h2/d", "name the host"),
        ("postgres://ann:hunter2@[::1/d", "no ]"),
        ("postgres://ann:hunter2@h:port/d", "not a number"),
        ("postgres://ann:hunter2@h:0/d", "not a number"),
        ("postgres://ann:hunter2@h:65536/d", "not a number"),
    ] {
        let told = faults(url);
        assert!(told.contains(says) && !told.contains("hunter2"), "{url}: {told}");
    }
}

#[test]
fn an_unverified_server_on_another_machine_is_warned_of() {
    for (url, warned) in [
        ("postgres://h/d", true),
        ("postgres://h/d?sslmode=require", true),
        ("postgres://localhost,h/d?sslmode=disable", true),
        ("postgres://h/d?sslmode=verify-full", false),
        ("postgres://h/d?sslmode=verify-ca&sslrootcert=/a", false),
        ("postgres://LOCALHOST/d", false),
        ("postgres:///d?host=/run/pg", false),
    ] {
        assert_eq!(PostgresUrl::parse(url).unwrap().warning().is_some(), warned, "{url}");
    }
}
