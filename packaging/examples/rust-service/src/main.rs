//! An example of a service that lets authd decide who may do what: notes that people read and write.
//!
//! | request | needs |
//! |---|---|
//! | `POST /login {username, password}`, `POST /logout` | |
//! | `GET /notes` | a person with the permission `notes.read` |
//! | `POST /notes {text}` | a person with the permission `notes.write` |
//! | `GET /export` | an API token with the scope `notes.export` |
//!
//! Set by the environment: `LISTEN`, `AUTHD_URL`, `SERVICE_TOKEN_FILE` (from `authctl service token create notes`),
//! `REMEMBER_SECONDS` (at most 60) and `DEADLINE_SECONDS`.

use std::collections::VecDeque;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use shared::api::sessions::Login;
use shared::client::{
    Authd, Bounds, Denial, Endpoint, RequirePermission, RequireScopes, Required, TokenIdentity, UserIdentity, presented,
};
use shared::secret::Secret;

/// The last notes are kept, in memory.
const MOST_NOTES: usize = 100;

#[derive(Clone, Debug, Serialize)]
struct Note {
    author: String,
    text: String,
}

#[derive(Clone, Debug)]
struct Service {
    authd: Authd,
    notes: Arc<Mutex<VecDeque<Note>>>,
}

impl Service {
    fn notes(&self) -> std::sync::MutexGuard<'_, VecDeque<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = Service { authd: connect()?, notes: Arc::default() };
    let listener = tokio::net::TcpListener::bind(setting("LISTEN", "127.0.0.1:3000")).await?;
    println!("notes: listening on http://{}", listener.local_addr()?);
    let router = router(service).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).await?;
    Ok(())
}

/// The line to authd: made once, cloned wherever it is needed.
fn connect() -> Result<Authd, Box<dyn Error>> {
    let seconds = |name, default| setting(name, default).parse().map(Duration::from_secs_f64);
    let mut line = Authd::at(Endpoint::url(&setting("AUTHD_URL", "http://127.0.0.1:8080"))?)
        .deadline(seconds("DEADLINE_SECONDS", "2")?)
        .bounds(Bounds { max_age: seconds("REMEMBER_SECONDS", "60")?, ..Bounds::default() });
    if let Ok(path) = std::env::var("SERVICE_TOKEN_FILE") {
        line = line.service_token(Secret::new(std::fs::read_to_string(path)?.trim()));
    } else {
        line = line.service("notes");
    }
    Ok(line.build()?)
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn router(service: Service) -> Router {
    let authd = &service.authd;
    let may = |permission| RequirePermission::new(authd.clone(), Required::permission(permission));
    // Tokens may be bound to networks: authd is told where this one comes from.
    let export = RequireScopes::new(authd.clone(), ["notes.export"])
        .address(|parts| parts.extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip()));
    Router::new()
        .route("/notes", get(list_notes).layer(may("notes.read")).merge(post(add_note).layer(may("notes.write"))))
        .route("/export", get(export_notes).layer(export))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .layer(DefaultBodyLimit::max(16 << 10))
        .with_state(service)
}

async fn list_notes(State(service): State<Service>) -> Json<Vec<Note>> {
    Json(service.notes().iter().cloned().collect())
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

/// Who writes is what the guard has found out, never what the request says.
async fn add_note(
    State(service): State<Service>,
    Extension(user): Extension<Arc<UserIdentity>>,
    Json(new): Json<NewNote>,
) -> (StatusCode, Json<Note>) {
    let note = Note { author: user.username.clone(), text: new.text };
    let mut notes = service.notes();
    if notes.len() == MOST_NOTES {
        notes.pop_front();
    }
    notes.push_back(note.clone());
    (StatusCode::CREATED, Json(note))
}

async fn export_notes(
    State(service): State<Service>,
    Extension(token): Extension<Arc<TokenIdentity>>,
) -> Json<serde_json::Value> {
    let notes: Vec<_> = service.notes().iter().cloned().collect();
    Json(serde_json::json!({"exported_by": token.name, "notes": notes}))
}

/// A denial is an HTTP answer already; its `Display` has the cause for the log, and no token.
fn refuse(denial: Denial) -> Response {
    eprintln!("notes: {denial}");
    denial.response().into_response()
}

async fn login(
    State(service): State<Service>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Json(login): Json<Login>,
) -> Response {
    let signed_in = service.authd.login(&login, Some(peer.ip())).await;
    signed_in.map_or_else(refuse, |answer| Json(answer).into_response())
}

async fn logout(State(service): State<Service>, headers: HeaderMap) -> Response {
    let ending = async { service.authd.logout(&presented(&headers)?).await };
    ending.await.map_or_else(refuse, |()| Json(serde_json::json!({"status": "logged_out"})).into_response())
}
