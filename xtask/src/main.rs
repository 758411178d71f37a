//! The project's own commands: `cargo xtask COMMAND`.

mod bench;

use anyhow::{Context, Result, bail, ensure};
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};
use xtask::{guests, kafka};

const HELP: &str = "cargo xtask COMMAND

  test [FILTER]      everything that CI runs: format, lints, unit tests, and the suite on a real Kafka
  soak [FILTER]      the tests of delivery with full counts; takes long
  guests             build the guests of this repository
  kafka [PORT]       run a Kafka from Maven Central (9092), with its data in a temporary folder, until Ctrl-C
  bench passthrough  the host beside native code on one broker; `bench` alone says how
  bench recovery     the same, killed and started again
  bench embedded     the host on the embedded log, beside plain loops on SQLite
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["test", ref rest @ ..] => test(rest),
        ["soak", ref rest @ ..] => soak(rest),
        ["bench", ref rest @ ..] => bench::run(rest),
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
    guests::build()?;
    kafka::fetch()?;
    if filter.is_empty() {
        cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])?;
        for folder in ["guests/rust", "examples/quickstart", "bench/native", "bench/plain"] {
            cargo_in(&root().join(folder), &["fmt", "--all", "--check"])?;
        }
    }
    let mut arguments = vec!["test", "--workspace"];
    arguments.extend(filter);
    cargo_with_kafka(&arguments, &[])
}

/// Runs cargo with what the suite on a real Kafka needs: a broker that its tests share, and a host that is broken on
/// purpose.
fn cargo_with_kafka(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    cargo(&["build", "--package", "millstream", "--features", "mutants", "--bin", "millstream-broken"])?;
    let folder = tempfile::tempdir()?;
    let cluster = kafka::Cluster::start(folder.path(), &kafka::Setup::default())?;
    eprintln!("cargo {}", arguments.join(" "));
    let status = Command::new("cargo")
        .args(arguments)
        .current_dir(root())
        .env("MILLSTREAM_TEST_KAFKA", cluster.address())
        .env("MILLSTREAM_BROKEN_HOST", target_folder().join("debug/millstream-broken"))
        .envs(environment.iter().copied())
        .status()?;
    ensure!(status.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

/// Where cargo puts what it builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn soak(filter: &[&str]) -> Result<()> {
    guests::build()?;
    kafka::fetch()?;
    let mut arguments = vec!["test", "--test", "embedded", "--test", "kafka"];
    arguments.extend(if filter.is_empty() { &["delivery"] } else { filter });
    arguments.extend(["--", "--nocapture"]);
    cargo_with_kafka(&arguments, &[("MILLSTREAM_SOAK", "1")])
}

fn run_kafka(port: u16) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = kafka::Cluster::start_at(folder.path(), &kafka::Setup::default(), vec![port])?;
    println!("Kafka is ready at {}", cluster.address());
    cluster.wait(0)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_in(&root(), arguments)
}

fn cargo_in(folder: &Path, arguments: &[&str]) -> Result<()> {
    eprintln!("cargo {}", arguments.join(" "));
    let status =
        Command::new("cargo").args(arguments).current_dir(folder).status().context("cargo cannot be started")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.first().unwrap_or(&""));
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
