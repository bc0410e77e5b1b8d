//! Providers are told of sessions that have ended.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::Service;
use crate::db::Query;
use crate::env::MINUTE;

const REVOKE: &str = "/oauth2/revoke";

impl Service {
    async fn sign_out(&self) {
        let signed_in = self.signed_in().await;
        let body = json!({ "refresh_token": signed_in["refresh_token"] });
        self.app.call("cli_login.logout", body).await.unwrap();
    }

    /// Tells what is due, until this has been asked so often.
    async fn tell_until_asked(&self, times: usize) {
        let asked = async {
            while self.peer.count(REVOKE) < times {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), self.app.modules.cli_login.tell_providers(asked)).await.expect("it is asked");
    }

    /// Attempts at what is in the outbox.
    async fn outbox(&self) -> Vec<i64> {
        let rows = self.app.base.db.query(Query::new("SELECT attempts FROM outbox ORDER BY seq", [])).await.unwrap();
        rows.iter().map(|row| row.cursor().int().unwrap()).collect()
    }

    pub(super) async fn outbox_becomes(&self, expected: &[i64]) {
        let told = async {
            while self.outbox().await != expected {
                tokio::task::yield_now().await;
            }
        };
        let told = self.app.modules.cli_login.tell_providers(told);
        timeout(Duration::from_secs(20), told).await.unwrap_or_else(|_| panic!("not {expected:?}"));
    }
}

#[tokio::test]
async fn the_provider_forgets_the_refresh_token_of_a_session_that_ended() {
    let service = Service::with_revocation().await;
    service.sign_out().await;
    assert_eq!(service.outbox().await, [0], "it is there from the commit on");
    service.outbox_becomes(&[]).await;
    let bodies = service.peer.bodies(REVOKE);
    assert!(bodies.len() == 1 && bodies[0].contains("token=provider-refresh-1"), "{bodies:?}");
}

#[tokio::test]
async fn a_provider_that_fails_is_told_again_later_and_keeps_nobody_waiting() {
    let service = Service::with_revocation().await;
    service.peer.set(|script| script.revocation = Some(503));
    for _ in 0..3 {
        service.sign_out().await;
    }
    service.outbox_becomes(&[1, 1, 1]).await;
    assert_eq!(service.peer.count(REVOKE), 1, "after its first silence it is not asked again in the same round");
    service.peer.set(|script| script.revocation = None);
    service.app.clock.advance(MINUTE);
    service.outbox_becomes(&[]).await;
    assert_eq!(service.peer.count(REVOKE), 4);
}

#[tokio::test]
async fn what_this_node_does_not_know_is_kept_and_not_for_good() {
    let service = Service::with_revocation().await;
    service.sign_out().await;
    let sql = "UPDATE outbox SET detail = 'elsewhere', attempts = $1";
    let set = |attempts: i64| vec![crate::db::Statement::any("test", sql, [attempts.into()])];
    service.app.base.db.commit(set(0)).await.unwrap();
    service.outbox_becomes(&[1]).await;
    service.app.base.db.commit(set(90)).await.unwrap();
    service.app.clock.advance(MINUTE);
    service.outbox_becomes(&[]).await;
    assert_eq!(service.peer.count(REVOKE), 0);
}

/// A clock that was a year ahead must not put an attempt off by a year.
#[tokio::test]
async fn an_attempt_of_a_wrong_clock_is_made_at_once() {
    let service = Service::with_revocation().await;
    service.sign_out().await;
    service.app.clock.advance(-365 * 24 * 60 * MINUTE);
    service.outbox_becomes(&[]).await;
}

#[tokio::test]
async fn a_provider_that_hangs_does_not_hold_the_end_of_the_daemon_up() {
    let service = Service::with_revocation().await;
    service.peer.set(|script| script.hangs = true);
    service.sign_out().await;
    service.tell_until_asked(1).await;
    assert_eq!(service.outbox().await, [1], "it is told after the next start");
    let _: Value = service.app.call("system.live", json!({})).await.unwrap();
}
