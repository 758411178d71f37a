//! The sink that prints. A record's progress is committed when its line was handed to whoever reads, so after a failure
//! lines may come twice, and none is missing.

mod patient;

use crate::{
    lines::{OutputFormat, Shown, ShownHeader},
    record::Record,
    stage::guest::{Failed, Guest, InHand, Returned},
    transport::Fault,
    worker::control::Control,
};
use patient::Patient;
use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
};

/// How much is held back before it is printed.
const BUFFER_BYTES: usize = 64 << 10;

/// Prints records.
struct Stdout<W> {
    to: W,
    format: OutputFormat,
    /// The topics that it reads, in the order that `Partition::input` counts.
    inputs: Vec<String>,
    /// The whole run, which is over when nobody reads.
    run: Arc<Control>,
    /// Whole lines.
    text: Vec<u8>,
    /// Why nothing is printed any more. The records since then are not done.
    broken: Option<io::Error>,
}

/// The sink on the process's stdout, which prints the records of these topics. It ends `run` when whoever reads has left.
pub fn stdout(format: OutputFormat, inputs: Vec<String>, run: Arc<Control>) -> impl Guest {
    Stdout::to(Patient::new(io::stdout(), run.clone()), format, inputs, run)
}

impl<W: Write> Stdout<W> {
    fn to(to: W, format: OutputFormat, inputs: Vec<String>, run: Arc<Control>) -> Stdout<W> {
        Stdout { to, format, inputs, run, text: Vec::new(), broken: None }
    }

    /// Whole lines in one call, as others may print there too.
    fn print(&mut self) {
        if self.text.is_empty() || self.broken.is_some() {
            return;
        }
        if let Err(error) = self.to.write_all(&self.text).and_then(|()| self.to.flush()) {
            match error.kind() {
                // At once, so that nothing more is taken in this transaction.
                ErrorKind::BrokenPipe => self.run.stop(),
                ErrorKind::TimedOut => tracing::warn!("nobody reads stdout: its last lines will be printed again"),
                _ => {}
            }
            self.broken = Some(error);
        }
        self.text.clear();
    }
}

impl<W: Write> Guest for Stdout<W> {
    fn transform(&mut self, in_hand: InHand<'_>) -> Result<Vec<Record>, Failed> {
        if self.broken.is_some() {
            return Ok(Vec::new());
        }
        let record = in_hand.record;
        let headers = if self.format.shows_headers() { in_hand.batch.headers(in_hand.index) } else { Vec::new() };
        let headers: Vec<ShownHeader<'_>> =
            headers.iter().map(|header| (header.name.as_bytes(), header.value.as_deref())).collect();
        let shown = Shown {
            output: None,
            topic: self.inputs.get(record.partition.input).map(String::as_str),
            partition: Some(record.partition.number),
            offset: Some(record.offset.0),
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        self.format.write(&shown, &mut self.text);
        if self.text.len() >= BUFFER_BYTES {
            self.print();
        }
        Ok(Vec::new())
    }

    fn settle(&mut self) -> Result<Vec<Returned>, Fault> {
        self.print();
        match self.broken.take() {
            None => Ok(Vec::new()),
            Some(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::TimedOut) => {
                Err(Fault::Unwanted("nobody reads stdout any more".into()))
            }
            Some(error) => Err(Fault::Fatal(format!("stdout takes no more: {error}"))),
        }
    }

    fn withdraw(&mut self) {
        self.text.clear();
        self.broken = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
