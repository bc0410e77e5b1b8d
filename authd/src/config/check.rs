//! Completes settings that follow from others, and finds settings that cannot be safe or cannot work.

use std::collections::HashSet;
use std::net::SocketAddr;

use shared::paths;
use shared::url::is_loopback;

use super::{Config, ConfigError};
use crate::accounts::SignUpMode;
use crate::aws::{Role, RoleMethod, default_duration};
use crate::cli_login::local;
use crate::db::DatabaseUrl;
use crate::forward_auth;
use crate::setting::{Faults, check_folder};
use crate::transport::pages::PageTemplates;

impl Config {
    /// The database.
    pub fn database_url(&self) -> Result<DatabaseUrl, ConfigError> {
        self.database.place(&self.data_dir).map_err(|fault| ConfigError(vec![fault]))
    }

    /// Where the data is, for the person who starts the daemon.
    pub fn data_place(&self) -> String {
        let folder = self.data_dir.display();
        match self.database_url() {
            Ok(DatabaseUrl::Sqlite(path)) if path.parent() != Some(self.data_dir.as_path()) => {
                format!("{} (keys and files: {folder})", path.display())
            }
            Ok(url @ DatabaseUrl::Postgres(_)) => format!("{url} (keys and files: {folder})"),
            _ => folder.to_string(),
        }
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

    /// Completes settings that follow from others, and checks all of them.
    pub(super) fn finish(mut self, faults: &mut Faults) -> Self {
        if self.data_dir.as_os_str().is_empty() {
            match paths::data_dir() {
                Some(dir) => self.data_dir = dir,
                None => faults.refuse("there is no home directory for the data directory: set AUTHD_DATA_DIR"),
            }
        }
        if self.admin.socket.as_os_str().is_empty() {
            self.admin.socket = paths::admin_socket(&self.data_dir);
        }
        if self.server.public_url.is_empty() {
            self.server.public_url = format!("http://{}", self.server.addr);
        }
        self.server.public_url.truncate(self.server.public_url.trim_end_matches('/').len());
        self.server.check(faults);
        self.admin.check(faults);
        self.database.check(&self.data_dir, faults);
        self.redis.check(faults);
        self.keys.check(faults);
        self.tokens.check(faults);
        self.sessions.check(faults);
        self.login.check(faults);
        self.accounts.check(faults);
        self.web.check(&self.server.public_url, faults);
        self.passkeys.check(&self.server.public_url, faults);
        self.cli.check(faults);
        self.local.check(&self.server.public_url, faults);
        self.mail.check(faults);
        self.files.check(&self.data_dir, faults);
        self.aws.check(faults);
        self.log.filter().err().into_iter().for_each(|fault| faults.refuse(fault));
        forward_auth::check(&self.policies, faults);
        if self.web.cookie_domain.is_empty()
            && let Some(policy) = self.policies.iter().find(|policy| policy.redirect_to_login)
        {
            faults.warn(format!(
                "policy {}: redirect_to_login brings browsers back only to authd's own host; for applications on other hosts \
                 set web.cookie_domain (AUTHD_COOKIE_DOMAIN)",
                policy.name
            ));
        }
        self.finish_providers(faults);
        self.finish_roles(faults);
        self
    }

    /// `authd --dev`: mails are printed instead of being sent. Their links let in whoever reads the output, so nobody else
    /// may be able to cause them.
    pub fn print_mails(&mut self, faults: &mut Faults) {
        let host = self.server.public_url.parse().ok().and_then(|uri: http::Uri| uri.host().map(str::to_owned));
        let is_private = self.server.addr.ip().is_loopback() && host.as_deref().is_some_and(is_loopback);
        faults.require(
            is_private,
            "--dev prints mails and their links, so authd must be reachable from this machine alone: leave --listen \
             (SERVER_ADDR) and --public-url (AUTHD_PUBLIC_URL) on 127.0.0.1, or start without --dev",
        );
        faults.require(
            self.mail.smtp_url.is_none(),
            "--dev prints mails, and mail.smtp_url (SMTP_URL) sends them: which of the two? Remove one",
        );
        self.mail.is_printed = true;
    }

    /// Refuses a sign-up that could not mail anybody; after [`Config::print_mails`].
    pub fn check_sign_up(&self, faults: &mut Faults) {
        faults.require(
            self.accounts.sign_up == SignUpMode::Closed || self.mail.is_printed || self.mail.smtp_url.is_some(),
            "accounts.sign_up (AUTHD_SIGN_UP) needs e-mail: set mail.smtp_url (SMTP_URL) and mail.from (SMTP_FROM), or \
             accounts.sign_up = \"closed\"",
        );
    }

    /// Checks what the settings name on this machine: folders and files. They are not changed.
    pub fn check_places(&self, faults: &mut Faults) {
        let checked = check_folder(&self.data_dir);
        let is_there =
            |url: DatabaseUrl| matches!(url, DatabaseUrl::Sqlite(path) if path.parent() == Some(&self.data_dir));
        if checked.is_ok() {
            self.keys.check_place(&self.data_dir, faults);
        }
        // A fault of a folder is told once.
        if checked.is_ok() || !self.database_url().is_ok_and(is_there) {
            self.database.check_place(&self.data_dir, faults);
        }
        checked.err().into_iter().for_each(|fault| faults.refuse(format!("data_dir (AUTHD_DATA_DIR): {fault}")));
        self.admin.check_place(faults);
        self.mail.check_place(faults);
        PageTemplates::load(self.web.templates()).err().into_iter().flatten().for_each(|fault| faults.refuse(fault));
        self.files.check_place(faults);
    }

    fn finish_providers(&mut self, faults: &mut Faults) {
        // The faults of [cognito] and [google] are told already.
        let mut told = Vec::new();
        if let Some(cognito) = self.cognito.clone() {
            told.extend((!cognito.check(faults)).then_some("cognito"));
            self.providers.insert(0, cognito.into_provider());
        }
        if let Some(google) = self.google.clone() {
            told.extend((!google.check(faults)).then_some("google"));
            self.providers.push(google.into_provider());
        }
        let callback = format!("{}/auth/cli/callback", self.server.public_url);
        let mut names = HashSet::new();
        names.extend(self.local.enabled.then(|| local::NAME.to_owned()));
        for provider in &mut self.providers {
            let name = provider.name.clone();
            if !shared::api::identities::is_provider(&name) {
                faults.refuse(format!("[[provider]]: the name {name:?} must be 1 to 32 letters, digits or hyphens"));
            }
            if shared::api::operations().any(|info| info.path.split('/').nth(2) == Some(&name)) {
                faults.refuse(format!("[[provider]]: {name:?} is a path of authd itself; choose another name"));
            }
            if !names.insert(name.clone()) {
                faults.refuse(format!("[[provider]]: two providers are named {name:?}"));
            }
            // Some issuers end in a slash, and `iss` is compared exactly.
            let slash = if provider.issuer.ends_with('/') { "/" } else { "" };
            provider.issuer = provider.issuer.trim_end_matches('/').to_owned() + slash;
            provider.client_secret.take_if(|secret| secret.is_empty());
            if provider.redirect_uri.is_empty() {
                provider.redirect_uri.clone_from(&callback);
            }
            if provider.scopes.is_empty() {
                provider.scopes = ["openid", "email", "profile"].map(str::to_owned).to_vec();
            }
            if provider.groups_claim.is_empty() {
                provider.groups_claim = "groups".into();
            }
            if !told.contains(&name.as_str()) {
                provider.check(faults);
            }
        }
        let default = &self.cli.default_provider;
        if !default.is_empty() && !self.is_provider(default) {
            faults.refuse(format!("cli.default_provider: no provider is named {default:?}"));
        }
    }

    /// The names of the providers of the CLI login, in order of preference.
    pub fn provider_names(&self) -> impl Iterator<Item = &str> {
        let open_id = self.providers.iter().map(|provider| provider.name.as_str());
        open_id.chain(self.local.enabled.then_some(local::NAME))
    }

    fn is_provider(&self, name: &str) -> bool {
        self.provider_names().any(|provider| provider == name)
    }

    fn finish_roles(&mut self, faults: &mut Faults) {
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
        for role in &mut self.roles {
            role.external_id.take_if(|id| id.is_empty());
        }
        for (index, role) in self.roles.iter().enumerate() {
            let name = &role.name;
            if name.is_empty() || name.len() > 64 || self.roles[..index].iter().any(|other| other.name == *name) {
                faults.refuse(format!("[[role]]: the name {name:?} must be unique, with 1 to 64 characters"));
            }
            let is_default = index == 0 && !self.aws.role_arn.is_empty();
            let shown = if is_default { "aws.role_arn (STS_ROLE_ARN)".into() } else { format!("role {name}") };
            role.check(&shown, faults);
            for provider in role.providers.iter().filter(|name| !self.is_provider(name)) {
                faults.refuse(format!("role {name}: no provider is named {provider:?}"));
            }
            let names: Vec<&str> = self.provider_names().collect();
            let own: Vec<&str> = role.providers.iter().map(String::as_str).collect();
            let of = if own.is_empty() { &names } else { &own };
            let is_local = self.local.enabled && of.contains(&local::NAME);
            if is_local && role.groups.is_empty() && own.is_empty() {
                faults.refuse(format!(
                    "{shown}: with local.enabled (AUTHD_LOCAL) whoever may create users could get its credentials: set groups, or \
                     providers, with \"local\" among them if everybody with an account may (a [[role]] in authd.toml)"
                ));
            } else if is_local && role.groups.is_empty() && self.accounts.sign_up == SignUpMode::Open {
                faults.refuse(format!(
                    "{shown}: with local.enabled (AUTHD_LOCAL) and accounts.sign_up = \"open\" (AUTHD_SIGN_UP) anybody \
                     could sign up and get its credentials: set groups, or providers without local, or another mode of \
                     sign-up"
                ));
            }
            if is_local && of.len() == 1 && role.method == RoleMethod::WebIdentity {
                faults.refuse(format!(
                    "{shown}: method = \"web_identity\" needs the ID token of a provider, which authd's own accounts do not \
                     have: use method = \"assume_role\""
                ));
            }
            if !role.groups.is_empty() && role.providers.is_empty() && names.len() > 1 {
                faults.refuse(format!(
                    "role {name}: with several providers it must say whose groups these are: set providers to one or more of {}",
                    names.join(", ")
                ));
            }
        }
    }
}
