use std::io::Write;

use super::*;
use crate::db::DatabaseUrl;
use crate::setting::Faults;

pub(super) fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let mut environment: Environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.entry("AUTHD_DATA_DIR".into()).or_insert_with(|| "/tmp/authd-test".into());
    let sources = Sources { file: Some(file.path().to_owned()), environment, ..Sources::default() };
    sources.load().map_err(|error| error.to_string())
}

#[test]
fn nothing_needs_to_be_said() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.server.public_url, "http://127.0.0.1:8080");
    assert!(matches!(config.database_url().unwrap(), DatabaseUrl::Sqlite(path) if path.ends_with("authd.db")));
}

#[test]
fn the_environment_wins_over_the_file() {
    let toml = "[server]\naddr = \"127.0.0.1:1\"\n[tokens]\nprefix = \"x_\"";
    let config = load(toml, &[("SERVER_ADDR", "127.0.0.1:2")]).unwrap();
    assert_eq!((config.server.addr.port(), config.tokens.prefix.as_str()), (2, "x_"));
    assert_eq!(load(toml, &[("SERVER_PORT", "3")]).unwrap().server.addr.port(), 3);
}

#[test]
fn an_unknown_key_names_the_line_and_the_nearest_known_one() {
    let error = load("[server]\nadress = \"127.0.0.1:1\"", &[]).unwrap_err();
    assert!(error.contains("line 2") && error.contains("did you mean `addr`"), "{error}");
}

#[test]
fn a_secret_comes_from_its_file_or_credential_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("admin-token"), "0123456789abcdef-canary\n").unwrap();
    let file = dir.path().join("admin-token");
    for (name, value) in
        [("ADMIN_TOKEN_FILE", file.to_str().unwrap()), ("CREDENTIALS_DIRECTORY", dir.path().to_str().unwrap())]
    {
        let config = load("", &[(name, value)]).unwrap();
        assert_eq!(config.admin.token.as_ref().unwrap().expose(), "0123456789abcdef-canary");
        assert!(!format!("{config:?}").contains("canary") && !toml::to_string(&config).unwrap().contains("canary"));
    }
    for toml in ["[admin]\ntoken = \"canary-0123456789", "[admin]\ntoken = 1234567890123456"] {
        let error = load(toml, &[]).unwrap_err();
        assert!(error.contains("line 2") && !error.contains("canary") && !error.contains("1234567"), "{error}");
    }
    let both = [("ADMIN_TOKEN", "0123456789abcdef"), ("ADMIN_TOKEN_FILE", file.to_str().unwrap())];
    assert!(load("", &both).unwrap_err().contains("keep one"));
}

#[test]
fn cognito_becomes_a_provider() {
    let environment = [
        ("COGNITO_DOMAIN", "team.auth.eu-west-1.amazoncognito.com"),
        ("COGNITO_CLIENT_ID", "abc"),
        ("COGNITO_USER_POOL_ID", "eu-west-1_Pool"),
        ("STS_ROLE_ARN", "arn:aws:iam::123456789012:role/dev"),
        ("AUTHD_PUBLIC_URL", "http://localhost:8080/"),
    ];
    let config = load("", &environment).unwrap();
    let provider = &config.providers[0];
    assert_eq!(provider.issuer, "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Pool");
    assert_eq!(provider.token_endpoint, "https://team.auth.eu-west-1.amazoncognito.com/oauth2/token");
    assert_eq!(provider.redirect_uri, "http://localhost:8080/auth/cli/callback");
    assert_eq!(config.roles[0].name, "default");
    assert!(load("", &environment[..2]).unwrap_err().contains("COGNITO_USER_POOL_ID"));
}

#[test]
fn what_cannot_work_is_refused() {
    for (toml, says) in [
        ("[admin]\ntoken = \"short\"", "at least 16"),
        ("[[admin.peer]]\nuser = \"a\"\npermissions = [\"everything\"]", "no permission is named"),
        ("[[admin.peer]]\npermissions = []", "either a user or a group"),
        ("[tokens]\nprefix = \"a b\"", "TOKEN_PREFIX"),
        ("[database]\nurl = \"mysql://x\"", "DATABASE_URL"),
        ("[[role]]\nname = \"a\"\narn = \"x\"", "not the ARN"),
        ("[[role]]\nname = \"a\"\narn = \"arn:aws:iam::123456789012:role/a\"\nduration_seconds = 10", "900 to 43200"),
        ("[[provider]]\nname = \"cli\"\nissuer = \"https://x\"\nclient_id = \"y\"", "path of authd"),
        ("[server]\npublic_url = \"example.test\"", "public_url"),
        ("server = 7", "line 1"),
        ("[server]\nfirst_byte_seconds = 0", "first_byte_seconds must be"),
        ("[server]\nmax_connections = 9999999999999", "AUTHD_MAX_CONNECTIONS"),
        ("[database]\nmax_connections = 0", "database.max_connections"),
        ("[aws]\nregion = \"Frankfurt\"", "eu-central-1"),
        ("[[role]]\nname = \"a\"\narn = \"arn:aws:iam::123456789012:role/a\"\nexternal_id = \"a b\"", "rule of AWS"),
    ] {
        let error = load(toml, &[]).unwrap_err();
        assert!(error.contains(says), "{toml:?}: {error}");
    }
}

