//! The identities of a user at OpenID providers.

use clap::Args;
use shared::api::identities::{LinkIdentity, ListIdentities, UnlinkIdentity};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, Grid, clean, relative};
use shared::id::IdentityId;

use super::Context;
use crate::args::Consent;
use crate::error::Error;
use crate::values::id;

#[derive(Debug, Args)]
pub struct Link {
    /// The user's name or id
    user: String,
    /// The provider's name in authd's configuration
    #[arg(long, short, value_name = "NAME")]
    provider: String,
    /// The person's `sub` at the provider
    #[arg(long, short, value_name = "SUB")]
    subject: String,
}

#[derive(Debug, Args)]
pub struct Unlink {
    /// The user's name or id
    user: String,
    /// The identity's id
    #[arg(value_name = "ID", value_parser = |text: &str| id::<IdentityId>(text, "`authctl user identities USER` shows the id of each identity"))]
    identity: IdentityId,
}

pub(super) async fn list(user: String, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let list = context.call(&ListIdentities { id: user }).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    if list.identities.is_empty() {
        writeln!(context.io.err, "No linked identities")?;
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Wrapped("PROVIDER"),
        Wrapped("SUBJECT"),
        Wrapped("E-MAIL THERE"),
        Spare("LINKED"),
        Spare("LAST USED"),
        Whole("ID"),
    ]);
    for identity in list.identities {
        grid.row([
            identity.provider.unwrap_or(identity.issuer),
            identity.subject,
            identity.email.unwrap_or_default(),
            relative(now, identity.created_at),
            relative(now, identity.last_used_at),
            identity.id.to_string(),
        ]);
    }
    write!(context.io.out, "{}", grid.render(context.io.width))?;
    Ok(Exit::Ok)
}

pub(super) async fn link(Link { user, provider, subject }: Link, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let line = format!("Linked {subject} at {provider} to {user}, who can sign in with it");
    context.call_and_tell(&LinkIdentity { id: user, provider, subject }, |_| line).await
}

pub(super) async fn unlink(
    Unlink { user, identity }: Unlink,
    consent: Consent,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Error> {
    let question = format!("Unlink the identity {identity} of {}? All sessions end", clean(&user));
    context.ask(consent, async || Ok(question)).await?;
    let line = format!("Unlinked {identity} from {user}; every session has ended");
    context.call_and_tell(&UnlinkIdentity { id: user, identity }, |_| line).await
}
