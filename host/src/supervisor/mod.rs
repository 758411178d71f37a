//! Owns every worker's life: starts them, hears how they end, and ends them.

mod idle;
mod log;
mod signals;
mod status;

pub use log::{Format, start as start_log};
pub use signals::listen as listen_to_signals;

use crate::{
    clock::SystemClock,
    plan::{Part, Plan, Work},
    stage::{Counts, Stage, Tally},
    text::{count, grouped},
    transport::{
        Link,
        kafka::{Health, KafkaLink},
        local::LocalLink,
        log::Log,
    },
    wasm::Instance,
    worker::{
        Ended, Worker, WorkerSettings,
        control::Control,
        identity::{Identities, Identity},
    },
};
use anyhow::{Context, Result};
use status::Status;
use std::{rc::Rc, sync::Arc, thread, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// How often the status line renews itself.
const TICK: Duration = Duration::from_secs(1);
/// How long an orderly end may take in all.
const END_WITHIN: Duration = Duration::from_millis(9500);

/// How a run is to be done.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// End when nothing has been left to do for this long.
    pub until_idle: Option<Duration>,
    /// What this host is called, in place of the id in its state folder.
    pub instance: Option<String>,
    /// Show nothing but what is wrong.
    pub quiet: bool,
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What went wrong; empty when nothing did.
    pub failures: Vec<String>,
    /// What became of the records, stage by stage.
    pub stages: Vec<(String, Counts)>,
}

impl Outcome {
    /// All dead letters of the run.
    pub fn dead_letters(&self) -> u64 {
        self.stages.iter().map(|(_, counts)| counts.dead_letters).sum()
    }
}

/// What happens in a run.
enum Event {
    /// A worker's thread is at its end.
    Ended { stage: usize, worker: String, how: Ended },
    /// Nothing is left to do.
    Idle,
}

/// A stage at work.
struct Running {
    plan: Arc<Part>,
    tally: Arc<Tally>,
    control: Arc<Control>,
    workers: u32,
    failed: bool,
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
    let mut running = start(plan, control, health.as_ref(), options, &events)?;
    if let Some(quiet) = options.until_idle {
        idle::watch(&running, quiet, control.clone(), events.clone());
    }
    let mut status = Status::new(options.quiet, health);
    let mut failures = Vec::new();
    let mut deadline = None;
    while running.iter().any(|stage| stage.workers > 0) {
        deadline = deadline.or_else(|| Some(Instant::from_std(control.stopped_at()? + END_WITHIN)));
        let tick = Instant::now() + TICK;
        match timeout_at(deadline.map_or(tick, |end: Instant| end.min(tick)), heard.recv()).await {
            Ok(Some(Event::Ended { stage, worker, how })) => {
                running[stage].workers -= 1;
                if let Ended::Failed(why) | Ended::Unfinished(why) = how
                    && !std::mem::replace(&mut running[stage].failed, true)
                {
                    tracing::error!("{worker}: {why}");
                    failures.push(format!("{worker}: {why}"));
                    // Its other workers would only meet what this one met.
                    running[stage].control.stop();
                    // A stage that stopped is never done, so there is nothing to wait for.
                    if options.until_idle.is_some() {
                        control.stop();
                    }
                }
            }
            Ok(Some(Event::Idle)) => control.stop(),
            Ok(None) => break,
            Err(_) if deadline.is_some_and(|end| Instant::now() >= end) => {
                failures.push("a worker did not end in time: what it had not committed will be done again".into());
                break;
            }
            Err(_) => status.show(&running),
        }
    }
    control.stop();
    status.clear();
    let stages = running.iter().map(|stage| (stage.plan.settings.stage.clone(), stage.tally.counts())).collect();
    summarize(&running, options.quiet);
    Ok(Outcome { failures, stages })
}

