//! What mails say: a text and an HTML file for each kind, built in, and replaced one by one by files of the operator.
//!
//! The first line of a text file is the subject, the second one is empty. A template that cannot be rendered with the
//! values that it gets is found when it is loaded.

use std::path::Path;

use minijinja::{Value, context};

use super::Values;
use crate::env::{MINUTE, Millis};
use crate::templates::{self, Set};

/// Maximum number of characters in a subject.
const MAX_SUBJECT: usize = 200;

const LAYOUT: &str = "layout.html";

/// Declares the templates: their names, which are stored, and whether they have a link.
macro_rules! templates {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, link $link:literal;)*) => {
        /// The kinds of mails.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Template { $($(#[$doc])* $variant,)* }

        impl Template {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Whether the mail has a link, its token and its end.
            pub const fn has_link(self) -> bool {
                match self { $(Self::$variant => $link),* }
            }
        }

        /// The built-in files.
        const BUILT_IN: &[(&str, &str)] = &[
            (LAYOUT, include_str!("templates/layout.html")),
            $((concat!($name, ".txt"), include_str!(concat!("templates/", $name, ".txt"))),)*
            $((concat!($name, ".html"), include_str!(concat!("templates/", $name, ".html"))),)*
        ];
    };
}

templates! {
    /// To an address for which somebody wants an account.
    SignUp = "sign_up", link true;
    /// The same, if the address has an account: the person learns of it, and whoever asked does not.
    SignUpKnown = "sign_up_known", link false;
    /// To somebody who forgot their password. For an address without an account there is no mail.
    Reset = "reset", link true;
    /// To the new address.
    EmailChange = "email_change", link true;
    /// To the old address.
    EmailChanged = "email_changed", link false;
    /// To somebody for whom an operator made an account.
    Invitation = "invitation", link true;
    PasswordChanged = "password_changed", link false;
    FactorsChanged = "factors_changed", link false;
    Deleted = "deleted", link false;
    /// Of an operator who tries whether mail works.
    Test = "test", link false;
}

impl Template {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|template| template.name() == name)
    }
}

/// A mail's words.
pub(super) struct Rendered {
    pub subject: String,
    pub text: String,
    pub html: String,
}

const SET: Set = Set {
    setting: "mail.templates",
    built_in: BUILT_IN,
    values: "; a template has product, name and address, and one with a link has link, token and minutes",
};

/// The templates.
#[derive(Debug)]
pub(super) struct Templates(templates::Templates);

impl Templates {
    /// The built-in templates, and those of the folder in place of them. Every fault names its file, and its line.
    pub(super) fn load(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let templates = Self(templates::Templates::load(&SET, folder)?);
        if templates.0.is_built_in() {
            return Ok(templates);
        }
        let mut faults = Vec::new();
        for template in Template::ALL {
            // A link's last minute, and a person of whom nothing is known, are cases of their own.
            for (name, address, minutes) in [("Ada", "192.0.2.1", 30), ("", "", 1)] {
                let tried = templates.try_render(*template, name, address, minutes);
                if let Err(fault) = tried.map(drop)
                    && !faults.contains(&fault)
                {
                    faults.push(fault);
                }
            }
        }
        if faults.is_empty() { Ok(templates) } else { Err(faults) }
    }

    fn try_render(&self, template: Template, name: &str, address: &str, minutes: i64) -> Result<Rendered, String> {
        let link = "https://auth.example.com/link#token";
        let sample = context(template, "auth.example.com", name, address, Some((link, "token", minutes)));
        let rendered = self.render_with(template, sample)?;
        if rendered.subject.is_empty() || rendered.subject.chars().count() > MAX_SUBJECT {
            let file = self.0.shown(&format!("{}.txt", template.name()));
            return Err(format!(
                "{file}, line 1: expected the subject (1 to {MAX_SUBJECT} characters), then an empty line, then the text"
            ));
        }
        Ok(rendered)
    }

    /// The words of a mail at this moment.
    pub(super) fn render(
        &self,
        template: Template,
        product: &str,
        values: &Values,
        now: Millis,
    ) -> Result<Rendered, String> {
        let minutes = values.expires_at.map_or(0, |end| (end - now + MINUTE - 1).div_euclid(MINUTE));
        let link = values.link.as_ref().map_or("", |link| link.expose());
        let token = values.token.as_ref().map_or("", |token| token.expose());
        let address = values.address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
        let name: String = values.name.iter().flat_map(|name| name.chars()).filter(|c| !c.is_control()).collect();
        let context = context(template, product, &name, &address, Some((link, token, minutes)));
        self.render_with(template, context)
    }

    fn render_with(&self, template: Template, context: Value) -> Result<Rendered, String> {
        let render = |kind| self.0.render(&format!("{}.{kind}", template.name()), context.clone());
        let (text, html) = (render("txt")?, render("html")?);
        let (subject, text) = text.split_once('\n').unwrap_or((&text, ""));
        // Without the empty line there is no subject, but a text.
        let text = text.strip_prefix('\r').unwrap_or(text);
        let (subject, text) = match text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')) {
            Some(text) => (subject, text),
            None => ("", text),
        };
        // A header ends at a line break.
        let subject = subject.trim().chars().filter(|c| !c.is_control()).collect();
        Ok(Rendered { subject, text: text.trim_start_matches(['\r', '\n']).to_owned(), html })
    }
}

