//! Mail: what other modules want to tell people goes into a table in the batch of their change, and from there to the
//! mail server.
//!
//! Invariants: a mail exists exactly if the change that it tells of was committed; what it says is sealed, since it has
//! links that work once; a mail server that does not answer delays mail and loses none, and one that refuses a mail for
//! good is shown to the operator at once; one node at a time sends a mail, and an end of the process at any moment sends
//! at most one mail twice ([`delivery`]); a link that has ended is not sent; what people can cause is bounded by address,
//! by network and in all ([`limits`]), and so is the table; a queue that others have filled keeps nobody from a change
//! that is told by mail.

mod config;
mod connection;
mod delivery;
mod limits;
mod ops;
mod room;
mod smtp;
mod store;
mod template;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use shared::email::Email;
use shared::id::MailId;
use shared::problem::Code;
use shared::secret::Secret;
use tokio::sync::Notify;
use zeroize::Zeroizing;

pub use self::config::Config;
use self::delivery::Delivery;
use self::room::Room;
use self::smtp::Smtp;
pub use self::store::{KEPT, SWEEP, SWEEP_FAILED, failed_end};
pub use self::template::Template;
use self::template::Templates;
use crate::base::Base;
use crate::db::Statement;
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::log::caused;
use crate::metrics::{Count, Metrics};
use crate::registry::Registry;

/// How many notices may wait beyond `mail.max_queued`.
const MOST_NOTICES: u32 = 1_000;

/// What a mail says, beside the words of its template. The JSON is stored, sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Values {
    /// The URL that does what the mail offers; made from the public URL.
    pub link: Option<Secret>,
    /// What the link proves, for programs that ask for it.
    pub token: Option<Secret>,
    /// The person's own name, as they know it; never text that somebody else chose.
    pub name: Option<String>,
    /// The network address of whoever asked for the mail.
    pub address: Option<IpAddr>,
    /// When the link ends. The mail is not sent after that.
    pub expires_at: Option<Millis>,
}

/// How mails leave authd.
#[derive(Debug)]
enum Way {
    Smtp(Smtp),
    /// `authd --dev`
    Print,
}

/// The counters by what became of mails.
#[derive(Debug)]
struct Counts {
    sent: Count,
    failed: Count,
    dropped: Count,
}

#[derive(Debug)]
pub struct Mail {
    base: Base,
    config: Config,
    /// The host of the public URL, by which the mails name this authd.
    product: String,
    templates: Templates,
    /// `None` if mail is not configured.
    way: Option<Way>,
    counts: Counts,
    /// Notified when there may be a new mail.
    queued: Notify,
    room: Room,
    delivery: Delivery,
}

