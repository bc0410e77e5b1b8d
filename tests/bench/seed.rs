//! Data directories with many tokens. Minting a million over HTTP would take minutes, so one token of each kind is
//! minted through the daemon and its rows are copied, with other names, ids and hashes, while the daemon is down.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ask::ADMIN_TOKEN;
use crate::cores::Cores;
use crate::servers::Server;
use crate::token::{self, Kind};
use crate::wire;

/// Makes a data directory with tokens in it, to start authd on by hand.
#[derive(Clone, Debug, clap::Args)]
pub struct Seed {
    #[arg(long)]
    pub authd: PathBuf,
    /// Where the data goes; must not exist yet.
    #[arg(long)]
    pub data_dir: PathBuf,
    #[arg(long, default_value_t = 100_000)]
    pub valid: u64,
    #[arg(long, default_value_t = 0)]
    pub expired: u64,
    #[arg(long, default_value_t = 0)]
    pub revoked: u64,
}

pub fn run(seed: &Seed) -> Result<()> {
    ensure!(!seed.data_dir.exists(), "{} exists already: name a new directory", seed.data_dir.display());
    let server = Server::authd(&seed.authd, &seed.data_dir, Cores::choose()?.server)?;
    let live = mint(&server, "bench-template-live")?;
    let revoked = mint(&server, "bench-template-revoked")?;
    post(&server, &format!("/auth/tokens/{revoked}/revoke"), "{}")?;
    server.stop()?;
    let db = Connection::open(seed.data_dir.join("authd.db"))?;
    // Nothing is lost if this is interrupted: the folder is made anew.
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -524288; BEGIN")?;
    copy(&db, &live, Kind::Valid, seed.valid)?;
    copy(&db, &live, Kind::Expired, seed.expired)?;
    copy(&db, &revoked, Kind::Revoked, seed.revoked)?;
    db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    // What follows measures the daemon, not the kernel writing these pages out.
    std::fs::File::open(seed.data_dir.join("authd.db"))?.sync_all()?;
    Ok(())
}

fn mint(server: &Server, name: &str) -> Result<Uuid> {
    let body = post(server, "/auth/tokens", &format!(r#"{{"name":"{name}","scopes":["read","write"]}}"#))?;
    let answer: Json = serde_json::from_str(&body)?;
    Ok(answer["token_id"].as_str().context("an answer without token_id")?.parse()?)
}

pub fn post(server: &Server, path: &str, body: &str) -> Result<String> {
    let (addr, length) = (server.addr, body.len());
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let (head, body) = wire::exchange(addr, request.as_bytes())?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 2"), "POST {path} was answered {status}\n{body}");
    Ok(body)
}

/// 2001-09-09: whatever ended then has expired.
const LONG_AGO: i64 = 1_000_000_000_000;

fn copy(db: &Connection, template: &Uuid, kind: Kind, how_many: u64) -> Result<()> {
    // Columns that a later schema adds are copied as they are.
    let tokens = insert(db, "tokens", "id", |column| match column {
        "id" => "?2",
        "name" => "?3",
        "live_name" => "CASE WHEN live_name IS NULL THEN NULL ELSE ?3 END",
        "expires_at" => "?4",
        "secret" => "?5",
        other => other,
    })?;
    let secrets = insert(db, "secrets", "slot", |column| match column {
        "slot" => "?2",
        "rest" => "?3",
        "token_id" => "?4",
        "name" => "?5",
        "expires_at" => "?6",
        other => other,
    })?;
    let (mut tokens, mut secrets) = (db.prepare(&tokens)?, db.prepare(&secrets)?);
    let copied_slot: i64 =
        db.query_row("SELECT secret FROM tokens WHERE id = ?1", [template.to_string()], |row| row.get(0))?;
    let expires_at = (kind == Kind::Expired).then_some(LONG_AGO);
    let mut secret = [0; token::LEN];
    for index in 0..how_many {
        let id = id(kind, index);
        token::write(kind, index, &mut secret);
        let name = format!("bench-{kind:?}-{index:07}").to_lowercase();
        let (slot, rest) = (Sha256::digest(secret), &Sha256::digest(secret)[8..]);
        let slot = i64::from_be_bytes(slot[..8].try_into()?);
        let bytes = id.as_bytes().as_slice();
        let copied = tokens.execute(params![template.to_string(), id.to_string(), name, expires_at, slot])?;
        let copied = copied + secrets.execute(params![copied_slot, slot, rest, bytes, name, expires_at])?;
        ensure!(copied == 2, "the rows of token {template} were not copied once each");
    }
    let live = if kind == Kind::Revoked { 0 } else { how_many };
    for (counter, added) in [("tokens.all", how_many), ("tokens.live", live)] {
        let counted = db.execute(
            "UPDATE counters SET value = value + ?1 WHERE name = ?2",
            params![i64::try_from(added)?, counter],
        )?;
        ensure!(counted == 1, "there is no counter {counter}");
    }
    Ok(())
}

/// `INSERT … SELECT` of the row whose `key` is `?1`, with other values for some columns.
pub fn insert(db: &Connection, table: &str, key: &str, value: impl Fn(&str) -> &str) -> Result<String> {
    let mut columns = db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?;
    let columns = columns.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let values: Vec<&str> = columns.iter().map(|column| value(column)).collect();
    let (columns, values) = (columns.join(", "), values.join(", "));
    Ok(format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE {key} = ?1"))
}

/// A UUIDv7 of last year, one millisecond after the other.
fn id(kind: Kind, index: u64) -> Uuid {
    let mut state = ((kind as u64) << 56) ^ index ^ 0x6964;
    let mut random = [0; 10];
    random[..8].copy_from_slice(&token::next(&mut state).to_be_bytes());
    let millis = 1_735_689_600_000 + ((kind as u64) << 32) + index;
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
