//! Sign-in with a browser, and the pages of who is signed in.
//!
//! A form that changes anything is accepted only from a page of authd: by `Sec-Fetch-Site` and `Origin`, where the browser
//! sends them, and always by the form's token.

mod by_mail;
mod dashboard;
mod device;
mod entrance;
mod passkeys;
mod providers;

use ::http::Response;
use ::http::header::{COOKIE, HeaderMap, HeaderValue, ORIGIN};
use minijinja::context;
use serde::Serialize;
use shared::api::sessions::{Login, Logout};
use shared::problem::Code;
use shared::secret::Secret;

pub use self::by_mail::Asked;
pub use self::dashboard::{Action, files};
use self::providers::{Link, label_of, provider_link};
use super::form::Form;
use super::html::redirect;
use super::templates::{PageTemplates, View, draw, draw_with};
use super::{Page, explained, failure};
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sessions;
use crate::transport::answer::Body;
use crate::transport::pages::Pages;
use crate::web_login::cookies::{self, BINDING, STARTED};
use crate::web_login::{Outcome, WebLogin};

const DASHBOARD: &str = "/dashboard";
/// The answer to a form that no page of ours has sent to this browser.
const NOT_OURS: &str = "Nothing was done: the form was not sent by this page, or it was too old. Try again.";

/// A page for who signs in, or is signed in.
#[derive(Clone, Copy, Debug)]
pub enum Web {
    SignIn,
    /// Of who asks for a mail.
    ByMail(Asked),
    /// To a provider.
    Depart,
    /// Back from it.
    Arrive,
    /// What a browser needs to sign in by a passkey, and what it returns.
    BeginPasskey,
    FinishPasskey,
    /// A device asks for AWS credentials of who is signed in.
    Device,
    /// The short address of a login for a device.
    Short,
    /// Ends the browser's session at the provider before a login.
    Again,
    /// Proves by a passkey that it is still the person who signed in.
    ProveByPasskey,
    /// Of who is signed in.
    Dashboard(Action),
}

/// A request for a page. There is a body if the method is POST.
#[derive(Debug)]
pub struct Visit<'a> {
    pub call: Call,
    pub headers: &'a HeaderMap,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub body: Option<&'a [u8]>,
}

impl<'a> Visit<'a> {
    fn cookie(&self, name: &str) -> cookies::Found<'a> {
        cookies::find(self.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes), name)
    }

    /// The fields of the form.
    fn form(&self) -> Form {
        self.body.and_then(|body| std::str::from_utf8(body).ok()).and_then(Form::parse).unwrap_or_default()
    }

    /// The value of this cookie, if a page of authd that belongs to it has sent the request with this token.
    fn sent_by_own_page(&self, web: &WebLogin, cookie: &str, form_token: &str) -> Result<Option<&'a str>> {
        match self.cookie(cookie).one().filter(|_| !self.is_foreign(&web.origin)) {
            Some(value) => Ok(web.accepts_form(value, form_token)?.then_some(value)),
            None => Ok(None),
        }
    }

    /// Whether the browser says that the request comes from a page of another origin.
    fn is_foreign(&self, origin: &str) -> bool {
        sender(self.headers, origin) == Sender::Foreign
    }
}

/// Which page sent a request, by what its browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Own,
    Foreign,
    Unknown,
}

/// The page that sent a request: of this origin, or of another one (`Sec-Fetch-Site`, Fetch Metadata §2.3; `Origin`, RFC
/// 6454 §7).
pub fn sender(headers: &HeaderMap, origin: &str) -> Sender {
    let sent = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let (site, from) = (sent("sec-fetch-site"), sent(ORIGIN.as_str()));
    if site.is_some_and(|site| site != b"same-origin") || from.is_some_and(|from| from != origin.as_bytes()) {
        return Sender::Foreign;
    }
    if site.is_none() && from.is_none() { Sender::Unknown } else { Sender::Own }
}