impl Mail {
    /// Refuses a template that cannot be used, by file and line.
    pub fn new(base: &Base, config: Config, public_url: &str, metrics: &mut Metrics) -> anyhow::Result<Arc<Self>> {
        let templates = match Templates::load(config.templates()) {
            Ok(templates) => templates,
            Err(faults) => bail!(faults.join("\n")),
        };
        let url: http::Uri = public_url.parse()?;
        let product = url.host().unwrap_or(public_url).to_owned();
        let way = match config.server() {
            Some((server, from)) => Some(Way::Smtp(Smtp::new(server, from, &product))),
            None if config.is_printed => Some(Way::Print),
            None => None,
        };
        if config.is_printed {
            tracing::warn!(
                "--dev: mails are printed here instead of being sent; whoever reads this can use their links"
            );
        }
        let names = ["sent", "failed", "dropped"];
        let [sent, failed, dropped] = metrics.outcomes("mails", "Mails by what became of them", names);
        Ok(Arc::new(Self {
            base: base.clone(),
            config,
            product,
            templates,
            way,
            counts: Counts { sent, failed, dropped },
            queued: Notify::new(),
            room: Room::default(),
            delivery: Delivery::default(),
        }))
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::test);
        registry.add(self, Self::list);
        registry.add(self, Self::show);
        registry.add(self, Self::retry);
        registry.add(self, Self::drop);
    }

    /// Whether mails can be sent, or are printed.
    pub fn is_configured(&self) -> bool {
        self.way.is_some()
    }

    /// Refuses what cannot work without mail.
    pub fn require(&self) -> Result<()> {
        if self.is_configured() {
            return Ok(());
        }
        let detail =
            "this needs e-mail, which is not configured here: set SMTP_URL and SMTP_FROM (mail.smtp_url and mail.from)";
        // As for a provider that is not configured: to try again does not help.
        Err(Error::new(Code::Conflict, detail))
    }

    /// Counts a mail that somebody asks for, before anything is looked up, so that nothing tells whether the address is
    /// known. `folded` is the address as [`Email::folded`] has it. [`Code::RateLimited`] if there were too many to the
    /// address, from the network or in all; 503 if too many wait. `address` is that of whoever asks; operators have none
    /// here.
    pub async fn admit(&self, folded: &str, address: Option<IpAddr>) -> Result<()> {
        self.check_room().await?;
        limits::count(&self.base, &self.config, folded, address).await
    }

    /// Refuses another mail if too many wait.
    async fn check_room(&self) -> Result<()> {
        if self.room.is_full(&self.base, self.config.max_queued).await? {
            let detail = "too many mails wait to be sent; try again later";
            return Err(Error::unavailable(detail, "mail.max_queued is reached".to_owned()).retry_after(60));
        }
        Ok(())
    }

    /// The statement that writes a mail that was admitted, for the batch of the change that it tells of. [`Mail::wake`]
    /// after the commit.
    pub fn message(&self, template: Template, to: &Email, values: &Values) -> Result<Statement> {
        self.new_message(MailId(self.base.env.uuid()), template, to, values)
    }

    /// As [`Mail::message`], for a change that must not fail because others have filled the queue: a notice has room of
    /// its own, and is left out when even that is full. `by` is the network address of whoever makes the change.
    pub async fn notice(&self, template: Template, to: &Email, by: Option<IpAddr>) -> Result<Option<Statement>> {
        let most = self.config.max_queued.saturating_add(MOST_NOTICES);
        if self.room.is_full(&self.base, most).await? {
            self.counts.dropped.inc();
            let template = template.name();
            caused!(by, warn, template, "too many mails wait: a person is not told of a change to their account");
            return Ok(None);
        }
        self.message(template, to, &Values { address: by, ..Values::default() }).map(Some)
    }

    fn new_message(&self, id: MailId, template: Template, to: &Email, values: &Values) -> Result<Statement> {
        let clear = Zeroizing::new(serde_json::to_vec(values).map_err(Error::internal)?);
        let sealed = self.base.keys.seal(&context(id), &clear)?;
        self.room.added();
        let mail = store::NewMail { id, template, to: to.address(), sealed, expires_at: values.expires_at };
        Ok(store::insert(mail, self.base.now()))
    }

    /// Sends what was committed without waiting for the next look at the table.
    pub fn wake(&self) {
        self.queued.notify_one();
    }
}

/// The sealing context of what a mail says: its row.
fn context(id: MailId) -> String {
    format!("mails.sealed:{id}")
}

#[cfg(test)]
pub(crate) mod testing {
    //! Reads mails as their recipients would.

    use shared::id::MailId;

    use super::{Values, context};
    use crate::base::Base;
    use crate::db::Query;

    /// A mail that waits to be sent.
    #[derive(Debug)]
    pub struct Queued {
        pub template: String,
        pub to: String,
        pub values: Values,
    }

    /// The mails that would be sent, oldest first.
    pub async fn queued(base: &Base) -> Vec<Queued> {
        let sql = "SELECT id, template, recipient, sealed FROM mails ORDER BY id";
        let rows = base.db.query(Query::new(sql, [])).await.unwrap();
        let mails = rows.iter().map(|row| {
            let mut row = row.cursor();
            let id: MailId = row.id().unwrap();
            let (template, to) = (row.string().unwrap(), row.string().unwrap());
            let values = base.keys.open(&context(id), row.bytes().unwrap()).unwrap();
            Queued { template, to, values: serde_json::from_slice(&values).unwrap() }
        });
        mails.filter(|mail| mail.values.expires_at.is_none_or(|end| end > base.now())).collect()
    }
}
