//! `authd.v1.Authd`: the questions of services. Its messages have the fields of the operations' JSON.

#![expect(clippy::unnecessary_wraps, reason = "the functions of a method may fail")]

use ::http::HeaderMap;
use prost_types::Timestamp;
use shared::api::checks::{CheckAccess, CheckPermission, CheckToken, CheckedAccess, CheckedPermission, SessionFault};
use shared::api::introspection::Introspect;
use shared::api::tokens::ValidateToken;
use shared::grpc::authd::v1::{
    CheckAccessRequest, CheckAccessResponse, CheckPermissionRequest, CheckPermissionResponse, CheckTokenRequest,
    CheckTokenResponse, IntrospectRequest, IntrospectResponse, Payload, ServiceAccess, ValidateRequest,
    ValidateResponse,
};
use shared::secret::Secret;

use super::super::credentials::{bearer, header_token};
use super::Service;
use super::method::{text, text_or_none};
use crate::checks::CheckedTokenView;
use crate::error::{Error, Result};
use crate::introspection::IntrospectionView;
use crate::sessions::model::seconds;
use crate::tokens::ValidationView;

pub(super) fn register(service: &mut Service<'_>) -> anyhow::Result<()> {
    service.unary("Validate", validate, validated)?;
    service.unary("CheckToken", check_token, checked_token)?;
    service.unary("CheckAccess", check_access, checked_access)?;
    service.unary("CheckPermission", check_permission, checked_permission)?;
    service.unary("Introspect", introspect, introspected)
}

fn validate(message: ValidateRequest, _: &HeaderMap) -> Result<ValidateToken> {
    let ValidateRequest { token, required_scopes, client_ip, service_name, action_name } = message;
    let address = client_ip.map(|text| text.parse()).transpose();
    Ok(ValidateToken {
        token: token.into(),
        required_scopes: Some(required_scopes),
        client_ip: address.map_err(|_| Error::field("client_ip", "expected an address such as 192.0.2.7"))?,
        service_name: text_or_none("service_name", service_name)?,
        action_name: text_or_none("action_name", action_name)?,
    })
}

fn validated(view: ValidationView, _: &mut HeaderMap) -> Result<ValidateResponse> {
    Ok(match view {
        ValidationView::Valid(token) => ValidateResponse {
            valid: true,
            scopes: token.scopes.list.clone(),
            token_id: Some(token.token_id.to_string()),
            name: Some(token.name.to_string()),
            expires_at: token.expires_at().map(timestamp),
            ..ValidateResponse::default()
        },
        ValidationView::Refused(refusal) => ValidateResponse {
            error: Some(refusal.fault().as_str().to_owned()),
            detail: Some(refusal.detail().into_owned()),
            ..ValidateResponse::default()
        },
    })
}

fn timestamp(millis: i64) -> Timestamp {
    let nanos = i32::try_from(millis.rem_euclid(1_000) * 1_000_000).unwrap_or_default();
    Timestamp { seconds: millis.div_euclid(1_000), nanos }
}

/// The secrets of the metadata: the header `token`, and the bearer.
fn secrets(metadata: &HeaderMap) -> Result<(Option<Secret>, Option<Secret>)> {
    Ok((header_token(metadata)?.map(Secret::new), bearer(metadata)?.map(Secret::new)))
}

fn check_token(message: CheckTokenRequest, metadata: &HeaderMap) -> Result<CheckToken> {
    let CheckTokenRequest { token, service_id, user_id } = message;
    let (header_token, bearer) = secrets(metadata)?;
    let user_id = user_id.map(|id| id.parse()).transpose();
    Ok(CheckToken {
        token: token.map(Secret::new),
        header_token,
        bearer,
        service_id: text_or_none("service_id", service_id)?,
        user_id: user_id
            .map_err(|_| Error::field("user_id", "expected an id such as 01900000-0000-7000-8000-000000000000"))?,
    })
}

