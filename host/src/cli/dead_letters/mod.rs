//! `dead-letters`: the records that failed, counted, shown one by one, and tried again.

mod dry;
mod list;
mod read;
mod retry;
mod show;

use super::{
    Exit,
    log::{Which, existing, explain, time},
    print, wrong,
};
use crate::{
    manifest::{Burier, Kind, Manifest, parse_duration},
    plan::retry_group,
    stage::{Choice, KINDS},
    text::nearest,
};
use anyhow::Result;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is said where there is nothing to show.
const NONE: &str = "no dead letters wait\n";

/// List and show the records that failed, and try them again
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream dead-letters list
  millstream dead-letters show price --kind reject -n 5
  millstream dead-letters retry price --module mended.wasm --dry-run

A record that fails goes to its stage's dead-letter topic, with the reason.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: Which,
    /// Print JSON
    #[arg(long, global = true, env = "MILLSTREAM_JSON")]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Count the dead letters that wait, by stage, kind and code
    #[command(after_help = "Examples:
  millstream dead-letters list
  millstream dead-letters list price --since 1h --kafka localhost:9092")]
    List {
        /// Only this stage or sink
        stage: Option<String>,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show dead letters one by one: why, where from, and what the record is
    #[command(after_help = "Examples:
  millstream dead-letters show price -n 5
  millstream dead-letters show price --code unknown-currency --json

What was written with a schema is shown as JSON, where that is known and fits.
With --json each is a line as `consume --format json --raw` prints it, with all
of its headers.")]
    Show {
        /// The stage, or the sink
        stage: String,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        reach: Reach,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", env = "MILLSTREAM_COUNT")]
        count: Option<u64>,
    },
    /// Try dead letters again, exactly once
    #[command(after_help = "Examples:
  millstream dead-letters retry price
  millstream dead-letters retry price --kind reject --module mended.wasm --dry-run
  millstream dead-letters retry price --code unknown-currency -n 100

They go through the stage in their order, beside a host that runs or without
one: what comes of them goes to the stage's outputs, in one transaction with
the note that they are done. What was done is not done again, also after a
crash. One that fails again is a dead letter again, with one attempt more;
those that are not meant are left as they are. Both go to the end of their
topic, and wait there for the next time. A dry run calls the module, too: what
it sends by HTTP is sent.

Exit codes: 0 done, whatever became of them, 1 failed while running, 2 what was
asked is wrong, 3 some failed again (with --fail-on-dead-letter)")]
    Retry(retry::Arguments),
}

/// Which letters are meant.
#[derive(clap::Args)]
struct Filter {
    /// Only those of this kind: reject, fault, limit, retry, decode or encode
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', value_parser = KINDS,
          hide_possible_values = true, env = "MILLSTREAM_KIND")]
    kind: Vec<String>,
    /// Only those of this code
    #[arg(long, value_name = "CODE,…", value_delimiter = ',', env = "MILLSTREAM_CODE")]
    code: Vec<String>,
    /// Only those written since then: a time such as 2026-01-01T00:00:00Z, or how long ago, such as 1h
    #[arg(long, value_name = "TIME", value_parser = since, env = "MILLSTREAM_SINCE")]
    since: Option<i64>,
}

impl Filter {
    fn choice(self) -> Choice {
        Choice { kinds: self.kind, codes: self.code, since: self.since }
    }
}

#[derive(clap::Args)]
struct Reach {
    /// Those that were tried again, too
    #[arg(long, env = "MILLSTREAM_ALL")]
    all: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    let Arguments { command, log: which, json } = arguments;
    match command {
        Command::Retry(arguments) => retry::run(arguments, &which.source(), json),
        Command::List { stage, filter, reach } => {
            let manifest = which.manifest()?;
            let stages = match &stage {
                Some(name) => vec![find(&manifest, name)?],
                None => manifest.buriers().collect(),
            };
            let listed = match existing(&manifest)? {
                Some(log) => list::list(&manifest, &log, &stages, (&filter.choice(), reach.all, stage.is_some()))
                    .map_err(explain(&log))?,
                None => list::Listed::default(),
            };
            listed.print(json)
        }
        Command::Show { stage, filter, reach, count } => {
            let manifest = which.manifest()?;
            let stage = find(&manifest, &stage)?;
            let most = count.unwrap_or(u64::MAX);
            let shown = match existing(&manifest)? {
                Some(log) => show::show(&manifest, &log, &stage, (&filter.choice(), reach.all, most), json)
                    .map_err(explain(&log))?,
                None => 0,
            };
            if shown == 0 && !json {
                print(NONE)?;
            }
            Ok(Exit::Done)
        }
    }
}

/// The group that tries a stage's dead letters again: what it has behind it waits no more.
fn group(manifest: &Manifest, stage: &str) -> String {
    retry_group(&manifest.name, stage)
}

/// A stage or a sink by its name.
fn find<'a>(manifest: &'a Manifest, name: &str) -> Result<Burier<'a>> {
    let known = || manifest.buriers().map(|burier| burier.name);
    manifest.buriers().find(|burier| burier.name == name).ok_or_else(|| {
        let part = manifest.parts().find(|(_, part)| *part == name);
        let help = match (part, nearest(name, known())) {
            (Some((Kind::Source, _)), _) => "it is a source, and nothing fails there".to_owned(),
            (Some(_), _) => "it prints, and nothing fails there".to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("it has {}", known().collect::<Vec<_>>().join(", ")),
        };
        wrong(format!("{} has no stage or sink `{name}`: {help}", manifest.name))
    })
}

/// A moment, or how long ago it was.
fn since(text: &str) -> Result<i64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = |past| i64::try_from(now.saturating_sub(past).as_millis()).ok();
    let found = parse_duration(text).and_then(ago).or_else(|| time(text.strip_prefix('@').unwrap_or(text)));
    found.ok_or_else(|| "write a time such as `2026-01-01T00:00:00Z`, or how long ago it was, such as `1h`".to_owned())
}
