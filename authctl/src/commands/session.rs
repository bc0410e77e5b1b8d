//! Sessions of users.

use clap::{ArgGroup, Subcommand};
use shared::api::sessions::{EndSession, ListSessions, Session, SessionKind};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, Format, moment, relative};
use shared::id::SessionId;

use super::token::expiry;
use super::{Context, listing, spelling, user};
use crate::args::{Consent, Paging, word};
use crate::error::Error;
use crate::values::{Past, id, past, within};

listing!(ListSessions, sessions: Session; user kind since until expires_within);

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
        /// Only sessions that began at this time or later: 7d or 12h ago, 2027-01-31T12:00:00Z, or a date
        #[arg(long, value_name = "TIME", value_parser = past)]
        since: Option<Past>,
        /// Only sessions that began before this time, written like --since
        #[arg(long, value_name = "TIME", value_parser = past)]
        until: Option<Past>,
        /// Only sessions that end soon unless they are used: within this time, such as 7d or 12h
        #[arg(long, value_name = "TIME", value_parser = within)]
        expires_within: Option<u32>,
        /// Include ended and expired sessions
        #[arg(long, conflicts_with = "expires_within")]
        all: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// End a session, or every session of a user
    #[command(group = ArgGroup::new("whose").required(true).args(["id", "user"]))]
    End {
        /// The session's id, as shown by `authctl session list`
        #[arg(value_name = "SESSION_ID", value_parser = session_id)]
        id: Option<SessionId>,
        /// End every session of this user
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        consent: Consent,
    },
}

fn session_id(text: &str) -> Result<SessionId, String> {
    id(
        text,
        &format!(
            "`authctl session list` shows the id of each session; `authctl session end --user {text}` ends every session of a user"
        ),
    )
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::List { user, kind, since, until, expires_within, all, paging } => {
            let now = context.now();
            let [since, until] = [since, until].map(|past| past.map(|past| past.at(now)));
            let request = ListSessions {
                include_ended: all,
                kind,
                user,
                since,
                until,
                expires_within,
                ..ListSessions::default()
            };
            list(request, paging, context).await
        }
        Command::End { id: Some(id), consent, .. } => end(id, consent, context).await,
        Command::End { user, consent, .. } => user::logout(user.unwrap_or_default(), consent, context).await,
    }
}

async fn list(request: ListSessions, paging: Paging, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
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
    context.list(request, paging, "Nobody is signed in", columns, row).await
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
