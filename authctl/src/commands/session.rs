//! Sessions of users.

use clap::{ArgGroup, Subcommand};
use shared::api::sessions::{EndSession, ListSessions, Session, SessionKind};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, Format, moment, relative};
use shared::id::SessionId;

use super::token::expiry;
use super::{Context, listing, spelling, user};
use crate::args::{Consent, Limit, word};
use crate::error::Error;

listing!(ListSessions, sessions: Session);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List live sessions, newest first
    List {
        /// Only sessions of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Only this kind: `login` is a user signed in by a program, `web` by a browser, `device` a
        /// developer's machine
        #[arg(long, value_parser = word::<SessionKind>(["login", "web", "device"]))]
        kind: Option<SessionKind>,
        /// Include ended and expired sessions
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        limit: Limit,
    },
    /// End a session, or every session of a user
    #[command(group = ArgGroup::new("whose").required(true).args(["id", "user"]))]
    End {
        /// The session's id, as shown by `authctl session list`
        #[arg(value_name = "SESSION_ID")]
        id: Option<SessionId>,
        /// End every session of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        consent: Consent,
    },
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::List { user, kind, all, limit } => {
            let request = ListSessions { include_ended: all, kind, user, ..ListSessions::default() };
            list(request, limit, context).await
        }
        Command::End { id: Some(id), consent, .. } => end(id, consent, context).await,
        Command::End { user, consent, .. } => user::logout(user.unwrap_or_default(), consent, context).await,
    }
}

async fn list(request: ListSessions, limit: Limit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let columns = [
        Whole("ID"),
        Whole("KIND"),
        Wrapped("USER"),
        Wrapped("DEVICE"),
        Spare("ADDRESS"),
        Spare("LAST USED"),
        Whole("ENDS"),
    ];
    let row = |now, session: Session| {
        let end = match session.ended_at {
            Some(ended) => format!("ended {}", relative(now, ended)),
            None => expiry(now, Some(session.idle_expires_at.min(session.expires_at)), relative),
        };
        [
            session.id.to_string(),
            spelling(session.kind),
            session.user,
            session.device_name.unwrap_or_default(),
            session.address.unwrap_or_default(),
            relative(now, session.last_used_at),
            end,
        ]
    };
    context.list(request, limit, "Nobody is signed in", columns, row).await
}

async fn end(id: SessionId, consent: Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    context.ask(consent, async || Ok(format!("End session {id}? Its user must sign in again"))).await?;
    let ended = context.call(&EndSession { id }).await?;
    let now = context.now();
    context.tell(&ended, || format!("Ended {}, {}", ended.id, moment(now, ended.ended_at)))?;
    if let Some(until) = ended.credentials_until.filter(|until| *until > now && context.format == Format::Table) {
        let until = moment(now, until);
        writeln!(
            context.io.err,
            "AWS credentials issued to this session before still work until they expire: {until}"
        )?;
    }
    Ok(Exit::Ok)
}
