//! The commands: arguments as typed → one command; errors → exit codes. A file a command, and beside them what several
//! of them share.

mod build;
mod check;
mod client;
mod cluster;
mod clusters;
mod completions;
mod confirm;
mod consume;
mod dead_letters;
mod graph;
mod host;
mod input;
mod load;
mod log;
mod new;
mod offsets;
mod pair;
mod produce;
mod replay;
mod resources;
mod run;
mod scan;
mod schema;
mod schemas;
mod shadow;
mod standing;
mod starts;
mod status;
mod stdio;
mod swap;
mod test;
mod topics;
mod r#try;
mod watch;

use crate::{
    lines::{InputFormat, OutputFormat},
    wasm,
};
use clap::{
    Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, Resettable},
    error::{ContextKind, ErrorKind},
    parser::ValueSource,
};
use std::{
    env,
    ffi::{OsStr, OsString},
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
    New(new::Arguments),
    Build(build::Arguments),
    Run(run::Arguments),
    Check(check::Arguments),
    Try(r#try::Arguments),
    Test(test::Arguments),
    Clusters(clusters::Arguments),
    Resources(resources::Arguments),
    Topics(topics::Arguments),
    Produce(produce::Arguments),
    Consume(consume::Arguments),
    Offsets(offsets::Arguments),
    #[command(visible_alias = "dlq")]
    DeadLetters(dead_letters::Arguments),
    Replay(replay::Arguments),
    Swap(swap::Arguments),
    Rollback(swap::RollbackArguments),
    Swaps(swap::SwapsArguments),
    Status(status::Arguments),
    Graph(graph::Arguments),
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

/// All that is wrong with a manifest, as it is shown.
#[derive(Debug)]
struct Mistakes(String);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistakes {}

/// An error for which what was asked is to blame.
fn wrong(why: impl Into<String>) -> anyhow::Error {
    Wrong(why.into()).into()
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    if let Some(exit) = wasm::started_to_compile() {
        return exit;
    }
    let arguments = parse().unwrap_or_else(|mut error| {
        // To take an unknown flag for a value is never what was meant.
        error.remove(ContextKind::Suggested);
        error.exit()
    });
    let result = match arguments.command {
        Command::New(arguments) => new::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Try(arguments) => r#try::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Clusters(arguments) => clusters::run(arguments),
        Command::Resources(arguments) => resources::run(&arguments),
        Command::Topics(arguments) => topics::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Offsets(arguments) => offsets::run(arguments),
        Command::DeadLetters(arguments) => dead_letters::run(arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Swap(arguments) => swap::run(&arguments),
        Command::Rollback(arguments) => swap::roll_back(&arguments),
        Command::Swaps(arguments) => swap::list(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Graph(arguments) => graph::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    };
    let exit = result.unwrap_or_else(|error| {
        // A reader that left, as `head` does, is no failure worth a word.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return Exit::Done;
        }
        if let Some(Mistakes(text)) = error.downcast_ref() {
            say(text);
            return Exit::Wrong;
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

fn parse() -> Result<Arguments, clap::Error> {
    let mut command = command();
    let mut matches = command.try_get_matches_from_mut(env::args_os())?;
    let has_two_logs = matches.subcommand_matches("run").is_some_and(has_two_logs);
    if let Some(run) = command.find_subcommand_mut("run").filter(|_| has_two_logs) {
        let why = "the argument '--scratch' cannot be used with '--kafka <BROKERS>' or '--cluster <NAME>'";
        return Err(run.error(ErrorKind::ArgumentConflict, why));
    }
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// A scratch log stands over brokers of the environment, as it does over a manifest's, but not over those that were typed.
fn has_two_logs(run: &ArgMatches) -> bool {
    let is_typed = |flag| run.value_source(flag) == Some(ValueSource::CommandLine);
    run.get_flag("scratch") && (is_typed("kafka") || is_typed("cluster"))
}

/// All commands, with what holds for every flag that the environment may set.
fn command() -> clap::Command {
    with_environment(Arguments::command())
}

/// All commands as they are, whatever the environment says.
#[cfg(test)]
pub(crate) fn commands() -> clap::Command {
    let mut command = Arguments::command();
    command.build();
    command
}

fn with_environment(command: clap::Command) -> clap::Command {
    let flag = |arg: Arg| {
        let Some(name) = arg.get_env() else { return arg };
        let arg = match env::var_os(name) {
            Some(value) if says_nothing(&arg, &value) => arg.env(Resettable::Reset),
            _ => arg.hide_env(true),
        };
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg.hide_possible_values(true),
        }
    };
    command.mut_args(flag).mut_subcommands(with_environment)
}

/// An empty variable counts as not given. So does a format that only the other direction knows, as one variable serves
/// what goes in and what comes out; and so does `off` where a host is looked for, as a host itself is told by that
/// variable. Which cluster is meant, what is typed says alone.
fn says_nothing(arg: &Arg, value: &OsStr) -> bool {
    let is_format = |text| InputFormat::from_str(text, false).is_ok() || OutputFormat::from_str(text, false).is_ok();
    let is_known = |text| arg.get_possible_values().iter().any(|format| format.matches(text, false));
    value.is_empty()
        || (arg.get_id() == "kafka" && is_typed("--cluster"))
        || (arg.get_id() == "cluster" && is_typed("--kafka"))
        || (arg.get_id() == "admin" && matches!(arg.get_action(), ArgAction::Append) && value == "off")
        || (arg.get_id() == "format" && value.to_str().is_some_and(|text| is_format(text) && !is_known(text)))
}

/// True when a flag stands on the command line.
fn is_typed(flag: &str) -> bool {
    let is_it = |word: &OsString| {
        let rest = word.to_str().and_then(|word| word.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    // Behind two dashes there are no flags.
    env::args_os().take_while(|word| word != "--").any(|word| is_it(&word))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What has no name of its own, and what is given as often as there are pairs.
    const PAIRS: [Option<&str>; 4] = [None, Some("config"), Some("property"), Some("secret")];

    fn check(command: &clap::Command) {
        for arg in command.get_arguments().filter(|arg| !PAIRS.contains(&arg.get_long())) {
            assert!(arg.get_env().is_some(), "{}: {arg}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn the_environment_may_set_every_flag_but_pairs() {
        check(&Arguments::command());
    }
}
