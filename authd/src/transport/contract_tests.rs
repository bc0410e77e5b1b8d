//! The published schema is the contract: what it allows is not refused for its shape, and what it forbids is refused.
//! Every field of every operation is given every value below, and jsonschema judges it by `/openapi.json`.

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use shared::op::{Access, Info};
use shared::problem::Code;
use shared::wire::{Parts, encode_pairs, percent_encode};

use crate::call::Call;
use crate::caller::Caller;
use crate::testing::TestApp;

const ID: &str = "01900000-0000-7000-8000-000000000000";

/// What is refused for what there is or is not, rather than for its shape.
const BY_CONTENT: &[&str] = &[
    "easy to guess",
    "no mail can be sent to this address", // bytes and IDNA are more than a pattern says
    "is written in ASCII",                 // the domain of an address as a user name
    "the password is wrong",
    "this is your current password",
    "is not in the future",
    "no provider is named",
    "no role is named",
    "expected here, in a header token", // a token may also be the bearer
    "expected a service's id or name",  // unless a service asks, with its own token
];

/// Texts at every bound, of every form, and those that are nearly so.
fn texts() -> Vec<String> {
    let lengths = [7, 8, 31, 32, 33, 42, 43, 44, 109, 128, 129, 255, 256, 500, 501, 1_000, 1_001, 1_024, 1_025];
    let long = lengths.iter().flat_map(|length| ["x".repeat(*length), "ab ".repeat(*length)[..*length].to_owned()]);
    let fixed = [
        "a",
        "correct horse",
        "",
        " ",
        " a",
        "a ",
        "a b",
        "A-z_0~",
        "é",
        "山田",
        "😀",
        "\0",
        "a\0b",
        "a\nb",
        "a\tb",
        "\n",
        "a\n",
        "a\u{7f}",
        "a\u{85}b",
        "\u{85}",
        "a\u{a0}",
        "\u{3000}a",
        "a\u{ad}b",
        "a\u{200b}b",
        "a\u{2028}b",
        "a\u{feff}",
        "a\u{fe0f}",
        "a\u{e0020}b",
        "\u{10fffd}",
        "a\"",
        "a\\",
        "[a]",
        "^~",
        "authd:admin",
        "authd:tokens.read",
        "authd:everything",
        "authd:",
        "xauthd:x",
        "admin",
        ID,
        "01900000000070008000000000000000",
        "{01900000-0000-7000-8000-000000000000}",
        "01900000-0000-7000-8000-00000000000",
        "urn:uuid:01900000-0000-7000-8000-000000000000",
        "01900000-0000-7000-8000-00000000000A",
        "g1900000-0000-7000-8000-000000000000",
        "2099-01-15T08:00:00Z",
        "2099-01-15t08:00:00.5+01:30",
        "2099-01-15 08:00:00Z",
        "2099-01-15T08:00Z",
        "2099-02-30T08:00:00Z",
        "2099-01-15",
        "9999-12-31T23:59:59Z",
        "192.0.2.1",
        "256.0.0.1",
        "192.0.2.01",
        "192.0.2",
        "::",
        "::1",
        "2001:db8::1",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::8",
        "1::2::3",
        "::ffff:192.0.2.1",
        "fe80::1%eth0",
        ":::",
        "1:2:3:4:5:6:7:192.0.2.1",
        "12345::",
        "[::1]",
        "10.0.0.0/8",
        "10.1.2.3/32",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/",
        "10.0.0.0",
        "2001:db8::/32",
        "::/0",
        "::/128",
        "::/129",
        "2001:db8::/032",
        "/8",
        "ada@example.com",
        "Ada.Lovelace+x@EXAMPLE.com",
        "ada@localhost",
        "ada@example",
        "ada@b.c.",
        "a..b@c.d",
        ".a@b.c",
        "a@b@c.d",
        "a b@c.d",
        "\"a\"@b.c",
        "<a@b.c>",
        "a@[192.0.2.1]",
        "a@192.0.2.1",
        "a@b_c.d",
        "a@-b.c",
        "zo\u{eb}@b\u{fc}cher.example",
        "a@b\u{ad}c.d",
        "a\u{ff20}b@c.d",
        "a@b\u{3002}c",
        "name:alice",
        "name:",
        "names:alice",
        "address:192.0.2.1",
        "address:2001:db8::1",
        "address:x",
        "address:",
        "address:192.0.2.1 ",
        "true",
        "false",
        "True",
        "0",
        "1",
        "-1",
        "+1",
        "01",
        "1.5",
        "1e2",
        "1000",
        "1001",
        "123456789012345678",
        "1234567890123456789",
        "99999999999999999999",
        "active",
        "Active",
        "inactive",
        "login",
        "device",
        "N",
        "J",
        "n",
        "DNI",
        "CE",
        "RUC",
        "tokens.revoke",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/A",
    ];
    let key = [ID, "-", ID, "-", ID].concat();
    fixed.into_iter().map(str::to_owned).chain(long).chain([key[..109].to_owned()]).collect()
}

