//! Completes settings that follow from others, and refuses settings that cannot work.

use std::collections::HashSet;
use std::net::SocketAddr;

use shared::op::Permission;
use shared::paths;

use super::{Config, ConfigError, refuse};
use crate::aws::{Role, RoleMethod, default_duration};
use crate::db::DatabaseUrl;
use crate::forward_auth;

impl Config {
    /// The database.
    pub fn database_url(&self) -> Result<DatabaseUrl, ConfigError> {
        self.database.place(&self.data_dir).map_err(ConfigError)
    }

    /// Sets the address to which the public listener is bound. If the system chose the port, URLs derived from the
    /// address get that port.
    pub fn bound_to(&mut self, bound: SocketAddr) {
        let asked = format!("http://{}", self.server.addr);
        self.server.addr = bound;
        let bound = format!("http://{bound}");
        let uris = self.providers.iter_mut().map(|provider| &mut provider.redirect_uri);
        for url in uris.chain([&mut self.server.public_url]) {
            if let Some(rest) = url.strip_prefix(&asked) {
                *url = format!("{bound}{rest}");
            }
        }
    }

    /// Completes settings that follow from others, and refuses settings that cannot work.
    pub(super) fn finish(mut self) -> Result<Self, ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            self.data_dir = paths::data_dir().ok_or_else(|| {
                ConfigError("there is no home directory for the data directory: set AUTHD_DATA_DIR".into())
            })?;
        }
        if self.admin.socket.as_os_str().is_empty() {
            self.admin.socket = paths::admin_socket(&self.data_dir);
        }
        if self.server.public_url.is_empty() {
            self.server.public_url = format!("http://{}", self.server.addr);
        }
        self.server.public_url = url("server.public_url", &self.server.public_url)?;
        if self.server.max_connections == 0 || self.server.max_body < 1024 {
            return refuse("server.max_connections must be at least 1 and server.max_body at least 1024 bytes");
        }
        self.check_tokens()?;
        self.check_peers()?;
        self.check_sessions()?;
        forward_auth::check(&self.policies).map_err(ConfigError)?;
        self.finish_providers()?;
        self.finish_roles()?;
        if !(60..=900).contains(&self.cli.login_seconds) {
            return refuse("cli.login_seconds must be from 60 to 900");
        }
        if !(1..=90).contains(&self.cli.idle_days) || !(1..=365).contains(&self.cli.max_days) {
            return refuse("cli.idle_days must be from 1 to 90 and cli.max_days from 1 to 365");
        }
        self.database_url()?;
        Ok(self)
    }

    fn check_tokens(&self) -> Result<(), ConfigError> {
        if !is_name(&self.tokens.prefix, '_') {
            return refuse("tokens.prefix (TOKEN_PREFIX) must be 1 to 32 letters, digits or underscores");
        }
        if self.admin.token.as_ref().is_some_and(|token| token.expose().len() < 16) {
            return refuse("admin.token (ADMIN_TOKEN) must have at least 16 characters; try: openssl rand -hex 32");
        }
        Ok(())
    }

    fn check_sessions(&self) -> Result<(), ConfigError> {
        let (sessions, login) = (&self.sessions, &self.login);
        if !(10..=86_400).contains(&sessions.ttl_seconds) {
            return refuse("sessions.ttl_seconds (TOKEN_TTL_SECONDS) must be from 10 to 86400");
        }
        if sessions.renew_threshold_seconds >= sessions.ttl_seconds {
            return refuse(
                "sessions.renew_threshold_seconds (TOKEN_RENEW_THRESHOLD_SECONDS) must be less than sessions.ttl_seconds",
            );
        }
        if sessions.max_seconds < sessions.ttl_seconds || sessions.max_seconds > 7 * 86_400 {
            return refuse("sessions.max_seconds must be from sessions.ttl_seconds to 604800");
        }
        if !(3..=100).contains(&login.max_failures) || !(1..=86_400).contains(&login.lock_seconds) {
            return refuse("login.max_failures must be from 3 to 100 and login.lock_seconds from 1 to 86400");
        }
        if login.max_failures_per_address < login.max_failures {
            return refuse("login.max_failures_per_address must be at least login.max_failures");
        }
        Ok(())
    }

    fn check_peers(&self) -> Result<(), ConfigError> {
        for peer in &self.admin.peers {
            if peer.user.is_some() == peer.group.is_some() {
                return refuse("each [[admin.peer]] names either a user or a group");
            }
            if let Some(unknown) = peer.permissions.iter().find(|name| Permission::parse(name).is_none()) {
                let known: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
                let known = known.join(", ");
                return refuse(format!("[[admin.peer]]: no permission is named {unknown:?}; there are {known}"));
            }
        }
        Ok(())
    }

    fn finish_providers(&mut self) -> Result<(), ConfigError> {
        if let Some(cognito) = self.cognito.clone() {
            let domain = cognito.url();
            self.providers.insert(0, cognito.into_provider().map_err(ConfigError)?);
            url("COGNITO_DOMAIN", &domain)?;
        }
        let callback = format!("{}/auth/cli/callback", self.server.public_url);
        let mut names = HashSet::new();
        for provider in &mut self.providers {
            let name = provider.name.clone();
            if !is_name(&name, '-') {
                return refuse(format!("[[provider]]: the name {name:?} must be 1 to 32 letters, digits or hyphens"));
            }
            if shared::api::operations().any(|info| info.path.split('/').nth(2) == Some(&name)) {
                return refuse(format!("[[provider]]: {name:?} is a path of authd itself; choose another name"));
            }
            if !names.insert(name.clone()) {
                return refuse(format!("[[provider]]: two providers are named {name:?}"));
            }
            if provider.client_id.is_empty() {
                return refuse(format!("provider {name}: client_id is missing"));
            }
            // Some issuers end in a slash, and `iss` is compared exactly.
            let slash = if provider.issuer.ends_with('/') { "/" } else { "" };
            provider.issuer = url(&format!("provider {name}: issuer"), &provider.issuer)? + slash;
            if provider.redirect_uri.is_empty() {
                provider.redirect_uri.clone_from(&callback);
            }
            if provider.scopes.is_empty() {
                provider.scopes = ["openid", "email", "profile"].map(str::to_owned).to_vec();
            }
            if provider.groups_claim.is_empty() {
                provider.groups_claim = "groups".into();
            }
        }
        let default = &self.cli.default_provider;
        if !default.is_empty() && !self.is_provider(default) {
            return refuse(format!("cli.default_provider: no provider is named {default:?}"));
        }
        Ok(())
    }

    fn is_provider(&self, name: &str) -> bool {
        self.providers.iter().any(|provider| provider.name == name)
    }

    fn finish_roles(&mut self) -> Result<(), ConfigError> {
        if !self.aws.role_arn.is_empty() {
            self.roles.insert(
                0,
                Role {
                    name: "default".into(),
                    arn: self.aws.role_arn.clone(),
                    method: RoleMethod::AssumeRole,
                    external_id: self.aws.external_id.clone(),
                    duration_seconds: default_duration(),
                    groups: Vec::new(),
                    // Its variables come from set-ups with Cognito alone, and cannot name another provider.
                    providers: self.is_provider("cognito").then(|| "cognito".to_owned()).into_iter().collect(),
                    session_tags: false,
                },
            );
        }
        for (index, role) in self.roles.iter().enumerate() {
            let Role { name, arn, .. } = role;
            if name.is_empty() || name.len() > 64 || self.roles[..index].iter().any(|other| other.name == *name) {
                return refuse(format!("[[role]]: the name {name:?} must be unique, with 1 to 64 characters"));
            }
            if !(arn.starts_with("arn:aws") && arn.contains(":iam::") && arn.contains(":role/")) {
                let form = "arn:aws:iam::ACCOUNT:role/NAME";
                return refuse(format!("role {name}: {arn:?} is not the ARN of a role ({form})"));
            }
            if !(900..=43_200).contains(&role.duration_seconds) {
                return refuse(format!("role {name}: duration_seconds must be from 900 to 43200"));
            }
            if !role.groups.is_empty() && role.providers.is_empty() && self.providers.len() > 1 {
                let names: Vec<&str> = self.providers.iter().map(|provider| provider.name.as_str()).collect();
                let detail = format!(
                    "with several providers it must say whose groups these are: set providers to one or more of {}",
                    names.join(", ")
                );
                return refuse(format!("role {name}: {detail}"));
            }
            if let Some(provider) = role.providers.iter().find(|name| !self.is_provider(name)) {
                return refuse(format!("role {name}: no provider is named {provider:?}"));
            }
            if role.method == RoleMethod::WebIdentity && (role.external_id.is_some() || role.session_tags) {
                let detail = "AssumeRoleWithWebIdentity takes neither an external id nor session tags";
                return refuse(format!("role {name}: {detail}"));
            }
        }
        Ok(())
    }
}

/// Whether it has 1 to 32 letters, digits or the other allowed character.
fn is_name(text: &str, other: char) -> bool {
    (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == other)
}

/// An absolute http(s) URL without a trailing slash, a query or a fragment.
fn url(what: &str, text: &str) -> Result<String, ConfigError> {
    let trimmed = text.trim_end_matches('/');
    let is_url = trimmed.parse().is_ok_and(|uri: http::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && !trimmed.contains('#')
    });
    if is_url {
        Ok(trimmed.to_owned())
    } else {
        refuse(format!("{what}: {text:?} is not a URL of the form https://HOST"))
    }
}
