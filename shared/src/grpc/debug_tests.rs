//! What `{:?}` prints of a message may be in a log, so it has no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet, MessageOptions};

use super::DESCRIPTORS;

const CANARY: &[u8] = b"c4n4ry";

/// Fields with text or bytes that hold no secret. A field of a message that can be printed has to be here.
const PUBLIC: [(&str, &[&str]); 13] = [
    ("authd.v1.ValidateResponse", &["scopes", "token_id", "name", "error", "detail"]),
    ("authd.v1.CheckTokenResponse", &["error"]),
    ("authd.v1.Payload", &["user_id", "username", "name", "service_id", "roles", "permissions"]),
    ("authd.v1.CheckAccessResponse", &["error"]),
    ("authd.v1.ServiceAccess", &["user_id", "service_id", "roles", "permissions"]),
    ("authd.v1.CheckPermissionRequest", &["person_id", "service_id", "permission_name"]),
    ("authd.v1.IntrospectResponse", &["scope", "token_type", "sub", "username", "iss", "aud", "roles"]),
    ("envoy.config.core.v3.SocketAddress", &["address"]),
    ("google.rpc.ErrorInfo", &["reason", "domain", "metadata"]),
    ("google.rpc.BadRequest.FieldViolation", &["field", "description"]),
    ("google.rpc.Status", &["message"]),
    // The details of a status, which are the messages above.
    ("google.protobuf.Any", &["type_url", "value"]),
    ("grpc.health.v1.HealthCheckRequest", &["service"]),
];

/// Prints an encoded message; `None` if its type has no `Debug`.
type Print = fn(&[u8]) -> Option<String>;

struct Printed<T>(T);

trait WithDebug {
    fn print(&self) -> Option<String>;
}

impl<T: Debug> WithDebug for Printed<T> {
    fn print(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

/// Of a type without `Debug`: a method call takes this one only if the other does not apply.
trait WithoutDebug {
    fn print(&self) -> Option<String>;
}

impl<T> WithoutDebug for &Printed<T> {
    fn print(&self) -> Option<String> {
        None
    }
}

macro_rules! messages {
    ($($($module:ident)::+ { $($message:ident)* })*) => {{
        let mut messages = BTreeMap::<String, Print>::new();
        $({
            use super::$($module)::+ as package;
            let path = concat!($(stringify!($module), "."),+).replace("r#", "");
            $({
                let print: Print = |bytes| (&Printed(package::$message::decode(bytes).unwrap())).print();
                messages.insert(format!("{path}{}", stringify!($message)), print);
            })*
        })*
        messages
    }};
}

/// Every message by its name, where a message around others is a module.
fn messages() -> BTreeMap<String, Print> {
    messages! {
        authd::v1 {
            ValidateRequest ValidateResponse CheckTokenRequest CheckTokenResponse Payload CheckAccessRequest
            CheckAccessResponse ServiceAccess CheckPermissionRequest CheckPermissionResponse IntrospectRequest
            IntrospectResponse
        }
        envoy::config::core::v3 { SocketAddress Address HeaderValue HeaderValueOption HeaderMap }
        envoy::r#type::v3 { HttpStatus }
        envoy::service::auth::v3 { AttributeContext CheckRequest DeniedHttpResponse OkHttpResponse CheckResponse }
        envoy::service::auth::v3::attribute_context { Peer Request HttpRequest }
        google::rpc { ErrorInfo RetryInfo BadRequest Status }
        google::rpc::bad_request { FieldViolation }
        grpc::health::v1 { HealthCheckRequest HealthCheckResponse }
        session { LoginRequest }
        user { SignupRequest ResetRequest DeleteRequest TotpRequest }
    }
}

/// The messages of all files by their full names, nested ones too.
fn descriptors() -> BTreeMap<String, DescriptorProto> {
    fn add(all: &mut BTreeMap<String, DescriptorProto>, outside: &str, message: DescriptorProto) {
        let name = format!("{outside}.{}", message.name());
        for nested in message.nested_type.clone() {
            add(all, &name, nested);
        }
        all.insert(name, message);
    }
    let mut all = BTreeMap::new();
    for file in FileDescriptorSet::decode(DESCRIPTORS).unwrap().file {
        let package = file.package().to_owned();
        file.message_type.into_iter().for_each(|message| add(&mut all, &package, message));
    }
    all
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

/// A field of a message or of those in it, and the encoded message with nothing but the canary in that field.
struct Leaf {
    field: String,
    bytes: Vec<u8>,
}

/// The fields of a message that can hold a text. `outside` are the messages around it.
fn leaves(all: &BTreeMap<String, DescriptorProto>, name: &str, outside: &[&str]) -> Vec<Leaf> {
    let inside = [outside, &[name]].concat();
    let mut leaves = Vec::new();
    for field in &all[name].field {
        let number = u32::try_from(field.number()).unwrap();
        let own = format!("{name}.{}", field.name());
        match field.r#type() {
            Type::String | Type::Bytes => leaves.push(Leaf { field: own, bytes: delimited(number, CANARY) }),
            Type::Message => {
                let of = field.type_name().trim_start_matches('.');
                if inside.contains(&of) {
                    continue;
                }
                leaves.extend(self::leaves(all, of, &inside).into_iter().map(|leaf| Leaf {
                    field: if is_map_entry(&all[of]) { own.clone() } else { leaf.field },
                    bytes: delimited(number, &leaf.bytes),
                }));
            }
            _ => {}
        }
    }
    leaves
}

fn delimited(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut field);
    encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

/// `a.b.OuterMessage.Inner` as Rust writes it: `a.b.outer_message.Inner`.
fn in_rust(name: &str) -> String {
    let (outside, own) = name.rsplit_once('.').unwrap();
    let mut path = String::new();
    for letter in outside.chars() {
        if letter.is_ascii_uppercase() && !path.ends_with('.') {
            path.push('_');
        }
        path.push(letter.to_ascii_lowercase());
    }
    format!("{path}.{own}")
}

#[test]
fn no_message_prints_a_field_that_may_hold_a_secret() {
    let (messages, all) = (messages(), descriptors());
    let own = all.iter().filter(|(name, message)| !name.starts_with("google.protobuf.") && !is_map_entry(message));
    let own: BTreeMap<_, _> = own.map(|(name, _)| (in_rust(name), name)).collect();
    assert!(own.keys().eq(messages.keys()), "not all messages: {:?}, {:?}", own.keys(), messages.keys());
    let texts = [str::from_utf8(CANARY).unwrap().to_owned(), format!("{CANARY:?}").trim_matches(['[', ']']).to_owned()];
    let mut printed = BTreeSet::new();
    for (path, name) in own {
        for leaf in leaves(&all, name, &[]) {
            if let Some(print) = messages[&path](&leaf.bytes)
                && texts.iter().any(|text| print.contains(text))
            {
                printed.insert(leaf.field);
            }
        }
    }
    let public =
        PUBLIC.iter().flat_map(|(message, fields)| fields.iter().map(move |field| format!("{message}.{field}")));
    let public: BTreeSet<_> = public.collect();
    let unknown: Vec<_> = printed.difference(&public).collect();
    assert!(unknown.is_empty(), "withhold the message in build.rs, or say that the field is public: {unknown:?}");
    let idle: Vec<_> = public.difference(&printed).collect();
    assert!(idle.is_empty(), "not printed: {idle:?}");
}
