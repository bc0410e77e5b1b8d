//! The benchmark: authd beside what this machine can do at all, in the same run.
//!
//! Time says little on a machine that others use too, so each figure stands beside a limit measured in turn with it: a
//! bare hyper server that answers the same bytes, or SQLite committing raw rows on the same disk. The main figure is
//! CPU time per request, which other load moves least; the targets are ratios to the limit.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod ask;
mod bare;
mod cores;
mod creation;
mod grpc;
mod hashing;
mod hot_path;
mod load;
mod people;
mod plan;
mod report;
mod seed;
mod servers;
mod storm;
mod token;
mod uploads;
mod wire;

/// Measures authd beside what this machine can do at all.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(plan::Run),
    Bare(bare::Bare),
    BareGrpc(grpc::BareGrpc),
    BareUpload(uploads::BareUpload),
    Load(load::Load),
    Seed(seed::Seed),
    Hash(hashing::Hash),
}

fn main() -> Result<ExitCode> {
    let good = match Args::parse().command {
        Command::Run(run) => run.run()?,
        Command::Bare(bare) => bare::run(&bare).map(|()| true)?,
        Command::BareGrpc(bare) => grpc::run(&bare).map(|()| true)?,
        Command::BareUpload(bare) => uploads::run(&bare).map(|()| true)?,
        Command::Seed(seed) => seed::run(&seed).map(|()| true)?,
        Command::Hash(hash) => hashing::run(&hash).map(|()| true)?,
        Command::Load(load) => {
            let outcome = load::run(&load)?;
            let (p50, p99) = (outcome.percentile(0.5), outcome.percentile(0.99));
            println!(
                "{} requests in {:.2} s: {:.0} per second, p50 {p50:.1} µs, p99 {p99:.1} µs",
                outcome.requests,
                outcome.elapsed.as_secs_f64(),
                outcome.per_second()
            );
            true
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
