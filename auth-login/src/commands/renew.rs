//! `auth-login renew`: fresh keys now, into the cache and the credentials file.

use super::renewal::{self, Need};
use super::{Context, Written, duration};
use crate::error::Error;

pub async fn run(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    context.session()?;
    context.check_profile(force)?;
    let obtained = renewal::obtain(context, Need::New).await?;
    if let Some(warning) = &obtained.warning {
        context.io.say(format!("warning: {warning}"));
    }
    let keys = obtained.credentials;
    let written = context.write_profile(&keys, force)?;
    context.warn_of_obstacles()?;
    let left = duration(keys.remaining(context.io.now()));
    let place = match written {
        Written::File => format!("in {}", context.files.credentials.path().display()),
        Written::NotNeeded => "available through credential-process".to_owned(),
    };
    let line = format!("The keys of the profile {} are renewed, {place}, and work for {left}.", context.profile);
    context.io.print(line)
}
