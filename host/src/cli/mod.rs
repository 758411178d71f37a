//! The commands: arguments as typed → one command; errors → exit codes. A file a command.

mod build;
mod check;
mod client;
mod completions;
mod consume;
mod input;
mod load;
mod log;
mod offsets;
mod produce;
mod run;
mod schema;
mod starts;
mod stdio;
mod test;
mod topics;
mod r#try;

use clap::{Parser, Subcommand, error::ContextKind};
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Puts a WebAssembly function between two Kafka topics: in any language, exactly once.
#[derive(Parser)]
#[command(name = "millstream", version, max_term_width = 100, after_help = EXAMPLE)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example:\n  millstream run pipeline.yaml --kafka localhost:9092";

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Try(r#try::Arguments),
    Test(test::Arguments),
    Topics(topics::Arguments),
    Produce(produce::Arguments),
    Consume(consume::Arguments),
    Offsets(offsets::Arguments),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// How a command ended when nothing needs to be said any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to.
    Done,
    /// It failed while running; the reason was said.
    Failed,
    /// What was asked is wrong; it was said what.
    Wrong,
    /// There were dead letters, and `--fail-on-dead-letter`.
    DeadLetters,
}

/// What was asked is wrong, rather than that something failed.
#[derive(Debug)]
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// An error for which what was asked is to blame.
fn wrong(why: impl Into<String>) -> anyhow::Error {
    Wrong(why.into()).into()
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|mut error| {
        // To take an unknown flag for a value is never what was meant.
        error.remove(ContextKind::Suggested);
        error.exit()
    });
    let result = match arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Try(arguments) => r#try::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Topics(arguments) => topics::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Offsets(arguments) => offsets::run(arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    let exit = result.unwrap_or_else(|error| {
        // A reader that left, as `head` does, is no failure worth a word.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return Exit::Done;
        }
        say(&format!("{} {error:#}\n", paint("31", "error:")));
        if error.is::<Wrong>() { Exit::Wrong } else { Exit::Failed }
    });
    ExitCode::from(match exit {
        Exit::Done => 0,
        Exit::Failed => 1,
        Exit::Wrong => 2,
        Exit::DeadLetters => 3,
    })
}

fn paint(color: &str, text: &str) -> String {
    match io::stderr().is_terminal() {
        true => format!("\x1b[1;{color}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// How wide the terminal is that errors go to, when they go to one.
fn terminal() -> Option<usize> {
    let is_terminal = io::stderr().is_terminal();
    is_terminal.then(|| terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0.into()))
}

/// Writes what is no result to stderr. When nobody is there to read it, nobody misses it.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes a result to stdout.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
