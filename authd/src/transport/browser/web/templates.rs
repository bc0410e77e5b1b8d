//! The templates of these pages, which an operator can replace.

use std::path::Path;

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

use super::super::Page;
use super::super::html::{self, PASSKEY_SCRIPT_URL, STYLE_URL, UPLOAD_SCRIPT_URL};
use super::by_mail::ByMail;
use super::dashboard::{self, Frame};
use super::device::DeviceForm;
use super::{Leaving, SignIn};
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
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../templates/", $name)))),*] };
}

const SET: Set = Set {
    setting: "web.templates",
    built_in: built_in! {
        "layout.html" "sign_in.html" "account.html" "proof.html" "no_password.html" "dashboard.html" "security.html"
        "password.html" "totp.html" "totp_disable.html" "recovery_codes.html" "access.html" "email.html" "delete.html"
        "deleted.html" "verify.html" "identities.html" "files.html" "device.html" "leaving.html" "by_mail.html"
    },
    values: "; the built-in template of this name uses every value that there is",
};

/// The templates, compiled, each of which can be rendered.
#[derive(Debug)]
pub struct PageTemplates(Templates);

impl PageTemplates {
    /// The built-in templates, and those of the folder in place of them. Every fault names its file, and its line.
    pub fn load(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let templates = Self(Templates::load(&SET, folder)?);
        let mut faults = templates.faults::<SignIn>(&[context! {}]);
        faults.extend(templates.faults::<DeviceForm>(&[context! {}]));
        faults.extend(templates.faults::<ByMail>(&[context! {}]));
        faults.extend(templates.faults::<Leaving>(&[context! {}]));
        faults.extend(dashboard::faults(&templates));
        faults.sort();
        faults.dedup();
        if faults.is_empty() { Ok(templates) } else { Err(faults) }
    }

    /// The page in HTML. `frame` has the values of the template that it extends.
    pub(super) fn render<V: View>(&self, host: &str, frame: &Value, view: &V) -> Result<String, String> {
        let own = context! {
            host,
            style => &*STYLE_URL,
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

/// The frames of the samples.
pub(super) fn sample_frames() -> Vec<Value> {
    Frame::samples().into_iter().map(|frame| Serde(frame).into()).collect()
}

/// A page by its template.
pub(super) fn draw<V: View>(pages: &Pages, status: u16, frame: &Value, view: &V) -> Result<Page> {
    draw_with(pages, status, frame, view, "")
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
    let host = web.origin.split("://").nth(1).unwrap_or_default();
    let html = pages.templates.render(host, frame, view).map_err(Error::internal)?;
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
    fn values_are_text_also_in_a_page_of_the_operator() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sign_in.html"), "<p>{{ username }}</p>").unwrap();
        let templates = PageTemplates::load(Some(folder.path())).unwrap();
        let view = SignIn { username: "<script>\"".to_owned(), ..SignIn::samples().remove(0) };
        let page = templates.render("auth.example.com", &context! {}, &view).unwrap();
        assert_eq!(page, "<p>&lt;script&gt;&quot;</p>");
    }
}
