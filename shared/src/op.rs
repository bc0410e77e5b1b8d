//! Operations: the request struct is the operation, and one line of a table declares the rest.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An operation of the API. Implemented by the request's own type, through the table of its module.
pub trait Operation: Serialize + DeserializeOwned + Send + 'static {
    type Response: Serialize + DeserializeOwned + Send + 'static;

    const INFO: Info;

    /// The HTTP status of a success. Only `/health` answers with more than one.
    fn status(_response: &Self::Response) -> u16 {
        Self::INFO.status
    }
}

/// Something done with every operation as a type: see [`crate::api::visit`].
pub trait Visitor {
    fn operation<Op: Operation + JsonSchema>(&mut self)
    where
        Op::Response: JsonSchema;
}

/// One line of the table.
#[derive(Debug)]
pub struct Info {
    /// `module.verb`: the audit name, the metrics label and the OpenAPI operation id.
    pub name: &'static str,
    pub method: Method,
    /// The path template, as matchit and OpenAPI write it.
    pub path: &'static str,
    pub access: Access,
    /// The HTTP status of a success; 204 has no body.
    pub status: u16,
    /// Fields that travel as headers: (field, header). `authorization` carries `Bearer <field>`.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body is an HTML form, and errors are OAuth's (RFC 6749 §5.2), as RFC 7662 and RFC 7009 want it.
    pub oauth: bool,
    /// The body has a password: it must say that it is JSON, which no form of another site can.
    pub password: bool,
    /// The first line of the operation's documentation.
    pub summary: &'static str,
}

impl Info {
    /// The permission of the service `authd` that the caller needs.
    pub const fn permission(&self) -> Option<Permission> {
        match self.access {
            Access::Permission(permission) => Some(permission),
            Access::Public | Access::SelfProving | Access::User | Access::Authenticated => None,
        }
    }

    /// Whether the fields travel in the body; else they are query parameters. A DELETE's may come in either, unless a
    /// password is among them, which would be in the logs of proxies.
    pub const fn has_body(&self) -> bool {
        self.password || self.method.has_body()
    }

    /// The names between braces in the path template.
    pub fn path_params(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// The methods that operations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Whether a request has a body.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put)
    }
}

/// Who may call an operation. Anybody else is refused before the body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: the answer reveals nothing that the caller does not have.
    Public,
    /// Anybody who proves in the request to be its subject (a poll secret, a refresh token).
    SelfProving,
    /// A caller who holds this permission of the built-in service `authd`.
    Permission(Permission),
    /// A person, by their session.
    User,
    /// Anybody with valid credentials of any kind. The operation decides what they may ask, since that
    /// depends on the object: a service may ask about its own users, a person about themselves.
    Authenticated,
}

/// Declares the permissions of the built-in service `authd`.
macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// A permission of the built-in service `authd`. As a scope of an API token it is written `authd:<permission>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $($(#[$doc])* $variant,)* }

        impl Permission {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The scope that grants it to an API token.
            pub const fn scope(self) -> &'static str {
                match self { $(Self::$variant => concat!("authd:", $text)),* }
            }
        }
    };
}

permissions! {
    /// Everything.
    Admin = "admin";
    /// List and show API tokens (never their secrets).
    TokensRead = "tokens.read";
    /// Create, extend, rotate and revoke API tokens.
    TokensWrite = "tokens.write";
    /// List sessions.
    SessionsRead = "sessions.read";
    /// End sessions.
    SessionsWrite = "sessions.write";
    /// List and show users, and who is locked out.
    UsersRead = "users.read";
    /// Create, change and delete users, clear lock-outs, set passwords (of users with access to a service: with
    /// `access.write`).
    UsersWrite = "users.write";
    /// List services, roles, permissions and grants, and ask about anybody's access.
    AccessRead = "access.read";
    /// Change services, roles, permissions and grants, and create the tokens of services.
    AccessWrite = "access.write";
    /// Introspect any token (RFC 7662).
    TokensIntrospect = "tokens.introspect";
    /// List mails that are not sent yet, or were refused (never what they say).
    MailRead = "mail.read";
    /// Send test mails, retry mails, and delete them.
    MailWrite = "mail.write";
    /// List and download the files of every user.
    FilesRead = "files.read";
    /// Delete the files of every user.
    FilesWrite = "files.write";
    /// Read the audit log.
    AuditRead = "audit.read";
    /// Show the daemon's state.
    SystemRead = "system.read";
}

impl Permission {
    /// Parses the name that the configuration uses.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.as_str() == text)
    }

    /// Parses a scope of the reserved form `authd:<permission>`.
    pub fn from_scope(scope: &str) -> Option<Self> {
        Self::parse(scope.strip_prefix(SCOPE_PREFIX)?)
    }
}

/// The prefix of authd's own scopes; services define the meaning of all other scopes.
pub const SCOPE_PREFIX: &str = "authd:";

/// The table of a module: implements [`Operation`] for each request and lists the module's operations.
macro_rules! operations {
    ($(
        #[doc = $summary:literal]
        $request:ty => $name:literal, $method:ident $path:literal, $access:expr, $status:literal $response:ty
        $(, headers $headers:expr)? $(, oauth $oauth:literal)? $(, password $password:literal)? $(, status_by $status_by:path)?;
    )*) => {
        $(impl $crate::op::Operation for $request {
            type Response = $response;

            const INFO: $crate::op::Info = $crate::op::Info {
                name: $name,
                method: $crate::op::Method::$method,
                path: $path,
                access: $access,
                status: $status,
                headers: { #[allow(unused_variables)] let headers: &'static [(&'static str, &'static str)] = &[]; $(let headers = $headers;)? headers },
                oauth: false $(|| $oauth)?,
                password: false $(|| $password)?,
                summary: $summary.trim_ascii(),
            };

            $(fn status(response: &Self::Response) -> u16 {
                $status_by(response)
            })?
        })*

        /// The operations of this module.
        pub const OPERATIONS: &[&$crate::op::Info] = &[$(&<$request as $crate::op::Operation>::INFO),*];

        pub(super) fn visit(visitor: &mut impl $crate::op::Visitor) {
            $(visitor.operation::<$request>();)*
        }
    };
}
pub(crate) use operations;
