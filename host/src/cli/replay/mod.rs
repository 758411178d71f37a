//! `replay`: a range of a stage's input once more through a module, and nothing written: what would come of it, or what
//! would be different.

mod produced;
mod range;

use super::{
    Exit,
    consume::place,
    load::{self, Loaded, Wishes},
    log::{Which, existing, explain},
    say, schemas, standing,
    test::painted,
    topics, wrong,
};
use crate::{
    clock::SystemClock,
    manifest::{Manifest, Stage as Written, Start},
    plan::{self, Plan, Work},
    stage::{Outcome, Stage, StageSettings},
    supervisor::{self, Format},
    testing::{Event, Origin, difference},
    text::{count, grouped, inert},
    transport::{
        Batch, Incoming, Offset,
        log::{From, Log, TopicFacts},
    },
    wasm::{self, Compiled, Instance, Module, Setup},
    worker::control::Control,
};
use anyhow::{Context, Result};
use produced::Produced;
use range::{Placed, Range};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

/// What is said where a source or a sink is named.
const ONLY_STAGES: &str = "only stages are replayed";
/// How many differences are shown when nobody says how many.
const SHOWN: u64 = 10;

/// Run a range of a stage's input through any module, and write nothing
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream replay price --module price-2.wasm -n 5
  millstream replay price --module price-2.wasm --against price.wasm
  millstream replay price --module price-2.wasm --produced --from @1767225600000
  millstream replay price --topic orders --from 1000 --to 2000 --json

Committed records are read, as no group's member, and go through the module as
`run` does it, each once: no topic, no group and no state changes. What `allow:
{http: …}` lets a module send, it sends again.

With --against or --produced only what differs is shown: `-` is what the other
module makes, or what was produced, and `+` what this one makes. Failures are
the same when their kinds and codes are.

--produced wants `provenance: true` of the stage. In each partition it begins
with the first record that something produced says it came of: what lies before
may have been done without it. Where nothing was given, partitions are not
compared, nor times where the topic has its own, nor the order of records
without a key; and no record of which the log refused what came of it. What is
gone from the outputs, as retention and compaction do, differs, and so does what
was done twice, or asks to be tried again.

Exit codes: 0 done, or all alike; 1 something differs, or failed while running;
2 what was asked is wrong")]
pub(super) struct Arguments {
    /// The stage
    stage: String,
    #[command(flatten)]
    log: Which,
    /// This module in place of the one that the stage runs
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_MODULE")]
    module: Option<PathBuf>,
    /// The first record: start (the default), end, an offset, or @TIME, as `consume -o` has it
    #[arg(long, value_name = "PLACE", value_parser = place, env = "MILLSTREAM_FROM")]
    from: Option<From>,
    /// The first one that is not taken any more; the end as it is now by default
    #[arg(long, value_name = "PLACE", value_parser = place, env = "MILLSTREAM_TO")]
    to: Option<From>,
    /// Only this one of its inputs
    #[arg(long, value_name = "T", env = "MILLSTREAM_TOPIC")]
    topic: Option<String>,
    /// Only this partition
    #[arg(long, value_name = "P", env = "MILLSTREAM_PARTITION")]
    partition: Option<u32>,
    /// Show only what is different from what this module makes
    #[arg(long, value_name = "FILE", conflicts_with = "produced", env = "MILLSTREAM_AGAINST")]
    against: Option<PathBuf>,
    /// Show only what is different from what was produced
    #[arg(long, env = "MILLSTREAM_PRODUCED")]
    produced: bool,
    /// At most so many records; or so many differences that are shown: 10 by default, and all of them with --json
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          env = "MILLSTREAM_COUNT")]
    count: Option<u64>,
    /// Print lines of JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let manifest = arguments.log.manifest()?;
    let stage = load::stage(&manifest, &arguments.stage, ONLY_STAGES)?;
    if arguments.produced && !stage.provenance {
        return Err(wrong(format!(
            "what {0} has produced does not say of what it came: write `provenance: true` in {0}, and run it; or compare two \
             modules, by --against",
            stage.name
        )));
    }
    for path in arguments.module.iter().chain(&arguments.against) {
        // Else the manifest would be blamed for it. How large it may be is the stage's to say, below.
        Module::load_within(wasm::MODULE_SIZE, path, wasm::Kind::Stage).map_err(|error| wrong(error.to_string()))?;
    }
    supervisor::start_log(Format::Text, false, false);
    let wishes = Wishes { only: vec![stage.name.clone()], module: arguments.module.clone(), ..Wishes::default() };
    let mut loaded = load::load(&arguments.log.source(), &wishes)?;
    say(&loaded.warnings);
    if arguments.module.is_none() {
        let state = loaded.manifest.state.clone();
        standing::take_up(&mut loaded, &state, false);
    }
    let Some(log) = existing(&loaded.manifest)? else {
        return Err(wrong(format!(
            "{} has no log yet: nothing has run, and there is nothing to replay",
            manifest.name
        )));
    };
    replay(arguments, &loaded, &log).map_err(explain(&log))
}

