//! Mails that are not sent yet, or were refused.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use shared::api::mail::{DropMail, ListMails, Mail, MailState, RetryMail, ShowMail, TestMail};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, clean, relative};
use shared::client;
use shared::id::MailId;
use shared::names::fold;
use shared::problem::Code;

use super::listing::Keep;
use super::{Context, listing, spelling};
use crate::args::{Between, Consent, Paging};
use crate::error::Error;
use crate::values::id;

listing!(ListMails, mails: Mail);

/// The pause between two looks at a mail that is being sent.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a test mail
    Test {
        /// The e-mail address that gets it
        #[arg(value_name = "ADDRESS")]
        to: String,
        /// Wait until the mail server has accepted it, for 60 seconds at most (exit code 1 when it has not)
        #[arg(long)]
        wait: bool,
    },
    /// List mails that are not sent yet, or were refused, newest first
    List {
        /// Only mails to addresses that begin with this
        #[arg(long, value_name = "TEXT")]
        to: Option<String>,
        #[command(flatten)]
        created: Between,
        #[command(flatten)]
        paging: Paging,
    },
    /// Send mails at once, also those that were refused
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Delete mails instead of sending them
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The mails that a command is about.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("mails").required(true).args(["id", "all"]))]
pub struct Which {
    /// The mail's id, as shown by `authctl mail list`
    #[arg(value_name = "MAIL_ID", value_parser = |text: &str| id::<MailId>(text, "`authctl mail list` shows the id of each mail"))]
    id: Option<MailId>,
    /// Every mail that `authctl mail list` shows
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Test { to, wait } => test(to, wait, context).await,
        Command::List { to, created, paging } => list(to, created, paging, context).await,
        Command::Retry { which } => retry(which, context).await,
        Command::Drop { which, consent } => drop(which, consent, context).await,
    }
}

async fn test(to: String, wait: bool, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let mail = context.call(&TestMail { to }).await?;
    if !wait {
        return context.tell(&mail, || format!("Queued {}, a test mail to {}", mail.id, mail.to));
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut last = mail;
    loop {
        match context.client.call(&ShowMail { id: last.id }).await {
            Ok(mail) => last = mail,
            Err(client::Error::Refused(problem)) if problem.error == Code::NotFound => {
                return context.tell(&last, || format!("Sent {}, a test mail to {}", last.id, last.to));
            }
            Err(source) => return Err(context.failed(source)),
        }
        if last.error.is_some() || tokio::time::Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let now = context.now();
    let reason = last.error.as_deref().unwrap_or("the mail server has not answered yet");
    let next = last.next_attempt_at.map(|at| format!("; authd tries again {}", relative(now, at)));
    context.print_object(&last)?;
    writeln!(context.io.err, "Not sent: {}{}", clean(reason), next.unwrap_or_default())?;
    Ok(Exit::Refused)
}

async fn list(
    to: Option<String>,
    created: Between,
    paging: Paging,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Error> {
    let columns = [
        Whole("ID"),
        Whole("TEMPLATE"),
        Wrapped("TO"),
        Spare("CREATED"),
        Whole("STATE"),
        Spare("ATTEMPTS"),
        Spare("NEXT"),
        Wrapped("ERROR"),
    ];
    let row = |now, mail: Mail| {
        [
            mail.id.to_string(),
            mail.template,
            mail.to,
            relative(now, mail.created_at),
            spelling(mail.state),
            mail.attempts.to_string(),
            mail.next_attempt_at.map(|at| relative(now, at)).unwrap_or_default(),
            mail.error.unwrap_or_default(),
        ]
    };
    let (now, to) = (context.now(), to.map(|to| fold(&to)));
    let keep =
        |mail: &Mail| to.as_ref().is_none_or(|to| fold(&mail.to).starts_with(to)) && created.has(now, mail.created_at);
    let keep: Option<Keep<'_, ListMails>> = if to.is_none() && created.is_all() { None } else { Some(&keep) };
    let empty = "No mails wait, and none was refused";
    context.list_where(ListMails::default(), paging, keep, empty, columns, row).await
}

async fn retry(which: Which, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let line = |id: MailId| format!("Queued {id} again");
    if let Some(id) = which.id {
        return context.call_and_tell(&RetryMail { id }, |_| line(id)).await;
    }
    let mails = context.all(ListMails::default()).await?;
    context.for_mails(mails, |id| RetryMail { id }, line).await
}

async fn drop(which: Which, consent: Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let line = |id: MailId| format!("Dropped {id}");
    if let Some(id) = which.id {
        context.ask(consent, async || Ok(format!("Drop mail {id}? Nobody gets it"))).await?;
        return context.call_and_tell(&DropMail { id }, |_| line(id)).await;
    }
    let mails = context.all(ListMails::default()).await?;
    let failed = mails.iter().filter(|mail| mail.state == MailState::Failed).count();
    let (all, waiting) = (mails.len(), mails.len() - failed);
    context
        .ask(consent, async || Ok(format!("Drop {all} mails, of which {waiting} still wait? Nobody gets them")))
        .await?;
    context.for_mails(mails, |id| DropMail { id }, line).await
}

impl Context<'_, '_> {
    /// Calls an operation for each mail. One that was sent in the meantime, or is being sent, is left out.
    async fn for_mails<Op: shared::op::Operation>(
        &mut self,
        mails: Vec<Mail>,
        request: impl Fn(MailId) -> Op,
        line: impl Fn(MailId) -> String,
    ) -> Result<Exit, Error> {
        for mail in mails {
            match self.client.call(&request(mail.id)).await {
                Ok(_) if self.format == shared::cli::Format::Table => writeln!(self.io.out, "{}", line(mail.id))?,
                Ok(_) => {}
                Err(client::Error::Refused(problem)) if matches!(problem.error, Code::NotFound | Code::Conflict) => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        self.done()
    }
}
