//! Settings that cannot be safe or cannot work.

use super::tests::load;
use super::{Environment, Sources, source};

/// With the variables set, the start is refused, and the message has this in it but no secret.
fn is_refused(variables: &[(&str, &str)], says: &str) {
    let error = load("", variables).expect_err(&format!("{variables:?}"));
    assert!(error.contains(says) && !error.contains("hunter2"), "{variables:?}: {error}");
}

#[test]
fn a_variable_that_cannot_work_is_refused_with_its_name_and_a_remedy() {
    for (name, value, says) in [
        ("AUTHD_ROOT_KEY", "abc", "openssl rand -hex 32"),
        ("AUTHD_ROOT_KEY", "made by: openssl", "AUTHD_ROOT_KEY"),
        ("REDIS_URL", "localhost:6379", "redis://HOST:PORT"),
        ("REDIS_URL", "redis://:hunter2@h:port", "REDIS_URL"),
        ("DATABASE_URL", "http://x", "must begin with sqlite: or postgres://"),
        ("DATABASE_URL", "hunter2", "DATABASE_URL"),
        ("DATABASE_URL", "postgres://ann:hunter2@h:port/d", "not a number from 1 to 65535"),
        ("DATABASE_URL", "postgres://ann:hunter2@h/d?sslmode=bogus", "sslmode=bogus is unknown; use disable"),
        ("DATABASE_URL", "sqlite:a.db?mode=ro", "no parameters"),
        ("DATABASE_URL", "sqlite::memory:", "no parameters"),
        ("DATABASE_URL", "sqlite:/a/b.lock", ".lock"),
        ("AUTHD_LOG", "verbose", "error, warn, info, debug or trace"),
        ("AUTHD_LOG", "hyper=debug", "would log nothing of authd"),
        ("AUTHD_LOG", "authd=loud", "is not a level"),
        ("AUTHD_LOG_FORMAT", "xml", "`auto`, `human`, `json`"),
        ("SERVER_ADDR", "auth.test:8080", "SERVER_ADDR) = \"auth.test:8080\": expected an address and a port"),
        ("SERVER_ADDR", "auth.test:8080", "names other than localhost"),
        ("SERVER_ADDR", "localhost:http", "such as 127.0.0.1:8080"),
        ("SERVER_ADDR", "127.0.0.1:http", "such as 127.0.0.1:8080"),
        ("SERVER_PORT", "http", "SERVER_PORT: \"http\" is not a port"),
        ("SERVER_PORT", "65536", "SERVER_PORT"),
        ("AUTHD_MAX_CONNECTIONS", "many", "AUTHD_MAX_CONNECTIONS: \"many\" is not a number"),
        ("AUTHD_MAX_CONNECTIONS", "-1", "AUTHD_MAX_CONNECTIONS"),
        ("AUTHD_ALLOW_UNBOUND_POLLING", "yes", "use true or false"),
        ("AUTHD_PUBLIC_URL", "auth.example.test", "of the form https://HOST"),
        ("AUTHD_PUBLIC_URL", "https://h:port", "AUTHD_PUBLIC_URL"),
        ("AUTHD_PUBLIC_URL", "https://ann:hunter2@h", "before the @"),
        ("AUTHD_PUBLIC_URL", "https://h?a=b", "query"),
        ("ADMIN_TOKEN", "short", "at least 16"),
        ("ADMIN_TOKEN", "hunter2 with spaces in it", "without spaces"),
        ("STS_ROLE_ARN", "arn:aws:iam::1234:role/dev", "STS_ROLE_ARN): \"arn:aws:iam::1234:role/dev\" is not the ARN"),
        ("AUTHD_ADMIN_SOCKET", &format!("/{}", "a".repeat(107)), "choose a shorter one"),
        ("AUTHD_PASSKEYS", "required", "passkeys.mode = \"required\" (AUTHD_PASSKEYS) needs a public URL"),
        ("AUTHD_PASSKEYS", "always", "`optional`, `required`, `off`"),
        ("TOKEN_TTL_SECONDS", "9", "TOKEN_TTL_SECONDS"),
        ("TOKEN_PREFIX", "a-b", "TOKEN_PREFIX"),
    ] {
        is_refused(&[(name, value)], says);
    }
}