#[test]
fn policies_that_do_not_say_what_they_mean_are_refused() {
    let rule = "rule = [{ paths = [\"/a\"], scopes = [\"read\"] }]";
    let with_rule =
        |rule: &str| format!("[[policy]]\nname = \"a\"\nsource = \"path\"\nservice = \"s\"\nrule = [{{ {rule} }}]");
    for (toml, says) in [
        (format!("[[policy]]\nname = \"a/b\"\nsource = \"path\"\n{rule}"), "is part of a URL"),
        (format!("[[policy]]\nname = \"\"\nsource = \"path\"\n{rule}"), "is part of a URL"),
        (format!("[[policy]]\nname = \"a\"\nsource = \"path\"\n{rule}\n").repeat(2), "two policies"),
        (format!("[[policy]]\nname = \"a\"\nsource = \"header\"\n{rule}"), "unknown variant"),
        (format!("[[policy]]\nname = \"a\"\n{rule}"), "missing field `source`"),
        ("[[policy]]\nname = \"a\"\nsource = \"path\"".into(), "add a [[policy.rule]]"),
        (with_rule("scopes = [\"read\"]"), "missing field `paths`"),
        (with_rule("paths = [], scopes = [\"read\"]"), "such as \"/api/*\""),
        (with_rule("paths = [\"api\"], scopes = [\"read\"]"), "begin with a slash"),
        (with_rule("paths = [\"/a*\"], scopes = [\"read\"]"), "only at the end"),
        (with_rule("paths = [\"/a\"], scopes = []"), "scopes is empty"),
        (with_rule("paths = [\"/a\"], scopes = [\"a b\"]"), "printable"),
        (with_rule("paths = [\"/a\"], permissions = [\"\"]"), "not visible"),
        (with_rule("paths = [\"/a\"]"), "it allows nobody"),
        (with_rule("paths = [\"/a\"], public = true, scopes = [\"read\"]"), "public allows everybody"),
        (with_rule("paths = [\"/a\"], methods = [\"get\"], public = true"), "capital letters"),
        (with_rule("paths = [\"/a\"], methods = [], public = true"), "methods is empty"),
        (with_rule("paths = [\"/a\"], path = \"/b\", public = true"), "did you mean `paths`"),
        (with_rule("paths = [\"/a\"], permissions = [\"x\"]").replace("service = \"s\"", ""), "add `service = …`"),
    ] {
        let error = load(&toml, &[]).unwrap_err();
        assert!(error.contains(says), "{toml}: {error}");
    }
    let config =
        load(&with_rule("paths = [\"/a\", \"/b/*\"], scopes = [\"r\"], permissions = [\"made up\"]"), &[]).unwrap();
    let shown = toml::to_string(&config).unwrap();
    assert_eq!(load(&shown, &[]).unwrap().policies, config.policies);
}

#[test]
fn authds_own_accounts_are_a_provider_only_where_they_may_be() {
    let role = |more: &str| format!("[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/a\"\n{more}\n");
    let open = "[accounts]\nsign_up = \"open\"\n[mail]\nsmtp_url = \"smtps://mail.test\"\nfrom = \"a@mail.test\"\n";
    let on = ("AUTHD_LOCAL", "true");
    let corp = "[[provider]]\nname = \"corp\"\nissuer = \"https://corp\"\nclient_id = \"x\"\n";
    for (toml, environment, says) in [
        (role("providers = [\"local\"]"), vec![], "no provider is named \"local\""),
        (role(""), vec![on, ("AUTHD_LOCAL_SERVICE", "a\u{200b}b")], "local.service (AUTHD_LOCAL_SERVICE)"),
        (role(""), vec![on, ("AUTHD_PUBLIC_URL", "http://auth.test")], "local.enabled (AUTHD_LOCAL) needs"),
        (corp.replace("corp", "local"), vec![on], "two providers are named \"local\""),
        (format!("{corp}{}", role("groups = [\"a\"]")), vec![on], "corp, local"),
        (format!("{open}{}", role("providers = [\"local\"]")), vec![on], "role dev: with local.enabled"),
        (
            open.to_owned(),
            vec![on, ("STS_ROLE_ARN", "arn:aws:iam::123456789012:role/a")],
            "aws.role_arn (STS_ROLE_ARN): with",
        ),
        (role(""), vec![on], "whoever may create users"),
        (role("method = \"web_identity\""), vec![on], "needs the ID token of a provider"),
        (role("method = \"web_identity\"\nproviders = [\"local\"]") + corp, vec![on], "needs the ID token"),
    ] {
        let error = load(&toml, &environment).expect_err(&toml);
        assert!(error.contains(says), "{toml} {environment:?}: {error}");
    }
    for toml in [
        role("groups = [\"a\"]"),
        format!("{open}{}", role("groups = [\"a\"]")),
        format!("{open}{corp}{}", role("providers = [\"corp\"]")),
        format!("{corp}{}", role("method = \"web_identity\"\nproviders = [\"local\", \"corp\"]")),
        role("providers = [\"local\"]"),
        "[cli]\ndefault_provider = \"local\"\n".to_owned(),
        corp.replace("corp", "other"),
    ] {
        let config = load(&toml, &[on]).unwrap_or_else(|error| panic!("{toml}: {error}"));
        assert_eq!(config.provider_names().last(), Some("local"), "the last in order of preference");
    }
    assert!(load(&corp.replace("corp", "local"), &[]).is_ok(), "a provider of that name goes on working");
}

