//! Where pending logins are kept: sealed, in what may vanish, until they end by themselves.

use zeroize::Zeroizing;

use super::model::{self, Login};
use crate::app::App;
use crate::error::{Error, Result};
use crate::world::Millis;

/// The login of a state, unless it has ended. What does not open is not ours and counts as ended.
pub async fn find(app: &App, state: &str) -> Result<Option<Login>> {
    if !model::is_token(state) {
        return Ok(None);
    }
    let key = model::key(state);
    let Some(sealed) = app.ephemeral.get(&key).await? else { return Ok(None) };
    let opened = match app.keys.open(&key, &sealed) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(%error, "a pending login cannot be opened");
            return Ok(None);
        }
    };
    let login: Login = serde_json::from_slice(&opened).map_err(Error::internal)?;
    Ok(Some(login).filter(|login| login.ends_at > app.world.now()))
}

pub async fn save(app: &App, state: &str, login: &Login) -> Result<()> {
    let key = model::key(state);
    let clear = Zeroizing::new(serde_json::to_vec(login).map_err(Error::internal)?);
    let sealed = app.keys.seal(&key, &clear).map_err(Error::internal)?;
    app.ephemeral.put(&key, &sealed, left(app, login)).await?;
    Ok(())
}

/// Of any number of callbacks exactly one may go on, until the provider has failed once more.
pub async fn claim(app: &App, state: &str, login: &Login) -> Result<bool> {
    let key = format!("{}:claim:{}", model::key(state), login.failures);
    Ok(app.ephemeral.increment(&key, left(app, login)).await? == 1)
}

/// Counts a wrong release and answers how many there were.
pub async fn count_wrong_release(app: &App, state: &str, login: &Login) -> Result<i64> {
    let key = format!("{}:wrong", model::key(state));
    Ok(app.ephemeral.increment(&key, left(app, login)).await?)
}

fn left(app: &App, login: &Login) -> Millis {
    (login.ends_at - app.world.now()).max(1)
}
