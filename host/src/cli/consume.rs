//! `consume`: from a topic to stdout.

use super::{
    Exit,
    log::{Which, explain, time},
    say, schemas,
    stdio::{Signals, is_left, stdout, widen},
    topics, wrong,
};
use crate::{
    lines::{OutputFormat, Shown},
    manifest::{Manifest, SchemaRegistry, Start},
    schemas::{Codec, Decoded, Part, Schemas, is_framed},
    supervisor::{self, Format},
    transport::{
        Batch, Incoming, NextOffset, Offset, Partition, Progress, Taken,
        log::{From, Scan, Scanner},
    },
};
use anyhow::{Result, bail};
use clap::builder::NonEmptyStringValueParser;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

/// Print the records of a topic
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream consume orders --kafka localhost:9092       (what comes from now)
  millstream consume orders --from-beginning --until-end --format json
  millstream consume orders --partition 2 -o 1000 -n 10 --format key-value
  millstream consume orders -o @2026-01-01T00:00:00Z --group audit

With --group, the group's progress is kept: it goes on where it stood, and -o
says where it begins when it stands nowhere.

Each option is a variable of the environment, too, such as MILLSTREAM_GROUP.")]
pub(super) struct Arguments {
    /// The topic
    topic: String,
    #[command(flatten)]
    log: Which,
    /// Only this partition
    #[arg(long, value_name = "P", env = "MILLSTREAM_PARTITION")]
    partition: Option<u32>,
    /// Where to begin: start, end (the default), an offset, or @TIME: milliseconds since 1970, or such as
    /// @2026-01-01T00:00:00Z
    #[arg(short, long, value_name = "WHERE", value_parser = place, env = "MILLSTREAM_OFFSET")]
    offset: Option<From>,
    /// The same as `-o start`
    #[arg(long, conflicts_with = "offset", env = "MILLSTREAM_FROM_BEGINNING")]
    from_beginning: bool,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N", env = "MILLSTREAM_COUNT")]
    count: Option<u64>,
    /// End where the topic ends now: in front of the first open transaction
    #[arg(long, env = "MILLSTREAM_UNTIL_END")]
    until_end: bool,
    /// Go on where this group stands, and keep its progress
    #[arg(long, value_name = "G", value_parser = NonEmptyStringValueParser::new(), env = "MILLSTREAM_GROUP")]
    group: Option<String>,
    /// How records are printed: value, key-value, json or hex
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, env = "MILLSTREAM_FORMAT")]
    format: OutputFormat,
    /// The registry of the schemas that its records were written with, where no manifest says it
    #[arg(long, value_name = "URL", env = "MILLSTREAM_SCHEMA_REGISTRY")]
    schema_registry: Option<String>,
    /// Print what is there, though it was written with a schema
    #[arg(long, env = "MILLSTREAM_RAW")]
    raw: bool,
    /// Records of open and aborted transactions, too
    #[arg(long, env = "MILLSTREAM_UNCOMMITTED")]
    uncommitted: bool,
}

