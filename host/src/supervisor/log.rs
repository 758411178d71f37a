//! The host's log on stderr, and the status line under it: on a terminal neither overwrites the other.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{Event, Level, Subscriber, field::Visit, level_filters::LevelFilter};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    registry::LookupSpan,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

static LINE: OnceLock<ProgressBar> = OnceLock::new();

/// What tells where a run begins is marked with this target. Of a trial it says nothing, as that begins at the beginning.
const START: &str = "start";

/// Starts the log of this process; once. A trial is told without the times and without where it starts. `MILLSTREAM_LOG=debug` shows what the client library says too.
pub fn start(format: Format, quiet: bool, trial: bool) {
    let level = match std::env::var("MILLSTREAM_LOG") {
        Ok(level) => level.parse().unwrap_or(LevelFilter::DEBUG),
        Err(_) if quiet => LevelFilter::WARN,
        Err(_) => LevelFilter::INFO,
    };
    let builder = tracing_subscriber::fmt().log_internal_errors(false).with_max_level(level).with_writer(AboveTheLine);
    match format {
        Format::Text => builder.event_format(Plain { trial }).init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
}

pub(super) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Shows the line under the log, or renews it.
pub fn show_line(text: &str) {
    let bar = LINE.get_or_init(|| {
        let style = ProgressStyle::with_template("{wide_msg}").expect("a template that is right");
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
    });
    if bar.is_finished() {
        bar.reset();
    }
    bar.set_message(text.to_owned());
    bar.tick();
}

/// Takes the line away.
pub fn clear_line() {
    if let Some(bar) = LINE.get() {
        bar.finish_and_clear();
    }
}

struct AboveTheLine;

impl<'a> MakeWriter<'a> for AboveTheLine {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines
    }
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match LINE.get() {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// `10:34:56Z warning: price: …`, the time being UTC.
struct Plain {
    trial: bool,
}

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self.trial {
            true if event.metadata().target() == START => return Ok(()),
            true => {}
            false => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
                write!(to, "{:02}:{:02}:{:02}Z ", now / 3600, now / 60 % 60, now % 60)?;
            }
        }
        match *event.metadata().level() {
            Level::ERROR => write!(to, "{}", mark(&to, "31", "error: "))?,
            Level::WARN => write!(to, "{}", mark(&to, "33", "warning: "))?,
            _ => {}
        }
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(to, "{}{}", line.message, line.fields)
    }
}

fn mark(to: &Writer<'_>, color: &str, word: &str) -> String {
    match to.has_ansi_escapes() && is_terminal() {
        true => format!("\x1b[{color}m{word}\x1b[0m"),
        false => word.to_owned(),
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push_str(&format!(" {name}={value:?}")),
        }
    }
}
