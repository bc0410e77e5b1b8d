//! What happens when the browser comes back from the provider. Called by the pages, not by an operation.

use shared::id::SessionId;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use super::logins;
use super::model::{self, Device, Login, Phase, SignedIn};
use super::provider::ProviderError;
use crate::app::Ctx;
use crate::audit;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sessions;
use crate::world::{MINUTE, Millis};

/// How often the provider may fail before it took the code; then the login ends.
const MAX_FAILURES: u32 = 8;
/// What a login has left at least when the browser is back, for the provider's answers and the terminal's question.
const COMPLETION: Millis = 2 * MINUTE;

/// What the provider sent the browser back with.
#[derive(Clone, Debug)]
pub struct Answer {
    pub state: String,
    pub result: Result<Secret, String>,
    /// The provider's issuer, where it says so (RFC 9207).
    pub issuer: Option<String>,
}

/// What the person gets to see.
#[derive(Debug)]
pub enum Outcome {
    /// No login waits for this: it has ended, was used, or never was.
    Gone,
    /// The person said no.
    Denied,
    /// The provider failed before anything was spent: the same page can be loaded again.
    TryAgain(String),
    /// The provider sent the browser back without a code: only another sign-in there helps.
    SignInAgain(String),
    /// This login is lost; start again.
    Failed(String),
    /// The release goes to the device's own loopback.
    ToDevice { port: u16, release: Secret },
    /// The person carries the release to the terminal.
    ToPerson { device: Device, started_at: Millis, user: String, release: Secret },
    /// Nothing to carry: the device asks by state alone, as the configuration allows.
    Done,
}

/// Completes a login. It runs to its end even when the browser goes away, since a code can be spent only once.
pub async fn complete(ctx: Ctx, answer: Answer) -> Result<Outcome> {
    let running = tokio::spawn(run(ctx, answer));
    running.await.map_err(Error::internal)?
}

async fn run(ctx: Ctx, answer: Answer) -> Result<Outcome> {
    let app = ctx.app.clone();
    let Some(mut login) = logins::find(&app, &answer.state).await? else { return Ok(Outcome::Gone) };
    if !matches!(login.phase, Phase::Waiting) {
        return Ok(Outcome::Gone);
    }
    let provider = app.cli_login.known_provider(&login.provider)?;
    let name = login.provider.clone();
    // An answer that says it is another provider's was mixed up on purpose (RFC 9207 §2.4).
    if answer.issuer.is_some_and(|issuer| issuer != provider.config.issuer) {
        return Ok(Outcome::SignInAgain(format!("this answer is not from the identity provider {name}")));
    }
    let code = match answer.result {
        Ok(code) => code,
        Err(error) if error == "access_denied" => {
            if !logins::claim(&app, &answer.state, &login).await? {
                return Ok(Outcome::Gone);
            }
            end(&ctx, &answer.state, &mut login, Phase::Denied, "declined at the provider").await?;
            return Ok(Outcome::Denied);
        }
        Err(error) => {
            tracing::warn!(provider = name, error, "the provider sent somebody back without a code");
            return Ok(Outcome::SignInAgain(format!("the identity provider {name} could not sign you in ({error})")));
        }
    };
    let now = ctx.now();
    let is_late = login.ends_at < now + COMPLETION;
    // Before the claim, which must hold as long as the login lives.
    login.ends_at = login.ends_at.max(now + COMPLETION);
    if !logins::claim(&app, &answer.state, &login).await? {
        return Ok(Outcome::Gone);
    }
    if is_late {
        logins::save(&app, &answer.state, &login).await?;
    }
    let granted = match provider.ready(now).await {
        Ok(()) => provider.exchange(code.expose(), login.verifier.expose(), login.nonce.expose(), now).await,
        // Nothing was spent yet, so even nonsense may pass.
        Err(ProviderError::Unusable(reason)) => Err(ProviderError::Unavailable(reason.into())),
        Err(error) => Err(error),
    };
    let grant = match granted {
        Ok(grant) => grant,
        Err(error) => {
            let may_pass = matches!(error, ProviderError::Unavailable(_)) && login.failures < MAX_FAILURES;
            let error = error.explain(&name);
            tracing::warn!(
                provider = name,
                detail = error.detail,
                source = error.source_text().map(|t| t.to_string()),
                "a sign-in failed"
            );
            if may_pass {
                // The next number is a new claim: the browser may come again.
                login.failures += 1;
                logins::save(&app, &answer.state, &login).await?;
                return Ok(Outcome::TryAgain(error.detail));
            }
            end(&ctx, &answer.state, &mut login, Phase::Ended, "the provider's answer was of no use").await?;
            return Ok(Outcome::Failed(error.detail));
        }
    };
    let release = login.poll_challenge.is_some().then(|| model::release(&app.world));
    let user = grant.identity.display().to_owned();
    login.ends_at = login.ends_at.max(ctx.now() + COMPLETION);
    login.phase = Phase::SignedIn(Box::new(SignedIn {
        identity: grant.identity,
        id_token: grant.id_token,
        id_expires_at: grant.id_expires_at,
        refresh_token: grant.refresh_token,
        release: release.as_ref().map(model::release_hash),
        session: SessionId(app.world.uuid()),
    }));
    logins::save(&app, &answer.state, &login).await?;
    Ok(match (release, login.loopback_port) {
        (None, _) => Outcome::Done,
        (Some(release), Some(port)) => Outcome::ToDevice { port, release },
        (Some(release), None) => {
            Outcome::ToPerson { device: login.device, started_at: login.started_at, user, release }
        }
    })
}

