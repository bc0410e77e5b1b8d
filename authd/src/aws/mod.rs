//! AWS credentials from STS.
//!
//! Invariants: the SDK is loaded at the first use, once (it walks files, environment and the instance's metadata); every
//! call has a deadline; an answer of AWS that a person can do something about says what.

mod explain;

use std::time::Duration;

use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::Tag;
use serde::{Deserialize, Serialize};
use shared::problem::Code;
use shared::secret::{Secret, redacted};
use tokio::sync::OnceCell;

use crate::env::{Millis, SECOND};
use crate::error::{Chain, Error, Result};

/// One call, its retry included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// `[aws]`: what holds for every role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `STS_ROLE_ARN`: the role named `default`.
    pub role_arn: String,
    /// `STS_EXTERNAL_ID`: the external id of that role.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub external_id: Option<Secret>,
    /// Where STS is called; empty: as the AWS SDK finds it (`AWS_REGION`, its files, the instance).
    pub region: String,
}

/// An AWS role that a login can end in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// How logins name it.
    pub name: String,
    pub arn: String,
    #[serde(default)]
    pub method: RoleMethod,
    /// The trust policy's `sts:ExternalId`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub external_id: Option<Secret>,
    /// Seconds that credentials live, 900 to 43,200; at most the role's own maximum.
    #[serde(default = "default_duration")]
    pub duration_seconds: u32,
    /// Who may use it: members of any of these groups. Empty: everybody who signs in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Only people who signed in with one of these providers. Empty: any.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Tell AWS who it is by session tags (the trust policy must allow `sts:TagSession`).
    #[serde(default)]
    pub session_tags: bool,
}

pub fn default_duration() -> u32 {
    3600
}

/// How credentials of a role are obtained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleMethod {
    /// authd's own AWS identity assumes the role.
    #[default]
    AssumeRole,
    /// The person's ID token does: the provider must be an identity provider of the AWS account.
    WebIdentity,
}

/// The AWS module's state: the SDK client, made at its first use.
pub struct Aws {
    region: String,
    /// Where STS is when nobody says: it follows from the roles' partition.
    fallback_region: &'static str,
    client: OnceCell<Client>,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Who wants which role.
#[derive(Debug)]
pub struct Assumption<'a> {
    pub role: &'a Role,
    /// RoleSessionName: 2 to 64 of `[\w+=,.@-]`.
    pub session_name: &'a str,
    /// At most 50; sent only where the role says so.
    pub tags: Vec<(&'static str, String)>,
    /// For AssumeRoleWithWebIdentity.
    pub id_token: &'a Secret,
    /// 900 to 43,200.
    pub duration_seconds: u32,
}

/// Temporary credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Secret,
    pub expires_at: Millis,
}

impl Aws {
    pub fn new(config: &Config, roles: &[Role]) -> Self {
        let partition = roles.first().and_then(|role| role.arn.split(':').nth(1));
        let fallback_region = match partition {
            Some("aws-cn") => "cn-north-1",
            Some("aws-us-gov") => "us-gov-west-1",
            Some("aws-eusc") => "eusc-de-east-1",
            _ => "us-east-1",
        };
        Self { region: config.region.clone(), fallback_region, client: OnceCell::new() }
    }

