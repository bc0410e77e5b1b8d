//! An example of a program through which people own their account at authd: a walk through all of an account's life, from
//! the sign-up to its end.
//!
//! `account-walk ADDRESS NEW_ADDRESS` asks for everything else: the tokens that authd mails, passwords, and codes of an
//! authenticator app. Without a terminal it reads them from stdin, one a line. `AUTHD_URL` is where authd is.

use std::error::Error;
use std::io::{IsTerminal as _, stdin};
use std::process::ExitCode;

use shared::api::accounts::AccountFault;
use shared::api::factors::RecoveryCodes;
use shared::client::{Account, AccountError, Accounts, Authd, Endpoint};
use shared::secret::Secret;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often a person may type something that is not accepted.
const TRIES: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match walk().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn walk() -> Result<()> {
    let url = std::env::var("AUTHD_URL").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let mut args = std::env::args().skip(1);
    let (Some(email), Some(new_email)) = (args.next(), args.next()) else {
        return Err("usage: account-walk ADDRESS NEW_ADDRESS".into());
    };
    // A service has one `Authd` for all, and passes the address of each of its clients.
    let accounts = Authd::at(Endpoint::url(&url)?).build()?.accounts(None);

    // Whether the address has an account already is told to its mailbox alone.
    accounts.sign_up(&email).await?;
    println!("A mail with a token goes to {email}");
    let signed_in = accepted(async || {
        let (token, password) = (ask("The token of the mail")?, ask("A password for the account")?);
        Ok(accounts.verify_sign_up(token, password, None).await?)
    });
    let account = accounts.of_session(signed_in.await?.token);
    println!("Signed in as {}", account.profile().await?.payload.username);

    let pending = accepted(async || Ok(account.enable_totp(ask("Password")?).await?)).await?;
    println!("For an authenticator app: {}", pending.uri.expose());
    let codes = accepted(async || Ok(account.confirm_totp(ask("The app's code")?).await?)).await?;
    show(&codes);

    account.logout().await?;
    let account = log_in(&accounts, &email).await?;
    let codes = accepted(async || Ok(account.renew_recovery_codes(ask("Password")?, ask_code()?).await?)).await?;
    show(&codes);
    accepted(async || Ok(account.change_password(ask("Password")?, ask("New password")?, None).await?)).await?;
    println!("The password is changed");

    // Forgotten. An account without TOTP needs no code; with it, no code is `AccountFault::CodeRequired`.
    accounts.request_reset(&email).await?;
    println!("If {email} has an account, a mail with a token goes there");
    let reset = async || {
        let (token, password) = (ask("The token of the mail")?, ask("New password")?);
        Ok(accounts.confirm_reset(token, password, Some(ask_code()?)).await?)
    };
    accepted(reset).await?;
    println!("The password is set; every session has ended");

    let account = log_in(&accounts, &email).await?;
    accepted(async || Ok(account.change_email(ask("Password")?, &new_email, Some(ask_code()?)).await?)).await?;
    println!("A mail with a token goes to {new_email}");
    accepted(async || Ok(accounts.confirm_email(ask("The token of the mail")?).await?)).await?;
    println!("The address is {}", account.profile().await?.payload.username);

    accepted(async || Ok(account.disable_totp(ask("Password")?, ask_code()?).await?)).await?;
    println!("TOTP is off");
    accepted(async || Ok(account.delete(ask("Password")?, None).await?)).await?;
    println!("The account is deleted");
    Ok(())
}

/// Whether a code is needed is told only to who knows the password.
async fn log_in(accounts: &Accounts, username: &str) -> Result<Account> {
    let signed_in = accepted(async || {
        let password = ask("Password")?;
        match accounts.login(username, password.clone(), None).await {
            Err(error) if error.fault() == AccountFault::CodeRequired => {
                Ok(accounts.login(username, password, Some(ask_code()?)).await?)
            }
            answer => Ok(answer?),
        }
    });
    Ok(accounts.of_session(signed_in.await?.token))
}

/// Takes a step, and again if what was typed is not accepted.
async fn accepted<T>(mut step: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match step().await {
            Err(error) if error.downcast_ref().is_some_and(is_typed) => tell(&*error),
            answer => return answer,
        }
    }
    step().await
}

/// Whether it is about what was typed; nothing that is typed helps where authd is down, or does not permit it.
fn is_typed(error: &AccountError) -> bool {
    use AccountFault::{CodeRequired, InvalidFormat, InvalidToken, PatternMismatch, WrongCredentials};
    let fault = error.fault();
    matches!(fault, CodeRequired | InvalidFormat | InvalidToken | PatternMismatch | WrongCredentials)
}

/// Prints what went wrong and what to do; for programs there is the fault.
fn tell(error: &(dyn Error + 'static)) {
    match error.downcast_ref::<AccountError>() {
        Some(error) => eprintln!("{} {error}", error.fault().as_str()),
        None => eprintln!("{error}"),
    }
}

fn show(codes: &RecoveryCodes) {
    println!("Keep these recovery codes; each works once in the place of a code, and the ones before are void:");
    codes.recovery_codes.iter().for_each(|code| println!("{}", code.expose()));
}

fn ask_code() -> Result<Secret> {
    ask("A code of the app, or a recovery code")
}

/// What somebody types. A terminal does not show it.
fn ask(what: &str) -> Result<Secret> {
    if stdin().is_terminal() {
        return Ok(Secret::new(dialoguer::Password::new().with_prompt(what).interact()?));
    }
    println!("{what}:");
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    Secret::read(&line).ok_or_else(|| format!("{what} is missing").into())
}