#[test]
fn http_is_only_for_this_machine() {
    let cognito = [("COGNITO_CLIENT_ID", "abc"), ("AUTHD_PUBLIC_URL", "https://a.test")];
    for (domain, pool, issuer, says) in [
        ("http://login.test", "eu-west-1_Pool", "", "COGNITO_DOMAIN"),
        ("HTTP://login.test", "eu-west-1_Pool", "", "COGNITO_DOMAIN"),
        ("login.test", "x", "http://issuer.test", "COGNITO_ISSUER"),
        ("http://127.0.0.1.login.test", "x", "http://127.0.0.1:1/x", "COGNITO_DOMAIN"),
    ] {
        let own = [("COGNITO_DOMAIN", domain), ("COGNITO_USER_POOL_ID", pool), ("COGNITO_ISSUER", issuer)];
        is_refused(&[&cognito[..], &own].concat(), says);
    }
    let provider = |more: &str| format!("[[provider]]\nname = \"p\"\nclient_id = \"c\"\n{more}");
    for (more, says) in [
        ("issuer = \"http://issuer.test\"", "provider p: issuer: \"http://issuer.test/\": http is accepted only"),
        ("issuer = \"http://localhost.issuer.test\"", "use https"),
        ("issuer = \"http://127.0.0.1@issuer.test\"", "before the @"),
        ("issuer = \"https://i.test\"\ntoken_endpoint = \"http://i.test/t\"", "token_endpoint"),
        ("issuer = \"https://i.test\"\njwks_uri = \"HTTP://i.test/t\"", "jwks_uri"),
        ("issuer = \"https://i.test\"\nauthorization_endpoint = \"http://10.0.0.1/t\"", "authorization_endpoint"),
    ] {
        let error = load(&provider(more), &[]).unwrap_err();
        assert!(error.contains(says), "{more}: {error}");
    }
    for issuer in ["http://127.0.0.1:1", "http://LOCALHOST:1/a", "http://[::1]", "HTTPS://Issuer.test/"] {
        let config = load(&provider(&format!("issuer = \"{issuer}\"")), &[]).unwrap();
        assert_eq!(config.providers[0].issuer, issuer, "compared exactly with `iss`");
    }
}

#[test]
fn cognito_is_refused_where_aws_would_refuse_it() {
    let good = [
        ("COGNITO_DOMAIN", "team.auth.eu-west-1.amazoncognito.com"),
        ("COGNITO_CLIENT_ID", "abc"),
        ("COGNITO_USER_POOL_ID", "eu-west-1_Pool"),
        ("AUTHD_PUBLIC_URL", "https://auth.example.test"),
    ];
    assert!(load("", &good).is_ok());
    for (name, value, says) in [
        ("AUTHD_PUBLIC_URL", "", "such as AUTHD_PUBLIC_URL=http://localhost:8080"),
        ("AUTHD_PUBLIC_URL", "http://auth.example.test", "only to localhost"),
        ("AUTHD_PUBLIC_URL", "http://127.0.0.1:8080", "only to localhost"),
        ("COGNITO_REDIRECT_URI", "http://auth.example.test/back", "COGNITO_REDIRECT_URI"),
        ("COGNITO_USER_POOL_ID", "Pool", "begins with its region, such as eu-central-1_Example01"),
        ("COGNITO_USER_POOL_ID", "_Pool", "begins with its region"),
        ("COGNITO_USER_POOL_ID", "eu-west-1_", "begins with its region"),
        ("COGNITO_USER_POOL_ID", "eu-west-1/Pool", "begins with its region"),
        ("COGNITO_USER_POOL_ID", "", "also needs cognito.user_pool_id (COGNITO_USER_POOL_ID)"),
        ("COGNITO_REGION", "eu-west-2", "is not the region of the pool"),
        ("COGNITO_DOMAIN", "team.auth.eu-west-2.amazoncognito.com", "is in eu-west-2"),
        ("COGNITO_DOMAIN", "a b", "COGNITO_DOMAIN"),
    ] {
        let mut variables = good.to_vec();
        variables.retain(|(other, _)| *other != name);
        is_refused(&[&variables[..], &[(name, value)]].concat(), says);
    }
    for public_url in ["http://localhost:8080", "https://auth.example.test"] {
        let variables = [&good[..3], &[("AUTHD_PUBLIC_URL", public_url)]].concat();
        assert!(load("", &variables).is_ok(), "{public_url}");
    }
}

