//! What runs, in one calm line that renews itself on a terminal, and in a log line now and then elsewhere.

use super::{Running, log};
use crate::{
    plan::Work,
    sinks,
    text::{count, grouped},
    transport::kafka::Health,
};
use std::{
    fmt::Write,
    io::{self, IsTerminal},
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two log lines, where nobody sees a line renew itself.
const LINE_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Status {
    quiet: bool,
    health: Option<Arc<Health>>,
    last: Vec<(Instant, u64)>,
    said: Instant,
    said_taken: u64,
}

impl Status {
    /// Of all that runs. Where a sink prints to a terminal, a line under it would be in its way.
    pub(super) fn new(quiet: bool, running: &[Arc<Running>], health: Option<Arc<Health>>) -> Status {
        let prints = |work: &Work| matches!(work, Work::Sink { into: sinks::Into::Stdout(_), .. });
        let prints = running.iter().any(|running| prints(&running.part.work));
        let quiet = quiet || (prints && io::stdout().is_terminal());
        let now = Instant::now();
        Status { quiet, health, last: vec![(now, 0); running.len()], said: now, said_taken: 0 }
    }

    pub(super) fn show(&mut self, running: &[Arc<Running>]) {
        if self.quiet {
            return;
        }
        let now = Instant::now();
        let mut line = String::new();
        let mut letters = 0;
        let mut all = 0;
        for (stage, last) in running.iter().zip(&mut self.last) {
            let done = stage.done();
            let seconds = (now - last.0).as_secs_f64().max(0.001);
            let rate = ((done - last.1) as f64 / seconds) as u64;
            *last = (now, done);
            (letters, all) = (letters + stage.tally.counts().dead_letters, all + done);
            let name = &stage.part.name;
            let separator = if line.is_empty() { "" } else { " · " };
            let state = match stage {
                _ if stage.failure().is_some() => "stopped".into(),
                _ if stage.source.is_standby() => "stands by".into(),
                _ if stage.control.is_paused() => "paused".into(),
                _ => format!("{}/s", grouped(rate)),
            };
            write!(line, "{separator}{name} {state}, {} done", grouped(done)).ok();
        }
        if letters > 0 {
            write!(line, " · {}", count(letters, "dead letter")).ok();
        }
        if self.health.as_ref().is_some_and(|health| health.waiting()) {
            line.push_str(" · waiting for Kafka");
        }
        if log::is_terminal() {
            log::show_line(&line);
        } else if now - self.said >= LINE_EVERY && all != self.said_taken {
            tracing::info!("{line}");
            (self.said, self.said_taken) = (now, all);
        }
    }

    pub(super) fn clear(&self) {
        log::clear_line();
    }
}
