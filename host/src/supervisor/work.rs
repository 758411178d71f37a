//! A worker's thread: its link, its module, and the loop that they belong to.

use crate::{
    clock::SystemClock,
    plan::{Part, Work},
    sinks::stdout::stdout,
    source::{Source, SourceState},
    stage::{LetterLink, Stage, Tally, guest::Guest},
    transport::{
        Link,
        kafka::{Health, KafkaLink},
        local::LocalLink,
        log::Log,
    },
    wasm::{Instance, SourceInstance},
    worker::{Ended, SourceWorker, Worker, WorkerSettings, control::Control, identity::Identity},
};
use std::{rc::Rc, sync::Arc};

/// Where a worker stands.
pub(super) struct Place {
    /// Which of its part's workers it is.
    pub(super) number: u32,
    pub(super) part: Arc<Part>,
    pub(super) tally: Arc<Tally>,
    pub(super) state: Arc<SourceState>,
    /// Its part's control, and that of the whole run.
    pub(super) control: Arc<Control>,
    pub(super) run: Arc<Control>,
}

/// A worker's thread, from its beginning to its end.
pub(super) fn work(place: &Place, identity: &Identity, health: Option<Arc<Health>>) -> Ended {
    let mut link = place.part.link.clone();
    link.name = identity.name().to_owned();
    link.place.0 = place.number;
    link.control = place.control.clone();
    match (&place.part.log, health) {
        (Log::Kafka(cluster), Some(health)) => work_on(KafkaLink::new(cluster.clone(), link, health), place),
        (Log::Kafka(_), None) => Ended::Failed("a defect of the host: nobody watches over its cluster".into()),
        (Log::Local(log), _) => work_on(LocalLink::new(log.clone(), link), place),
    }
}

fn work_on(link: impl Link, place: &Place) -> Ended {
    #[cfg(feature = "mutants")]
    let link = match std::env::var("MILLSTREAM_MUTANT").ok().map(|name| name.parse()).transpose() {
        Ok(mutant) => crate::transport::mutants::Broken::new(link, mutant),
        Err(why) => return Ended::Failed(why),
    };
    let Place { part, control, .. } = place;
    let clock = Rc::new(SystemClock::new(control.clone()));
    let on =
        WorkerSettings { name: part.name.clone(), commit_interval: part.commit_interval, control: control.clone() };
    let (guest, settings): (Box<dyn Guest>, _) = match &part.work {
        Work::Source { compiled, setup, settings } => {
            return match SourceInstance::new(compiled, setup.clone()) {
                Ok(instance) => {
                    let source = Source::new(settings.clone(), Box::new(instance), clock.clone(), place.state.clone());
                    SourceWorker::new(link, source, clock, on).run()
                }
                Err(error) => Ended::Failed(error.to_string()),
            };
        }
        Work::Stage { compiled, setup, settings } => match Instance::new(compiled, setup.clone()) {
            Ok(instance) => (Box::new(instance), settings),
            Err(error) => return Ended::Failed(error.to_string()),
        },
        Work::Sink { format, settings } => {
            (Box::new(stdout(*format, part.link.inputs.clone(), place.run.clone())), settings)
        }
    };
    let stage = Stage::new(settings.clone(), guest, clock.clone(), place.tally.clone());
    let Some(again) = &part.again else { return Worker::new(link, stage, clock, on).run() };
    let stage = stage.for_letters(again.most, control);
    Worker::new(LetterLink::new(link, again.clone()), stage, clock, on).run()
}
