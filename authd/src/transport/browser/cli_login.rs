//! The pages of the CLI login.

use super::{Page, PageRequest, html};
use crate::app::Ctx;

pub async fn callback(_ctx: Ctx, _request: PageRequest<'_>) -> Page {
    html::page(503, "Not served yet", html::Tone::Plain, "")
}

pub async fn deny(_ctx: Ctx, _request: PageRequest<'_>) -> Page {
    html::page(503, "Not served yet", html::Tone::Plain, "")
}
