//! Passwords: Argon2id on threads of their own.
//!
//! Invariants: at most one hash per core is computed at a time, on threads that yield to those that answer requests,
//! so that a storm of logins delays nothing else; what waits is bounded; a hash costs the same whether there is a
//! password to compare with or not; a password is in clear only here, and wiped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use shared::secret::Secret;
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::env::Env;
use crate::error::{Error, Result};

mod policy;

pub use policy::check;

/// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const OUTPUT: usize = 32;
const SALT: usize = 16;
/// A stored hash that wants more than this is refused: nobody may make us burn a machine for one login.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;

/// Hashes that may wait: some seconds of work.
const QUEUE: usize = 512;
/// How long a caller waits for a hash.
const HASH_TIMEOUT: Duration = Duration::from_secs(15);
/// A thread without work for this long gives its memory back.
const LINGER: Duration = Duration::from_secs(2);
/// Hashing yields to what has the usual priority (0), and still gets its share of a machine that others keep busy: at
/// 10, a storm of logins beside a compiler took longer than anybody waits.
const NICENESS: i32 = 5;
const STACK: usize = 256 * 1024;

/// What a password is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    No,
    Yes {
        /// The stored hash was made with other parameters than today's: it is to be made anew.
        outdated: bool,
    },
}

/// The threads and what waits for them.
#[derive(Debug, Default)]
pub struct Passwords {
    /// Started with the first password: a daemon without users has none.
    pool: OnceLock<Arc<Pool>>,
}

#[derive(Debug, Default)]
struct Pool {
    waiting: Mutex<VecDeque<Job>>,
    work: Condvar,
    /// Nobody can bring work any more.
    closed: AtomicBool,
}

#[derive(Debug)]
struct Job {
    password: Zeroizing<Vec<u8>>,
    params: Params,
    salt: Vec<u8>,
    answer: oneshot::Sender<Option<[u8; OUTPUT]>>,
}

impl Drop for Passwords {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.get() {
            pool.closed.store(true, Ordering::SeqCst);
            pool.work.notify_all();
        }
    }
}

impl Passwords {
    /// The hash to store of a new password, in PHC form, parameters and salt included.
    pub async fn hash(&self, env: &Env, password: &Secret) -> Result<String> {
        let salt = env.bytes::<SALT>();
        let output = self.run(password, current(), salt.to_vec()).await?;
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"))
    }

    /// Whether the password is the one that was stored. `None` is a user without a password, or none at all: that
    /// takes as long, and is no.
    pub async fn verify(&self, stored: Option<&str>, password: &Secret) -> Result<Verified> {
        let Some(stored) = stored else {
            self.run(password, current(), vec![0; SALT]).await?;
            return Ok(Verified::No);
        };
        let Stored { params, salt, output, outdated } = Stored::parse(stored)?;
        let computed = self.run(password, params, salt).await?;
        let is_same: bool = computed.ct_eq(&output).into();
        Ok(if is_same { Verified::Yes { outdated } } else { Verified::No })
    }

    async fn run(&self, password: &Secret, params: Params, salt: Vec<u8>) -> Result<[u8; OUTPUT]> {
        let busy = |why: &str| Error::unavailable("too many logins at the same time; try again", why.to_owned());
        // The same password may be typed in several Unicode forms (NIST SP 800-63B §3.1.1.2).
        let mut normal = Zeroizing::new(Vec::with_capacity(4 * policy::MAX));
        for c in password.expose().nfkc().take(policy::MAX) {
            normal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let (answer, answered) = oneshot::channel();
        let pool = self.pool.get_or_init(Pool::start);
        {
            let mut waiting = pool.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= QUEUE {
                return Err(busy("the queue of hashes is full"));
            }
            waiting.push_back(Job { password: normal, params, salt, answer });
        }
        pool.work.notify_one();
        match tokio::time::timeout(HASH_TIMEOUT, answered).await {
            Ok(Ok(Some(output))) => Ok(output),
            Ok(Ok(None)) => Err(Error::internal("Argon2 refused its parameters")),
            Ok(Err(_)) => Err(busy("a hashing thread ended")),
            Err(_) => Err(busy("a hash was not computed in time")),
        }
    }
}

fn current() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT)).expect("the parameters are constants within Argon2's limits")
}

/// A stored hash, taken apart.
struct Stored {
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
    outdated: bool,
}

