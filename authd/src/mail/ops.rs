//! The operations on mails.

use serde_json::json;
use shared::api::Done;
use shared::api::mail::{DropMail, ListMails, Mail as View, MailList, RetryMail, ShowMail, TestMail};
use shared::email::Email;
use shared::id::MailId;
use shared::op::Operation;
use shared::problem::Code;

use super::delivery::LEASE;
use super::{Mail, Template, Values, store};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::page::Page;

impl Mail {
    pub(super) async fn test(&self, call: Call, op: TestMail) -> Result<View> {
        let to = Email::parse(&op.to).map_err(|fault| Error::field("to", fault))?;
        self.require()?;
        self.check_room().await?;
        let id = MailId(self.base.env.uuid());
        let values = Values { address: call.address, ..Values::default() };
        let change = Change::new(TestMail::INFO.name, id)
            .with([self.new_message(id, Template::Test, &to, &values)?])
            .detail([("to", Some(json!(to.address())))]);
        let now = self.base.now();
        self.base.ledger.commit(&call, change).await?;
        self.wake();
        Ok(store::queued(id, Template::Test, to.address(), now))
    }

    pub(super) async fn list(&self, _: Call, op: ListMails) -> Result<MailList> {
        let page = Page::<MailId>::new(op.cursor.as_deref(), op.limit)?;
        let (mails, next_cursor) = store::list(self.base.db.as_ref(), &page).await?;
        Ok(MailList { mails, next_cursor })
    }

    pub(super) async fn show(&self, _: Call, op: ShowMail) -> Result<View> {
        store::show(self.base.db.as_ref(), op.id).await?.ok_or_else(not_found)
    }

    pub(super) async fn retry(&self, call: Call, op: RetryMail) -> Result<View> {
        self.require()?;
        let retry = store::retry(op.id, self.base.now(), LEASE);
        let change = Change::new(RetryMail::INFO.name, op.id).with([retry]);
        let committed = match self.base.ledger.commit(&call, change).await {
            Ok(committed) => committed,
            Err(refused) => return Err(self.unchanged(op.id, refused).await),
        };
        self.queued.notify_one();
        committed.rows(store::RETRY).first().map_or_else(|| Err(not_found()), store::read)
    }

    pub(super) async fn drop(&self, call: Call, op: DropMail) -> Result<Done> {
        let drop = store::drop(op.id, self.base.now(), LEASE);
        match self.base.ledger.commit(&call, Change::new(DropMail::INFO.name, op.id).with([drop])).await {
            Ok(_) => {
                self.counts.dropped.inc();
                Ok(Done::default())
            }
            Err(refused) => Err(self.unchanged(op.id, refused).await),
        }
    }

    /// Why a mail was not changed.
    async fn unchanged(&self, id: MailId, refused: Refused) -> Error {
        match refused {
            Refused::ExpectationFailed(store::RETRY | store::DROP) => {
                match store::is_there(self.base.db.as_ref(), id).await {
                    Ok(true) => Error::new(Code::Conflict, "this mail is being sent right now").retry_after(5),
                    Ok(false) => not_found(),
                    Err(error) => error.into(),
                }
            }
            refused => refused.into(),
        }
    }
}

fn not_found() -> Error {
    Error::new(Code::NotFound, "there is no such mail; it was sent, or dropped")
}
