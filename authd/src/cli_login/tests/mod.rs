//! Feature tests of the module: the operations through the registry, the browser through its pages.

mod collecting;
mod entering;
mod fixtures;
mod local;
mod renewing;
mod signing_in;
mod telling;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::model;
use crate::aws::Aws;
use crate::error::Error;
use crate::testing::TestApp;
use crate::testing::peer::Peer;
use crate::transport::browser::{Page, cli_login as pages};
use crate::transport::pages::Pages;

const SECRET: &str = "a poll secret that only the terminal has";

/// authd with a provider and an STS behind it.
struct Service {
    app: TestApp,
    peer: Peer,
}

/// A login that somebody's terminal has started.
struct Started {
    state: String,
    auth_url: String,
}

impl Service {
    async fn new() -> Self {
        Self::with("[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\n").await
    }

    /// With these roles or other settings.
    async fn with(toml: &str) -> Self {
        Self::with_tokens_at(toml, "/token").await
    }

    /// With a provider that takes refresh tokens back, as Cognito does.
    async fn with_revocation() -> Self {
        let toml = "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\n";
        let service = Self::with_tokens_at(toml, "/oauth2/token\"\nrequire_token_use = true\n#\"").await;
        service.peer.set(|script| drop(script.claims.insert("token_use".into(), "id".into())));
        service
    }

    async fn with_tokens_at(toml: &str, path: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = provider("corp", &url, path);
        let app = TestApp::with(&format!("{toml}\n{provider}")).await.with_aws(Aws::at(&url));
        let peer = Peer::start(app.clock.clone(), listener);
        Self { app, peer }
    }

    async fn start(&self, more: Value) -> Started {
        let mut body = json!({ "device_name": "laptop", "poll_challenge": model::challenge(SECRET) });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let started = self.app.call("cli_login.start", body).await.unwrap();
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        Started { state: text("state"), auth_url: text("auth_url") }
    }

    /// The person signs in at the provider, which sends the browser back.
    async fn sign_in(&self, started: &Started) -> Page {
        self.sign_in_at(&self.peer, started).await
    }

    async fn sign_in_at(&self, peer: &Peer, started: &Started) -> Page {
        let nonce = started.auth_url.split(['?', '&']).find_map(|pair| pair.strip_prefix("nonce=")).unwrap();
        peer.set(|script| nonce.clone_into(&mut script.nonce));
        self.callback(&format!("code=good&state={}", started.state)).await
    }

    async fn callback(&self, query: &str) -> Page {
        pages::callback(&self.pages(), self.app.anonymous(), Some(query)).await.unwrap()
    }

    /// The Deny button, with these fields.
    async fn deny(&self, fields: &str) -> Page {
        pages::deny(&self.pages(), self.app.anonymous(), fields.as_bytes()).await.unwrap()
    }

    fn pages(&self) -> Pages {
        self.app.modules.pages(&self.app.config).unwrap()
    }

    async fn poll(&self, state: &str, secret: Option<&str>, release: Option<&str>) -> Result<Value, Error> {
        let mut body = json!({ "state": state });
        for (name, value) in [("poll_secret", secret), ("release", release)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        self.app.call("cli_login.status", body).await
    }

    async fn renew(&self, token: &Value) -> Result<Value, Error> {
        self.app.call("cli_login.renew", json!({ "refresh_token": token })).await
    }

    /// A whole login, to the credentials.
    async fn signed_in(&self) -> Value {
        let started = self.start(json!({})).await;
        let page = self.sign_in(&started).await;
        self.poll(&started.state, Some(SECRET), Some(&shown(&page))).await.unwrap()
    }

    async fn sessions(&self) -> Vec<Value> {
        let list = self.app.call("sessions.list", json!({ "include_ended": true })).await.unwrap();
        list["sessions"].as_array().unwrap().clone()
    }
}

/// The settings of a provider at this URL.
fn provider(name: &str, url: &str, token_path: &str) -> String {
    format!(
        "[[provider]]\nname = \"{name}\"\nissuer = \"{url}\"\nclient_id = \"client\"\n\
         authorization_endpoint = \"{url}/authorize\"\njwks_uri = \"{url}/keys\"\n\
         token_endpoint = \"{url}{token_path}\"\n"
    )
}

/// The release that a page shows.
fn shown(page: &Page) -> String {
    let shown = page.html.split_once("id=\"release\">").and_then(|(_, rest)| rest.split_once('<'));
    shown.unwrap_or_else(|| panic!("no release: {} {}", page.status, page.html)).0.to_owned()
}

fn header<'a>(page: &'a Page, name: &str) -> Option<&'a str> {
    page.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
}

fn status(answer: &Value) -> &str {
    answer["status"].as_str().unwrap_or_default()
}
