//! The project's own commands: `cargo xtask COMMAND`.

mod bench;
mod elsewhere;
mod scratch;

use anyhow::{Context, Result, anyhow, ensure};
use scratch::Scratch;
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread::{self, available_parallelism},
};
use xtask::{guests, kafka, mongodb, postgres, registry};

const HELP: &str = "cargo xtask COMMAND

  test [FILTER]      everything that CI runs: format, lints, and all tests: of the host, on a real Kafka too, of the SDK,
                     and of new projects in every language; with a filter only those tests of the host
  soak [FILTER…]     the tests that have full counts, with these; takes long
  soak --minutes N [--seed S]
                     faults of every kind at random, under load, for so long
  elsewhere          what lies in compose/, read by the parsers of Compose, Docker, Kubernetes, Prometheus and systemd
  guests             build the guests of this repository
  kafka [PORT]       run a Kafka from Maven Central (9092), with its data in the target folder, until Ctrl-C
  bench NAME         what is measured beside something else; `bench` alone lists it
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["test", ref rest @ ..] => test(rest),
        ["soak", "--minutes", minutes] => storm(minutes, "1"),
        ["soak", "--minutes", minutes, "--seed", seed] => storm(minutes, seed),
        ["soak", ref rest @ ..] if !rest.iter().any(|word| word.starts_with('-')) => soak(rest),
        ["bench", ref rest @ ..] => bench::run(rest),
        ["elsewhere"] => check_elsewhere(),
        ["guests"] => guests::build().map(|folder| println!("{}", folder.display())),
        ["kafka"] => run_kafka(9092),
        ["kafka", port] => port.parse().context("a port is a number").and_then(run_kafka),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(filter: &[&str]) -> Result<()> {
    if filter.is_empty() {
        cargo(&["fmt", "--all", "--check"])?;
    }
    // What is fetched comes while the compiler is busy.
    thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            // Told at once: the compiler has some minutes to go.
            fetch().inspect_err(|error| eprintln!("xtask: {error:#}"))
        });
        if filter.is_empty() {
            check()?;
        }
        fetching.join().map_err(|_| anyhow!("what the tests need could not be fetched"))?
    })?;
    // One failure should not hide the others.
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
    arguments.extend(filter);
    cargo_with_kafka(&arguments, &[])
}

/// Lints, and all that stands beside the workspace.
fn check() -> Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])?;
    for folder in ["guests/rust", "guests/rust/fetch", "compose/pipeline/steps", "bench/native", "bench/plain"]
        .map(PathBuf::from)
        .into_iter()
        .chain(examples()?)
    {
        cargo_in(&root().join(folder), &["fmt", "--all", "--check"])?;
    }
    cargo_beside("guests/rust", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo_beside("guests/rust", &["test", "--locked", "--workspace"])?;
    // It names the tables of the host's log. The other yardstick would build OpenSSL and librdkafka for minutes.
    cargo_beside("bench/plain", &["check", "--locked"])?;
    check_elsewhere()
}

/// The examples in Rust.
fn examples() -> Result<Vec<PathBuf>> {
    let folders = std::fs::read_dir(root().join("examples"))?.collect::<Result<Vec<_>, _>>()?;
    Ok(folders.into_iter().map(|entry| entry.path()).filter(|folder| folder.join("Cargo.toml").exists()).collect())
}

/// What tests need beside what cargo builds; before they run, as many would want it at once.
fn fetch() -> Result<()> {
    guests::build()?;
    kafka::fetch()?;
    mongodb::fetch()?;
    registry::fetch_all()?;
    postgres::programs().map(drop)
}

/// Runs cargo with what the suite on a real Kafka needs: a broker that its tests share, and a host that is broken on
/// purpose.
fn cargo_with_kafka(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    // By way of a test that needs it: built alone, it would want everything below it once more, as what tests depend on
    // turns on other features there.
    cargo(&["test", "--package", "millstream", "--features", "mutants", "--test", "guests", "--no-run"])?;
    let folder = Scratch::new("test")?;
    let cluster = kafka::Cluster::start(folder.path(), &kafka::Setup::default())?;
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .current_dir(root())
        .env("MILLSTREAM_TEST_KAFKA", cluster.address())
        // Most of them wait for others most of the time.
        .env("RUST_TEST_THREADS", (available_parallelism()?.get() + 1).to_string())
        .env("MILLSTREAM_BROKEN_HOST", target_folder().join("debug/millstream-broken"))
        .envs(environment.iter().copied());
    run_cargo(&mut command)
}

/// Where cargo puts what it builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |shared| root().join(shared))
}

/// Where cargo puts what it builds of a folder that is no member of the workspace: in one of its own, as names repeat.
fn target_beside(folder: &str) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join(folder).join("target"), |shared| root().join(shared).join(folder))
}

fn soak(filter: &[&str]) -> Result<()> {
    fetch()?;
    let suites = ["--test", "embedded", "--test", "kafka", "--test", "sinks"];
    let mut arguments = [&["test"], &suites[..], &["--", "--nocapture"]].concat();
    // The modules with tests that ask whether they soak.
    let all = [
        "delivery::",
        "sources::",
        "sinks::",
        "schemas::the",
        "postgres::every_record",
        "mongodb::every_record",
        "acls::",
    ];
    arguments.extend(if filter.is_empty() { &all[..] } else { filter });
    cargo_with_kafka(&arguments, &[("MILLSTREAM_SOAK", "1")])
}

fn storm(minutes: &str, seed: &str) -> Result<()> {
    for number in [minutes, seed] {
        number.parse::<u64>().with_context(|| format!("{number} is no whole number"))?;
    }
    guests::build()?;
    kafka::fetch()?;
    let arguments = ["test", "--test", "kafka", "--", "--nocapture", "storm::"];
    cargo_with_kafka(&arguments, &[("MILLSTREAM_SOAK_MINUTES", minutes), ("MILLSTREAM_SOAK_SEED", seed)])
}

fn check_elsewhere() -> Result<()> {
    eprintln!("compose/: what others will read");
    let folder = Scratch::new("elsewhere")?;
    elsewhere::check(&root().join("compose").canonicalize()?, folder.path())
}

fn run_kafka(port: u16) -> Result<()> {
    let folder = Scratch::new("kafka")?;
    let mut cluster = kafka::Cluster::start_at(folder.path(), &kafka::Setup::default(), vec![port])?;
    println!("Kafka is ready at {}", cluster.address());
    cluster.wait(0)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_in(&root(), arguments)
}

fn cargo_in(folder: &Path, arguments: &[&str]) -> Result<()> {
    run_cargo(Command::new("cargo").args(arguments).current_dir(folder))
}

/// The same in a folder that is no member of the workspace, on what is built there.
fn cargo_beside(folder: &str, arguments: &[&str]) -> Result<()> {
    eprint!("in {folder}: ");
    let mut command = Command::new("cargo");
    run_cargo(command.args(arguments).current_dir(root().join(folder)).env("CARGO_TARGET_DIR", target_beside(folder)))
}

fn run_cargo(command: &mut Command) -> Result<()> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let words = words.join(" ");
    eprintln!("cargo {words}");
    let status = command.status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo {words} failed");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
