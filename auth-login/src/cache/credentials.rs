//! Temporary AWS keys, and whether they are valid long enough to use.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::api::cli_login::Authorized;
use shared::secret::Secret;

/// Seconds. SDKs refresh at every use from 15 minutes before expiry on, so returned keys must be valid for longer.
const MARGIN: i64 = 20 * 60;
/// Seconds. With less than this left, the keys expire before a tool can use them.
const LEAST: i64 = 5;
/// Seconds. If the clock jumped back by more than this, stored times are not trusted.
const CLOCK_JUMP: i64 = 5 * 60;

/// Seconds. AWS gives out no keys of a role for longer. Longer ones only seem so, by a clock that is behind.
const LONGEST: i64 = 12 * 3600;

/// Keys of one role, and when they were obtained.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Secret,
    /// Epoch seconds, by the clock of AWS.
    pub expires_at: i64,
    /// Epoch seconds, by the clock of this machine.
    pub obtained_at: i64,
    /// The role's name and ARN, as the server says.
    pub role: String,
    pub role_arn: String,
}

impl Credentials {
    pub fn new(answer: &Authorized, now: i64) -> Self {
        Self {
            access_key_id: answer.access_key_id.clone(),
            secret_access_key: answer.secret_access_key.clone(),
            session_token: answer.session_token.clone(),
            expires_at: answer.expires_at,
            obtained_at: now,
            role: answer.role.clone(),
            role_arn: answer.role_arn.clone(),
        }
    }

    /// Lifetime in seconds.
    fn life(&self) -> i64 {
        (self.expires_at - self.obtained_at).clamp(0, LONGEST)
    }

    /// Seconds until they expire, by the clock of this machine.
    pub fn remaining(&self, now: i64) -> i64 {
        self.expires_at - now
    }

    /// Whether they may be used: 20 minutes are left, or half of the lifetime if that is shorter.
    pub fn is_fresh(&self, now: i64) -> bool {
        let margin = if self.life() < MARGIN { (self.life() / 2).max(LEAST) } else { MARGIN };
        // After the clock jumped back, the keys seem to be valid for longer than they are.
        let clock_is_sane = now >= self.obtained_at - CLOCK_JUMP && self.remaining(now) <= LONGEST + CLOCK_JUMP;
        clock_is_sane && self.remaining(now) >= margin
    }

    /// Whether a running agent is left to renew them: a quarter of the lifetime is left, which gives it time for several
    /// attempts.
    pub fn is_left_to_agent(&self, now: i64) -> bool {
        let quarter = (self.life() / 4).max(LEAST);
        (quarter..=LONGEST + CLOCK_JUMP).contains(&self.remaining(now)) && now >= self.obtained_at - CLOCK_JUMP
    }

    /// When the agent renews them: after two thirds of their lifetime. If a renewal returns the same keys, the next one
    /// is due after two thirds of the time left.
    pub fn renewal_due_at(&self) -> i64 {
        self.obtained_at + (self.life() * 2 / 3).max(1)
    }

    /// Whether they were expired when obtained, which means that this machine's clock is ahead.
    pub fn came_expired(&self) -> bool {
        self.expires_at <= self.obtained_at
    }

    /// The expiry time, RFC 3339 in UTC.
    pub fn expiration(&self) -> String {
        rfc3339(self.expires_at)
    }
}

/// Epoch seconds as RFC 3339 in UTC. Times out of range become the epoch, which counts as expired.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(obtained_at: i64, expires_at: i64) -> Credentials {
        Credentials {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("s"),
            session_token: Secret::new("t"),
            expires_at,
            obtained_at,
            role: String::new(),
            role_arn: String::new(),
        }
    }

    #[test]
    fn keys_are_fresh_while_tools_need_not_refresh_them() {
        for (life, at, fresh) in [
            (3600, 0, true),
            (3600, 2400, true),
            (3600, 2401, false),
            (1200, 0, true),
            (1200, 1, false),
            (900, 449, true),
            (900, 450, true),
            (900, 451, false),
            (10, 5, true),
            (10, 6, false),
            (6, 1, true),
            (6, 2, false),
            (4, 0, false),
            (0, 0, false),
            (3600, -301, false),
            (3600, -300, true),
            (43_200, 0, true),
            (365 * 86_400, 0, false),
        ] {
            assert_eq!(keys(1000, 1000 + life).is_fresh(1000 + at), fresh, "life {life} at {at}");
        }
    }

    #[test]
    fn a_supervised_renewal_comes_before_tools_worry() {
        assert_eq!(keys(1000, 4600).renewal_due_at(), 3400);
        assert_eq!(keys(1000, 1030).renewal_due_at(), 1020);
        assert_eq!(keys(1000, 900).renewal_due_at(), 1001);
        // By a clock that is a year behind.
        assert_eq!(keys(1000, 1000 + 365 * 86_400).renewal_due_at(), 1000 + 8 * 3600);
    }

    #[test]
    fn the_agent_has_a_quarter_of_the_lifetime_to_renew() {
        for (life, at, left) in
            [(3600, 2700, true), (3600, 2701, false), (900, 675, true), (900, 676, false), (900, -301, false)]
        {
            assert_eq!(keys(1000, 1000 + life).is_left_to_agent(1000 + at), left, "life {life} at {at}");
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(rfc3339(1_800_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