fn replay(arguments: &Arguments, loaded: &Loaded, log: &Log) -> Result<Exit> {
    let Loaded { manifest, compiled, .. } = loaded;
    let stage = load::stage(manifest, &arguments.stage, ONLY_STAGES)?;
    let mut ranges = ranges(arguments, stage, log)?;
    let facts = facts(manifest, stage, log)?;
    let own = compiled.get(&stage.name).context("a defect of the host: it has no module")?;
    let other = arguments.against.as_deref().map(|path| load::another(loaded, stage, path)).transpose()?;
    let bench = Bench::new(loaded, stage, log, facts.clone())?;
    let mut module = bench.side(own)?;
    let mut printer = Printer::new(arguments, &bench.settings);
    if !arguments.produced && other.is_none() {
        show(&mut module, &ranges, log, arguments.count.unwrap_or(u64::MAX), &mut printer)?;
        return Ok(Exit::Done);
    }
    let mut before = match &other {
        Some(other) => Before::Module(Box::new(bench.side(other)?)),
        None => {
            // What is not there yet was not made for this.
            let known = log.topics()?.find(&facts.keys().map(String::as_str).collect::<Vec<_>>())?;
            Before::Produced(Produced::read(log, manifest, stage, &known, &mut ranges)?, stage)
        }
    };
    let differ = compare((&mut before, &mut module), &ranges, log, &mut printer)?;
    Ok(if differ { Exit::Failed } else { Exit::Done })
}

/// Which records are meant, of which inputs.
fn ranges(arguments: &Arguments, stage: &Written, log: &Log) -> Result<Vec<Range>> {
    let is_meant = |port: &crate::manifest::Port| {
        arguments.topic.as_ref().is_none_or(|topic| *topic == port.topic || *topic == port.name)
    };
    let inputs: Vec<_> = (0..stage.inputs.len()).filter(|input| is_meant(&stage.inputs[*input])).collect();
    if let (Some(topic), true) = (&arguments.topic, inputs.is_empty()) {
        let known: Vec<_> = stage.inputs.iter().map(|port| port.topic.as_str()).collect();
        return Err(wrong(format!("{} does not read {topic}: it reads {}", stage.name, known.join(", "))));
    }
    let (begin, end) =
        (arguments.from.unwrap_or(From::Start(Start::Earliest)), arguments.to.unwrap_or(From::Start(Start::Latest)));
    let known = log.topics()?;
    let (mut ranges, mut without) = (Vec::new(), Ok(()));
    for input in inputs {
        let topic = &stage.inputs[input].topic;
        match topics::check_partition(topic, &topics::find(&*known, topic)?, arguments.partition) {
            Ok(()) => ranges.push(Range::find(log, (stage, input), arguments.partition, (begin, end))?),
            // Another one may have it.
            Err(error) => without = without.and(Err(error)),
        }
    }
    let backwards: Vec<_> =
        ranges.iter().filter(|range| range.order.is_gt()).map(|range| range.topic.as_str()).collect();
    if !backwards.is_empty() && !ranges.iter().any(|range| range.order.is_lt()) {
        return Err(wrong(format!("--to lies before --from in {}: turn the two round", backwards.join(", "))));
    }
    if ranges.is_empty() { without.map(|()| ranges) } else { Ok(ranges) }
}

