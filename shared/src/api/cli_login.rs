//! The browser login that provides temporary AWS credentials on the developer's machine.

use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::number;
use crate::op::{Access, operations};
use crate::patterns;
use crate::secret::Secret;

/// Maximum number of characters in a text that a device sends about itself.
pub const MAX_LABEL: usize = 128;
/// What such a text may not contain: control characters, direction marks and other invisible characters, which can make
/// a name look like another one.
pub const NOT_IN_LABEL: &[RangeInclusive<char>] = &[
    '\0'..='\x1f',
    '\x7f'..='\u{9f}',
    '\u{ad}'..='\u{ad}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
];
/// Characters of a poll challenge: base64url of a SHA-256, unpadded. The last one holds four bits only.
pub const CHALLENGE: usize = 43;
/// The first port that needs no privilege.
pub const MIN_PORT: u16 = 1_024;
/// Bounds that STS sets for the life of credentials.
pub const DURATION_SECONDS: RangeInclusive<u32> = 900..=43_200;

operations! {
    /// Start a login: open its auth_url in a browser, then poll the status
    StartLogin => "cli_login.start", Post "/auth/cli/start", Access::Public, 200 StartedLogin;
    /// Show the status of a login; with poll secret and release, the AWS credentials
    LoginStatus => "cli_login.status", Get "/auth/cli/status", Access::SelfProving, 200 LoginAnswer,
        headers &[("poll_secret", "authorization"), ("release", "x-login-release")];
    /// Renew the AWS credentials of a signed-in device
    RenewLogin => "cli_login.renew", Post "/auth/cli/renew", Access::SelfProving, 200 LoginAnswer;
    /// Sign out a device
    EndLogin => "cli_login.logout", Post "/auth/cli/logout", Access::SelfProving, 200 EndedLogin;
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartLogin {
    /// The name of the machine, shown to the person who signs in; at most 128 characters.
    #[schemars(transform = label)]
    pub device_name: Option<String>,
    #[schemars(transform = label)]
    pub os: Option<String>,
    #[schemars(transform = label)]
    pub cli_version: Option<String>,
    /// The identity provider; the default is the only one, or the one set in the configuration.
    pub provider: Option<String>,
    /// The AWS role; the default is the first that the person may use.
    pub role: Option<String>,
    /// Ask the person anew who they are, whoever the browser is signed in as at the provider.
    pub reauthenticate: Option<bool>,
    /// base64url(SHA-256(poll secret)), unpadded: 43 characters. Binds the status to the client that started the login.
    /// Required, unless the configuration allows unbound polling.
    #[schemars(required, transform = challenge)]
    pub poll_challenge: Option<String>,
    /// The port on 127.0.0.1 where the client waits for the release; without it the page shows the release to paste.
    #[schemars(range(min = MIN_PORT))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub loopback_port: Option<u16>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StartedLogin {
    /// Open this in a browser.
    pub auth_url: String,
    /// The same as an address that can be typed on another device; only without a `loopback_port`.
    pub short_url: Option<String>,
    /// Identifies this login. Useless without the poll secret.
    pub state: String,
    /// Seconds until the login expires.
    pub expires_in: u64,
    /// Seconds to wait between two polls.
    pub interval: u64,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginStatus {
    pub state: String,
    /// The preimage of `poll_challenge`.
    pub poll_secret: Option<Secret>,
    /// The one-time value that the browser delivered (loopback) or showed (paste).
    pub release: Option<Secret>,
}

/// The state of a login.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "UPPERCASE")]
pub enum LoginAnswer {
    /// Nobody has signed in yet, or the release is missing.
    Pending(Reason),
    /// The login expired, was used, or never existed; or the session of the device has ended.
    Expired(Reason),
    /// The person or the provider denied the login.
    Denied(Reason),
    /// Signed in.
    Authorized(Box<Authorized>),
}

impl LoginAnswer {
    pub fn pending() -> Self {
        Self::Pending(Reason::default())
    }

    pub fn expired() -> Self {
        Self::Expired(Reason::default())
    }
}

/// Why a login goes on, or has ended, as far as it is known.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// For a person: what the browser's page said last, such as what the identity provider says.
    #[serde(default)]
    pub detail: Option<String>,
    /// Why the session of a device has ended, such as `ended_by_administrator`, `refused_by_provider` or `expired`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// AWS credentials, and the token that renews them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Authorized {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Secret,
    /// When the credentials end, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// authd's own token for `/auth/cli/renew`. Each answer has a new one; its first use invalidates the one before.
    pub refresh_token: Secret,
    /// The absolute end of this device's session, in seconds since the Unix epoch.
    #[serde(default)]
    pub session_expires_at: i64,
    /// The name of the AWS role, as configured.
    #[serde(default)]
    pub role: String,
    /// The role's ARN.
    #[serde(default)]
    pub role_arn: String,
    /// The person who signed in.
    #[serde(default)]
    pub user: String,
    /// Every role that this person may use.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Returns `AUTHORIZED`, or `EXPIRED` (200) when the session of a genuine token has ended or expired: sign in again.
/// 401 `invalid_token` for a token that authd did not issue, 401 `session_ended` for a replaced one (its reuse ends the
/// session): sign in again. 403 for a role that the person may not use. 502 and 503 mean that the provider or AWS
/// failed; the session stays as it is: try again with the same token.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewLogin {
    pub refresh_token: Secret,
    pub role: Option<String>,
    /// Seconds, 900 to 43,200; the limit configured for the role is the maximum and the default.
    #[schemars(range(min = *DURATION_SECONDS.start(), max = *DURATION_SECONDS.end()))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub duration_seconds: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndLogin {
    pub refresh_token: Secret,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EndedLogin {
    /// Always `logged_out`.
    pub status: String,
    /// Until when credentials issued before may still work (epoch seconds): AWS cannot revoke them.
    #[serde(default)]
    pub credentials_until: Option<i64>,
}

fn label(schema: &mut Schema) {
    patterns::text(schema, 0, MAX_LABEL, &patterns::without(NOT_IN_LABEL));
}

fn challenge(schema: &mut Schema) {
    let last = "AEIMQUYcgkosw048";
    patterns::text(schema, CHALLENGE, CHALLENGE, &format!("^[A-Za-z0-9_-]*[{last}]$"));
}