/// What pressing Deny came to.
#[derive(Clone, Copy, Debug)]
pub enum Denial {
    /// There is nothing to deny.
    Gone,
    /// The device gets nothing more.
    Denied {
        /// Until when AWS takes the credentials that it was given before, if it was.
        credentials_until: Option<Millis>,
    },
}

/// The person pressed Deny: only who was shown the release can. A session that began meanwhile ends.
pub async fn deny(ctx: Ctx, state: &str, release: &Secret) -> Result<Denial> {
    let Some(mut login) = logins::find(&ctx.app, state).await? else { return Ok(Denial::Gone) };
    let (session, user) = match &login.phase {
        Phase::SignedIn(signed_in) => {
            let expected = signed_in.release.unwrap_or_default();
            let given = model::release_hash(release);
            if signed_in.release.is_none() || !bool::from(given.as_slice().ct_eq(&expected)) {
                return Ok(Denial::Gone);
            }
            (signed_in.session, signed_in.identity.display().to_owned())
        }
        Phase::Denied => return Ok(Denial::Denied { credentials_until: None }),
        Phase::Waiting | Phase::Ended => return Ok(Denial::Gone),
    };
    let ctx = Ctx { caller: Caller::Device { user }, ..ctx };
    // First the login, then the session: whoever is being authorized looks at the login once more after the session
    // exists, so one of the two sees the other.
    end(&ctx, state, &mut login, Phase::Denied, "denied on the page").await?;
    let session = sessions::ops::end_with_reason(&ctx, session, "cli_login.deny", "denied").await?;
    Ok(Denial::Denied { credentials_until: session.and_then(|session| session.credentials_until(ctx.now())) })
}

/// Ends a login before anybody got credentials, and remembers why.
async fn end(ctx: &Ctx, state: &str, login: &mut Login, phase: Phase, why: &str) -> Result<()> {
    login.phase = phase;
    logins::save(&ctx.app, state, login).await?;
    let detail = audit::detail([
        ("why", Some(why.into())),
        ("provider", Some(login.provider.as_str().into())),
        ("device", login.device.name.clone().map(Into::into)),
    ]);
    let outcome = if matches!(login.phase, Phase::Denied) { "denied" } else { "failed" };
    ctx.app.db.commit(vec![audit::refusal(ctx, "cli_login.callback", None, outcome, detail)]).await?;
    Ok(())
}
