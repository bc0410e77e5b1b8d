//! Makes access match a file: reads the file and the current state, shows the difference, and applies it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File as OsFile;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Args, ValueEnum};
use shared::api::rbac::{
    ListGrants, ListPermissions, ListRolePermissions, ListRoles, ListServiceRoles, ListServices, Service,
};
use shared::api::users::ShowUser;
use shared::cli::{Exit, Format, clean};
use shared::email::Email;
use shared::names::fold;

use super::Context;
use crate::Io;
use crate::apply::{AUTHD, Current, Fault, File, Held, MAX_BYTES, Plan, Step, User, email_of_user, idle, name_of_user};
use crate::args::Consent;
use crate::error::Error;

/// A file with many thousand entries takes a few tenths of a second.
const PARSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The file format as an example, shown in the help below the options.
pub const FILE_FORMAT: &str = "\
The file in TOML (YAML has the same keys; `roles`, `services`, `users` and `grants` also name the repeated tables):
  permissions = [\"orders.read\", \"orders.write\"]

  [[role]]
  name = \"editor\"
  permissions = [\"orders.read\", \"orders.write\"]

  [[service]]
  name = \"orders\"
  description = \"The order desk\"
  roles = [\"editor\"]

  [[user]]
  name = \"alice\"
  email = \"alice@example.com\"
  invite = true

  [[grant]]
  user = \"alice\"
  service = \"orders\"
  roles = [\"editor\"]
  permissions = []

Everything that the file names becomes exactly as declared: what is missing is created, what differs is changed, and
permissions of a named role, roles of a named service, and grants of a named user in a named service are removed when
they are not listed. The `status` of a role or service is \"active\" unless it is set to \"inactive\". What the file does
not name stays as it is, unless --prune. A user with `invite` whom authd does not have is created and mailed a link to
set their password; users are not changed, removed, or invited twice (`authctl user invite` mails again). authd's own
service `authd` and role `authd-admin` are never removed. Applying a file again changes nothing. When a change fails,
earlier changes stay; apply the file again to continue.";

#[derive(Debug, Args)]
pub struct Apply {
    /// The file; its extension says whether it is TOML or YAML. `-` reads stdin and requires --format
    file: PathBuf,
    /// The file's format [default: by its extension]
    #[arg(long)]
    format: Option<FileFormat>,
    /// Also remove services, roles, permissions and grants that the file does not name
    #[arg(long)]
    prune: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: exit with code 5 when the plan has changes
    #[arg(long, requires = "dry_run")]
    exit_code: bool,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    Toml,
    Yaml,
}

pub(super) async fn run(args: Apply, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let file = read(&args, context.io)?;
    let (current, mut faults) = current(&file, args.prune, context).await?;
    let mut plan = match Plan::new(&file.wanted, &current, args.prune) {
        Ok(plan) if faults.is_empty() => plan,
        planned => {
            faults.extend(planned.err().unwrap_or_default());
            return Err(Error::Refused(file.tell(&faults)));
        }
    };
    let notes = file.tell(&idle(&file.wanted, &current));
    if !notes.is_empty() {
        // Names are escaped for the terminal; line breaks stay.
        writeln!(context.io.err, "note: {}", notes.lines().map(clean).collect::<Vec<_>>().join("\n"))?;
    }
    if plan.is_empty() {
        return context.tell(&plan, || "Nothing to do: the current state matches the file".to_owned());
    }
    if args.dry_run {
        if !context.print_object(&plan)? {
            show(&plan, context)?;
        }
        return Ok(if args.exit_code { Exit::Different } else { Exit::Ok });
    }
    show(&plan, context)?;
    context.ask(args.consent, async || Ok(format!("Apply the changes ({})?", plan.summary(false)))).await?;
    make(&plan, context).await?;
    plan.applied = true;
    context.tell(&plan, || format!("Done: {}", plan.summary(true)))
}

/// Prints the plan to stdout; if stdout is for an object, to stderr, and only for a person who will be asked.
fn show(plan: &Plan, context: &mut Context<'_, '_>) -> Result<(), Error> {
    let io = &mut *context.io;
    if context.format == Format::Table {
        write!(io.out, "{}\n{}\n", plan.render(io.colour), plan.summary(false))?;
        io.out.flush()?;
    } else if io.person.is_some() {
        write!(io.err, "{}\n{}\n", plan.render(io.colour_errors), plan.summary(false))?;
    }
    Ok(())
}

/// Reads the file and checks it without calling the daemon.
fn read(args: &Apply, io: &Io<'_>) -> Result<File, Error> {
    let is_stdin = args.file == Path::new("-");
    let shown = if is_stdin { "stdin".to_owned() } else { args.file.display().to_string() };
    let ending = args.file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let format = match (args.format, ending.as_deref()) {
        (Some(format), _) => format,
        (None, Some("toml")) => FileFormat::Toml,
        (None, Some("yaml" | "yml")) => FileFormat::Yaml,
        (None, _) => return Err(Error::Usage(format!("{shown}: say --format toml or --format yaml"))),
    };
    let read = if is_stdin {
        (io.read_stdin)(MAX_BYTES + 1)
    } else {
        OsFile::open(&args.file).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
    };
    let bytes = read.map_err(|error| Error::Usage(format!("cannot read {shown}: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::Usage(format!("{shown} is larger than {MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::Usage(format!("{shown} is not UTF-8")))?;
    let told = shown.clone();
    within(PARSE_TIMEOUT, move || File::parse(shown, format, text))
        .unwrap_or_else(|| Err(format!("{told} cannot be parsed in {} s", PARSE_TIMEOUT.as_secs())))
        .map_err(Error::Usage)
}

/// Runs on a thread that is abandoned when it takes too long; the process exits without it. The YAML parser takes
/// minutes for a megabyte of open brackets before it rejects them as too deep.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(limit).ok()
}

/// Fetches the state that the difference depends on. The faults are unknown people, and users with another address.
async fn current(file: &File, prune: bool, context: &Context<'_, '_>) -> Result<(Current, Vec<Fault>), Error> {
    let mut current = Current::default();
    let permissions = context.all(ListPermissions::default()).await?;
    current.permissions = by_name(permissions.into_iter().map(|permission| permission.name));
    for role in context.all(ListRoles::default()).await? {
        current.roles.insert(fold(&role.name), Held { name: role.name, status: role.status, ..Held::default() });
    }
    for service in context.all(ListServices::default()).await? {
        let Service { name, description, status, .. } = service;
        current.services.insert(fold(&name), Held { name, description, status, ..Held::default() });
    }
    for wanted in &file.wanted.roles {
        if let Some(role) = current.roles.get_mut(&fold(&wanted.name)) {
            let request = ListRolePermissions { id: role.name.clone(), ..ListRolePermissions::default() };
            let permissions = context.all(request).await?;
            role.holds = by_name(permissions.into_iter().map(|permission| permission.name));
        }
    }
    // Includes services in which the file grants roles: whether a role counts depends on the service.
    let declared = file.wanted.services.iter().map(|service| &service.name);
    let given = file.wanted.grants.iter().map(|grant| &grant.service);
    let mut services: BTreeSet<String> = declared.chain(given).map(|name| fold(name)).collect();
    if prune {
        services.insert(AUTHD.to_owned());
    }
    for name in services {
        if let Some(service) = current.services.get_mut(&name) {
            let request = ListServiceRoles { id: service.name.clone(), ..ListServiceRoles::default() };
            service.holds = by_name(context.all(request).await?.into_iter().map(|role| role.name));
        }
    }
    let mut faults = users(file, &mut current, context).await?;
    faults.extend(grants(file, &mut current, context).await?);
    if prune {
        current.add_grants(context.all(ListGrants::default()).await?);
    }
    Ok((current, faults))
}

fn by_name(names: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    names.map(|name| (fold(&name), name)).collect()
}

/// Finds the users that the file declares.
async fn users(file: &File, current: &mut Current, context: &Context<'_, '_>) -> Result<Vec<Fault>, Error> {
    let find = async |id: &str| match context.call(&ShowUser { id: id.to_owned() }).await {
        Ok(user) => Ok(Some(user)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    };
    let mut faults = Vec::new();
    for (index, User { name, email, invite }) in file.wanted.users.iter().enumerate() {
        match find(name).await? {
            Some(user) => {
                current.users.insert(fold(name));
                if !user.email.as_deref().is_some_and(|own| is_same_mailbox(own, email)) {
                    let own = user.email.unwrap_or_else(|| "none".to_owned());
                    let detail = format!("the address of the user {name:?} is {own}; apply changes no users");
                    faults.push((email_of_user(index), detail));
                }
            }
            None if !invite => {
                let detail = format!("there is no user {name:?}; create it, or have it invited by `invite = true`");
                faults.push((name_of_user(index), detail));
            }
            None => {
                if let Some(holder) = find(email).await? {
                    let detail = format!("{email} is the address of the user {:?}", holder.username);
                    faults.push((email_of_user(index), detail));
                }
            }
        }
    }
    Ok(faults)
}

fn is_same_mailbox(one: &str, other: &str) -> bool {
    let folded = |text| Email::parse(text).map(|email| email.folded().to_owned());
    folded(one).is_ok_and(|one| Ok(one) == folded(other))
}

/// The grants of all people whom the file names. This also finds unknown people, without permission to read users.
async fn grants(file: &File, current: &mut Current, context: &Context<'_, '_>) -> Result<Vec<Fault>, Error> {
    let mut unknown = Vec::new();
    let declared: BTreeSet<String> = file.wanted.users.iter().map(|user| fold(&user.name)).collect();
    for (name, way) in file.wanted.granted().into_values() {
        let request = ListGrants { person_id: Some(name.to_owned()), ..ListGrants::default() };
        match context.all(request).await {
            Ok(grants) => current.add_grants(grants),
            Err(error) if error.status() == Some(404) => {
                let detail = format!("there is no user {name:?}; create it: `authctl user create`, or declare it here");
                unknown.extend((!declared.contains(&fold(name))).then_some((way, detail)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(unknown)
}

/// Applies the changes one after another, until all are done or one fails.
async fn make(plan: &Plan, context: &Context<'_, '_>) -> Result<(), Error> {
    let steps = plan.steps();
    for (done, (change, step)) in steps.iter().enumerate() {
        perform(step, context).await.map_err(|error| match error {
            Error::Call(call) => {
                let step = format!("{} {}: {}", change.kind, change.name, step.describe());
                Error::Stopped { done, of: steps.len(), step, call }
            }
            error => error,
        })?;
    }
    Ok(())
}

async fn perform(step: &Step, context: &Context<'_, '_>) -> Result<(), Error> {
    match step {
        Step::CreatePermission(op) => context.call(op).await.map(drop),
        Step::CreateRole(op) => context.call(op).await.map(drop),
        Step::CreateService(op) => context.call(op).await.map(drop),
        Step::UpdateRole(op) => context.call(op).await.map(drop),
        Step::UpdateService(op) => context.call(op).await.map(drop),
        Step::AddRolePermission(op) => context.call(op).await.map(drop),
        Step::AddServiceRole(op) => context.call(op).await.map(drop),
        Step::InviteUser(op) => context.call(op).await.map(drop),
        Step::GrantRole(op) => context.call(op).await.map(drop),
        Step::GrantPermission(op) => context.call(op).await.map(drop),
        Step::UngrantRole(op) => context.call(op).await.map(drop),
        Step::UngrantPermission(op) => context.call(op).await.map(drop),
        Step::RemoveServiceRole(op) => context.call(op).await.map(drop),
        Step::RemoveRolePermission(op) => context.call(op).await.map(drop),
        Step::DeleteService(op) => context.call(op).await.map(drop),
        Step::DeleteRole(op) => context.call(op).await.map(drop),
        Step::DeletePermission(op) => context.call(op).await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_that_takes_too_long_is_left_behind() {
        let (_keep, blocked) = channel::<()>();
        assert_eq!(within(Duration::from_millis(10), move || blocked.recv().is_ok()), None);
        assert_eq!(within(Duration::from_secs(10), || 1), Some(1));
    }
}
