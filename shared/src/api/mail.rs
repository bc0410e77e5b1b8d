//! Mails that wait to be sent, or that the mail server refused. A mail that it accepted is not listed any more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::email;
use crate::id::MailId;
use crate::op::{Access, Permission, operations};
use crate::page::Limit;
use crate::time::Time;

operations! {
    /// Send a test mail
    TestMail => "mail.test", Post "/mails/test", Access::Permission(Permission::MailWrite), 201 Mail;
    /// List mails that are not sent yet, or were refused, newest first
    ListMails => "mail.list", Get "/mails", Access::Permission(Permission::MailRead), 200 MailList;
    /// Show one mail that is not sent yet, or was refused
    ShowMail => "mail.show", Get "/mails/{id}", Access::Permission(Permission::MailRead), 200 Mail;
    /// Send a mail at once, also one that was refused
    RetryMail => "mail.retry", Post "/mails/{id}/retry", Access::Permission(Permission::MailWrite), 200 Mail;
    /// Delete a mail instead of sending it
    DropMail => "mail.drop", Delete "/mails/{id}", Access::Permission(Permission::MailWrite), 200 super::Done;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestMail {
    /// The e-mail address that gets it.
    #[schemars(transform = email::schema)]
    pub to: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListMails {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailList {
    pub mails: Vec<Mail>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowMail {
    pub id: MailId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryMail {
    pub id: MailId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropMail {
    pub id: MailId,
}

/// A mail, without what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mail {
    pub id: MailId,
    /// The name of the template, such as `reset`.
    pub template: String,
    /// The e-mail address that gets it.
    pub to: String,
    pub created_at: Time,
    pub state: MailState,
    /// How often authd has tried to send it.
    pub attempts: u64,
    /// When authd tries next; absent if it does not.
    #[serde(default)]
    pub next_attempt_at: Option<Time>,
    /// When the link in it ends, after which it is not sent any more.
    #[serde(default)]
    pub expires_at: Option<Time>,
    /// Why the last attempt failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// What becomes of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    /// It is to be sent.
    Queued,
    /// The mail server refused it, or authd gave up.
    Failed,
}
