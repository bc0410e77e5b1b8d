//! AWS credentials from STS.
//!
//! Invariants: the SDK is loaded once, at the first use (it reads files, environment and the instance's metadata);
//! every call has a deadline; an AWS error that a person can fix says how.

mod explain;

use std::time::Duration;

use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::types::Tag;
use serde::{Deserialize, Serialize};
use shared::problem::Code;
use shared::secret::{Secret, redacted};
use tokio::sync::OnceCell;

use crate::env::{Millis, SECOND};
use crate::error::{Chain, Error, Result};
use crate::setting::Faults;

/// Time limit of one call, its retry included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// `[aws]`: settings for every role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `STS_ROLE_ARN`: the role named `default`.
    pub role_arn: String,
    /// `STS_EXTERNAL_ID`: the external id of that role.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub external_id: Option<Secret>,
    /// The region of STS; if empty, as the AWS SDK finds it (`AWS_REGION`, its files, the instance).
    pub region: String,
}

/// An AWS role whose credentials a login can get.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// The name of the role in logins.
    pub name: String,
    pub arn: String,
    #[serde(default)]
    pub method: RoleMethod,
    /// The trust policy's `sts:ExternalId`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub external_id: Option<Secret>,
    /// Lifetime of credentials in seconds, 900 to 43,200; at most the role's own maximum.
    #[serde(default = "default_duration")]
    pub duration_seconds: u32,
    /// Only members of any of these groups may use it. Empty: everybody who signs in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Only people who signed in with one of these providers. Empty: any.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Send the person's identity to AWS as session tags (the trust policy must allow `sts:TagSession`).
    #[serde(default)]
    pub session_tags: bool,
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        let is_region = |region: &str| {
            region.len() <= 32
                && region.contains('-')
                && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !self.region.is_empty() && !is_region(&self.region) {
            faults.refuse(format!("aws.region: {:?} is not a region, such as eu-central-1", self.region));
        }
        if self.role_arn.is_empty() && self.external_id.is_some() {
            faults
                .warn("aws.external_id (STS_EXTERNAL_ID) is not used, because aws.role_arn (STS_ROLE_ARN) is not set");
        }
    }
}

