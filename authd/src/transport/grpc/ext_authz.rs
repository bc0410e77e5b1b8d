//! `envoy.service.auth.v3.Authorization/Check`: Envoy's question about a request, judged by the policies of
//! forward-auth.
//!
//! The policy is named by Envoy's configuration: by the route's `context_extensions`, else by the call's metadata
//! `authd-policy`. A question that cannot be read, or is too large, is answered with a denial and not with an error,
//! which Envoy may be configured to let pass. Only a failure of authd is an error.

use std::net::IpAddr;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue, Response, request};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use shared::grpc::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use shared::grpc::envoy::config::core::v3::{self as core, HeaderValueOption, address};
use shared::grpc::envoy::service::auth::v3::check_response::HttpResponse;
use shared::grpc::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse};
use shared::grpc::envoy::r#type::v3::HttpStatus;
use shared::grpc::google::rpc::Status;

use super::super::answer::Body;
use super::super::body::{Bounds, Unread};
use super::super::connections::Connection;
use super::super::forward::{self, Asked, Target};
use super::super::forwarded;
use super::super::http::Http;
use super::super::refusal::refuse;
use super::{frame, status};
use crate::call::RequestId;
use crate::error::Result;
use crate::forward_auth::{Identity, Refusal};

/// The name of the policy, in `context_extensions`.
const POLICY: &str = "policy";
/// The same as metadata of the call.
const POLICY_METADATA: HeaderName = HeaderName::from_static("authd-policy");

/// A request as Envoy describes it.
#[derive(Debug, Default)]
pub struct Description {
    /// As the route names it.
    pub policy: Option<String>,
    pub method: Vec<u8>,
    /// Path and query, not decoded.
    pub uri: Vec<u8>,
    /// Scheme and host.
    pub origin: String,
    pub headers: HeaderMap,
    /// The address at the other end of Envoy's connection.
    pub source: Option<IpAddr>,
}

impl Description {
    /// Reads the body of a call; what cannot be read is refused.
    pub fn read(body: &[u8]) -> Result<Self, &'static str> {
        let question = frame::message(body).and_then(frame::decode);
        Self::new(question.map_err(|_| "the question cannot be read")?)
    }

    fn new(question: CheckRequest) -> Result<Self, &'static str> {
        let attributes = question.attributes.unwrap_or_default();
        let mut context = attributes.context_extensions;
        let http = attributes.request.and_then(|request| request.http).ok_or("the attributes have no HTTP request")?;
        if !http.query.is_empty() || !http.fragment.is_empty() {
            return Err("the attributes have the query or the fragment apart from the path");
        }
        let mut described = Self {
            policy: context.remove(POLICY),
            method: http.method.into_bytes(),
            uri: http.path.into_bytes(),
            origin: format!("{}://{}", http.scheme, http.host),
            headers: HeaderMap::new(),
            source: attributes.source.and_then(|peer| source(peer.address?)),
        };
        for (name, value) in http.headers {
            // Several values are joined here, while a service may take the first or the last one for the path.
            if forward::overrides_path(&name) && value.contains(',') {
                return Err("a header that overrides the path cannot be read");
            }
            described.header(&name, value.into_bytes())?;
        }
        for core::HeaderValue { key, value, raw_value } in http.header_map.unwrap_or_default().headers {
            described.header(&key, if raw_value.is_empty() { value.into_bytes() } else { raw_value })?;
        }
        Ok(described)
    }

    fn header(&mut self, name: &str, value: Vec<u8>) -> Result<(), &'static str> {
        match name {
            // As they came; the attributes are text.
            ":method" => self.method = value,
            ":path" => self.uri = value,
            name if name.starts_with(':') => {}
            name => {
                let name: HeaderName = name.parse().map_err(|_| "the name of a header cannot be read")?;
                let value = HeaderValue::try_from(value).map_err(|_| "the value of a header cannot be read")?;
                self.headers.try_append(name, value).map_err(|_| "the request has too many headers")?;
            }
        }
        Ok(())
    }

    /// The client's address, if a trusted proxy tells it: Envoy's other end, or where that one is a trusted proxy too,
    /// the one that it names.
    pub fn client(&self, peer: IpAddr, trusted: &[ipnet::IpNet]) -> Option<IpAddr> {
        let is_trusted = forwarded::is_trusted(peer.to_canonical(), trusted);
        self.source.filter(|_| is_trusted).map(|source| forwarded::client(source, &self.headers, trusted))
    }

    /// The address that a person opened in a browser.
    fn opened(&self) -> Option<String> {
        let (method, uri) = (str::from_utf8(&self.method).ok()?, str::from_utf8(&self.uri).ok()?);
        forward::opened(method, &format!("{}{uri}", self.origin), &self.headers)
    }

    /// The headers that services behind CGI or WSGI would take for those of the answer.
    fn misleading(&self) -> Vec<String> {
        let is_spelt_otherwise = |name: &HeaderName| {
            let hyphens = name.as_str().replace('_', "-");
            hyphens != name.as_str() && forward::is_identity(&hyphens)
        };
        self.headers.keys().filter(|name| is_spelt_otherwise(name)).map(|name| name.as_str().to_owned()).collect()
    }
}

