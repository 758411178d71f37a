//! `try`: stdin to stdout through one module, with no manifest and no topic.

use super::{
    Exit,
    input::InputArguments,
    pair::{once, pair},
    say, wrong,
};
use crate::{
    clock::SystemClock,
    lines::{Entries, Entry, InputFormat, LineError, Lines, OutputFormat, Shown},
    manifest::{OnError, Policy},
    record::Record,
    schemas::Codec,
    stage::{
        Output, Stage, StageSettings,
        guest::{Failed, Guest, InHand},
    },
    supervisor::{self, Format},
    text::{count, grouped},
    transport::Outgoing,
    wasm::{self, Cache, Engine, Instance, Module, OpenError, Setup},
    worker::control::Control,
};
use anyhow::{Context, Result};
use std::{
    cell::RefCell,
    collections::VecDeque,
    env,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

/// What `origin` calls the place that the records come from.
const ORIGIN: &str = "stdin";
/// How much is printed at once, while more is there to read.
const BUFFER_BYTES: usize = 64 << 10;

/// Try a module on the lines of stdin: no manifest, no topic
#[derive(clap::Args)]
#[command(after_help = "Examples:
  echo hello | millstream try upper.wasm
  millstream try price.wasm --config currency=EUR < orders.txt
  millstream try price.wasm --format json < orders.jsonl

Each line is a record, and what comes of it is printed. A record in JSON, all
but its value optional:
  {\"key\":\"k\",\"value\":\"v\",\"headers\":[[\"a\",\"1\"]],\"timestamp\":1700000000000}
  (bytes that are not UTF-8: {\"base64\":\"…\"}; a tombstone: null)

Which output a record goes to, and its headers: --output-format json

Exit codes: 0 every record went through, 1 some failed, 2 what was asked is
wrong")]
pub(super) struct Arguments {
    /// The module, a .wasm file
    module: PathBuf,
    /// What it finds in its configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    config: Vec<(String, String)>,
    #[command(flatten)]
    input: InputArguments,
    /// What is printed: value, key-value, json or hex; json when --format is
    #[arg(long, value_enum, value_name = "FORMAT", env = "MILLSTREAM_OUTPUT_FORMAT")]
    output_format: Option<OutputFormat>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let input = arguments.input.input()?;
    supervisor::start_log(Format::Text, false, false);
    // Its clock ends the calls that take too long.
    let engine = Engine::compiling_apart().context("the wasm engine cannot be started")?;
    let (digest, guest) = open(&engine, arguments)?;
    let stdin = io::stdin();
    if stdin.is_terminal() {
        say("each line is a record, until Ctrl-D\n");
    }
    let output = arguments.output_format.unwrap_or(match arguments.input.format {
        InputFormat::Lines => OutputFormat::Value,
        InputFormat::Json => OutputFormat::Json,
    });
    let mut printer = Printer { format: output, names: Rc::default(), text: Vec::new(), records: 0 };
    let guest = AnyOutput { guest, names: printer.names.clone() };
    let mut stage = stage(digest, guest);
    let mut lines = Lines::new(stdin.lock(), input);
    let (records, failed) = feed(&mut lines, &mut stage, &mut printer)?;
    if failed > 0 || io::stderr().is_terminal() {
        let out = grouped(printer.records);
        say(&format!("{} in, {out} out, {} failed\n", count(records, "record"), grouped(failed)));
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

/// Compiles the module and opens it, as `run` does; with its digest.
fn open(engine: &Engine, arguments: &Arguments) -> Result<(String, Instance)> {
    let config = once(arguments.config.clone())?.into_iter().collect();
    let module = Module::load(&arguments.module, wasm::Kind::Stage).map_err(|error| wrong(error.to_string()))?;
    let mut slow = |name: &str| say(&format!("compiling {name}, once…\n"));
    let compiled = engine.compile(&module, &cache(), &mut slow).map_err(|error| wrong(error.to_string()))?;
    let setup = Setup {
        stage: module.path().file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        inputs: vec![wasm::Input { topic: ORIGIN.into(), name: ORIGIN.into() }],
        config,
        ..Setup::default()
    };
    let instance = Instance::new(&compiled, setup).map_err(|error| {
        let help = match error {
            OpenError::Refused(_) => " (these are its own words: does a `--config` say what it needs?)",
            _ => "",
        };
        wrong(format!("{} {error}{help}", module.name()))
    })?;
    Ok((format!("sha256:{}", module.digest()), instance))
}

/// There is no state folder to keep compiled modules in; a large one takes seconds, though, at each try.
fn cache() -> Cache {
    let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
    caches.map_or_else(Cache::none, |caches| Cache::new(caches.join("millstream/modules")))
}

/// A stage with nothing around it: its one output takes whatever any topic might take.
fn stage(module: String, guest: AnyOutput) -> Stage {
    let anything = Output {
        name: "main".into(),
        topic: "stdout".into(),
        partitions: i32::MAX.unsigned_abs(),
        largest: usize::MAX,
        compacted: false,
        ahead: None,
        keeps: None,
    };
    let settings = StageSettings {
        pipeline: "try".into(),
        stage: "try".into(),
        module,
        inputs: vec![ORIGIN.into()],
        outputs: vec![anything],
        on_error: OnError::all(Policy::Stop),
        provenance: false,
        codec: Codec::default(),
    };
    let clock = Rc::new(SystemClock::new(Arc::new(Control::default())));
    Stage::new(Arc::new(settings), Box::new(guest), clock, Arc::default())
}

/// Hands the stage one record after the other; how many there were, and how many of them failed.
fn feed<R: Read>(lines: &mut Lines<R>, stage: &mut Stage, printer: &mut Printer) -> Result<(u64, u64)> {
    let (mut records, mut failed) = (0, 0);
    loop {
        let why = match lines.next_record() {
            Ok(None) => break,
            Ok(Some(entry)) => {
                let record = Rc::new(Entries::one(entry, lines.line() - 1));
                let answer = stage.once(&record, 0, 1, &mut |out| {
                    printer.print(record.entry(0), out);
                    Ok(())
                })?;
                answer.err().map(|failed| format!("line {}: {failed}", lines.line()))
            }
            Err(error @ LineError::Wrong { .. }) => Some(error.to_string()),
            Err(error) => {
                printer.flush()?;
                return Err(error.into());
            }
        };
        records += 1;
        // Whoever types sees each answer at once; a file is read and printed by the block.
        if printer.text.len() >= BUFFER_BYTES || why.is_some() || !lines.is_ready() {
            printer.flush()?;
        }
        if let Some(why) = why {
            failed += 1;
            say(&format!("{why}\n"));
        }
    }
    printer.flush()?;
    Ok((records, failed))
}

/// The names of the outputs that the records of one answer go to.
type Names = Rc<RefCell<VecDeque<Option<String>>>>;

/// A guest whose outputs no manifest names, so that any name is right: the stage sees none, who prints sees them all.
struct AnyOutput {
    guest: Instance,
    names: Names,
}

impl Guest for AnyOutput {
    fn transform(&mut self, record: InHand<'_>) -> Result<Vec<Record>, Failed> {
        let mut records = self.guest.transform(record)?;
        *self.names.borrow_mut() = records.iter_mut().map(|record| record.output.take()).collect();
        Ok(records)
    }
}

/// Prints what comes of the records.
struct Printer {
    format: OutputFormat,
    names: Names,
    text: Vec<u8>,
    records: u64,
}

impl Printer {
    fn print(&mut self, origin: &Entry, record: &Outgoing<'_>) {
        let output = self.names.borrow_mut().pop_front().flatten();
        let mut headers = Vec::new();
        if self.format.shows_headers() {
            if record.keep_headers {
                headers.extend(origin.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())));
            }
            headers.extend(record.headers.iter().map(|header| (header.name.as_bytes(), header.value.as_deref())));
        }
        let shown = Shown {
            output: output.as_deref(),
            partition: record.partition,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
            ..Shown::default()
        };
        self.format.write(&shown, &mut self.text);
        self.records += 1;
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(&self.text)?;
        self.text.clear();
        out.flush()
    }
}