impl Role {
    /// `name` is how messages name the role.
    pub fn check(&self, name: &str, faults: &mut Faults) {
        if !is_role_arn(&self.arn) {
            let form = "arn:aws:iam::ACCOUNT:role/NAME, with the twelve digits of the account";
            faults.refuse(format!("{name}: {:?} is not the ARN of a role ({form})", self.arn));
        }
        if !(900..=43_200).contains(&self.duration_seconds) {
            faults.refuse(format!("{name}: duration_seconds must be from 900 to 43200"));
        }
        let is_good = |id: &Secret| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
            (2..=1224).contains(&id.expose().len()) && id.expose().bytes().all(is_allowed)
        };
        if !self.external_id.as_ref().is_none_or(is_good) {
            faults.refuse(format!(
                "{name}: external_id (of the role default: STS_EXTERNAL_ID) must have 2 to 1224 letters, digits and characters of _+=,.@:/- (the rule of AWS)"
            ));
        }
        if self.method == RoleMethod::WebIdentity && (self.external_id.is_some() || self.session_tags) {
            let detail = "AssumeRoleWithWebIdentity takes neither an external id nor session tags";
            faults.refuse(format!("{name}: {detail}"));
        }
    }
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`, by the rules of IAM.
fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else { return false };
    let Some(path) = resource.strip_prefix("role/") else { return false };
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_partition = *partition == "aws"
        || partition
            .strip_prefix("aws-")
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    is_partition
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte))
        && path.len() <= 576
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.starts_with('/')
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
    /// The person's ID token assumes the role: the provider must be an identity provider of the AWS account.
    WebIdentity,
}

/// The AWS module's state: the SDK client, made at its first use.
pub struct Aws {
    region: String,
    /// The region of STS if none is configured, by the roles' partition.
    fallback_region: &'static str,
    client: OnceCell<Client>,
}

/// The SDK's client is left out: its configuration holds credentials.
impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aws").field("region", &self.region).finish_non_exhaustive()
    }
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

    /// With STS at a given address and fake credentials.
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

    async fn load(&self) -> Client {
        Client::new(&sdk(&self.region, self.fallback_region).await)
    }

    /// Credentials of a role for 900 to 43,200 seconds, by the method configured for it. `session_name`
    /// (RoleSessionName) has 2 to 64 of `[\w+=,.@-]`; at most 50 `tags` are sent if the role has session_tags; the ID
    /// token is for AssumeRoleWithWebIdentity.
    pub async fn assume(
        &self,
        role: &Role,
        duration_seconds: u32,
        session_name: &str,
        tags: &[(&str, String)],
        id_token: Option<&Secret>,
    ) -> Result<Credentials> {
        let client = self.client.get_or_init(|| self.load()).await;
        let seconds = i32::try_from(duration_seconds).unwrap_or(i32::MAX);
        let answered = match role.method {
            RoleMethod::AssumeRole => {
                let sent = tags.iter().filter(|(_, value)| role.session_tags && !value.is_empty());
                let tags = sent.map(|(key, value)| Tag::builder().key(*key).value(value).build());
                let tags: Vec<Tag> = tags.collect::<Result<_, _>>().map_err(Error::internal)?;
                let call = client
                    .assume_role()
                    .role_arn(&role.arn)
                    .role_session_name(session_name)
                    .duration_seconds(seconds)
                    .set_external_id(role.external_id.as_ref().map(|id| id.expose().to_owned()))
                    .set_tags((!tags.is_empty()).then_some(tags));
                let answer = call.send().await.map_err(|error| refused(role, duration_seconds, error))?;
                answer.credentials
            }
            // The request is unsigned, so authd's own credentials are not loaded.
            RoleMethod::WebIdentity => {
                let id_token = id_token.ok_or_else(|| Error::internal("a web identity without an ID token"))?;
                let call = client
                    .assume_role_with_web_identity()
                    .role_arn(&role.arn)
                    .role_session_name(session_name)
                    .duration_seconds(seconds)
                    .web_identity_token(id_token.expose());
                let answer = call.send().await.map_err(|error| refused(role, duration_seconds, error))?;
                answer.credentials
            }
        };
        // The SDK parses a truncated answer as one with empty fields.
        let is_whole = |found: &aws_sdk_sts::types::Credentials| {
            let parts = [&found.access_key_id, &found.secret_access_key, &found.session_token];
            parts.iter().all(|part| !part.is_empty()) && found.expiration().secs() > 0
        };
        let found = answered
            .filter(is_whole)
            .ok_or_else(|| Error::new(Code::UpstreamFailed, "AWS STS returned incomplete credentials; try again"))?;
        Ok(Credentials {
            expires_at: found.expiration().secs().saturating_mul(SECOND),
            access_key_id: found.access_key_id,
            secret_access_key: Secret::new(found.secret_access_key),
            session_token: Secret::new(found.session_token),
        })
    }
}

/// The settings of AWS: the configured region, else as the SDK finds it, else `fallback`; endpoint and credentials.
pub async fn sdk(region: &str, fallback: &'static str) -> SdkConfig {
    let region = match region {
        "" => RegionProviderChain::default_provider().or_else(Region::new(fallback)),
        region => RegionProviderChain::first_try(Region::new(region.to_owned())),
    };
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region)
        .timeout_config(timeouts())
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .load()
        .await
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// The error that the caller gets for a failed call.
fn refused<E, R>(role: &Role, duration_seconds: u32, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let refusal = match &error {
        SdkError::ServiceError(refused) => {
            let (code, message) = (refused.err().code(), refused.err().message());
            explain::explain(role, duration_seconds, code.unwrap_or_default(), message.unwrap_or_default())
        }
        SdkError::DispatchFailure(failure) if !(failure.is_io() || failure.is_timeout()) => Error::new(
            Code::UpstreamFailed,
            "authd has no AWS credentials of its own to ask for the role with: give it AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine it runs on",
        ),
        SdkError::ResponseError(_) => Error::new(Code::UpstreamFailed, "AWS STS sent an unreadable answer"),
        _ => Error::new(Code::Unavailable, "AWS STS does not answer; try again").retry_after(5),
    };
    // Only the text of each layer of the error. The SDK's own `Debug` quotes the raw answer, and an answer that could
    // not be read may still contain credentials.
    refusal.because(Chain(&error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_a_role_of_an_account() {
        for arn in [
            "arn:aws:iam::123456789012:role/dev",
            "arn:aws-us-gov:iam::123456789012:role/team/a.b/dev+x=1,@-_",
            "arn:aws-iso-b:iam::000000000000:role/d",
        ] {
            assert!(is_role_arn(arn), "{arn}");
        }
        for arn in [
            "",
            "dev",
            "arn:aws:iam::1234:role/dev",
            "arn:aws:iam::1234567890123:role/dev",
            "arn:aws:iam::12345678901a:role/dev",
            "arn:aws:iam::123456789012:user/dev",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/team/",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:role/a:b",
            "arn:aws:iam:eu-west-1:123456789012:role/dev",
            "arn:aws:sts::123456789012:assumed-role/dev/me",
            "arn:awsx:iam::123456789012:role/dev",
            " arn:aws:iam::123456789012:role/dev",
        ] {
            assert!(!is_role_arn(arn), "{arn}");
        }
    }
}