/// How many records are taken at once.
const TOGETHER: u64 = 10_000;
/// What is written at once, about.
const BUFFER_BYTES: usize = 64 << 10;
/// Between two looks at what happened.
const LOOK: Duration = Duration::from_millis(100);
/// Between two commits of a group's progress.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long a schema is waited for, and how long before that is said.
const PATIENCE: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(1);
/// Of so many records that cannot be read it is said.
const SAID: u64 = 3;
/// How long a member goes without partitions before that is said.
const ALONE: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    let (log, manifest) = arguments.log.open_with_manifest()?;
    let codec = codec(&arguments, manifest.as_ref())?;
    supervisor::start_log(Format::Text, false, false);
    let explain = explain(&log);
    let facts = log.topics().and_then(|known| topics::find(&*known, &arguments.topic)).map_err(&explain)?;
    topics::check_partition(&arguments.topic, &facts, arguments.partition)?;
    let asked = if arguments.from_beginning { Some(From::Start(Start::Earliest)) } else { arguments.offset };
    let scan = Scan {
        topic: arguments.topic,
        partition: arguments.partition,
        from: asked.unwrap_or(From::Start(Start::Latest)),
        group: arguments.group,
        uncommitted: arguments.uncommitted,
    };
    let signals = Signals::listen(1)?;
    let scanner = log.scanner(&scan).map_err(&explain)?;
    let to = stdout()?;
    if scan.group.is_none() {
        widen(&to);
    }
    let mut printer = Printer::new(to, arguments.format, &scan.topic);
    printer.codec = codec;
    printer.signals = signals.clone();
    let mut reading = Reading::new(scan, scanner, printer);
    reading.is_asked = asked.is_some();
    reading.until_end = arguments.until_end;
    reading.left = arguments.count.unwrap_or(u64::MAX);
    let ended = reading.read(&signals);
    // What was written is the group's progress, however this ends.
    let kept = reading.keep();
    ended.and(kept).map_err(explain)?;
    if reading.scan.group.is_some() && reading.kept != reading.at {
        say("the group's last progress could not be kept: some records will come again\n");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// How what has a schema is read, for formats that show text.
fn codec(arguments: &Arguments, manifest: Option<&Manifest>) -> Result<Codec> {
    if arguments.raw || arguments.format == OutputFormat::Hex {
        return Ok(Codec::default());
    }
    let declared = match manifest {
        Some(manifest) => schemas::of(manifest, &manifest.state, false)?.reader_of(&arguments.topic),
        None => None,
    };
    match (declared, &arguments.schema_registry) {
        (Some(codec), _) => Ok(codec),
        (None, Some(url)) => Schemas::reader(&SchemaRegistry::at(url)).map_err(|error| wrong(format!("{error:#}"))),
        (None, None) => Ok(Codec::default()),
    }
}

/// A topic on its way to stdout.
struct Reading {
    scan: Scan,
    scanner: Box<dyn Scanner>,
    printer: Printer,
    /// Somebody said where to begin.
    is_asked: bool,
    until_end: bool,
    /// How many records may be printed.
    left: u64,
    /// Partitions that are not read as far as was asked for.
    open: BTreeSet<Partition>,
    /// What is printed begins here, though it is not all there.
    begins: Progress,
    /// What was written.
    at: Progress,
    /// What the group knows of that.
    kept: Progress,
    kept_at: Instant,
    /// Since when there has been no partition to read.
    lonely: Option<Instant>,
    said_alone: bool,
}

impl Reading {
    fn new(scan: Scan, scanner: Box<dyn Scanner>, printer: Printer) -> Reading {
        Reading {
            scan,
            scanner,
            printer,
            is_asked: false,
            until_end: false,
            left: u64::MAX,
            open: BTreeSet::new(),
            begins: Progress::default(),
            at: Progress::default(),
            kept: Progress::default(),
            kept_at: Instant::now(),
            lonely: Some(Instant::now()),
            said_alone: false,
        }
    }

    fn read(&mut self, signals: &Signals) -> Result<()> {
        while self.left > 0 && !signals.ending() {
            let limit = usize::try_from(self.left.min(TOGETHER))?;
            match self.scanner.take(limit, LOOK)? {
                Taken::Rebalance => {
                    self.keep()?;
                    self.rebalance()?;
                }
                Taken::Records(batch) => self.print(&*batch)?,
                Taken::Nothing if is_left(&self.printer.to) => return Ok(()),
                Taken::Nothing => {}
            }
            if self.kept_at.elapsed() >= COMMIT_EVERY {
                self.keep()?;
            }
            if !self.said_alone && self.lonely.is_some_and(|since| since.elapsed() > ALONE) {
                self.said_alone = true;
                let topic = &self.scan.topic;
                say(&format!("no partition of {topic} so far: its group may have given all to others\n"));
            } else if self.until_end && self.lonely.is_none() && self.open.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn rebalance(&mut self) -> Result<()> {
        let assignment = self.scanner.rebalance()?;
        let known = std::mem::replace(&mut self.at, assignment.chosen.clone());
        self.kept = Progress::default();
        self.begins = Progress::default();
        self.open = assignment.starts.iter().map(|(partition, _)| partition).collect();
        self.lonely = self.open.is_empty().then(Instant::now);
        for (partition, start) in assignment.starts.iter() {
            let is_chosen = self.scan.group.is_none() || assignment.chosen.get(partition).is_some();
            if let From::Offset(asked) = self.scan.from
                && is_chosen
                && asked != start.0
            {
                self.begins.reach(partition, NextOffset(asked));
                let place = format!("{}/{}", self.scan.topic, partition.number);
                match start.0 > asked {
                    // It was read up to here.
                    _ if known.get(partition).is_some() => {}
                    true => say(&format!("{place} begins at {start} now\n")),
                    false => say(&format!("{place} ends at {start} yet\n")),
                }
            }
            self.close_at(partition, start);
        }
        let stands = assignment.starts.iter().any(|(partition, _)| assignment.chosen.get(partition).is_none());
        if stands && self.scan.group.is_some() && std::mem::take(&mut self.is_asked) {
            say("the group goes on where it stands; `millstream offsets set` moves it\n");
        }
        Ok(())
    }

    /// Notes that a partition was read up to here.
    fn close_at(&mut self, partition: Partition, next: NextOffset) {
        if self.until_end && self.scanner.ends().get(partition).is_none_or(|end| next >= end) {
            self.open.remove(&partition);
        }
    }

    fn print(&mut self, batch: &dyn Batch) -> Result<()> {
        let (mut at, open) = (self.at.clone(), self.open.clone());
        let mut window: Option<Window> = None;
        let mut is_cut = false;
        for index in 0..batch.len() {
            let record = batch.get(index);
            let wanted = match &mut window {
                Some(window) if window.partition == record.partition => window,
                _ => {
                    self.leave(window.take(), &mut at);
                    window.insert(self.window(record.partition))
                }
            };
            let Offset(offset) = record.offset;
            if offset >= wanted.end {
                wanted.is_over = true;
                continue;
            }
            if offset >= wanted.begin {
                is_cut = !self.printer.print(&record, batch, index)?;
                if is_cut {
                    break;
                }
                self.left -= 1;
            }
            wanted.next = Some(record.offset.next());
        }
        self.leave(window, &mut at);
        self.printer.flush()?;
        if is_cut {
            self.at = at;
            return match self.printer.signals.ending() {
                true => Ok(()),
                false => bail!("the schema registry does not answer; --raw prints what is there"),
            };
        }
        for (partition, next) in batch.ends() {
            self.close_at(*partition, *next);
            // What came behind the end that was asked for was not printed.
            let most = match self.until_end {
                true => self.scanner.ends().get(*partition).filter(|_| open.contains(partition)),
                false => Some(*next),
            };
            if let Some(most) = most {
                at.reach(*partition, most.min(*next));
            }
        }
        self.at = at;
        Ok(())
    }

    /// What is wanted of a partition.
    fn window(&self, partition: Partition) -> Window {
        let begin = self.begins.get(partition).map_or(0, |begin| begin.0);
        let end = match self.until_end {
            true if self.open.contains(&partition) => self.scanner.ends().get(partition).map_or(0, |end| end.0),
            true => 0,
            false => u64::MAX,
        };
        Window { partition, begin, end, next: None, is_over: false }
    }

    /// Notes how far a partition was read.
    fn leave(&mut self, window: Option<Window>, at: &mut Progress) {
        let Some(Window { partition, next, is_over, .. }) = window else { return };
        if let Some(next) = next {
            at.reach(partition, next);
            self.close_at(partition, next);
        }
        if is_over {
            self.open.remove(&partition);
        }
    }

    /// Makes what was written the group's progress.
    fn keep(&mut self) -> Result<()> {
        self.kept_at = Instant::now();
        if self.scan.group.is_some() && self.kept != self.at && self.scanner.commit(&self.at)? {
            self.kept = self.at.clone();
        }
        Ok(())
    }
}

/// What is wanted of a partition while some of its records are at hand, and how far they were read.
struct Window {
    partition: Partition,
    begin: u64,
    end: u64,
    next: Option<NextOffset>,
    /// There was a record behind the end.
    is_over: bool,
}

/// What came of a part of a record.
enum Read {
    Text(Vec<u8>),
    /// It is shown as it is.
    Plain,
    /// Its schema did not come.
    Waiting,
}

/// Records on stdout.
struct Printer {
    to: File,
    format: OutputFormat,
    topic: String,
    buffer: Vec<u8>,
    codec: Codec,
    /// How many could not be read.
    unread: u64,
    signals: Signals,
    said_waiting: bool,
}

impl Printer {
    fn new(to: File, format: OutputFormat, topic: &str) -> Printer {
        let (buffer, codec, signals) = Default::default();
        let topic = topic.to_owned();
        Printer { to, format, topic, buffer, codec, unread: 0, signals, said_waiting: false }
    }

    /// A part of a record as text. What cannot be read is shown as it is, and that is said of the first ones.
    fn read(&mut self, part: Part, record: &Incoming<'_>) -> io::Result<Read> {
        let bytes = if part == Part::Key { record.key } else { record.value };
        let Some(bytes) = bytes.filter(|bytes| is_framed(bytes)) else { return Ok(Read::Plain) };
        let mut text = Vec::new();
        let place = format!("{}/{}@{}", self.topic, record.partition.number, record.offset.0);
        Ok(match self.decode(part, bytes, &place, &mut text)? {
            Decoded::Raw => Read::Plain,
            Decoded::Text => Read::Text(text),
            Decoded::Waiting => Read::Waiting,
            Decoded::Wrong(reason) => {
                self.unread += 1;
                if self.unread <= SAID {
                    let last = if self.unread == SAID { ", and so is what else cannot be read" } else { "" };
                    say(&format!("{place}: {}: it is shown as it is{last}\n", reason.message));
                }
                Read::Plain
            }
        })
    }

    /// Waits for a schema, but not once somebody wants an end.
    fn decode(&mut self, part: Part, bytes: &[u8], place: &str, text: &mut Vec<u8>) -> io::Result<Decoded> {
        let since = Instant::now();
        loop {
            let begun = Instant::now();
            match self.codec.decode(0, part, bytes, LOOK, text) {
                Decoded::Waiting if since.elapsed() < PATIENCE && !self.signals.ending() => {}
                decoded => return Ok(decoded),
            }
            // What is there is not held back by what is not.
            self.flush()?;
            if since.elapsed() > SILENCE && !std::mem::replace(&mut self.said_waiting, true) {
                say(&format!("{place} waits for its schema\n"));
            }
            thread::sleep(LOOK.saturating_sub(begun.elapsed()));
        }
    }

    /// Prints a record; false when its schema was waited for in vain.
    fn print(&mut self, record: &Incoming<'_>, batch: &dyn Batch, index: usize) -> Result<bool> {
        let mut texts = [None, None];
        for part in [Part::Key, Part::Value] {
            match self.read(part, record)? {
                Read::Text(text) => texts[part as usize] = Some(text),
                Read::Plain => {}
                Read::Waiting => return Ok(false),
            }
        }
        let [key, value] = texts;
        let headers = if self.format.shows_headers() { batch.headers(index) } else { Vec::new() };
        let headers: Vec<_> = headers.iter().map(|h| (h.name.as_bytes(), h.value.as_deref())).collect();
        let Offset(offset) = record.offset;
        let shown = Shown {
            output: None,
            topic: Some(&self.topic),
            partition: Some(record.partition.number),
            offset: Some(offset),
            timestamp: record.timestamp,
            key: key.as_deref().or(record.key),
            value: value.as_deref().or(record.value),
            headers: &headers,
        };
        self.format.write(&shown, &mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// A place in a partition, as it is written.
pub(super) fn place(text: &str) -> Result<From, String> {
    match text {
        "start" => Ok(From::Start(Start::Earliest)),
        "end" => Ok(From::Start(Start::Latest)),
        _ => match text.strip_prefix('@') {
            Some(text) => time(text).map(|time| From::Start(Start::Timestamp(time))),
            None => text.parse().map(From::Offset).ok(),
        }
        .ok_or_else(|| "write `start`, `end`, an offset, or a time such as `@2026-01-01T00:00:00Z`".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{record::Header, transport::Assignment};
    use std::io::{Read as _, Seek};

    /// A topic of one partition that was empty in front of the end, and grew behind it.
    struct Grown {
        ends: Progress,
    }

    impl Scanner for Grown {
        fn ends(&self) -> &Progress {
            &self.ends
        }

        fn take(&mut self, _: usize, _: Duration) -> Result<Taken<Box<dyn Batch>>> {
            Ok(Taken::Nothing)
        }

        fn rebalance(&mut self) -> Result<Assignment> {
            Ok(Assignment { starts: progress(0), chosen: progress(0) })
        }

        fn commit(&mut self, _: &Progress) -> Result<bool> {
            Ok(true)
        }
    }

    /// Records from here to there, with nothing between the last one and the end.
    struct Records(std::ops::Range<u64>, [(Partition, NextOffset); 1]);

    impl Batch for Records {
        fn len(&self) -> usize {
            (self.0.end - self.0.start) as usize
        }

        fn get(&self, index: usize) -> Incoming<'_> {
            let offset = Offset(self.0.start + index as u64);
            Incoming { partition: PARTITION, offset, timestamp: None, key: None, value: Some(b"v") }
        }

        fn headers(&self, _: usize) -> Vec<Header> {
            Vec::new()
        }

        fn ends(&self) -> &[(Partition, NextOffset)] {
            &self.1
        }
    }

    const PARTITION: Partition = Partition { input: 0, number: 0 };

    fn progress(next: u64) -> Progress {
        Progress::from_iter([(PARTITION, NextOffset(next))])
    }

    #[test]
    fn what_came_behind_the_end_that_was_asked_for_is_no_progress() {
        // The records of each batch, its end, and where the group is then, the end being 3.
        for (batches, printed, at) in [
            (vec![(0..2, 2)], 2, 2),
            (vec![(0..5, 5)], 3, 3),
            (vec![(0..2, 5)], 2, 3),
            (vec![(0..3, 3), (3..6, 6)], 3, 3),
            (vec![(0..2, 3), (6..7, 9)], 2, 3),
        ] {
            let scan = Scan {
                topic: "t".into(),
                partition: None,
                from: From::Start(Start::Earliest),
                group: Some("g".into()),
                uncommitted: false,
            };
            let mut to = tempfile::tempfile().unwrap();
            let printer = Printer::new(to.try_clone().unwrap(), OutputFormat::Value, "t");
            let mut reading = Reading::new(scan, Box::new(Grown { ends: progress(3) }), printer);
            reading.until_end = true;
            reading.rebalance().unwrap();
            for (records, end) in batches.clone() {
                reading.print(&Records(records, [(PARTITION, NextOffset(end))])).unwrap();
            }
            reading.keep().unwrap();
            let mut text = String::new();
            to.rewind().unwrap();
            to.read_to_string(&mut text).unwrap();
            assert_eq!((text, reading.kept), ("v\n".repeat(printed), progress(at)), "{batches:?}");
        }
    }
}