fn checked_token(view: CheckedTokenView, _: &mut HeaderMap) -> Result<CheckTokenResponse> {
    Ok(match view {
        CheckedTokenView::Valid { live, renewed, asked } => CheckTokenResponse {
            valid: true,
            payload: Some(Payload {
                user_id: live.user_id.to_string(),
                username: live.username.to_string(),
                name: live.name.to_string(),
                service_id: asked.as_ref().map(|(service, _)| service.id.to_string()),
                roles: asked.as_ref().map(|(_, access)| access.roles.clone()).unwrap_or_default(),
                permissions: asked.as_ref().map(|(_, access)| access.permissions.clone()).unwrap_or_default(),
            }),
            renewed: Some(renewed),
            expires_at: Some(live.expires_at_seconds()),
            error: None,
        },
        CheckedTokenView::Invalid(fault) => CheckTokenResponse { error: said(fault), ..CheckTokenResponse::default() },
    })
}

fn said(fault: SessionFault) -> Option<String> {
    Some(fault.as_str().to_owned())
}

fn check_access(message: CheckAccessRequest, metadata: &HeaderMap) -> Result<CheckAccess> {
    let CheckAccessRequest { token, service_id } = message;
    let (header_token, bearer) = secrets(metadata)?;
    let service_id = text_or_none("service_id", service_id)?;
    Ok(CheckAccess { token: token.map(Secret::new), header_token, bearer, service_id })
}

fn checked_access(checked: CheckedAccess, _: &mut HeaderMap) -> Result<CheckAccessResponse> {
    let CheckedAccess { valid, access, renewed, expires_at, error } = checked;
    let access = access.map(|access| ServiceAccess {
        user_id: access.user_id.to_string(),
        service_id: access.service_id.to_string(),
        roles: access.roles,
        permissions: access.permissions,
        expires_at: access.expires_at,
    });
    Ok(CheckAccessResponse { valid, access, renewed, expires_at, error: error.and_then(said) })
}

fn check_permission(message: CheckPermissionRequest, _: &HeaderMap) -> Result<CheckPermission> {
    Ok(CheckPermission {
        person_id: text("person_id", message.person_id)?,
        service_id: text("service_id", message.service_id)?,
        permission_name: text("permission_name", message.permission_name)?,
    })
}

fn checked_permission(checked: CheckedPermission, _: &mut HeaderMap) -> Result<CheckPermissionResponse> {
    Ok(CheckPermissionResponse { has_permission: checked.has_permission })
}

fn introspect(message: IntrospectRequest, _: &HeaderMap) -> Result<Introspect> {
    let IntrospectRequest { token, token_type_hint, service_id } = message;
    Ok(Introspect { token: token.into(), token_type_hint, service_id: text_or_none("service_id", service_id)? })
}

fn introspected(view: IntrospectionView, _: &mut HeaderMap) -> Result<IntrospectResponse> {
    Ok(match view {
        IntrospectionView::Inactive => IntrospectResponse::default(),
        IntrospectionView::Token { token, issuer } => IntrospectResponse {
            active: true,
            scope: Some(token.scopes.text.to_string()),
            token_type: Some("api_token".into()),
            sub: Some(token.token_id.to_string()),
            username: Some(token.name.to_string()),
            exp: token.expires_at().map(seconds),
            iss: Some(issuer.to_string()),
            ..IntrospectResponse::default()
        },
        IntrospectionView::Session { live, asked, issuer } => IntrospectResponse {
            active: true,
            scope: asked.as_ref().map(|(_, access)| access.scope.clone()),
            token_type: Some("session".into()),
            sub: Some(live.user_id.to_string()),
            username: Some(live.username.to_string()),
            exp: Some(live.expires_at_seconds()),
            iat: Some(seconds(live.created_at)),
            iss: Some(issuer.to_string()),
            aud: asked.as_ref().map(|(service, _)| service.id.to_string()),
            roles: asked.as_ref().map(|(_, access)| access.roles.clone()).unwrap_or_default(),
        },
    })
}
