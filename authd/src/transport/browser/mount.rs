//! Where browsers find the pages, if the public URL has a path: a proxy in front removes it before authd sees a request.
//!
//! Pages, redirects and templates name authd's paths as authd sees them. The path of the public URL is put before them
//! here, in the one place that every page passes, so that none can forget it.

use super::Page;
use super::html::Escaped;

/// The path of the public URL, without the slash at its end; mostly empty.
#[derive(Clone, Debug, Default)]
pub struct Mount(String);

/// The attributes that have a URL, up to the slash that begins a path of authd's own, as it is written and as templates
/// escape it. No other text of a page has a quotation mark in it.
const ATTRIBUTES: [&str; 6] =
    [" href=\"/", " src=\"/", " action=\"/", " href=\"&#x2f;", " src=\"&#x2f;", " action=\"&#x2f;"];

impl Mount {
    pub fn of(public_url: &str) -> Self {
        let path = shared::url::parse(public_url).map(|url| url.path().trim_end_matches('/').to_owned());
        Self(path.unwrap_or_default())
    }

    /// The page as browsers get it.
    pub fn page(&self, mut page: Page) -> Page {
        if self.0.is_empty() {
            return page;
        }
        for (name, value) in &mut page.headers {
            if *name == "location" && value.starts_with('/') {
                value.insert_str(0, &self.0);
            }
        }
        page.html = self.html(&page.html);
        page
    }

    pub fn html(&self, html: &str) -> String {
        if self.0.is_empty() {
            return html.to_owned();
        }
        let path = Escaped(&self.0).to_string();
        ATTRIBUTES.iter().fold(html.to_owned(), |html, attribute| {
            let (name, slash) = attribute.split_at(attribute.find('"').map_or(0, |quote| quote + 1));
            html.replace(attribute, &format!("{name}{path}{slash}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_paths_get_the_path_of_the_public_url_and_nothing_else_does() {
        let html = "<a href=\"/login?return_to=%2Fa\"><a href=\"&#x2f;dashboard\"><form action=\"/login\">\
             <a href=\"https:&#x2f;&#x2f;a.test&#x2f;\"><input value=\"&#x2f;dashboard\">&quot; href=&quot;/x";
        assert_eq!(
            Mount::of("https://a.test/auth/").html(html),
            "<a href=\"/auth/login?return_to=%2Fa\"><a href=\"/auth&#x2f;dashboard\"><form action=\"/auth/login\">\
             <a href=\"https:&#x2f;&#x2f;a.test&#x2f;\"><input value=\"&#x2f;dashboard\">&quot; href=&quot;/x"
        );
        assert_eq!(Mount::of("https://a.test").html(html), html);
    }

    #[test]
    fn redirects_within_authd_are_too() {
        for (location, expected) in [
            ("/dashboard", "/auth/dashboard"),
            ("https://app.a.test/x", "https://app.a.test/x"),
            ("http://127.0.0.1:4000/?state=a", "http://127.0.0.1:4000/?state=a"),
        ] {
            let page = Mount::of("https://a.test/auth").page(super::super::html::redirect(location.to_owned()));
            let sent = page.headers.iter().find(|(name, _)| *name == "location").map(|(_, value)| value.as_str());
            assert_eq!(sent, Some(expected));
        }
    }
}
