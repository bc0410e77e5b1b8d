//! End-to-end tests: the real binaries against real third parties. One binary, so that the tests of a run share the
//! peers that take long to start. `tests/run` runs it with everything it needs.

mod access;
mod accounts;
mod apply;
mod asking;
mod attacks;
mod auth_login;
mod cli_login;
mod contract;
mod docs;
mod durability;
mod faults;
mod files;
mod fixtures;
mod forward;
mod grpc;
mod guards;
mod idempotency;
mod identity;
mod loads;
mod locks;
mod logs;
mod mail;
mod passkeys;
mod people;
mod policies;
mod postgres_url;
mod rig;
mod secrets;
mod services;
mod stalls;
mod systemd;
mod tokens;
mod totp;
mod web;
mod writer;