pub async fn respond(pages: &Pages, page: Web, visit: Visit<'_>) -> Result<Response<Body>> {
    let caused_by = (visit.call.request_id, visit.call.address);
    let answer = match page {
        Web::BeginPasskey => return passkeys::begin(&pages.web_login, &visit).await,
        Web::FinishPasskey => return passkeys::finish(pages, &visit).await,
        Web::ProveByPasskey => return passkeys::prove(pages, &visit).await,
        Web::SignIn if visit.body.is_some() => sign_in(pages, visit).await,
        Web::SignIn => sign_in_form(pages, &visit).await,
        Web::ByMail(asked) => by_mail::respond(pages, asked, visit).await,
        Web::Depart => providers::depart(pages, &visit).await,
        Web::Arrive => providers::arrive(pages, visit).await,
        Web::Device if visit.body.is_some() => device::answer(pages, visit).await,
        Web::Device => device::ask(pages, visit).await,
        Web::Short => entrance::short(pages, &visit).await,
        Web::Again => entrance::leave(pages, &visit).await,
        Web::Dashboard(action) => dashboard::respond(pages, action, visit).await,
    };
    answer.or_else(|error| failure(pages, caused_by, &error))?.into_response(&pages.mount)
}

/// What is wrong with the templates of these pages.
pub(super) fn faults(templates: &PageTemplates) -> Vec<String> {
    let mut faults = templates.faults::<SignIn>(&[context! {}]);
    faults.extend(templates.faults::<device::DeviceForm>(&[context! {}]));
    faults.extend(templates.faults::<entrance::Entrance>(&[context! {}]));
    faults.extend(templates.faults::<by_mail::ByMail>(&[context! {}]));
    faults.extend(templates.faults::<Leaving>(&[context! {}]));
    faults.extend(dashboard::faults(templates));
    faults
}

/// The form to sign in, or the way on for who is signed in.
async fn sign_in_form(pages: &Pages, visit: &Visit<'_>) -> Result<Page> {
    if let Some(page) = entrance::resume(pages, visit).await? {
        return Ok(page);
    }
    let web = &pages.web_login;
    if !web.is_usable() {
        let reason = "browsers keep no cookies of sites without TLS";
        let hint = "The operator has to set AUTHD_PUBLIC_URL to an address with https.";
        return explained(pages, 503, "Sign-in needs https", reason, hint);
    }
    let return_to = return_to(web, visit);
    let (caller, is_stale) = signed_in(web, visit).await?;
    if caller.is_some() {
        return Ok(redirect(return_to.unwrap_or_else(|| DASHBOARD.to_owned())));
    }
    let fields = Fields { return_to: return_to.unwrap_or_default(), ..Fields::default() };
    let mut page = draw_sign_in(pages, visit, 200, &fields)?;
    if is_stale {
        clear_session(web, &mut page);
    }
    if visit.cookie(cookies::AGAIN) != cookies::Found::None {
        // Its login has ended.
        page.headers.push(("set-cookie", cookies::clear(cookies::AGAIN)));
    }
    Ok(page)
}

/// Where the browser may go after the sign-in. nginx cannot encode an address: one that stands there as it is, and last, is
/// taken whole.
fn return_to(web: &WebLogin, visit: &Visit<'_>) -> Option<String> {
    let query = visit.query.unwrap_or_default();
    if let Some(raw) = query.strip_prefix("return_to=").filter(|raw| raw.contains("://")) {
        return web.target(raw);
    }
    Form::parse(query)?.field("return_to").and_then(|target| web.target(target))
}

/// Who the browser's cookie is of; and whether there is one that is not valid.
async fn signed_in(web: &WebLogin, visit: &Visit<'_>) -> Result<(Option<Caller>, bool)> {
    let found = visit.cookie(web.cookies.session());
    let caller = match found.one() {
        Some(cookie) => web.visitor(cookie).await?,
        None => None,
    };
    let is_stale = caller.is_none() && found != cookies::Found::None;
    Ok((caller, is_stale))
}