/// Values of every type; texts among them, and as members of arrays.
fn values() -> Vec<Value> {
    let numbers = [
        -1,
        0,
        1,
        8,
        443,
        899,
        900,
        1_000,
        1_001,
        1_023,
        1_024,
        36_500,
        36_501,
        43_200,
        43_201,
        65_535,
        65_536,
        2_592_000,
        2_592_001,
        4_294_967_295,
        4_294_967_296,
        i64::MAX,
    ];
    let many = |count: usize, text: &str| Value::from((0..count).map(|n| format!("{text}{n}")).collect::<Vec<_>>());
    let other = [
        json!(null),
        json!(true),
        json!(false),
        json!(1.5),
        json!(30.0),
        json!(4000.0),
        json!(1e300),
        json!(-0.5),
        json!([]),
        json!({}),
        json!([1]),
        json!([null]),
        json!(["a", "a"]),
        json!(["a", "b"]),
        json!([["a"]]),
        json!({ "a": { "b": [1, null] } }),
        many(64, "s"),
        many(65, "s"),
        Value::from(vec!["10.0.0.0/8"; 64]),
        Value::from(vec!["10.0.0.0/8"; 65]),
    ];
    let texts = texts();
    let members = texts.iter().map(|text| json!([text]));
    let texts = texts.iter().map(|text| json!(text));
    texts.chain(members.collect::<Vec<_>>()).chain(numbers.map(Value::from)).chain(other).collect()
}

/// What the document says of one operation.
struct Contract {
    info: &'static Info,
    operation: Value,
    document: Value,
}

impl Contract {
    fn new(info: &'static Info, document: &Value) -> Self {
        let operation = document["paths"][info.path][info.method.as_str().to_lowercase()].clone();
        Self { info, operation, document: document.clone() }
    }

    fn judge(&self, schema: &Value) -> Validator {
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        jsonschema::options().should_validate_formats(true).build(&whole).unwrap()
    }

    fn body(&self) -> Option<&Value> {
        let media = if self.info.oauth { "application/x-www-form-urlencoded" } else { "application/json" };
        self.operation["requestBody"]["content"].get(media).map(|content| &content["schema"])
    }

    fn parameters(&self) -> &[Value] {
        self.operation["parameters"].as_array().unwrap()
    }
}

/// The value that a parameter's text stands for.
fn typed(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        // Plus and leading zeros are another spelling of a number in a URL, and nothing that JSON has.
        Some("integer") => text.parse::<i64>().map_or_else(|_| json!(text), Value::from),
        Some("boolean") => text.parse::<bool>().map_or_else(|_| json!(text), Value::from),
        _ => json!(text),
    }
}

/// A request: parameters by place and name, and the body.
#[derive(Clone, Debug, Default)]
struct Request {
    parameters: Vec<(String, String, String)>,
    body: Map<String, Value>,
}

impl Request {
    fn set(&self, place: &str, name: &str, text: &str) -> Self {
        let mut changed = self.clone();
        changed.parameters.retain(|(_, other, _)| other != name);
        changed.parameters.push((place.to_owned(), name.to_owned(), text.to_owned()));
        changed
    }

    fn with(&self, name: &str, value: &Value) -> Self {
        let mut changed = self.clone();
        changed.body.insert(name.to_owned(), value.clone());
        changed
    }

    fn of(&self, place: &str) -> Vec<(&str, &str)> {
        self.parameters.iter().filter(|(at, ..)| at == place).map(|(_, name, text)| (&**name, &**text)).collect()
    }

    /// Whether it is refused for its shape, and with what words.
    async fn refused(&self, app: &TestApp, info: &Info, caller: &Caller) -> Option<String> {
        let encoded: Vec<_> =
            self.of("path").iter().map(|(name, text)| (*name, percent_encode(text).to_string())).collect();
        let path: Vec<_> = encoded.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let query = encode_pairs(self.of("query"));
        let fields = info.headers.iter().filter_map(|(field, header)| {
            self.of("header").iter().find(|(name, _)| name == header).map(|(_, text)| (*field, *text))
        });
        let headers: Vec<_> = fields.collect();
        let pairs = self.body.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
        let body = match (info.has_body(), info.oauth) {
            (false, _) => String::new(),
            (_, true) => encode_pairs(pairs),
            (_, false) => Value::Object(self.body.clone()).to_string(),
        };
        let parts = Parts { path: &path, query: Some(&query), headers: &headers, body: body.as_bytes() };
        let call = Call { caller: caller.clone(), permission: info.permission(), ..app.anonymous() };
        let error = app.registry.find(info.name).unwrap().call(call, parts).await.err()?;
        let is_shape = matches!(error.code, Code::MalformedRequest | Code::ValidationFailed);
        let is_content = BY_CONTENT.iter().any(|text| error.detail.contains(text));
        (is_shape && !is_content).then_some(error.detail)
    }
}