/// What a template can use. A mail without a link has none of its three values, so that a template that needs them is
/// found when it is loaded.
fn context(template: Template, product: &str, name: &str, address: &str, link: Option<(&str, &str, i64)>) -> Value {
    let Some((link, token, minutes)) = link.filter(|_| template.has_link()) else {
        return context! { product, name, address };
    };
    context! { product, name, address, link, token, minutes }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use shared::secret::Secret;

    use super::*;
    use crate::testing::NOW;

    fn values() -> Values {
        Values {
            link: Some(Secret::new("https://auth.example.com/a?b=c&d=<e>")),
            token: Some(Secret::new("t0k3n")),
            name: Some("<b>Ada</b>\r\nBcc: eve@example.com".into()),
            address: Some([192, 0, 2, 7].into()),
            expires_at: Some(NOW + 30 * MINUTE),
        }
    }

    #[test]
    fn every_mail_says_who_asked_and_has_its_link_in_both_forms() {
        let templates = Templates::load(None).unwrap();
        for template in Template::ALL {
            let name = template.name();
            assert_eq!(Template::parse(name), Some(*template));
            let mail = templates.render(*template, "auth.example.com", &values(), NOW).unwrap();
            assert!(mail.subject.contains("auth.example.com"), "{name}: {}", mail.subject);
            assert!(*template == Template::Invitation || mail.text.contains("192.0.2.7"), "{name}: {}", mail.text);
            let (in_text, in_html) = (&mail.text, &mail.html);
            assert_eq!(in_text.contains("https://auth.example.com/a?b=c&d=<e>"), template.has_link(), "{in_text}");
            assert_eq!(in_html.contains("b=c&amp;d=&lt;e&gt;"), template.has_link(), "{name}: {in_html}");
            assert_eq!(in_text.contains("t0k3n") && in_text.contains("30 minutes"), template.has_link(), "{in_text}");
            // Names are text, and there is nothing to fetch.
            assert!(in_html.contains("&lt;b&gt;Ada") && !in_html.contains("<b>") && !in_html.contains("src="));
            assert!(in_text.lines().all(|line| !line.starts_with("Bcc")) && !mail.subject.contains(['\r', '\n']));
            assert!(in_html.contains("color-scheme") && in_html.contains("viewport"));
        }
    }

    #[test]
    fn the_minutes_are_those_that_are_left() {
        let templates = Templates::load(None).unwrap();
        let text = |now| templates.render(Template::Reset, "x", &values(), now).unwrap().text;
        for (passed, says) in [(0, "30 minutes"), (1, "30 minutes"), (MINUTE, "29 minutes"), (29 * MINUTE, "1 minute.")]
        {
            assert!(text(NOW + passed).contains(says), "{passed}");
        }
        let week = Values { expires_at: Some(NOW + 7 * 24 * 60 * MINUTE), ..values() };
        assert!(templates.render(Template::Invitation, "x", &week, NOW).unwrap().text.contains("7 days"));
    }

    #[test]
    fn a_template_of_the_operator_replaces_one_and_a_broken_one_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let write = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
        write("reset.txt", "Our subject\n\nOur words: {{ link }}\n");
        write(".hidden", "{{");
        let templates = Templates::load(Some(path)).unwrap();
        let mail = templates.render(Template::Reset, "x", &values(), NOW).unwrap();
        assert_eq!((mail.subject.as_str(), &mail.text[..10]), ("Our subject", "Our words:"));
        assert!(mail.html.contains("Set a new password"), "the other file stays");
        for (name, text, says) in [
            ("reset.txt", "Subject\n\n{{ link }\n", "reset.txt, line 3: "),
            ("reset.txt", "Subject\n\n\n{{ lnk }}\n", "reset.txt, line 4: undefined value"),
            ("test.txt", "Subject\n\n{{ link }}\n", "test.txt, line 3: undefined value"),
            ("reset.html", "{% extends \"lay.html\" %}", "reset.html"),
            ("layout.html", "a\n{{ oops }}", "layout.html, line 2: undefined value"),
            ("reset.txt", "Subject\nText\n", "reset.txt, line 1: expected the subject"),
            ("reset.txt", "\n\nText\n", "reset.txt, line 1: expected the subject"),
            ("rest.txt", "Subject\n\nText\n", "rest.txt is no template; did you mean reset.txt?"),
        ] {
            write(name, text);
            let faults = Templates::load(Some(path)).unwrap_err().join("\n");
            assert!(faults.contains(says) && faults.contains("mail.templates: /"), "{name}: {faults}");
            fs::remove_file(path.join(name)).unwrap();
        }
        write("test.txt", "Subject\n\nText\n");
        fs::set_permissions(path.join("test.txt"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(Templates::load(Some(path)).unwrap_err()[0].contains("other users can write"));
        assert!(Templates::load(Some(&path.join("nowhere"))).unwrap_err()[0].contains("nowhere"));
    }
}
