//! People: checks of sessions and permissions, introspection, and logins.
//!
//! One user, one service and one session are made through the daemon; their rows are copied, with other names, ids and
//! hashes, while the daemon is down.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::ask::{Ask, SERVICE_TOKEN};
use crate::hashing::Hasher;
use crate::hot_path::{Sum, TURNS, compare, thousands};
use crate::load::{self, Load};
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::{cores, seed, storm, token};

/// The service that asks, by name: it is made in each run.
pub const SERVICE: &str = "bench";
pub const PERMISSION: &str = "bench.read";
pub const PASSWORD: &str = "correct horse battery staple";
/// Hexadecimal digits of a session's token.
pub const SESSION_LEN: usize = 64;
pub const ID_LEN: usize = 36;
pub const NAME_LEN: usize = "person-000000".len();

/// Users of a run; sessions are spread over them.
const USERS: u64 = 1_000;
/// No session of a run ends, or has to be renewed, in it: the year 2100.
const LATE: i64 = 4_102_444_800_000;

/// Connections that log in at the same time.
const LOGINS: usize = 64;

/// Writes the token of session number `index` into `out`.
pub fn write_session(index: u64, out: &mut [u8]) {
    let mut state = (0x73 << 56) ^ index;
    for sixteen in out.chunks_exact_mut(16) {
        let digits = format!("{:016x}", token::next(&mut state));
        sixteen.copy_from_slice(digits.as_bytes());
    }
}

/// The id of user number `index` (of the first [`USERS`], again and again).
pub fn user_id(index: u64) -> String {
    let mut state = 0x75_7365_7200 ^ (index % USERS);
    let mut random = [0; 10];
    random[..8].copy_from_slice(&token::next(&mut state).to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(1_735_689_600_000 + index % USERS, &random).into_uuid().to_string()
}

pub fn user_name(index: u64) -> String {
    format!("person-{:06}", index % USERS)
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("people");
    seed::run(&plan.seed(&data_dir, plan.tokens, 0))?;
    let service_token = make(plan, &data_dir)?;
    SERVICE_TOKEN.set(service_token).ok().context("people are measured once in a run")?;
    let authd = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    let many = thousands(plan.tokens);
    for (ask, what, target) in [
        (Ask::CheckToken, format!("check-token, {many} hot sessions"), Some(1.7)),
        (Ask::IntrospectToken, format!("introspection, {many} hot API tokens"), Some(1.7)),
        (Ask::IntrospectSession, format!("introspection, {many} hot sessions"), Some(1.7)),
        (Ask::CheckPermission, "check-permission, by a service".to_owned(), None),
    ] {
        let row = compare(plan, &authd, ask)?.row(&format!("CPU per {what}"), "µs", |sample| sample.cpu_micros);
        report.rows.push(match target {
            Some(most) => row.ratio_at_most(most),
            None => row,
        });
    }
    logins(plan, &authd, report)?;
    storm::measure(plan, &authd, LOGINS, report)?;
    authd.stop()
}

/// CPU of a login beside the CPU of its hash.
fn logins(plan: &Plan, authd: &Server, report: &mut Report) -> Result<()> {
    eprintln!("logins");
    let (mut limit, mut own, mut rate) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let (mut hasher, mut hashed, mut logins) = (Hasher::new()?, Duration::ZERO, Sum::default());
        for turn in 0..TURNS {
            hashed += cores::on(plan.cores.server, || hasher.cpu_time(plan.logins))?;
            let load = Load {
                connections: 8,
                requests: plan.logins,
                start: (round * TURNS + turn) * plan.logins,
                among: plan.logins,
                in_order: true,
                seconds: 600.0,
                ..plan.load(authd.addr, Ask::Login)
            };
            logins.add(authd, &load, plan.cores.generator)?;
        }
        limit.push(hashed.as_secs_f64() * 1e6 / load::count(TURNS * plan.logins));
        let logins = logins.sample();
        own.push(logins.cpu_micros);
        rate.push(logins.per_second);
    }
    let row = Row::beside("CPU per login (limit: one raw Argon2id hash)", "µs", limit, own);
    report.rows.push(row.ratio_at_most(1.15));
    report.rows.push(Row::alone("logins, one core", "per second", rate));
    Ok(())
}

/// Makes users with sessions; answers the service's token.
fn make(plan: &Plan, data_dir: &Path) -> Result<String> {
    eprintln!("seeding {USERS} users and {} sessions", plan.tokens);
    let server = Server::authd(&plan.authd, data_dir, plan.cores.server)?;
    let post =
        |path: &str, body: &str| -> Result<Json> { Ok(serde_json::from_str(&seed::post(&server, path, body)?)?) };
    let text = |answer: &Json, field: &str| -> Result<String> {
        Ok(answer[field].as_str().with_context(|| format!("an answer without {field}"))?.to_owned())
    };
    let user = post("/users", &format!(r#"{{"username":"template","password":"{PASSWORD}"}}"#))?;
    let user = text(&user, "id")?;
    post("/services", &format!(r#"{{"name":"{SERVICE}"}}"#))?;
    post("/roles", r#"{"name":"bench-reader"}"#)?;
    post("/permissions", &format!(r#"{{"name":"{PERMISSION}"}}"#))?;
    post("/role-permissions", &format!(r#"{{"role_id":"bench-reader","permission_id":"{PERMISSION}"}}"#))?;
    post("/service-roles", &format!(r#"{{"service_id":"{SERVICE}","role_id":"bench-reader"}}"#))?;
    let grant = format!(r#"{{"person_id":"template","service_id":"{SERVICE}","role_id":"bench-reader"}}"#);
    post("/person-service-roles", &grant)?;
    let token = text(&post(&format!("/services/{SERVICE}/token"), "{}")?, "token")?;
    post("/auth/login", &format!(r#"{{"username":"template","password":"{PASSWORD}"}}"#))?;
    server.stop()?;

    let db = Connection::open(data_dir.join("authd.db"))?;
    // Nothing is lost if this is interrupted: the folder is made anew.
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -524288; BEGIN")?;
    let users = seed::insert(&db, "users", "id", |column| match column {
        "id" => "?2",
        "username" | "live_name" => "?3",
        other => other,
    })?;
    let grants = seed::insert(&db, "person_service_roles", "person_id", |column| match column {
        "person_id" => "?2",
        other => other,
    })?;
    let sessions = seed::insert(&db, "sessions", "user_id", |column| match column {
        "id" => "?2",
        "user_id" => "?3",
        "token_hash" => "?4",
        "idle_expires_at" | "absolute_expires_at" => "?5",
        other => other,
    })?;
    let (mut users, mut grants, mut sessions) = (db.prepare(&users)?, db.prepare(&grants)?, db.prepare(&sessions)?);
    for index in 0..USERS {
        let id = user_id(index);
        let copied = users.execute(params![user, id, user_name(index)])? + grants.execute(params![user, id])?;
        ensure!(copied == 2, "the rows of the user were not copied once each");
    }
    let mut secret = [0; SESSION_LEN];
    for index in 0..plan.tokens {
        write_session(index, &mut secret);
        let id = uuid::Builder::from_unix_timestamp_millis(1_735_689_600_000 + index, &[1; 10]).into_uuid().to_string();
        let hash = Sha256::digest(secret);
        let copied = sessions.execute(params![user, id, user_id(index), hash.as_slice(), LATE])?;
        ensure!(copied == 1, "the row of the session was not copied once");
    }
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    std::fs::File::open(data_dir.join("authd.db"))?.sync_all()?;
    Ok(token)
}
