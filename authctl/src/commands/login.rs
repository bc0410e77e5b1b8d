//! Sign-in to a server, sign-out, and the caller's identity.

use clap::Args;
use shared::api::sessions::{self, ChangePassword, LoggedIn, Logout, WhoAmI};
use shared::cli::{Exit, clean, moment};
use shared::keyring::TokenStore;
use shared::secret::Secret;
use shared::time::Time;

use super::Context;
use super::password::{self, PasswordAndCode};
use crate::connect::{self, Credentials};
use crate::error::Error;
use crate::session_store::{self, Folder, KEYRING, StoredSession};

#[derive(Debug, Args)]
pub struct Login {
    /// The user name [default: a terminal prompts for it]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    password: PasswordAndCode,
    /// Where to store the session's token [default: the keyring if there is one, else a file]
    #[arg(long, value_name = "STORE")]
    token_store: Option<TokenStore>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OwnPassword {
    /// Read the current and the new password from stdin, one per line; with TOTP, a code on a third line
    #[arg(long)]
    password_stdin: bool,
}

fn folder(context: &Context<'_, '_>) -> Result<Folder, Error> {
    let none =
        || Error::Usage("there is no home directory to store a session in: set HOME, or XDG_STATE_HOME".to_owned());
    Folder::find(context.io).ok_or_else(none)
}

pub(super) async fn login(args: Login, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let folder = folder(context)?;
    let server = session_store::name(context.client.endpoint());
    // An unreadable session is replaced by this sign-in.
    let sessions = folder.sessions(&server).unwrap_or_default();
    let username = match (args.user.or_else(|| context.user.clone()), context.io.person) {
        (Some(user), _) => user,
        (None, Some(person)) => person.line("User", sessions.first().map(|session| session.user.as_str()))?,
        (None, None) => {
            let detail = "there is no terminal to prompt for the user name: use --user NAME and --password-stdin";
            return Err(Error::Usage(detail.to_owned()));
        }
    };
    let prompt = format!("Password of {} at {server} (not shown)", clean(&username));
    let (password, totp) = password::with_code(args.password, &prompt, context.io)?;
    // Checked first, so that a person does not sign in for a token that cannot be stored.
    let wanted = args.token_store.or_else(|| sessions.first().map(|session| session.store));
    let (store, why) = KEYRING.choose(wanted, (context.io.new_key)().as_bytes()).map_err(Error::Refused)?;
    let login = sessions::Login { username, password, totp };
    let answer = context.call_with_code(login, |login, code| login.totp = Some(code)).await?;
    let user = &answer.payload.username;
    let session = StoredSession::new(&server, user, answer.token.clone(), store, context.now());
    let (before, others): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|session| session.is_of(user));
    // Their tokens, before the keyring has the new one in the place of the old one.
    let old: Vec<Secret> = before.iter().filter_map(|session| session.token().ok().flatten()).collect();
    let saved = others.iter().try_for_each(|other| folder.set_aside(other)).and_then(|()| folder.save(session.clone()));
    if let Err(error) = saved {
        // Only this process has its token, so the session must end at authd.
        end_session(answer.token, context).await.ok();
        return Err(error);
    }
    before.iter().for_each(|before| folder.remove_replaced(before, &session));
    for old in old {
        // If this fails, the session expires.
        end_session(old, context).await.ok();
    }
    tell_login(&answer, &server, &(store.place(folder.path()) + &why), context)?;
    if let Some(socket) = connect::usable_socket().await {
        writeln!(
            context.io.err,
            "note: on this machine, commands that name no server use the admin socket {}; with --as {} they use the session",
            socket.display(),
            clean(user)
        )?;
    }
    for other in others {
        let other = clean(&other.user).into_owned();
        writeln!(context.io.err, "{other} stays signed in there: --as {other} uses that session")?;
    }
    Ok(Exit::Ok)
}