/// What the form to sign in shows.
#[derive(Clone, Default)]
struct Fields {
    return_to: String,
    username: String,
    /// After the password: what is sent with the code.
    pending: String,
    /// What was wrong; empty if nothing was.
    fault: String,
}

fn draw_sign_in(pages: &Pages, visit: &Visit<'_>, status: u16, fields: &Fields) -> Result<Page> {
    bound(pages, visit, |form_token| draw(pages, status, &context! {}, &SignIn::new(pages, form_token, fields.clone())))
}

/// A page with a form, whose token is bound to the browser before anybody is signed in.
fn bound(pages: &Pages, visit: &Visit<'_>, draw: impl FnOnce(String) -> Result<Page>) -> Result<Page> {
    let web = &pages.web_login;
    let found = visit.cookie(BINDING).one().map(str::to_owned);
    let is_new = found.is_none();
    let binding = found.unwrap_or_else(|| web.new_binding());
    let mut page = draw(web.form_token(&binding)?)?;
    if is_new {
        page.headers.push(("set-cookie", cookies::set(BINDING, &binding)));
    }
    Ok(page)
}

/// The values of the form to sign in.
#[derive(Serialize)]
struct SignIn {
    form_token: String,
    return_to: String,
    username: String,
    pending: String,
    fault: String,
    /// The page itself.
    again: String,
    providers: Vec<Link>,
    passkeys: bool,
    /// Whether a mail can set another password, and whether people may sign up.
    can_reset: bool,
    can_sign_up: bool,
}

impl SignIn {
    fn new(pages: &Pages, form_token: String, fields: Fields) -> Self {
        let (web, accounts) = (&pages.web_login, &pages.accounts);
        let Fields { return_to, username, pending, fault } = fields;
        Self {
            form_token,
            again: match return_to.as_str() {
                "" => "/login".to_owned(),
                target => format!("/login?return_to={}", shared::wire::percent_encode(target)),
            },
            providers: web.providers().map(|name| provider_link(name, &return_to)).collect(),
            passkeys: web.has_passkeys(),
            can_reset: accounts.has_mail(),
            can_sign_up: accounts.has_mail() && accounts.may_sign_up(),
            return_to,
            username,
            pending,
            fault,
        }
    }
}

impl View for SignIn {
    const TEMPLATE: &'static str = "sign_in.html";

    fn samples() -> Vec<Self> {
        let sample = |pending: &str, full: bool| Self {
            form_token: "token".to_owned(),
            return_to: String::new(),
            username: if full { "ada".to_owned() } else { String::new() },
            pending: pending.to_owned(),
            fault: if full { "It did not work.".to_owned() } else { String::new() },
            again: "/login".to_owned(),
            providers: if full { vec![provider_link("google", "")] } else { Vec::new() },
            passkeys: full,
            can_reset: full,
            can_sign_up: full,
        };
        vec![sample("", true), sample("", false), sample("pending", true)]
    }
}

/// A page that leaves authd for another site. Browsers hold the policy of a form against redirects after it, so it is none.
fn leave(pages: &Pages, url: String) -> Result<Page> {
    draw(pages, 200, &context! {}, &Leaving { url })
}

#[derive(Serialize)]
struct Leaving {
    url: String,
}

impl View for Leaving {
    const TEMPLATE: &'static str = "leaving.html";

    fn samples() -> Vec<Self> {
        vec![Self { url: "https://id.example.com/".to_owned() }]
    }
}

