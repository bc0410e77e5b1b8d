//! The second factor of the person who is signed in.

use clap::{Args, Subcommand};
use shared::api::factors::{
    ConfirmTotp, DisableTotp, EnableTotp, FactorKind, FactorList, ListFactors, PendingTotp, RecoveryCodes,
    RenewRecoveryCodes,
};
use shared::cli::{Exit, Format, moment};
use shared::qr::Qr;
use shared::time::Time;

use super::Context;
use super::password::{self, NewPassword, PasswordAndCode};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show whether TOTP is on, and how many recovery codes are left
    Status,
    /// Begin to turn TOTP on: print a QR code for an authenticator app; a terminal then prompts for its code
    Enable(NewPassword),
    /// Turn TOTP on with a code of the app, and print the recovery codes, this once; ends every other session of yours
    Confirm(Code),
    /// Turn TOTP off; ends every other session of yours
    Disable(PasswordAndCode),
    /// Replace your recovery codes, and print the new ones, this once
    RecoveryCodes(PasswordAndCode),
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Code {
    /// Read the code from stdin
    #[arg(long)]
    code_stdin: bool,
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    context.require_person("authctl user totp reset USER")?;
    match command {
        Command::Status => {
            let list = context.call(&ListFactors {}).await?;
            let fields = fields(&list, context.now());
            context.show(&list, &fields)
        }
        Command::Enable(args) => {
            let password = password::existing(args, "Your password (not shown)", context.io)?;
            let pending = context.call(&EnableTotp { password }).await?;
            if context.print_object(&pending)? {
                return Ok(Exit::Ok);
            }
            show_pending(&pending, context)?;
            if context.io.person.is_some() { confirm(Code { code_stdin: false }, context).await } else { Ok(Exit::Ok) }
        }
        Command::Confirm(code) => confirm(code, context).await,
        Command::Disable(args) => {
            let (password, code) = password::with_required_code(args, context.io)?;
            let line = "TOTP is off; all your other sessions have ended";
            context.call_and_tell(&DisableTotp { password, code }, |_| line.to_owned()).await
        }
        Command::RecoveryCodes(args) => {
            let (password, code) = password::with_required_code(args, context.io)?;
            let codes = context.call(&RenewRecoveryCodes { password, code }).await?;
            show_codes(&codes, "The old recovery codes are void.", context)
        }
    }
}

/// The factors of a user as titles and values.
pub(super) fn fields(list: &FactorList, now: Time) -> Vec<(&'static str, String)> {
    let mut fields: Vec<_> = list
        .factors
        .iter()
        .map(|factor| {
            let used = factor.last_used_at.map(|at| format!(", last used {}", moment(now, at))).unwrap_or_default();
            ("Factor", format!("{}, since {}{used}", factor.name, moment(now, factor.created_at)))
        })
        .collect();
    if fields.is_empty() {
        fields.push(("Factor", "none besides the password".to_owned()));
    }
    if list.factors.iter().any(|factor| factor.kind == FactorKind::Totp) {
        fields.push(("Recovery", format!("{} unused codes", list.recovery_codes)));
    }
    fields
}

fn show_pending(pending: &PendingTotp, context: &mut Context<'_, '_>) -> Result<(), Error> {
    let (now, colour) = (context.now(), context.io.colour);
    if let Some(qr) = Qr::new(pending.uri.expose()) {
        write!(context.io.out, "{}", qr.to_text(colour))?;
    }
    writeln!(context.io.out, "Scan it with an authenticator app, or type the secret: {}", pending.secret.expose())?;
    context.io.out.flush()?;
    if context.io.person.is_none() {
        let end = moment(now, pending.expires_at);
        writeln!(context.io.err, "It has no effect until `authctl totp confirm`; it is void {end}")?;
    }
    Ok(())
}

async fn confirm(args: Code, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let code = password::code(args.code_stdin, context.io)?;
    let codes = context.call(&ConfirmTotp { code, password: None }).await?;
    show_codes(&codes, "TOTP is on; all your other sessions have ended.", context)
}

fn show_codes(codes: &RecoveryCodes, done: &str, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.format == Format::Table {
        for code in &codes.recovery_codes {
            writeln!(context.io.out, "{}", code.expose())?;
        }
        context.io.out.flush()?;
        writeln!(
            context.io.err,
            "{done} Each of these recovery codes works once in the place of a code. They are not shown again"
        )?;
        return Ok(Exit::Ok);
    }
    context.print_object(codes)?;
    Ok(Exit::Ok)
}
