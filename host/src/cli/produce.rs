//! `produce`: from stdin to a topic.

use super::{
    Exit,
    input::InputArguments,
    log::{Which, explain},
    paint, print, say, schemas,
    stdio::{Signals, Stdin},
    topics, wrong,
};
use crate::{
    lines::{Entry, LineError, Lines, json_value},
    manifest::Topic,
    record::Header,
    schemas::Codec,
    supervisor::{self, Format},
    text::{count, grouped},
    transport::{
        Outgoing,
        log::{Sender, Sent, Topics, Unsent},
    },
};
use anyhow::{Result, bail};
use serde_json::json;
use std::{
    io::{self, IsTerminal},
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Write records from standard input to a topic
#[derive(clap::Args)]
#[command(after_help = "Examples:
  echo hello | millstream produce greetings --kafka localhost:9092
  millstream produce orders --key-separator : < orders.txt
  millstream consume a --from-beginning --until-end --format json |
    millstream produce b --format json

Where the manifest gives the topic a schema, a value is JSON, and is written
with that schema.

A record in JSON is a line such as {\"key\":\"k\",\"value\":\"v\"}; it may have
`headers`, `timestamp` and `partition` as well. The `topic` and `offset` that
`consume` prints say where it was, and are passed over.

Each option is a variable of the environment, too, such as MILLSTREAM_FORMAT.

Exit codes: 0 every record was acknowledged, 1 some were not, 2 what was asked
is wrong, or a line is no record: those before it were sent")]
pub(super) struct Arguments {
    /// The topic
    topic: String,
    #[command(flatten)]
    log: Which,
    #[command(flatten)]
    input: InputArguments,
    /// Send what is read as it is, though the manifest says that the topic has a schema
    #[arg(long, env = "MILLSTREAM_RAW")]
    raw: bool,
    /// Print the result as JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
}

/// What is handed over at once.
const TOGETHER: usize = 1000;
const TOGETHER_BYTES: usize = 1 << 20;
/// Between two looks at what happened.
const LOOK: Duration = Duration::from_millis(100);
/// How many records that were not acknowledged are named.
const NAMED: usize = 20;

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    let input = arguments.input.input()?;
    let (log, manifest) = arguments.log.open_with_manifest()?;
    supervisor::start_log(Format::Text, false, false);
    let known = log.topics()?;
    let explain = explain(&log);
    let facts = known.find(&[&arguments.topic]).map_err(&explain)?.remove(&arguments.topic);
    let facts = facts.ok_or_else(|| wrong(unknown(&*known, &arguments.topic)))?;
    // What is sent is written with the topic's schemas, as anybody there expects.
    let codec = match manifest.filter(|_| !arguments.raw) {
        Some(manifest) if manifest.topics.get(&arguments.topic).is_some_and(Topic::has_schema) => {
            schemas::settle_topic(&manifest, &arguments.topic)?.codec(&[], std::slice::from_ref(&arguments.topic))
        }
        _ => Codec::default(),
    };
    let sender = log.sender(&arguments.topic, &facts).map_err(explain)?;
    let signals = Signals::listen(2)?;
    let (stdin, cut) = Stdin::new(&signals)?;
    let (to, entries) = sync_channel(4);
    thread::Builder::new().name("input".into()).spawn(move || read(Lines::new(stdin, input), &to))?;
    let mut sending = Sending::new(sender, codec, signals.clone());
    let end = sending.send_all(&entries)?;
    let sent = sending.finish()?;
    let stopped = match end {
        End::Failed(LineError::Unreadable(_)) if signals.ending() => {
            if cut.load(Ordering::Acquire) {
                say("the last line had no end yet, and was not sent\n");
            }
            None
        }
        End::Failed(error) => Some(error),
        End::Complete => None,
    };
    tell(sent, stopped, arguments.json)
}

/// A topic is never made by the way: its name may be mistyped.
fn unknown(topics: &dyn Topics, name: &str) -> String {
    let near = topics::similar(topics, name).map_or_else(String::new, |near| format!(" did you mean {near}?"));
    format!("there is no topic {name}:{near} `topics create {name}` makes it")
}

/// What the input gives.
enum Piece {
    /// Records, each with the number of its line.
    Entries(Vec<(u64, Entry)>),
    End(End),
}

/// How the input ended.
enum End {
    Complete,
    Failed(LineError),
}

/// Reads records while others are sent. What is ready goes together, and nothing waits for what is not.
fn read(mut lines: Lines<Stdin>, to: &SyncSender<Piece>) {
    let (mut ready, mut bytes) = (Vec::new(), 0);
    let end = loop {
        match lines.next_record() {
            Ok(Some(entry)) => {
                bytes += entry.key.as_ref().map_or(0, Vec::len) + entry.value.as_ref().map_or(0, Vec::len);
                ready.push((lines.line(), entry));
            }
            Ok(None) => break End::Complete,
            Err(error) => break End::Failed(error),
        }
        if ready.len() >= TOGETHER || bytes >= TOGETHER_BYTES || !lines.is_ready() {
            bytes = 0;
            if to.send(Piece::Entries(std::mem::take(&mut ready))).is_err() {
                return;
            }
        }
    };
    // When nobody takes it, an error has been told.
    let _ = to.send(Piece::Entries(ready)).and_then(|()| to.send(Piece::End(end)));
}

/// Records on their way.
struct Sending {
    sender: Box<dyn Sender>,
    codec: Codec,
    /// Those that the sender never saw.
    refused: Sent,
    signals: Signals,
    since: Instant,
    /// Somebody waits at a terminal, and does not type the records there.
    is_watched: bool,
}

impl Sending {
    fn new(sender: Box<dyn Sender>, codec: Codec, signals: Signals) -> Sending {
        let is_watched = io::stderr().is_terminal() && !io::stdin().is_terminal();
        Sending { sender, codec, refused: Sent::default(), signals, since: Instant::now(), is_watched }
    }

    /// Sends everything that is read.
    fn send_all(&mut self, pieces: &Receiver<Piece>) -> Result<End> {
        let gone = "the thread that reads the input has ended";
        loop {
            self.show();
            let piece = match pieces.try_recv() {
                Ok(piece) => piece,
                Err(TryRecvError::Disconnected) => bail!(gone),
                Err(TryRecvError::Empty) => {
                    self.sender.settle(Duration::ZERO)?;
                    match pieces.recv_timeout(LOOK) {
                        Ok(piece) => piece,
                        Err(RecvTimeoutError::Timeout) => continue,
                        Err(RecvTimeoutError::Disconnected) => bail!(gone),
                    }
                }
            };
            match piece {
                Piece::Entries(entries) => entries.into_iter().try_for_each(|(line, entry)| self.send(line, entry))?,
                Piece::End(end) => return Ok(end),
            }
        }
    }

    fn send(&mut self, line: u64, mut entry: Entry) -> Result<()> {
        let named = |(name, value)| String::from_utf8(name).map(|name| Header { name, value });
        let Ok(headers) = entry.headers.into_iter().map(named).collect::<Result<Vec<_>, _>>() else {
            let why = "the name of a header must be UTF-8".into();
            self.refused.fail(Unsent { number: line, key: entry.key, why });
            return Ok(());
        };
        if let Err(reason) = self.codec.encode(0, &mut entry.key, &mut entry.value) {
            self.refused.fail(Unsent { number: line, key: entry.key, why: reason.message });
            return Ok(());
        }
        let record = Outgoing {
            output: 0,
            partition: entry.partition,
            key: entry.key.as_deref(),
            value: entry.value.as_deref(),
            timestamp: entry.timestamp,
            keep_headers: false,
            headers: &headers,
        };
        while !self.sender.offer(line, &record)? {
            if self.signals.impatient() {
                let why = "it was not sent before the end".into();
                self.refused.fail(Unsent { number: line, key: entry.key.clone(), why });
                break;
            }
            self.sender.settle(LOOK)?;
            self.show();
        }
        Ok(())
    }

    /// Waits for what is on its way, unless somebody has no patience for it.
    fn finish(mut self) -> Result<Sent> {
        while !self.sender.settle(LOOK)? {
            self.show();
            if self.signals.impatient() {
                self.sender.give_up()?;
                break;
            }
        }
        supervisor::clear_line();
        let mut sent = self.sender.sent();
        sent.failed += self.refused.failed;
        sent.named.extend(self.refused.named);
        sent.named.sort_by_key(|unsent| unsent.number);
        Ok(sent)
    }

    /// What is under way, once that takes longer.
    fn show(&self) {
        if !self.is_watched || self.since.elapsed() < Duration::from_secs(1) {
            return;
        }
        let sent = self.sender.sent();
        let waiting = if self.signals.ending() { ", ending" } else { "" };
        supervisor::show_line(&format!(
            "{} acknowledged, {} on their way{waiting}",
            count(sent.acknowledged, "record"),
            grouped(sent.underway)
        ));
    }
}

/// Says what became of the records.
fn tell(sent: Sent, stopped: Option<LineError>, json: bool) -> Result<Exit> {
    let named = &sent.named[..sent.named.len().min(NAMED)];
    let result = match json {
        true => {
            let row = |u: &Unsent| json!({"line": u.number, "key": json_value(u.key.as_deref()), "why": u.why});
            let not: Vec<_> = named.iter().map(row).collect();
            let mut result = json!({"acknowledged": sent.acknowledged, "failed": sent.failed, "first-failed": not});
            if let Some(error) = &stopped {
                result["stopped"] = error.to_string().into();
            }
            format!("{result}\n")
        }
        false => format!("{} acknowledged\n", count(sent.acknowledged, "record")),
    };
    let printed = print(&result);
    if sent.failed > 0 {
        let mark = paint("31", "error:");
        say(&format!("{mark} {} not acknowledged:\n", count(sent.failed, "record")));
        for unsent in named {
            let key = unsent.key.as_ref().map_or_else(String::new, |key| format!(", key {}", key.escape_ascii()));
            say(&format!("  line {}{key}: {}\n", unsent.number, unsent.why));
        }
        if sent.failed > named.len() as u64 {
            say(&format!("  and {} more\n", grouped(sent.failed - named.len() as u64)));
        }
    }
    match stopped {
        // That nobody reads the result is no matter where there is worse to tell.
        None if sent.failed == 0 => printed.map(|()| Exit::Done),
        None => Ok(Exit::Failed),
        Some(LineError::Wrong { line, why }) => {
            Err(wrong(format!("line {line}: {why}; it was not sent, and nothing behind it was")))
        }
        Some(error) => Err(error.into()),
    }
}
