//! The delivery of mails: takes what is due from the table and gives it to the mail server.
//!
//! A node has a lease on a mail while it sends it, by a conditional update. It takes the lease anew before the text, so
//! that a node that was slow or stopped until another had the mail sends nothing; and each half of an attempt is shorter
//! than the lease, which is how long the mails of a node that was killed wait. Between the text of a mail and the commit
//! that deletes its row a node sends nothing else: a kill -9 in between sends that one mail twice. The row is deleted
//! only after the server has accepted the mail, so none is lost.

use std::sync::Arc;
use std::time::Duration;

use shared::api::mail::MailState;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::smtp::{Failure, OPEN_TIMEOUT, SEND_TIMEOUT, Smtp};
use super::store::{self, Claimed, Longest};
use super::template::{Rendered, Template};
use super::{Mail, Values, Way, context};
use crate::db::{Batch, DbError};
use crate::env::{HOUR, MINUTE, Millis, SECOND};
use crate::keys::KeyError;
use crate::log::{self, caused};

/// How many mails a node has on the way.
const AT_ONCE: usize = 4;
/// How often the table is read: mails of other nodes, and attempts that are due.
const POLL: Duration = Duration::from_secs(5);
/// Pauses between attempts: the first, doubled up to the longest, each shorter or longer by up to a fifth, so that what
/// failed together is not tried together.
const FIRST_PAUSE: Millis = 30 * SECOND;
const LONGEST_PAUSE: Millis = HOUR;
/// The number of attempts, for about two days.
pub(super) const ATTEMPTS: i64 = 54;
/// How long an attempt may wait for the texts of other mails, and for the database at its end.
const TURN_TIMEOUT: Duration = Duration::from_secs(45);
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// The lease: longer than what comes before the text, and than the rest, by more than a commit may take.
pub(super) const LEASE: Millis = 2 * MINUTE;
const COMMIT_SECONDS: u64 = 10;
const _: () = {
    let lease = LEASE.unsigned_abs() / 1_000;
    assert!(OPEN_TIMEOUT.as_secs() + TURN_TIMEOUT.as_secs() + COMMIT_SECONDS < lease);
    assert!(COMMIT_SECONDS + SEND_TIMEOUT.as_secs() + RECORD_TIMEOUT.as_secs() < lease);
};
/// How long the end of the daemon waits for mails on the way.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause and lease in the table.
pub(super) const LONGEST: Longest = Longest { pause: LONGEST_PAUSE + LONGEST_PAUSE / 5, lease: LEASE };

#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// Held from the text of a mail to the commit that deletes its row.
    turn: Mutex<()>,
}

/// How an attempt ended.
enum End {
    Sent,
    /// The link in it has ended.
    Expired,
    Failed(Failure),
}

impl Mail {
    /// Sends mails until `stop` resolves; then waits for those on the way.
    pub async fn deliver(self: Arc<Self>, stop: impl Future<Output = ()>) {
        if self.way.is_none() {
            return;
        }
        // One process has this database: leases are of one that was killed.
        if self.base.db.engine() == "sqlite"
            && let Err(error) = self.base.db.commit(store::end_leases()).await
        {
            tracing::warn!(%error, "the leases of mails could not be ended; they end by themselves");
        }
        self.send_due(stop).await;
    }

