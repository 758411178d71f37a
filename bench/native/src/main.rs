//! The yardstick of Millstream: what its host does, without a host.
//!
//! `pass` takes records from one Kafka topic, upper-cases their values and produces them to another, in one thread and
//! straight on librdkafka. What the host loses against it is the price of WebAssembly, policies and supervision. The
//! other subcommands make the topics, fill them, and look at what came out.

mod clients;
mod count;
mod load;
mod meter;
mod observe;
mod pass;
mod raw;
mod topics;
mod watch;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// The host's allocator. Its feature `unprefixed_malloc_on_supported_platforms` puts it under librdkafka's C code too,
/// which calls `malloc` for each record and each header: there it counts most.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long anything that a broker has to answer may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(about = "A passthrough straight on librdkafka, and what it takes to measure it", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make an empty topic that keeps its records for ever
    Make(MakeArgs),
    /// Make a topic and fill it with numbered records
    Load(LoadArgs),
    /// Upper-case the values of one topic into another, and print what that cost
    Pass(PassArgs),
    /// Print how far a group is done with a topic, each time that it gets further
    Observe(ObserveArgs),
    /// Print when the next records of a topic become visible to a read_committed reader
    Watch(WatchArgs),
    /// Read a loaded or passed topic to its end, and say what is missing, doubled or out of order
    Count(CountArgs),
}

#[derive(Args)]
struct MakeArgs {
    /// Bootstrap servers, HOST:PORT[,HOST:PORT…]
    brokers: String,
    topic: String,
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Delete a topic of that name first
    #[arg(long)]
    fresh: bool,
}

#[derive(Args)]
struct LoadArgs {
    #[command(flatten)]
    topic: MakeArgs,
    #[arg(long)]
    records: u64,
    /// Bytes of a value; the first 12 are its number
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(12..))]
    size: u32,
    /// Headers of each record, 16 bytes each
    #[arg(long, value_name = "N", default_value_t = 0)]
    headers: usize,
}

#[derive(Args)]
struct PassArgs {
    /// Bootstrap servers, HOST:PORT[,HOST:PORT…]
    brokers: String,
    input: String,
    output: String,
    /// End after so many; 0 runs until it is killed, and prints the time of its first commit
    #[arg(long)]
    records: u64,
    #[arg(long)]
    delivery: Delivery,
    /// Consumer group; a new one by default, which reads from the beginning
    #[arg(long)]
    group: Option<String>,
    /// transactional.id and group.instance.id, the group's name by default: who comes back under it takes over at once
    #[arg(long)]
    instance: Option<String>,
    /// From the first record of a transaction to its commit
    #[arg(long, value_name = "DURATION", default_value = "50ms")]
    commit_interval: humantime::Duration,
    /// queued.max.messages.kbytes
    #[arg(long, value_name = "KIB", default_value_t = 16384)]
    queued_kbytes: u32,
    /// One more librdkafka property of the consumer (may be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    consumer_property: Vec<(String, String)>,
    /// One more librdkafka property of the producer (may be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    producer_property: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

#[derive(Args)]
struct ObserveArgs {
    /// Bootstrap servers, HOST:PORT[,HOST:PORT…]
    brokers: String,
    /// The topic that the group reads
    topic: String,
    #[arg(long)]
    group: String,
    /// End when it is done with so many
    #[arg(long)]
    records: u64,
}

#[derive(Args)]
struct WatchArgs {
    /// Bootstrap servers, HOST:PORT[,HOST:PORT…]
    brokers: String,
    topic: String,
    /// End after so many records
    #[arg(short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
}

#[derive(Args)]
struct CountArgs {
    /// Bootstrap servers, HOST:PORT[,HOST:PORT…]
    brokers: String,
    topic: String,
    /// Count aborted and open transactions too
    #[arg(long)]
    uncommitted: bool,
}

fn property(argument: &str) -> Result<(String, String), String> {
    argument
        .split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "is not KEY=VALUE".to_owned())
}

fn main() -> ExitCode {
    let started = Instant::now();
    match run(Cli::parse().command, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, started: Instant) -> Result<()> {
    match command {
        Command::Make(args) => topics::make(&args),
        Command::Load(args) => load::run(&args),
        Command::Pass(args) => pass::run(&args, started),
        Command::Observe(args) => observe::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Count(args) => count::run(&args),
    }
}