fn source(address: core::Address) -> Option<IpAddr> {
    let address::Address::SocketAddress(socket) = address.address?;
    socket.address.parse().ok()
}

impl Http {
    /// Answers Envoy, with the HTTP status that stands for the answer.
    pub(super) async fn authorize_for_envoy(
        &self,
        id: RequestId,
        connection: &Arc<Connection>,
        head: &request::Parts,
        body: &mut Unread,
    ) -> Result<(u16, Response<Body>)> {
        let (status, answer) = match self.judge_for_envoy(id, connection, head, body).await {
            Ok(answer) => (200, answer),
            Err(error) => {
                let error = forward::deny(error);
                if error.code.status() >= 500 {
                    return Err(error);
                }
                let status = Status { code: error.code.grpc(), message: error.detail.clone(), details: Vec::new() };
                let address = self.address(&connection.origin, &head.headers);
                let refused = refuse(id, address, None, error);
                (refused.status().as_u16(), denied(status, refused))
            }
        };
        Ok((status, status::ok(HeaderMap::new(), frame::encode(&answer)?)))
    }

    async fn judge_for_envoy(
        &self,
        id: RequestId,
        connection: &Arc<Connection>,
        head: &request::Parts,
        body: &mut Unread,
    ) -> Result<CheckResponse> {
        let address = self.guard(&connection.origin, &head.headers)?;
        let Some(peer) = connection.origin.peer() else {
            return Err(Refusal::from(forward::NOT_HERE).error);
        };
        let bounds = Bounds { config: &self.config, connection, headers: &head.headers, address };
        let (bytes, _) = body.collect(&bounds).await?;
        let (described, fault) = match Description::read(&bytes) {
            Ok(described) => (described, None),
            Err(fault) => (Description::default(), Some(fault)),
        };
        let of_filter = head.headers.get(POLICY_METADATA).and_then(|name| name.to_str().ok());
        // A name that is not configured, such as an empty one, denies.
        let policy = described.policy.as_deref().or(of_filter).unwrap_or_default();
        let asked = Asked {
            id,
            policy,
            headers: &described.headers,
            address: described.client(peer, &self.config.trusted_proxies),
            peer,
        };
        let identity = forward::judge(&self.forward_auth, &asked, &described.uri, |_| match fault {
            Some(fault) => Err(fault),
            None => {
                Ok(Target { method: &described.method, uri: &described.uri, query: forward::query_of(&described.uri) })
            }
        });
        match identity.await {
            Ok(identity) => Ok(allowed(&identity, policy, described.misleading())),
            Err(error) if forward::signs_in(&self.forward_auth, policy, &error).is_some() => {
                let Some(address) = described.opened() else { return Err(error) };
                let status = Status { code: error.code.grpc(), message: error.detail, details: Vec::new() };
                Ok(denied(status, forward::to_sign_in(&self.pages.public_url, &address)?))
            }
            Err(error) => Err(error),
        }
    }
}

fn allowed(identity: &Identity, policy: &str, headers_to_remove: Vec<String>) -> CheckResponse {
    let headers = forward::headers(identity).map(|(name, value)| header(name.as_str(), value.to_owned())).into();
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let scopes = identity.scopes.split(' ').filter(|scope| !scope.is_empty()).map(text).collect();
    let scopes = Value { kind: Some(Kind::ListValue(ListValue { values: scopes })) };
    let fields = [("subject", text(&identity.subject)), ("scopes", scopes), ("policy", text(policy))];
    CheckResponse {
        status: Some(Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse { headers, headers_to_remove })),
        dynamic_metadata: Some(Struct { fields: fields.map(|(name, value)| (name.to_owned(), value)).into() }),
    }
}

/// The answer that the same request gets over HTTP.
fn denied(status: Status, refused: Response<Body>) -> CheckResponse {
    let (head, body) = refused.into_parts();
    let told = head.headers.iter().filter_map(|(name, value)| Some(header(name.as_str(), value.to_str().ok()?.into())));
    let response = DeniedHttpResponse {
        status: Some(HttpStatus { code: i32::from(head.status.as_u16()) }),
        headers: told.collect(),
        body: String::from_utf8_lossy(&body.into_data()).into_owned(),
    };
    let http_response = Some(HttpResponse::DeniedResponse(response));
    CheckResponse { status: Some(status), http_response, dynamic_metadata: None }
}

/// A header that takes the place of the client's, also when it is empty.
fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(core::HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
    }
}