/// What is known of all topics of the stage; of one that is missing, what the manifest wants.
fn facts(manifest: &Manifest, stage: &Written, log: &Log) -> Result<BTreeMap<String, TopicFacts>> {
    let outputs = stage.outputs.iter().map(|port| &port.topic);
    let names: Vec<_> = outputs.chain([&stage.dead_letter]).map(String::as_str).collect();
    let mut facts = log.topics()?.find(&names)?;
    for name in names {
        facts.entry(name.to_owned()).or_insert_with(|| plan::facts_as_wanted(manifest, name));
    }
    Ok(facts)
}

/// A stage as it runs, but for its module.
struct Bench {
    settings: Arc<StageSettings>,
    setup: Setup,
}

/// One module at work.
struct Side {
    stage: Stage,
    /// Its name and its digest, for people.
    name: String,
    is_traced: bool,
}

impl Bench {
    fn new(loaded: &Loaded, stage: &Written, log: &Log, facts: BTreeMap<String, TopicFacts>) -> Result<Bench> {
        let schemas = schemas::known(&loaded.manifest)?;
        let plan = Plan::new(&loaded.manifest, log, &loaded.compiled, (&facts, &schemas), &Arc::default());
        let part = plan.parts.into_iter().find(|part| part.name == stage.name);
        match part.map(|part| part.work) {
            Some(Work::Stage { settings, setup, .. }) => Ok(Bench { settings, setup }),
            _ => Err(wrong(format!("{} has no module", stage.name))),
        }
    }

    fn side(&self, compiled: &Compiled) -> Result<Side> {
        let module = format!("sha256:{}", compiled.digest());
        let settings = StageSettings { module, ..(*self.settings).clone() };
        let is_traced = settings.provenance;
        let clock = Rc::new(SystemClock::new(Arc::new(Control::default())));
        let instance = Instance::new(compiled, self.setup.clone())?;
        let stage = Stage::new(Arc::new(settings), Box::new(instance), clock, Arc::default());
        let digest = compiled.digest();
        Ok(Side { stage, name: format!("{} ({})", compiled.name(), digest.get(..8).unwrap_or(digest)), is_traced })
    }
}

impl Side {
    /// What comes of a record. Where it says that it came from is the same on all sides, but for the module's digest.
    fn outcome(&mut self, batch: &Rc<Placed>, index: usize) -> Result<Outcome> {
        let outcome = self.stage.outcome(batch, index, 1)?;
        Ok(if self.is_traced { outcome.without_provenance() } else { outcome })
    }
}

/// What a module is compared with.
enum Before<'a> {
    Module(Box<Side>),
    Produced(Produced, &'a Written),
}

impl Before<'_> {
    fn name(&self) -> &str {
        match self {
            Before::Module(side) => &side.name,
            Before::Produced(..) => "what was produced",
        }
    }
}

/// Prints what comes of each record.
fn show(module: &mut Side, ranges: &[Range], log: &Log, most: u64, printer: &mut Printer) -> Result<()> {
    let (mut records, mut made, mut lost) = (0, 0, 0);
    for range in ranges {
        if records >= most {
            break;
        }
        let goes_on = range.each(log, &mut |batch, index| {
            let outcome = module.outcome(batch, index)?;
            records += 1;
            made += outcome.made.len() as u64;
            lost += u64::from(outcome.lost.is_some());
            printer.outcome(&range.topic, (batch, index), &outcome)?;
            Ok(records < most)
        })?;
        if !goes_on {
            break;
        }
    }
    printer.flush()?;
    let failed = if lost > 0 { format!(", {} failed", grouped(lost)) } else { String::new() };
    say(&format!("{} through {}: {} made{failed}\n", names(ranges, records), module.name, grouped(made)));
    Ok(())
}

