//! Owns every worker's life: starts them, hears how they end, and ends them.

mod idle;
mod log;
mod running;
mod signals;
mod status;
mod work;

pub use log::{Format, clear_line, show_line, start as start_log};
pub use running::{Running, State};
pub use signals::{listen as listen_to_signals, until as until_signals, until_host_listens};

use crate::{
    plan::Plan,
    stage::Counts,
    transport::{kafka::Health, log::Log},
    worker::{Ended, control::Control, identity::Identities},
};
use anyhow::{Context, Result};
use status::Status;
use std::{
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use work::{Place, work};

/// How often the status line renews itself.
const TICK: Duration = Duration::from_secs(1);
/// How long an orderly end may take in all.
const END_WITHIN: Duration = Duration::from_millis(9500);

/// How a run is to be done.
#[derive(Clone, Default)]
pub struct Options {
    /// End when nothing has been left to do for this long.
    pub until_idle: Option<Duration>,
    /// What this host is called, in place of the id in its state folder.
    pub instance: Option<String>,
    /// Show nothing but what is wrong.
    pub quiet: bool,
    /// Whoever looks on finds here what runs, as soon as it does.
    pub board: Arc<Board>,
}

/// What runs; nothing before it does.
pub type Board = OnceLock<Vec<Arc<Running>>>;

/// How a run went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What went wrong; empty when nothing did.
    pub failures: Vec<String>,
    /// All dead letters of the run.
    pub dead_letters: u64,
    /// It ended as nothing was left to do.
    pub is_idle: bool,
    /// What became of the records of each part, in the plan's order.
    pub counts: Vec<Counts>,
}

/// What happens in a run.
enum Event {
    /// A worker's thread is at its end.
    Ended { stage: usize, worker: String, how: Ended },
    /// Nothing is left to do.
    Idle,
}

/// Runs a plan until it is told to end, nothing is left to do, or nothing can go on.
pub fn run(plan: Plan, control: &Arc<Control>, options: &Options) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(supervise(plan, control, options))
}

async fn supervise(plan: Plan, control: &Arc<Control>, options: &Options) -> Result<Outcome> {
    let health = match &plan.log {
        Log::Kafka(cluster) => Some(Health::new(cluster.clone())),
        Log::Local(_) => None,
    };
    let (events, mut heard) = mpsc::channel(64);
    let running = start(plan, control, health.as_ref(), options, &events)?;
    options.board.set(running.clone()).ok();
    if let Some(quiet) = options.until_idle {
        idle::watch(&running, quiet, control.clone(), events.clone());
    }
    let mut status = Status::new(options.quiet, &running, health);
    let mut failures = Vec::new();
    let mut is_idle = false;
    let mut deadline = None;
    while running.iter().any(|part| part.is_at_work()) {
        deadline = deadline.or_else(|| Some(Instant::from_std(control.stopped_at()? + END_WITHIN)));
        let tick = Instant::now() + TICK;
        match timeout_at(deadline.map_or(tick, |end: Instant| end.min(tick)), heard.recv()).await {
            Ok(Some(Event::Ended { stage, worker, how })) => {
                let part = &running[stage];
                part.one_ended();
                if let Ended::Failed(why) | Ended::Unfinished(why) = how
                    && part.fail(&why)
                {
                    tracing::error!("{worker}: {why}");
                    failures.push(format!("{worker}: {why}"));
                    // Its other workers would only meet what this one met.
                    part.control.stop();
                    if !control.stopping()
                        && running.iter().any(|other| other.failure().is_none() && other.is_at_work())
                    {
                        tracing::warn!("{} is stopped until the next start; the others go on", part.part.name);
                    }
                }
            }
            Ok(Some(Event::Idle)) => {
                is_idle = true;
                control.stop();
            }
            Ok(None) => break,
            Err(_) if deadline.is_some_and(|end| Instant::now() >= end) => {
                let why = "a worker did not end in time: what it had not committed will be done again";
                tracing::error!("{why}");
                failures.push(why.into());
                break;
            }
            Err(_) => {
                running.iter().for_each(|part| part.look());
                status.show(&running);
            }
        }
    }
    control.stop();
    status.clear();
    summarize(&running, options.quiet);
    let counts: Vec<_> = running.iter().map(|stage| stage.tally.counts()).collect();
    Ok(Outcome { failures, dead_letters: counts.iter().map(|counts| counts.dead_letters).sum(), is_idle, counts })
}

/// Starts the difference between what runs, which is nothing, and the plan.
fn start(
    plan: Plan,
    control: &Arc<Control>,
    health: Option<&Arc<Health>>,
    options: &Options,
    events: &mpsc::Sender<Event>,
) -> Result<Vec<Arc<Running>>> {
    let identities = Identities::open(&plan.state, options.instance.as_deref())?;
    let mut running = Vec::new();
    for (index, part) in plan.parts.into_iter().enumerate() {
        let part = Arc::new(Running::new(Arc::new(part), control.part()));
        for number in 0..part.part.workers() {
            let name = part.part.name.clone();
            let identity = identities.take(&plan.pipeline, &name)?;
            part.is_called(identity.name());
            let place = Place { number, running: part.clone(), run: control.clone() };
            let (health, events) = (health.cloned(), events.clone());
            thread::Builder::new()
                .name(name.clone())
                .spawn(move || {
                    let how =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&place, &identity, health)))
                            .unwrap_or_else(|_| Ended::Failed("a defect of the host: the worker panicked".into()));
                    // The process may end as soon as the last one's end is known: what it had of the log is closed before.
                    drop((place, identity));
                    // Nobody hears it when the process is already ending.
                    events.blocking_send(Event::Ended { stage: index, worker: name, how }).ok();
                })
                .context("a worker's thread cannot be started")?;
        }
        running.push(part);
    }
    Ok(running)
}

/// What became of the records of a run.
fn summarize(running: &[Arc<Running>], quiet: bool) {
    // Who has letters tried again tells it in its own words.
    for running in running.iter().filter(|running| !quiet && running.part.again.is_none()) {
        tracing::info!("{}: {}", running.part.name, running.summary());
    }
}
