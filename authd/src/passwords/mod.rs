//! Passwords: Argon2id on separate threads.
//!
//! Invariants: at most one hash per core is computed at a time, on threads with a lower priority than those that answer
//! requests, so that many logins delay nothing else; the queue is bounded; a hash costs the same whether a password is
//! stored or not; a password is in clear only here, and wiped.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use shared::api::users::MAX_PASSWORD;
use shared::secret::Secret;
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::background::{NICENESS, lower_priority};
use crate::env::Env;
use crate::error::{Error, Result};

mod policy;

pub use policy::check;

/// OWASP's recommendation for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const OUTPUT: usize = 32;
const SALT: usize = 16;
/// A stored hash that needs more memory is refused, so that one login cannot overload the machine.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;

/// Maximum number of waiting hashes: some seconds of work.
const QUEUE: usize = 512;
/// How long a caller waits for a hash.
const HASH_TIMEOUT: Duration = Duration::from_secs(15);
/// A thread without work for this long frees its memory.
const LINGER: Duration = Duration::from_secs(2);
const STACK: usize = 256 * 1024;
/// However many cores there are: each takes [`MEMORY_KIB`].
const MOST_THREADS: usize = 8;

/// The result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    No,
    Yes {
        /// The stored hash has other parameters than the current ones and should be replaced.
        outdated: bool,
    },
}

/// The hashing threads and their queue.
#[derive(Debug, Default)]
pub struct Passwords {
    /// Started with the first password, so a daemon without users has none.
    threads: OnceLock<Sender<Job>>,
}

#[derive(Debug)]
struct Job {
    password: Zeroizing<Vec<u8>>,
    params: Params,
    salt: Vec<u8>,
    answer: oneshot::Sender<Result<[u8; OUTPUT], argon2::Error>>,
}

impl Passwords {
    /// Hashes a new password, in PHC form with parameters and salt.
    pub async fn hash(&self, env: &Env, password: &Secret) -> Result<String> {
        let salt = env.bytes::<SALT>();
        let output = self.run(password, current(), salt.to_vec()).await?;
        let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        Ok(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}"))
    }

    /// Whether the password matches the stored hash. `None` means that the user has no password or does not exist: that
    /// takes as long, and is a mismatch.
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
        // The same password can be typed in several Unicode forms (NIST SP 800-63B §3.1.1.2).
        let mut normal = Zeroizing::new(Vec::with_capacity(4 * MAX_PASSWORD));
        for c in password.expose().nfkc().take(MAX_PASSWORD) {
            normal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { password: normal, params, salt, answer };
        match self.threads.get_or_init(start).try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(busy("the queue of hashes is full")),
            Err(TrySendError::Disconnected(_)) => return Err(busy("there is no hashing thread")),
        }
        match tokio::time::timeout(HASH_TIMEOUT, answered).await {
            Ok(Ok(computed)) => {
                computed.map_err(|error| Error::internal(format!("Argon2 refused its parameters: {error}")))
            }
            Ok(Err(_)) => Err(busy("a hashing thread ended")),
            Err(_) => Err(busy("a hash was not computed in time")),
        }
    }
}

fn current() -> Params {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(OUTPUT)).expect("the parameters are constants within Argon2's limits")
}

/// A parsed stored hash.
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
            return Err(broken("it needs too much work"));
        }
        let (Some(salt), Some(output)) = (hash.salt.as_ref(), hash.hash.as_ref()) else {
            return Err(broken("salt or hash is missing"));
        };
        if output.len() != OUTPUT {
            return Err(broken("its length is not 32 bytes"));
        }
        let outdated = (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, PASSES, LANES);
        Ok(Self { salt: salt.to_vec(), output: output.as_bytes().to_vec(), outdated, params })
    }
}

/// Starts a thread for each core, up to a number. They end when the sender is dropped and the queue is empty.
fn start() -> Sender<Job> {
    let (jobs, waiting) = crossbeam_channel::bounded(QUEUE);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..cores.min(MOST_THREADS) {
        let waiting = waiting.clone();
        let started = thread::Builder::new().name("hashing".into()).stack_size(STACK).spawn(move || work(&waiting));
        if let Err(error) = started {
            // With fewer threads, logins are slower; with none they are answered with 503.
            tracing::warn!(%error, "a hashing thread could not be started");
        }
    }
    jobs
}

fn work(waiting: &Receiver<Job>) {
    lower_priority(NICENESS);
    let mut memory: Vec<Block> = Vec::new();
    loop {
        let next = waiting.recv_timeout(LINGER).or_else(|_| {
            memory = Vec::new();
            waiting.recv()
        });
        let Ok(job) = next else { return };
        if job.answer.is_closed() {
            continue;
        }
        let blocks = job.params.block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        let mut output = [0; OUTPUT];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, job.params);
        let computed =
            argon2.hash_password_into_with_memory(&job.password, &job.salt, &mut output, &mut memory[..blocks]);
        // This fails if the caller has stopped waiting.
        let _ = job.answer.send(computed.map(|()| output));
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
        let (threads, _waiting) = crossbeam_channel::bounded(QUEUE);
        passwords.threads.set(threads).unwrap();
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
