//! Sessions of people.

use shared::api::sessions::{EndSession, ListSessions, Session, SessionKind};
use shared::cli::{Column, Exit, Grid, moment, relative};
use shared::time::Time;

use super::{Context, listing, user};
use crate::args;
use crate::error::Error;

listing!(ListSessions, sessions);

pub(super) async fn run(command: args::Session, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::Session::List(args) => list(args, context).await,
        args::Session::End(args) => end(args, context).await,
    }
}

async fn list(args: args::SessionList, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let kind = args.kind.map(SessionKind::from);
    let request = ListSessions { include_ended: args.all, kind, user: args.user, ..ListSessions::default() };
    let list = context.pages(request, args.limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Column::Whole("ID"),
        Column::Whole("KIND"),
        Column::Wrapped("USER"),
        Column::Wrapped("DEVICE"),
        Column::Spare("ADDRESS"),
        Column::Spare("LAST USED"),
        Column::Whole("ENDS"),
    ]);
    for session in &list.sessions {
        grid.row([
            session.id.to_string(),
            kind_of(session).to_owned(),
            session.user.clone(),
            session.device_name.clone().unwrap_or_default(),
            session.address.clone().unwrap_or_default(),
            relative(now, session.last_used_at),
            end_of(now, session),
        ]);
    }
    context.print_grid(&grid, list.next_cursor.as_ref(), "Nobody is signed in")
}

fn kind_of(session: &Session) -> &'static str {
    match session.kind {
        SessionKind::Login => "login",
        SessionKind::Device => "device",
    }
}

/// When it ends, or how it ended.
fn end_of(now: Time, session: &Session) -> String {
    let at = session.idle_expires_at.min(session.expires_at);
    match session.ended_at {
        Some(ended) => format!("ended {}", relative(now, ended)),
        None if at <= now => format!("expired {}", relative(now, at)),
        None => relative(now, at),
    }
}

async fn end(args: args::SessionEnd, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (id, consent) = match (args.id, args.user) {
        (Some(id), _) => (id, args.consent),
        (None, user) => return user::logout(user.unwrap_or_default(), args.consent, context).await,
    };
    context.ask(consent, async || Ok(format!("End session {id}? Whoever uses it must sign in again"))).await?;
    let ended = context.call(&EndSession { id }).await?;
    if context.print_object(&ended)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    writeln!(context.io.out, "Ended {}, {}", ended.id, moment(now, ended.ended_at))?;
    if let Some(until) = ended.credentials_until.filter(|until| *until > now) {
        let until = moment(now, until);
        writeln!(context.io.err, "AWS credentials that it was given before stop working by themselves: {until}")?;
    }
    Ok(Exit::Ok)
}