#[test]
fn proxies_are_addresses_or_networks_in_any_list_and_never_everybody() {
    let trusted = |text: &str| load("", &[("AUTHD_TRUSTED_PROXIES", text)]).unwrap().server.trusted_proxies;
    let shown = |text: &str| trusted(text).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown("192.0.2.7"), ["192.0.2.7/32"]);
    assert_eq!(shown("2001:db8::1, 10.0.0.0/8"), ["2001:db8::1/128", "10.0.0.0/8"]);
    assert_eq!(shown("10.0.0.1\n\n10.0.0.2\r\nfd00::/8\n"), ["10.0.0.1/32", "10.0.0.2/32", "fd00::/8"]);
    assert_eq!(shown("::ffff:10.0.0.1 ::ffff:10.1.0.0/112"), ["10.0.0.1/32", "10.1.0.0/16"]);
    assert!(trusted(" ").is_empty());
    for all in ["0.0.0.0/0", "::/0", "0.0.0.0/1,128.0.0.0/1", "::ffff:0:0/96", "2000::/3", "0.0.0.0", "::", "1.2.3.4/0"]
    {
        is_refused(&[("AUTHD_TRUSTED_PROXIES", all)], "AUTHD_TRUSTED_PROXIES): ");
    }
    for odd in ["*", "10.0.0.0/33", "10.0.0", "proxy.example.test", "10.0.0.1:80"] {
        let says = format!("(AUTHD_TRUSTED_PROXIES) = \"{odd}\": \"{odd}\" is not an address or a network");
        is_refused(&[("AUTHD_TRUSTED_PROXIES", odd)], &says);
    }
    let file = load("[server]\ntrusted_proxies = [\"192.0.2.7\", \"::/0\"]", &[]).unwrap_err();
    assert!(file.contains("::/0"), "{file}");
}

#[test]
fn all_faults_are_found_in_one_run() {
    let toml = "cache = 7\n[server]\nadress = \"a\"\nmax_body = \"b\"\n[tokens]\nprefix = \"a b\"\n\
                [[role]]\nname = \"a\"\n[[role]]\nname = \"b\"\narn = \"c\"\nduration_seconds = 1\n[nonsense]\n";
    let variables = [
        ("SERVER_ADDR", "nowhere"),
        ("AUTHD_MAX_CONNECTIONS", "many"),
        ("DATABASE_URL", "postgres://h/d?sslmode=bogus&gssencmode=require"),
        ("AUTHD_ROOT_KEY", "abc"),
        ("AUTHD_LOG", "verbose"),
        ("COGNITO_CLIENT_ID", "abc"),
    ];
    let error = load(toml, &variables).unwrap_err();
    for says in [
        "line 1: invalid type",
        "line 3: unknown key `adress`; did you mean `addr`?",
        "line 4: server.max_body = \"b\": invalid type: string, expected",
        "TOKEN_PREFIX",
        "line 7: missing field `arn`",
        "role b: \"c\" is not the ARN",
        "role b: duration_seconds",
        "unknown key `nonsense`",
        "server.addr (SERVER_ADDR) = \"nowhere\": expected",
        "AUTHD_MAX_CONNECTIONS",
        "sslmode=bogus",
        "gssencmode",
        "AUTHD_ROOT_KEY",
        "AUTHD_LOG",
        "COGNITO_DOMAIN",
        "COGNITO_USER_POOL_ID",
    ] {
        assert!(error.lines().any(|line| line.contains(says)), "{says}: {error}");
    }
    assert_eq!(error.lines().count(), 16, "each once: {error}");
}

