//! gRPC: the messages of `shared/proto`, and for each service a client and the trait of a server (feature `grpc`).
//!
//! The modules are nested like the packages. A client works over any HTTP/2 client, such as tonic's channel or
//! hyper-util's. No service has TLS of its own.

pub use self::generated::{authd, envoy, google, grpc, session, user};

/// The compiled files of `shared/proto`: an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[allow(clippy::all, clippy::pedantic, missing_debug_implementations, reason = "not written by hand")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

#[cfg(test)]
mod debug_tests;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;
    use schemars::{JsonSchema, schema_for};

    use super::DESCRIPTORS;
    use crate::api::{checks, introspection, sessions, tokens};
    use crate::op::Operation;

    /// The fields of a message of `authd.v1`.
    fn fields(message: &str) -> BTreeSet<String> {
        let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
        let file = files.into_iter().find(|file| file.package() == "authd.v1").unwrap();
        let message = file.message_type.into_iter().find(|found| found.name() == message).unwrap();
        message.field.iter().map(|field| field.name().to_owned()).collect()
    }

    fn json<T: JsonSchema>() -> BTreeSet<String> {
        let schema = schema_for!(T);
        schema.get("properties").unwrap().as_object().unwrap().keys().cloned().collect()
    }

    fn compare<Op: Operation + JsonSchema>(request: &str, response: &str)
    where
        Op::Response: JsonSchema,
    {
        let mut expected = json::<Op>();
        // Metadata.
        Op::INFO.headers.iter().for_each(|(field, _)| assert!(expected.remove(*field)));
        assert_eq!(fields(request), expected, "{request}");
        assert_eq!(fields(response), json::<Op::Response>(), "{response}");
    }

    #[test]
    fn messages_have_the_fields_of_the_json() {
        compare::<tokens::ValidateToken>("ValidateRequest", "ValidateResponse");
        compare::<checks::CheckToken>("CheckTokenRequest", "CheckTokenResponse");
        compare::<checks::CheckAccess>("CheckAccessRequest", "CheckAccessResponse");
        compare::<checks::CheckPermission>("CheckPermissionRequest", "CheckPermissionResponse");
        compare::<introspection::Introspect>("IntrospectRequest", "IntrospectResponse");
        assert_eq!(fields("Payload"), json::<sessions::Payload>());
        assert_eq!(fields("ServiceAccess"), json::<checks::ServiceAccess>());
    }

    #[test]
    fn a_fault_is_one_word_in_json_and_in_messages() {
        use crate::api::checks::SessionFault::{InvalidToken, NoAccess, UserMismatch};
        use crate::api::tokens::TokenFault::{
            AddressNotAllowed, InsufficientScopes, TokenExpired, TokenNotFound, TokenRevoked,
        };
        for fault in [TokenNotFound, TokenRevoked, TokenExpired, InsufficientScopes, AddressNotAllowed] {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
        for fault in [InvalidToken, UserMismatch, NoAccess] {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
    }
}