/// Starts the difference between what runs, which is nothing, and the plan.
fn start(
    plan: Plan,
    control: &Arc<Control>,
    health: Option<&Arc<Health>>,
    options: &Options,
    events: &mpsc::Sender<Event>,
) -> Result<Vec<Running>> {
    let identities = Identities::open(&plan.state, options.instance.as_deref())?;
    let mut running = Vec::new();
    for (index, stage) in plan.parts.into_iter().enumerate() {
        let stage = Arc::new(stage);
        let tally = Arc::new(Tally::default());
        let control = control.part();
        for number in 0..stage.workers {
            let identity = identities.take(&plan.pipeline, &stage.settings.stage)?;
            let place = Place { number, part: stage.clone(), tally: tally.clone(), control: control.clone() };
            let (health, events) = (health.cloned(), events.clone());
            let name = stage.settings.stage.clone();
            thread::Builder::new()
                .name(name.clone())
                .spawn(move || {
                    let how = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(place, identity, health)))
                        .unwrap_or_else(|_| Ended::Failed("a defect of the host: the worker panicked".into()));
                    // Nobody hears it when the process is already ending.
                    events.blocking_send(Event::Ended { stage: index, worker: name, how }).ok();
                })
                .context("a worker's thread cannot be started")?;
        }
        running.push(Running { workers: stage.workers, plan: stage, tally, control, failed: false });
    }
    Ok(running)
}

/// Where a worker stands.
struct Place {
    number: u32,
    part: Arc<Part>,
    tally: Arc<Tally>,
    control: Arc<Control>,
}

/// A worker's thread, from its beginning to its end.
fn work(place: Place, identity: Identity, health: Option<Arc<Health>>) -> Ended {
    let mut link = place.part.link.clone();
    link.name = identity.name().to_owned();
    link.place.0 = place.number;
    link.control = place.control.clone();
    match (&place.part.log, health) {
        (Log::Kafka(cluster), Some(health)) => work_on(KafkaLink::new(cluster.clone(), link, health), &place),
        (Log::Kafka(_), None) => Ended::Failed("a defect of the host: nobody watches over its cluster".into()),
        (Log::Local(log), _) => work_on(LocalLink::new(log.clone(), link), &place),
    }
}

fn work_on(link: impl Link, place: &Place) -> Ended {
    let Place { part, tally, control, .. } = place;
    let guest = match &part.work {
        Work::Stage { compiled, setup } => match Instance::new(compiled, setup.clone()) {
            Ok(instance) => Box::new(instance),
            Err(error) => return Ended::Failed(error.to_string()),
        },
    };
    let clock = Rc::new(SystemClock::new(control.clone()));
    #[cfg(feature = "mutants")]
    let link = match std::env::var("MILLSTREAM_MUTANT").unwrap_or_default().parse() {
        Ok(mutant) => crate::transport::mutants::Broken::new(link, mutant),
        Err(why) => return Ended::Failed(why),
    };
    let settings = WorkerSettings {
        name: part.settings.stage.clone(),
        commit_interval: part.commit_interval,
        control: control.clone(),
    };
    let stage = Stage::new(part.settings.clone(), guest, clock.clone(), tally.clone());
    Worker::new(link, stage, clock, settings).run()
}

/// What became of the records of a run.
fn summarize(running: &[Running], quiet: bool) {
    for stage in running.iter().filter(|_| !quiet) {
        let (counts, settings) = (stage.tally.counts(), &stage.plan.settings);
        let mut parts =
            vec![format!("{} done", count(counts.taken, "record")), format!("{} sent", grouped(counts.sent))];
        if counts.dead_letters > 0 {
            let topic = settings.outputs.last().map_or("", |output| output.topic.as_str());
            parts.push(format!("{} in {topic}", count(counts.dead_letters, "dead letter")));
        }
        if counts.skipped > 0 {
            parts.push(format!("{} failed and skipped", grouped(counts.skipped)));
        }
        if stage.tally.retries() > 0 {
            parts.push(format!("{} put off to be tried again", grouped(stage.tally.retries())));
        }
        tracing::info!("{}: {}", settings.stage, parts.join(", "));
    }
}