#[test]
fn each_faulty_entry_of_a_list_is_found_in_its_line() {
    let role = |more: &str| format!("[[role]]\nname = \"r\"\n{more}\n");
    let arn = "arn = \"arn:aws:iam::123456789012:role/a\"";
    let toml = role("") + &role(arn) + &role("") + &role("metod = \"x\"") + "[tokens]\nprefix = 7\n";
    let error = load(&toml, &[]).unwrap_err();
    for says in [
        "line 1: missing field `arn`",
        "line 7: missing field `arn`",
        "line 12: unknown key `metod`",
        "line 10: missing",
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(error.contains("line 14: invalid type"), "{error}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    for toml in [
        "redis = \"redis://:hunter2@h\"",
        "[admin]\ntoken = [\"hunter2\"]",
        "[admin.token]\nvalue = \"hunter2\"",
        "admin = \"hunter2",
        "[[provider]]\nclient_secret = { a = \"hunter2\" }",
    ] {
        let error = load(toml, &[]).unwrap_err();
        assert!(!error.contains("hunter2"), "{toml}: {error}");
    }
}

#[test]
fn an_empty_variable_or_flag_is_not_set() {
    let defaults = format!("{:?}", load("", &[]).unwrap());
    let secrets =
        ["ADMIN_TOKEN", "DATABASE_URL", "REDIS_URL", "AUTHD_ROOT_KEY", "COGNITO_CLIENT_SECRET", "STS_EXTERNAL_ID"];
    let of_files = secrets.map(|name| format!("{name}_FILE"));
    let others = ["SERVER_PORT", "CREDENTIALS_DIRECTORY", "AWS_ENDPOINT_URL_STS"];
    let names = source::VARIABLES.iter().map(|(name, ..)| *name).filter(|name| *name != "AUTHD_DATA_DIR");
    for name in names.chain(of_files.iter().map(String::as_str)).chain(others) {
        for empty in ["", " ", "\n"] {
            let config = load("", &[(name, empty)]).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(format!("{config:?}"), defaults, "{name}");
        }
    }
    assert_eq!(load("", &[("SERVER_ADDR", ""), ("SERVER_PORT", "3")]).unwrap().server.addr.port(), 3);
    let flags =
        vec![("server.addr", String::new()), ("admin.socket", " ".into()), ("server.public_url", String::new())];
    let environment = Environment::from([("AUTHD_DATA_DIR".into(), "/tmp/authd-test".into())]);
    let config = Sources { environment, flags, ..Sources::default() }.load().unwrap();
    assert_eq!(format!("{config:?}"), defaults);
}

#[test]
fn a_secret_is_read_by_the_same_rule_from_a_variable_a_file_and_a_credential() {
    let dir = tempfile::tempdir().unwrap();
    let (file, credentials) = (dir.path().join("admin-token"), dir.path().to_str().unwrap());
    let file_name = file.to_str().unwrap();
    for (text, expected) in [
        ("0123456789abcdef", Ok(Some("0123456789abcdef"))),
        ("0123456789abcdef\n", Ok(Some("0123456789abcdef"))),
        (" 0123456789abcdef\r\n\n", Ok(Some("0123456789abcdef"))),
        ("\n", Ok(None)),
        ("0123456789\nabcdef", Err("without spaces")),
    ] {
        std::fs::write(&file, text).unwrap();
        for variable in [("ADMIN_TOKEN", text), ("ADMIN_TOKEN_FILE", file_name), ("CREDENTIALS_DIRECTORY", credentials)]
        {
            let read = load("", &[variable]).map(|config| config.admin.token.map(|token| token.expose().to_owned()));
            match expected {
                Ok(expected) => assert_eq!(read.unwrap().as_deref(), expected, "{variable:?}"),
                Err(says) => assert!(read.unwrap_err().contains(says), "{variable:?}"),
            }
        }
    }
    std::fs::write(&file, b"0123456789abcdef\xff").unwrap();
    is_refused(&[("ADMIN_TOKEN_FILE", file_name)], "is not UTF-8 text");
    is_refused(&[("ADMIN_TOKEN", "0123456789abcdef\u{fffd}")], "ADMIN_TOKEN is not UTF-8");
    is_refused(&[("ADMIN_TOKEN_FILE", "/nowhere/token")], "ADMIN_TOKEN_FILE: /nowhere/token");
}

#[test]
fn what_is_not_safe_across_a_network_is_warned_of() {
    for (name, value, is_warned) in [
        ("REDIS_URL", "redis://cache.test", true),
        ("REDIS_URL", "redis://127.0.0.1,redis://cache.test", true),
        ("REDIS_URL", "redis://localhost", false),
        ("REDIS_URL", "rediss://cache.test", false),
        ("DATABASE_URL", "postgres://db.test/d", true),
        ("DATABASE_URL", "postgres://db.test/d?sslmode=verify-full", false),
        ("DATABASE_URL", "postgres://127.0.0.1/d", false),
        ("AWS_ENDPOINT_URL_STS", "http://sts.test", true),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", false),
        ("AUTHD_ALLOW_UNBOUND_POLLING", "true", true),
    ] {
        let environment = Environment::from([(name.to_owned(), value.to_owned())]);
        let (_, faults) = Sources { environment, ..Sources::default() }.read();
        assert_eq!(faults.warned.iter().any(|warning| warning.contains(name)), is_warned, "{name}={value}: {faults:?}");
        assert!(faults.refused.is_empty(), "{faults:?}");
    }
}