    /// With STS at a given place and made-up credentials.
    #[cfg(test)]
    pub fn at(endpoint: &str) -> Self {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(aws_sdk_sts::config::Credentials::new("AKIATEST", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .endpoint_url(endpoint)
            .build();
        let client = OnceCell::new_with(Some(Client::from_conf(config)));
        Self { region: "us-east-1".into(), fallback_region: "us-east-1", client }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| self.load()).await
    }

    async fn load(&self) -> Client {
        let region = match self.region.as_str() {
            "" => RegionProviderChain::default_provider().or_else(Region::new(self.fallback_region)),
            region => RegionProviderChain::first_try(Region::new(region.to_owned())),
        };
        let sdk = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(region)
            .timeout_config(timeouts())
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .load()
            .await;
        Client::new(&sdk)
    }

    /// Credentials of a role, by the method that is configured for it.
    pub async fn assume(&self, assumption: Assumption<'_>) -> Result<Credentials> {
        let credentials = match assumption.role.method {
            RoleMethod::AssumeRole => self.assume_role(&assumption).await,
            RoleMethod::WebIdentity => self.assume_with_web_identity(&assumption).await,
        }?;
        let expires_at = credentials.expiration().secs().saturating_mul(SECOND);
        // The SDK reads an answer that was cut off as one with empty fields.
        let parts = [&credentials.access_key_id, &credentials.secret_access_key, &credentials.session_token];
        if parts.iter().any(|part| part.is_empty()) || expires_at <= 0 {
            return Err(nothing());
        }
        Ok(Credentials {
            access_key_id: credentials.access_key_id,
            secret_access_key: Secret::new(credentials.secret_access_key),
            session_token: Secret::new(credentials.session_token),
            expires_at,
        })
    }

    async fn assume_role(&self, assumption: &Assumption<'_>) -> Result<aws_sdk_sts::types::Credentials> {
        let role = assumption.role;
        let mut tags = Vec::new();
        for (key, value) in assumption.tags.iter().filter(|(_, value)| role.session_tags && !value.is_empty()) {
            tags.push(Tag::builder().key(*key).value(value).build().map_err(Error::internal)?);
        }
        let call = self
            .client()
            .await
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(assumption.session_name)
            .duration_seconds(i32::try_from(assumption.duration_seconds).unwrap_or(i32::MAX))
            .set_external_id(role.external_id.as_ref().map(|id| id.expose().to_owned()))
            .set_tags((!tags.is_empty()).then_some(tags));
        let answer = call.send().await.map_err(|error| refused(role, assumption.duration_seconds, error))?;
        answer.credentials.ok_or_else(nothing)
    }

    /// Unsigned: no credentials of ours are looked for.
    async fn assume_with_web_identity(&self, assumption: &Assumption<'_>) -> Result<aws_sdk_sts::types::Credentials> {
        let role = assumption.role;
        let call = self
            .client()
            .await
            .assume_role_with_web_identity()
            .role_arn(&role.arn)
            .role_session_name(assumption.session_name)
            .web_identity_token(assumption.id_token.expose())
            .duration_seconds(i32::try_from(assumption.duration_seconds).unwrap_or(i32::MAX));
        let answer = call.send().await.map_err(|error| refused(role, assumption.duration_seconds, error))?;
        answer.credentials.ok_or_else(nothing)
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

fn nothing() -> Error {
    Error::new(Code::UpstreamFailed, "AWS STS answered without whole credentials; try again")
}

/// What the caller learns of a call that failed.
fn refused<E, R>(role: &Role, duration_seconds: u32, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let text = Text::of(&error);
    let Some(refusal) = error.as_service_error() else {
        return match error {
            SdkError::DispatchFailure(failure) if !(failure.is_io() || failure.is_timeout()) => Error::new(
                Code::UpstreamFailed,
                "authd has no AWS credentials of its own to ask for the role with: give it AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine it runs on",
            )
            .because(text),
            SdkError::ResponseError(_) => {
                Error::new(Code::UpstreamFailed, "AWS STS answered what cannot be read").because(text)
            }
            _ => Error::unavailable("AWS STS does not answer; try again", text).retry_after(5),
        };
    };
    let (code, message) = (refusal.code().unwrap_or_default(), refusal.message().unwrap_or_default());
    explain::explain(role, duration_seconds, code, message).because(text)
}

/// The text of an SDK error, for the log: only what its layers say of themselves. The SDK's own way to print an error
/// quotes the raw answer, and an answer that could not be read may still hold credentials.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Text(String);

impl Text {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(Chain(error).to_string())
    }
}