fn tell_login(answer: &LoggedIn, server: &str, place: &str, context: &mut Context<'_, '_>) -> Result<(), Error> {
    writeln!(context.io.err, "The session's token is stored {}", clean(place))?;
    if let Some((variable, _)) = connect::token_variable(context.io) {
        writeln!(
            context.io.err,
            "note: {variable} is set and takes precedence over the session where --server is given"
        )?;
    }
    // The API's own object has the token, which is stored and not shown.
    if context.print_object(&answer.payload)? {
        return Ok(());
    }
    let seconds = |seconds: i64| moment(context.now(), Time::from_millis(seconds.saturating_mul(1_000)));
    let user = clean(&answer.payload.username);
    let end = seconds(answer.expires_at);
    let latest = answer.max_expires_at.map(|at| format!(", at the latest {}", seconds(at))).unwrap_or_default();
    writeln!(context.io.out, "Signed in to {server} as {user}. If unused, the session ends {end}{latest}")?;
    Ok(())
}

/// Ends the session of a token, instead of the client's own credentials.
async fn end_session(token: Secret, context: &Context<'_, '_>) -> Result<(), Error> {
    let client = context.client.clone().with_bearer(token);
    client.call(&Logout {}).await.map(drop).map_err(|source| context.failed(source))
}

pub(super) async fn logout(context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let folder = folder(context)?;
    let server = session_store::name(context.client.endpoint());
    let Some(session) = folder.session(&server, context.user.as_deref())? else {
        return Err(Error::NotAuthenticated(format!("you are not signed in to {server}")));
    };
    // The token is removed even if the keyring or the daemon does not answer.
    let token = session.token();
    let removed = session.remove();
    let ended = match token {
        Ok(Some(token)) => end_session(token, context).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    removed?;
    // 401 means that the session has ended already.
    if let Err(error) = ended
        && error.status() != Some(401)
    {
        writeln!(context.io.err, "The session is removed from this machine; at authd it expires by itself")?;
        return Err(error);
    }
    writeln!(context.io.out, "Signed out of {server} as {}", clean(&session.user))?;
    if let Some(last) = folder.last() {
        let (server, user) = (clean(&last.server), clean(&last.user));
        writeln!(context.io.err, "note: commands without --server use {server} now, as {user}")?;
    }
    Ok(Exit::Ok)
}

/// Changes the password of the session's user.
pub(super) async fn passwd(args: OwnPassword, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    context.require_person("authctl user passwd USER")?;
    let (password, new_password, totp) = password::change(args.password_stdin, context.io)?;
    let change = ChangePassword { password, new_password, totp };
    let done = context.call_with_code(change, |change, code| change.totp = Some(code)).await?;
    context.tell(&done, || "Your password is changed; all your other sessions have ended".to_owned())
}

pub(super) async fn whoami(context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let identity = context.call(&WhoAmI {}).await?;
    let user = identity.user.as_ref();
    let permissions = match identity.permissions.as_slice() {
        [] => "nothing".to_owned(),
        all if all.iter().any(|name| name == "admin") => "everything (admin)".to_owned(),
        some => some.join(", "),
    };
    let shown = match context.credentials {
        Credentials::Peer => "the user id of this process on the admin socket",
        Credentials::None => "nothing",
        Credentials::Token => "the token in AUTHCTL_TOKEN or ADMIN_TOKEN",
        Credentials::Session => "the session of `authctl login`",
    };
    let fields = [
        ("You are", identity.caller.clone()),
        ("User", user.map(|user| format!("{} ({})", user.username, user.user_id)).unwrap_or_default()),
        ("Name", user.map(|user| user.name.clone()).unwrap_or_default()),
        ("Service", identity.service_id.map(|id| id.to_string()).unwrap_or_default()),
        ("By", shown.to_owned()),
        ("On authd", permissions),
        ("Reached by", context.client.endpoint().to_string()),
    ];
    context.show(&identity, &fields)
}
