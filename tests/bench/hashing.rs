//! The limit of a login: Argon2id and nothing else, with authd's parameters, in memory that is used again.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use rustix::time::{ClockId, clock_gettime};

/// Hashes on so many threads until it is ended.
#[derive(Clone, Debug, clap::Args)]
pub struct Hash {
    #[arg(long)]
    pub threads: usize,
}

pub fn run(hash: &Hash) -> Result<()> {
    let threads: Vec<_> = (0..hash.threads).map(|_| thread::spawn(|| -> Result<()> { endless() })).collect();
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
}

fn endless() -> Result<()> {
    let mut hasher = Hasher::new()?;
    loop {
        hasher.hash()?;
    }
}

pub struct Hasher {
    argon2: Argon2<'static>,
    memory: Vec<Block>,
}

impl Hasher {
    /// OWASP's first choice, which is authd's: 19 MiB, two passes, one lane.
    pub fn new() -> Result<Self> {
        let params = Params::new(19 * 1024, 2, 1, Some(32)).ok().context("Argon2's parameters")?;
        let memory = vec![Block::default(); params.block_count()];
        let mut hasher = Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), memory };
        hasher.hash()?;
        Ok(hasher)
    }

    fn hash(&mut self) -> Result<()> {
        let mut output = [0; 32];
        let hashed = self.argon2.hash_password_into_with_memory(
            b"correct horse battery staple",
            &[7; 16],
            &mut output,
            &mut self.memory,
        );
        hashed.ok().context("Argon2 failed")
    }

    /// CPU of `count` hashes on this thread.
    pub fn cpu_time(&mut self, count: u64) -> Result<Duration> {
        let begin = thread_time();
        for _ in 0..count {
            self.hash()?;
        }
        Ok(thread_time().saturating_sub(begin))
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