#[tokio::test]
async fn what_the_schema_allows_is_not_refused_and_what_it_forbids_is() {
    let app = TestApp::new().await;
    app.user("person", "correct horse").await;
    // One session each, since some of the operations end theirs; now, before refused logins lock the address out.
    let mut sessions = Vec::new();
    for _ in shared::api::operations().filter(|info| info.access == Access::User) {
        let login = json!({ "username": "person", "password": "correct horse" });
        let answer = app.call_as(Caller::Anonymous, "sessions.login", login).await.unwrap();
        sessions.push(app.caller(answer["token"].as_str().unwrap()).await.unwrap());
    }
    let values = values();
    let document = shared::openapi::document("1");
    let mut wrong = Vec::new();
    for info in shared::api::operations() {
        let contract = Contract::new(info, &document);
        let caller = match info.access {
            Access::Permission(_) | Access::Authenticated => Caller::AdminToken,
            Access::User => sessions.pop().unwrap(),
            Access::SelfProving | Access::Public => Caller::Anonymous,
        };
        // A request with nothing but what is required.
        let mut base = Request::default();
        for parameter in contract.parameters().iter().filter(|parameter| parameter["required"] == true) {
            let judge = contract.judge(&parameter["schema"]);
            let text = texts().into_iter().find(|text| judge.is_valid(&typed(&parameter["schema"], text)));
            let name = |key: &str| parameter[key].as_str().unwrap();
            base = base.set(name("in"), name("name"), &text.unwrap());
        }
        let properties =
            contract.body().map(|body| body["properties"].as_object().unwrap().clone()).unwrap_or_default();
        for (name, schema) in &properties {
            let is_required =
                contract.body().unwrap()["required"].as_array().is_some_and(|names| names.contains(&json!(name)));
            if is_required || ["username", "password"].contains(&name.as_str()) && info.name == "sessions.login" {
                let judge = contract.judge(schema);
                base = base.with(name, values.iter().find(|value| judge.is_valid(value)).unwrap());
            }
        }
        // One field of several may be required, too.
        if let Some(body) = contract.body() {
            let judge = contract.judge(body);
            let is_valid = |request: &Request| judge.is_valid(&Value::Object(request.body.clone()));
            if !is_valid(&base) {
                let mut more = properties.keys().flat_map(|name| values.iter().map(|value| base.with(name, value)));
                base = more.find(is_valid).unwrap();
            }
        }
        let mut tries = vec![(true, base.clone())];
        for parameter in contract.parameters() {
            let (place, name) = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
            let judge = contract.judge(&parameter["schema"]);
            for text in texts() {
                // Nothing else can be sent in a header, and an empty path segment is another path.
                let is_sent = match place {
                    "header" => text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                    "path" => !text.is_empty(),
                    _ => true,
                };
                let is_number = parameter["schema"]["type"] == "integer" && text.parse::<i64>().is_ok();
                if is_sent && (!is_number || text.parse::<i64>().unwrap().to_string() == text) {
                    tries.push((judge.is_valid(&typed(&parameter["schema"], &text)), base.set(place, name, &text)));
                }
            }
        }
        if let Some(body) = contract.body() {
            let judge = contract.judge(body);
            let elsewhere = info.headers.iter().map(|(field, _)| *field).chain(["surplus"]);
            for name in properties.keys().map(String::as_str).chain(elsewhere) {
                let is_list = properties.get(name).is_some_and(|schema| schema.get("items").is_some());
                let is_tried = |value: &&Value| match value {
                    Value::String(_) => true,
                    Value::Array(_) => !info.oauth && (is_list || value.get(1).is_some()),
                    _ => !info.oauth,
                };
                for value in values.iter().filter(is_tried) {
                    let request = base.with(name, value);
                    tries.push((judge.is_valid(&Value::Object(request.body.clone())), request));
                }
                let mut without = base.clone();
                if without.body.remove(name).is_some() {
                    tries.push((judge.is_valid(&Value::Object(without.body.clone())), without));
                }
            }
            for (one, first) in [
                ("ttl_days", json!(1)),
                ("ttl_days", json!(null)),
                ("ttl_seconds", json!(1)),
                ("extend_days", json!(1)),
                ("extend_days", json!(null)),
                ("user", json!("a")),
            ] {
                for (other, second) in [
                    ("expires_at", json!("2099-01-15T08:00:00Z")),
                    ("expires_at", json!(null)),
                    ("ttl_seconds", json!(1)),
                    ("extend_seconds", json!(1)),
                    ("extend_seconds", json!(null)),
                    ("pass", json!("a")),
                ] {
                    if properties.contains_key(one) && properties.contains_key(other) {
                        let mut request = base.with(one, &first).with(other, &second);
                        tries.push((judge.is_valid(&Value::Object(request.body.clone())), request.clone()));
                        request.body.remove("username");
                        tries.push((judge.is_valid(&Value::Object(request.body.clone())), request.clone()));
                        request.body.remove("password");
                        tries.push((judge.is_valid(&Value::Object(request.body.clone())), request));
                    }
                }
            }
        }
        for (is_allowed, request) in tries {
            match (is_allowed, request.refused(&app, info, &caller).await) {
                (true, Some(detail)) => wrong.push(format!("{}: allowed, but: {detail}: {request:?}", info.name)),
                (false, None) => wrong.push(format!("{}: forbidden, but accepted: {request:?}", info.name)),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
