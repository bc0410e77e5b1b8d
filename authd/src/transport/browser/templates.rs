//! The templates of the pages, which an operator can replace.

use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::html::{self, LINK_SCRIPT_URL, PASSKEY_SCRIPT_URL, STYLE_URL, UPLOAD_SCRIPT_URL};
use super::{Message, Page, accounts, cli_login, web};
use crate::error::{Error, Result};
use crate::templates::{Set, Templates};
use crate::transport::pages::Pages;

/// What a page shows: the values of its template.
pub(super) trait View: Serialize + Sized {
    const TEMPLATE: &'static str;

    /// Cases that together use every part of the template.
    fn samples() -> Vec<Self>;
}

macro_rules! built_in {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("templates/", $name)))),*] };
}

const SET: Set = Set {
    setting: "web.templates",
    built_in: built_in! {
        "layout.html" "sign_in.html" "account.html" "proof.html" "no_password.html" "dashboard.html" "security.html"
        "password.html" "totp.html" "totp_disable.html" "recovery_codes.html" "access.html" "email.html" "delete.html"
        "deleted.html" "verify.html" "identities.html" "files.html" "device.html" "leaving.html" "by_mail.html" "link.html"
        "release.html" "message.html" "entrance.html" "asks.html"
    },
    values: "; the built-in template of this name uses every value that there is",
};

/// The templates, each of which can be rendered.
#[derive(Debug)]
pub struct PageTemplates(Templates);

impl PageTemplates {
    /// The built-in templates, and those of the folder in place of them. Every fault names its file, and its line.
    pub fn load(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let templates = Self(Templates::load(&SET, folder)?);
        let faults = if templates.0.is_built_in() { Vec::new() } else { templates.check() };
        if faults.is_empty() { Ok(templates) } else { Err(faults) }
    }

    /// What is wrong with the templates, by samples of all that they are shown.
    fn check(&self) -> Vec<String> {
        let mut faults = web::faults(self);
        faults.extend(self.faults::<accounts::LinkForm>(&[context! {}]));
        faults.extend(self.faults::<cli_login::ReleasePage>(&[context! {}]));
        faults.extend(self.faults::<Message>(&[context! {}]));
        faults.sort();
        faults.dedup();
        faults
    }

    /// The page in HTML. `frame` has the values of the template that it extends.
    pub(super) fn render<V: View>(&self, host: &str, frame: &Value, view: &V) -> Result<String, String> {
        let own = context! {
            host,
            style => &*STYLE_URL,
            link_script => &*LINK_SCRIPT_URL,
            passkey_script => &*PASSKEY_SCRIPT_URL,
            upload_script => &*UPLOAD_SCRIPT_URL,
        };
        let values = context! { ..Value::from(Serde(view)), ..frame.clone(), ..own };
        self.0.render(V::TEMPLATE, values)
    }

    /// What is wrong with a template, by its samples in each of these frames.
    pub(super) fn faults<V: View>(&self, frames: &[Value]) -> Vec<String> {
        let samples = V::samples();
        let cases = samples.iter().flat_map(|view| frames.iter().map(move |frame| (view, frame)));
        cases.filter_map(|(view, frame)| self.render("auth.example.com", frame, view).err()).collect()
    }
}

/// A page that belongs to no browser's session: nobody learns from where it leads, and it has a script only if it needs one.
pub(super) fn draw_alone<V: View>(pages: &Pages, status: u16, view: &V, has_script: bool) -> Result<Page> {
    let mut policy = html::policy("'self'");
    if has_script {
        policy.push_str("; script-src 'self'");
    }
    let html = html_of(pages, &context! {}, view)?;
    Ok(Page { status, headers: html::headers(&policy, "no-store"), html })
}

/// A page of sign-in or dashboard by its template.
pub(super) fn draw<V: View>(pages: &Pages, status: u16, frame: &Value, view: &V) -> Result<Page> {
    draw_with(pages, status, frame, view, "")
}

fn html_of<V: View>(pages: &Pages, frame: &Value, view: &V) -> Result<String> {
    let host = pages.web_login.origin.split("://").nth(1).unwrap_or_default();
    pages.templates.render(host, frame, view).map_err(Error::internal)
}

/// With more places where forms may lead, each after a space.
pub(super) fn draw_with<V: View>(
    pages: &Pages,
    status: u16,
    frame: &Value,
    view: &V,
    form_targets: &str,
) -> Result<Page> {
    let web = &pages.web_login;
    let html = html_of(pages, frame, view)?;
    let policy =
        format!("{}; script-src 'self'; connect-src 'self'", html::policy(&(web.form_targets() + form_targets)));
    let mut headers = html::headers(&policy, "no-store");
    // With `no-referrer` browsers would send the origin `null` with a form (Fetch Standard, "append a request Origin header").
    headers.retain(|(name, _)| *name != "referrer-policy");
    headers.push(("referrer-policy", "same-origin".into()));
    Ok(Page { status, headers, html })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_page_of_the_operator_replaces_one_and_a_broken_one_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let write = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
        write(
            "delete.html",
            "{% extends \"account.html\" %}{% block title %}{% endblock %}{% block content %}{{ who }}{% endblock %}",
        );
        PageTemplates::load(Some(path)).unwrap();
        for (name, text, says) in [
            ("sign_in.html", "a\n{{ form_token }", "sign_in.html, line 2: "),
            ("totp.html", "\n\n{{ pending.secrt }}", "totp.html, line 3: undefined value"),
            ("proof.html", "{% if needs_code %}\n{{ oops }}{% endif %}", "proof.html, line 2: undefined value"),
            ("layout.html", "{{ scripts }}", "layout.html, line 1: undefined value"),
            ("access.html", "{% extends \"acount.html\" %}", "access.html"),
            ("dashbord.html", "", "dashbord.html is no template; did you mean dashboard.html?"),
        ] {
            write(name, text);
            let faults = PageTemplates::load(Some(path)).unwrap_err().join("\n");
            assert!(faults.contains(says) && faults.contains("web.templates: /"), "{name}: {faults}");
            fs::remove_file(path.join(name)).unwrap();
        }
    }

    #[test]
    fn every_built_in_page_can_be_rendered() {
        assert_eq!(PageTemplates::load(None).unwrap().check(), Vec::<String>::new());
    }

    #[test]
    fn values_are_text_also_in_a_page_of_the_operator() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("message.html"), "<p>{{ paragraphs[0] }}</p>").unwrap();
        let templates = PageTemplates::load(Some(folder.path())).unwrap();
        let view = Message { paragraphs: vec!["<script>\"".to_owned()], ..Message::samples().remove(0) };
        let page = templates.render("auth.example.com", &context! {}, &view).unwrap();
        assert_eq!(page, "<p>&lt;script&gt;&quot;</p>");
    }
}