#[test]
fn with_several_providers_a_role_with_groups_says_whose_they_are() {
    let provider =
        |name: &str| format!("[[provider]]\nname = \"{name}\"\nissuer = \"https://{name}\"\nclient_id = \"x\"\n");
    let role = |more: &str| format!("[[role]]\nname = \"admin\"\narn = \"arn:aws:iam::123456789012:role/a\"\n{more}\n");
    let groups = "groups = [\"admins\"]";
    let both = provider("corp") + &provider("partner");
    let error = load(&(both.clone() + &role(groups)), &[]).unwrap_err();
    assert!(
        error.contains("role admin") && error.contains("whose groups") && error.contains("corp, partner"),
        "{error}"
    );
    for fine in [
        provider("corp") + &role(groups),
        both.clone() + &role(""),
        both.clone() + &role(&format!("{groups}\nproviders = [\"corp\"]")),
    ] {
        load(&fine, &[]).unwrap();
    }
    let environment = [
        ("AUTHD_PUBLIC_URL", "https://auth.example.test"),
        ("COGNITO_DOMAIN", "team.auth.eu-west-1.amazoncognito.com"),
        ("COGNITO_CLIENT_ID", "abc"),
        ("COGNITO_USER_POOL_ID", "eu-west-1_Pool"),
        ("STS_ROLE_ARN", "arn:aws:iam::123456789012:role/dev"),
    ];
    let providers = |toml: &str, environment| load(toml, environment).unwrap().roles[0].providers.clone();
    assert_eq!(providers("", &environment), ["cognito"], "its variables come from set-ups with Cognito");
    assert_eq!(providers(&provider("corp"), &environment), ["cognito"]);
    assert!(providers(&provider("corp"), &environment[4..]).is_empty());
    // As with Cognito's variables, a role for one provider is written with its groups.
    assert!(load(&role(groups), &environment).is_ok());
    assert!(load(&(provider("corp") + &role(groups)), &environment).unwrap_err().contains("cognito, corp"));
}

#[test]
fn postgres_beside_a_sqlite_database_is_warned_about_and_is_where_the_data_is() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let warnings = |url: &str| {
        let mut faults = Faults::default();
        let config = load("", &[("AUTHD_DATA_DIR", dir), ("DATABASE_URL", url)]).unwrap();
        config.database.check_place(&config.data_dir, &mut faults);
        (faults.warned, config.data_place())
    };
    let postgres = "postgres://ann:hunter2@127.0.0.1/authd?sslmode=disable";
    let file = folder.path().join("authd.db");
    std::fs::write(&file, "").unwrap();
    assert_eq!(warnings(postgres).0, [""; 0]);
    std::fs::write(&file, "SQLite format 3").unwrap();
    let (warned, place) = warnings(postgres);
    assert!(warned.len() == 1 && warned[0].contains(file.to_str().unwrap()), "{warned:?}");
    assert!(warned[0].contains("is not used") && warned[0].contains("remove DATABASE_URL"), "{warned:?}");
    assert!(place.starts_with("postgres://127.0.0.1") && place.contains(dir) && !place.contains("hunter2"), "{place}");
    assert_eq!(warnings("sqlite:"), (vec![], dir.to_owned()));
    assert_eq!(warnings(&format!("sqlite:{dir}/sub/a.db")).1, format!("{dir}/sub/a.db (keys and files: {dir})"));
}

#[test]
fn localhost_is_an_address_to_listen_on() {
    for (given, addr) in [("localhost:8081", "127.0.0.1:8081"), (" LocalHost:0", "127.0.0.1:0"), ("[::1]:1", "[::1]:1")]
    {
        assert_eq!(load("", &[("SERVER_ADDR", given)]).unwrap().server.addr.to_string(), addr, "{given}");
    }
}