/// Prints where the two differ; whether they do.
fn compare(
    (before, after): (&mut Before<'_>, &mut Side),
    ranges: &[Range],
    log: &Log,
    printer: &mut Printer,
) -> Result<bool> {
    say(&format!("- {}\n+ {}\n", before.name(), after.name));
    let (mut records, mut differ, mut refused) = (0, 0, 0);
    for range in ranges {
        range.each(log, &mut |batch, index| {
            let made = after.outcome(batch, index)?;
            let both = match before {
                Before::Module(side) => Some((side.outcome(batch, index)?, made)),
                Before::Produced(produced, stage) => {
                    let Incoming { partition, offset, timestamp, .. } = batch.get(index);
                    produced.beside((range.input, partition.number, offset.0), stage, timestamp, made)
                }
            };
            let Some((one, other)) = both else {
                refused += 1;
                return Ok(true);
            };
            records += 1;
            if one != other {
                differ += 1;
                printer.difference(&range.topic, (batch, index), (&one, &other))?;
            }
            Ok(true)
        })?;
    }
    printer.flush()?;
    if refused > 0 {
        say(&format!("{} left out: the log refused what came of it\n", count(refused, "record")));
    }
    let alike = grouped(records - differ);
    let more = if printer.shown < differ { format!(", {} shown", grouped(printer.shown)) } else { String::new() };
    say(&format!("{}: {alike} alike, {} differ{more}\n", names(ranges, records), grouped(differ)));
    Ok(differ > 0)
}

/// `12,345 records of orders`.
fn names(ranges: &[Range], records: u64) -> String {
    let topics: Vec<_> = ranges.iter().map(|range| range.topic.as_str()).collect();
    format!("{} of {}", count(records, "record"), topics.join(", "))
}

/// What is shown, on stdout.
struct Printer {
    out: io::BufWriter<io::StdoutLock<'static>>,
    json: bool,
    is_terminal: bool,
    first_output: String,
    /// How many differences may be shown, and how many were.
    most: u64,
    shown: u64,
}

impl Printer {
    fn new(arguments: &Arguments, settings: &StageSettings) -> Printer {
        Printer {
            out: io::BufWriter::new(io::stdout().lock()),
            json: arguments.json,
            is_terminal: io::stdout().is_terminal(),
            first_output: settings.outputs.first().map(|output| output.name.clone()).unwrap_or_default(),
            most: arguments.count.unwrap_or(if arguments.json { u64::MAX } else { SHOWN }),
            shown: 0,
        }
    }

    fn outcome(&mut self, topic: &str, (batch, index): (&Rc<Placed>, usize), outcome: &Outcome) -> Result<()> {
        let (place, at) = places(topic, &**batch, index);
        if self.json {
            return self.program_line(&format!("{{{at},{}", &outcome.json()[1..]));
        }
        writeln!(self.out, "{place}")?;
        match &outcome.lost {
            Some(lost) => writeln!(self.out, "  {}", inert(&lost.to_string()))?,
            None if outcome.made.is_empty() => writeln!(self.out, "  nothing")?,
            None => {
                for event in Event::of(outcome, &Origin::of(&**batch, index), &self.first_output) {
                    writeln!(self.out, "  {}", inert(&event.json()))?;
                }
            }
        }
        Ok(())
    }

    fn difference(
        &mut self,
        topic: &str,
        (batch, index): (&Rc<Placed>, usize),
        (before, after): (&Outcome, &Outcome),
    ) -> Result<()> {
        if self.shown >= self.most {
            return Ok(());
        }
        self.shown += 1;
        let (place, at) = places(topic, &**batch, index);
        if self.json {
            return self.program_line(&format!("{{{at},\"before\":{},\"after\":{}}}", before.json(), after.json()));
        }
        writeln!(self.out, "{place}")?;
        for line in difference((before, after), &Origin::of(&**batch, index), &self.first_output) {
            writeln!(self.out, "{}", painted(&line, self.is_terminal))?;
        }
        Ok(())
    }

    /// A line of JSON as programs read it. On a terminal it may move no cursor, and means the same.
    fn program_line(&mut self, line: &str) -> Result<()> {
        let line = if self.is_terminal { inert(line) } else { line.into() };
        Ok(writeln!(self.out, "{line}")?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// A record's place, for people and as members of an object in JSON.
fn places(topic: &str, batch: &dyn Batch, index: usize) -> (String, String) {
    let Incoming { partition, offset: Offset(offset), .. } = batch.get(index);
    let number = partition.number;
    let topic_json = serde_json::Value::from(topic);
    (format!("{topic}/{number}@{offset}"), format!("\"topic\":{topic_json},\"partition\":{number},\"offset\":{offset}"))
}