impl Stored {
    fn parse(text: &str) -> Result<Self> {
        let broken = |why: &str| Error::internal(format!("a stored password hash cannot be used: {why}"));
        let hash = PasswordHash::new(text).map_err(|error| broken(&error.to_string()))?;
        if hash.algorithm.as_str() != "argon2id" || hash.version != Some(0x13) {
            return Err(broken("it is not Argon2id 1.3"));
        }
        let params = Params::try_from(&hash).map_err(|error| broken(&error.to_string()))?;
        if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES || params.p_cost() > 16 {
            return Err(broken("it asks for too much work"));
        }
        let (Some(salt), Some(output)) = (hash.salt.as_ref().map(Salt::as_ref), hash.hash.as_ref()) else {
            return Err(broken("salt or hash is missing"));
        };
        if output.len() != OUTPUT {
            return Err(broken("its length is not 32 bytes"));
        }
        let outdated = (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, PASSES, LANES);
        let bytes: &[u8] = salt;
        Ok(Self { salt: bytes.to_vec(), output: output.as_bytes().to_vec(), outdated, params })
    }
}

impl Pool {
    fn start() -> Arc<Self> {
        let pool = Arc::new(Self::default());
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            let own = pool.clone();
            let started = thread::Builder::new().name("hashing".into()).stack_size(STACK).spawn(move || own.live());
            if let Err(error) = started {
                // With fewer threads, or none, logins are late, and 503 in the end.
                tracing::warn!(%error, "a hashing thread could not be started");
            }
        }
        pool
    }

    /// The life of a thread.
    fn live(self: Arc<Self>) {
        let own = rustix::thread::gettid();
        if let Err(error) = rustix::process::setpriority_process(Some(own), NICENESS) {
            tracing::debug!(%error, "hashing threads run at the usual priority");
        }
        let mut memory: Vec<Block> = Vec::new();
        loop {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                if let Some(job) = waiting.pop_front() {
                    break job;
                }
                if self.closed.load(Ordering::SeqCst) {
                    return;
                }
                let (woken, timeout) = self.work.wait_timeout(waiting, LINGER).unwrap_or_else(PoisonError::into_inner);
                waiting = woken;
                if timeout.timed_out() && !memory.is_empty() {
                    drop(waiting);
                    memory = Vec::new();
                    waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                }
            };
            drop(waiting);
            if !job.answer.is_closed() {
                let output = job.compute(&mut memory);
                // Nobody is left to hear it if the caller has gone meanwhile.
                let _ = job.answer.send(output);
            }
        }
    }
}

impl Job {
    fn compute(&self, memory: &mut Vec<Block>) -> Option<[u8; OUTPUT]> {
        let blocks = self.params.block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        let mut output = [0; OUTPUT];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let memory = &mut memory[..blocks];
        argon2.hash_password_into_with_memory(&self.password, &self.salt, &mut output, memory).ok()?;
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_in_any_unicode_form_and_another_is_not() {
        let (env, _) = Env::fixed(0);
        let passwords = Passwords::default();
        let stored = passwords.hash(&env, &"Zoe\u{308} likes tea".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let verify = async |password: &str| passwords.verify(Some(&stored), &password.into()).await.unwrap();
        assert_eq!(verify("Zo\u{eb} likes tea").await, Verified::Yes { outdated: false });
        assert_eq!(verify("zo\u{eb} likes tea").await, Verified::No);
        assert_eq!(passwords.verify(None, &"Zo\u{eb} likes tea".into()).await.unwrap(), Verified::No);
    }

    /// The reference implementation's hash of `password` with the salt `somesalt`, as `argon2 somesalt -id -t 2 -m 16 -p 1`.
    #[tokio::test]
    async fn hashes_of_other_implementations_are_known_and_outdated() {
        let stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let passwords = Passwords::default();
        let verified = passwords.verify(Some(stored), &"password".into()).await.unwrap();
        assert_eq!(verified, Verified::Yes { outdated: true });
    }

    #[tokio::test]
    async fn a_stored_hash_cannot_ask_for_any_amount_of_work() {
        let passwords = Passwords::default();
        for stored in [
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "plain",
        ] {
            assert!(passwords.verify(Some(stored), &"password".into()).await.is_err(), "{stored}");
        }
    }

    #[tokio::test]
    async fn too_many_at_once_are_told_to_come_back() {
        let passwords = Passwords::default();
        let pool = Arc::new(Pool::default());
        passwords.pool.set(pool.clone()).unwrap();
        let password = Secret::new("x");
        let mut queued: Vec<_> = (0..QUEUE).map(|_| Box::pin(passwords.verify(None, &password))).collect();
        for one in &mut queued {
            let now = std::future::poll_fn(|context| std::task::Poll::Ready(one.as_mut().poll(context))).await;
            assert!(now.is_pending());
        }
        let error = passwords.verify(None, &password).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.retry_after), ("unavailable", Some(1)));
    }
}