/// `POST /login`: by password, then by code.
async fn sign_in(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let form = visit.form();
    let field = |name: &str| form.field(name).unwrap_or_default();
    let mut fields = Fields {
        return_to: web.target(field("return_to")).unwrap_or_default(),
        username: field("username").to_owned(),
        ..Fields::default()
    };
    let Some(binding) = visit.cookie(BINDING).one() else {
        fields.fault = "Your browser sent no cookie with the form. Allow cookies for this site, and try again.".into();
        return draw_sign_in(pages, &visit, 403, &fields);
    };
    if visit.sent_by_own_page(web, BINDING, field("form_token"))?.is_none() {
        fields.fault = NOT_OURS.into();
        return draw_sign_in(pages, &visit, 403, &fields);
    }
    let pending = field("pending").to_owned();
    let outcome = if pending.is_empty() {
        let op = Login {
            username: field("username").to_owned(),
            password: Secret::new(field("password").to_owned()),
            totp: None,
        };
        web.sign_in(visit.call.clone(), binding, op).await
    } else {
        let code = Secret::new(field("code").trim().to_owned());
        web.sign_in_with_code(visit.call.clone(), binding, &pending, code).await
    };
    match outcome {
        Ok(Outcome::SignedIn(token)) => welcome(pages, &visit, &token, fields.return_to).await,
        Ok(Outcome::NeedsCode(pending)) => draw_sign_in(pages, &visit, 200, &Fields { pending, ..fields }),
        Ok(Outcome::Linking(_)) => Err(Error::internal("a form links nothing")),
        Err(error) if error.code == Code::InvalidCredentials => {
            let fault = match pending.as_str() {
                "" => "The user name or the password is wrong.",
                _ => "The code is wrong, or it was used before.",
            };
            fields.fault = fault.into();
            draw_sign_in(pages, &visit, 401, &Fields { pending, ..fields })
        }
        Err(error) if error.code == Code::PasskeyRequired => {
            fields.fault = "This account signs in by a passkey.".into();
            draw_sign_in(pages, &visit, 401, &fields)
        }
        Err(error) if error.code == Code::InvalidToken => {
            fields.fault = "The sign-in took too long. Start again.".into();
            draw_sign_in(pages, &visit, 401, &fields)
        }
        Err(error) => Err(error),
    }
}

/// Gives the browser its session, and sends it where it wanted to go.
async fn welcome(pages: &Pages, visit: &Visit<'_>, token: &Secret, return_to: String) -> Result<Page> {
    let web = &pages.web_login;
    end_before(pages, visit).await?;
    let visitor = if pages.accounts.requires_passkeys() { web.visitor(token.expose()).await? } else { None };
    let is_new_to_passkeys = match visitor {
        Some(caller) => lacks_passkey(pages, &visit.call.of(caller)).await?,
        None => false,
    };
    let mut page = redirect(if is_new_to_passkeys { dashboard::SECURITY.to_owned() } else { target_of(return_to) });
    page.headers.extend(session_cookies(web, token));
    Ok(page)
}

/// Whether somebody has to add a passkey before they go on.
async fn lacks_passkey(pages: &Pages, call: &Call) -> Result<bool> {
    let (user, _) = sessions::person(call)?;
    pages.accounts.lacks_passkey(user).await
}

/// Ends the session that the browser had, which it forgets.
async fn end_before(pages: &Pages, visit: &Visit<'_>) -> Result<()> {
    if let (Some(before), _) = signed_in(&pages.web_login, visit).await? {
        pages.sessions.logout(visit.call.of(before), Logout {}).await?;
    }
    Ok(())
}

fn target_of(return_to: String) -> String {
    if return_to.is_empty() { DASHBOARD.to_owned() } else { return_to }
}

/// The headers that give the browser a new session, and end what the sign-in was bound to.
fn session_cookies(web: &WebLogin, token: &Secret) -> impl Iterator<Item = (&'static str, String)> {
    let cleared = [BINDING, STARTED].map(cookies::clear);
    cleared.into_iter().chain([web.cookies.set_session(token.expose())]).map(|header| ("set-cookie", header))
}

fn clear_session(web: &WebLogin, page: &mut Page) {
    page.headers.extend(web.cookies.clear_session().into_iter().map(|header| ("set-cookie", header)));
}