    /// Sends mails as one of several nodes.
    pub(super) async fn send_due(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut on_the_way = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let free = AT_ONCE - on_the_way.len();
            let claimed = if free > 0 { self.claim(free).await } else { Vec::new() };
            for mail in claimed {
                let (background, attempt) = (self.base.background.clone(), self.clone().attempt(mail));
                on_the_way.spawn(async move { background.run(attempt).await });
            }
            tokio::select! {
                Some(_) = on_the_way.join_next() => {}
                () = self.queued.notified(), if on_the_way.len() < AT_ONCE => {}
                () = tokio::time::sleep(POLL) => {}
                () = &mut stop => break,
            }
        }
        let finished = async { while on_the_way.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIMEOUT, finished).await.is_err() {
            tracing::warn!("some mails were on the way; they are sent after the next start");
        }
    }

    async fn claim(&self, limit: usize) -> Vec<Claimed> {
        let limit = i64::try_from(limit).unwrap_or(1);
        let claimed = store::claim(self.base.db.as_ref(), self.base.now(), LONGEST, limit).await;
        claimed.unwrap_or_else(|error| {
            caused!(None, warn, %error, "the mails to send could not be read or claimed");
            Vec::new()
        })
    }

    async fn attempt(self: Arc<Self>, mut mail: Claimed) {
        let end = match self.open(&mail).await {
            Ok(Some((template, values))) => match self.render(template, &values) {
                Ok(words) => match self.send(&mut mail, words).await {
                    Ok(()) => return,
                    Err(failure) => End::Failed(redacted(failure, &values)),
                },
                Err(reason) => End::Failed(Failure::Refused(reason)),
            },
            Ok(None) => End::Expired,
            Err(failure) => End::Failed(failure),
        };
        self.finish(&mail, end).await;
    }

    /// What the mail says; `None` if its link has ended.
    async fn open(&self, mail: &Claimed) -> Result<Option<(Template, Values)>, Failure> {
        if mail.expires_at.is_some_and(|end| end <= self.base.now()) {
            return Ok(None);
        }
        // A later version may have written it, and another node may know it.
        let template = Template::parse(&mail.template)
            .ok_or_else(|| Failure::Later(format!("this authd has no template {}", mail.template)))?;
        let keys = &self.base.keys;
        let mut opened = keys.open(&context(mail.id), &mail.sealed);
        if matches!(opened, Err(KeyError::Unknown(_))) && keys.reload().await.is_ok() {
            opened = keys.open(&context(mail.id), &mail.sealed);
        }
        let unusable =
            |error: &dyn std::fmt::Display| Failure::Refused(format!("what it says cannot be read: {error}"));
        let clear = opened.map_err(|error| unusable(&error))?;
        // serde's error could quote a value.
        let values = serde_json::from_slice(&clear).map_err(|_| unusable(&"it is of another form"))?;
        Ok(Some((template, values)))
    }

    fn render(&self, template: Template, values: &Values) -> Result<Rendered, String> {
        self.templates.render(template, &self.product, values, self.base.now())
    }

    async fn send(&self, mail: &mut Claimed, words: Rendered) -> Result<(), Failure> {
        let smtp: &Smtp = match &self.way {
            Some(Way::Smtp(smtp)) => smtp,
            Some(Way::Print) => {
                log::say(&printed(mail, &words));
                self.finish(mail, End::Sent).await;
                return Ok(());
            }
            None => return Err(Failure::Later("mail is not configured".to_owned())),
        };
        let letter = smtp.letter(mail.id, mail.created_at, &mail.to, words)?;
        let mut session = smtp.open(&letter).await?;
        let Ok(turn) = tokio::time::timeout(TURN_TIMEOUT, self.delivery.turn.lock()).await else {
            session.end().await;
            return Err(Failure::Later("the mail server is too slow with other mails".to_owned()));
        };
        let sent = match self.renew(mail).await {
            Ok(()) => {
                let sent = tokio::time::timeout(SEND_TIMEOUT, session.send(&letter)).await;
                sent.unwrap_or_else(|_| Err(Failure::Later("the mail server is too slow".to_owned())))
            }
            Err(failure) => Err(failure),
        };
        if sent.is_ok() {
            self.finish(mail, End::Sent).await;
        }
        drop(turn);
        session.end().await;
        sent
    }

    /// Takes the lease anew, before the text.
    async fn renew(&self, mail: &mut Claimed) -> Result<(), Failure> {
        let renewed = store::renew(self.base.db.as_ref(), mail, self.base.now() + LEASE).await;
        renewed.map_err(|error| match error {
            DbError::ExpectationFailed(_) => Failure::Later("this node took too long, and another sends it".to_owned()),
            error => Failure::Later(error.to_string()),
        })
    }

    /// Records how an attempt ended.
    async fn finish(&self, mail: &Claimed, end: End) {
        let now = self.base.now();
        let is_kept = matches!(end, End::Failed(Failure::Later(_))) && mail.attempts < ATTEMPTS;
        let batch = match &end {
            End::Sent | End::Expired => store::delete(mail),
            End::Failed(Failure::Later(reason)) if is_kept => {
                store::put_back(mail, MailState::Queued, now + self.pause(mail.attempts), reason)
            }
            End::Failed(Failure::Later(reason) | Failure::Refused(reason)) => {
                store::put_back(mail, MailState::Failed, now, reason)
            }
        };
        let (id, template) = (mail.id, mail.template.as_str());
        match &end {
            End::Sent => {
                self.counts.sent.inc();
                tracing::debug!(mail = %id, template, "a mail was sent");
            }
            End::Expired => {
                self.counts.dropped.inc();
                caused!(None, warn, mail = %id, template, "a mail was not sent because its link has ended");
            }
            End::Failed(Failure::Later(reason)) if is_kept => {
                caused!(None, warn, mail = %id, template, reason, "a mail is not sent yet");
            }
            End::Failed(Failure::Later(reason) | Failure::Refused(reason)) => {
                self.counts.failed.inc();
                caused!(None, warn, mail = %id, template, reason, "a mail was refused; authctl mail list shows it");
            }
        }
        if !is_kept {
            self.room.removed();
        }
        if !self.record(batch).await {
            caused!(None, warn, mail = %id, template, "the end of an attempt at a mail could not be recorded");
        }
    }

    /// Commits the end of an attempt, again if the database is down for a moment: what was sent would be sent again.
    async fn record(&self, batch: Batch) -> bool {
        let recording = tokio::time::timeout(RECORD_TIMEOUT, async {
            while let Err(error) = self.base.db.commit(batch.clone()).await {
                if matches!(error, DbError::Defect(_)) {
                    return false;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            true
        });
        recording.await.unwrap_or(false)
    }

    /// The pause after this attempt.
    fn pause(&self, attempts: i64) -> Millis {
        let pause = (FIRST_PAUSE << (attempts - 1).clamp(0, 16)).min(LONGEST_PAUSE);
        let [byte] = self.base.env.bytes::<1>();
        let fifth = pause / 5;
        pause - fifth + 2 * fifth * Millis::from(byte) / 255
    }
}

/// A mail as `authd --dev` shows it.
fn printed(mail: &Claimed, words: &Rendered) -> String {
    let rule = "-".repeat(72);
    format!("\n{rule}\nMail to {}\nSubject: {}\n\n{}\n{rule}\n\n", mail.to, words.subject, words.text.trim_end())
}

/// The failure without what the mail says: the server may have quoted it.
fn redacted(failure: Failure, values: &Values) -> Failure {
    let hide = |text: String| {
        let secrets = [&values.link, &values.token].into_iter().flatten().filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(secret.expose(), "[redacted]"))
    };
    match failure {
        Failure::Refused(text) => Failure::Refused(hide(text)),
        Failure::Later(text) => Failure::Later(hide(text)),
    }
}
