//! A worker's thread: its link, its module, and the loop that they belong to.

use super::Running;
use crate::{
    clock::{Clock, SystemClock},
    plan::Work,
    sinks::{
        self,
        batched::Batched,
        ledger::LedgerLink,
        mongodb::Mongodb,
        postgres::{Postgres, Who},
        stdout::stdout,
    },
    source::Source,
    stage::{LetterLink, Stage, guest::Guest},
    swap::Seat,
    transport::{
        Link,
        kafka::{Health, KafkaLink},
        local::LocalLink,
        log::Log,
    },
    wasm::SourceInstance,
    worker::{Ended, SourceWorker, Worker, WorkerSettings, control::Control, identity::Identity},
};
use std::{cell::RefCell, rc::Rc, sync::Arc};

/// Where a worker stands.
pub(super) struct Place {
    /// Which of its part's workers it is.
    pub(super) number: u32,
    pub(super) running: Arc<Running>,
    /// The control of the whole run.
    pub(super) run: Arc<Control>,
}

/// A worker's thread, from its beginning to its end.
pub(super) fn work(place: &Place, identity: &Identity, health: Option<Arc<Health>>) -> Ended {
    let mut link = place.running.part.link.clone();
    link.name = identity.name().to_owned();
    link.place.0 = place.number;
    link.control = place.running.control.clone();
    match (&place.running.part.log, health) {
        (Log::Kafka(cluster), Some(health)) => work_on(KafkaLink::new(cluster.clone(), link, health), place),
        (Log::Kafka(_), None) => Ended::Failed("a defect of the host: nobody watches over its cluster".into()),
        (Log::Local(log), _) => work_on(LocalLink::new(log.clone(), link), place),
    }
}

fn work_on(link: impl Link, place: &Place) -> Ended {
    #[cfg(feature = "mutants")]
    let link = match std::env::var("MILLSTREAM_MUTANT").ok().map(|name| name.parse()).transpose() {
        Ok(mutant) => {
            crate::transport::mutants::Broken::new(link, mutant).pausing(std::time::Duration::from_millis(50))
        }
        Err(why) => return Ended::Failed(why),
    };
    let Running { part, control, tally, source: state, .. } = &*place.running;
    let clock: Rc<dyn Clock> = Rc::new(SystemClock::new(control.clone()));
    let on = WorkerSettings {
        name: part.name.clone(),
        number: place.number,
        commit_interval: part.commit_interval,
        control: control.clone(),
    };
    let stage = match &part.work {
        Work::Source { compiled, setup, settings } => {
            return match SourceInstance::new(compiled, setup.clone()) {
                Ok(instance) => {
                    let source = Source::new(settings.clone(), Box::new(instance), clock.clone(), state.clone());
                    SourceWorker::new(link, source, clock, on).run()
                }
                Err(error) => Ended::Failed(error.to_string()),
            };
        }
        Work::Stage { settings, modules, .. } => {
            match Stage::at(Seat::new(modules, place.number), settings.clone(), clock.clone(), tally.clone(), control) {
                Ok(stage) => stage,
                Err(why) => return Ended::Failed(why),
            }
        }
        Work::Sink { into, settings } => {
            let stage = |guest: Box<dyn Guest>| Stage::new(settings.clone(), guest, clock.clone(), tally.clone());
            let (inputs, origins) = (part.link.inputs.clone(), settings.inputs.clone());
            match into {
                sinks::Into::Stdout(format) => stage(Box::new(stdout(*format, inputs, place.run.clone()))),
                sinks::Into::Mongodb(settings) => {
                    match Mongodb::new(settings.clone(), &part.name, origins, control.clone()) {
                        Ok(database) => stage(Box::new(Batched::new(Rc::new(RefCell::new(database))))),
                        Err(why) => return Ended::Failed(why),
                    }
                }
                sinks::Into::Postgres(settings) => {
                    let who = Who { name: part.name.clone(), group: part.link.group.clone(), inputs, origins };
                    let database = match Postgres::new(settings.clone(), who, control.clone()) {
                        Ok(database) => Rc::new(RefCell::new(database)),
                        Err(why) => return Ended::Failed(why),
                    };
                    let stage = stage(Box::new(Batched::new(database.clone())));
                    let link = LedgerLink::new(link, database);
                    #[cfg(feature = "mutants")]
                    let link = match std::env::var("MILLSTREAM_LEDGER_MUTANT") {
                        Ok(name) => {
                            link.broken(sinks::ledger::Mutant::named(&name), std::time::Duration::from_millis(100))
                        }
                        Err(_) => link,
                    };
                    return work_with(link, stage, place, clock, on);
                }
            }
        }
    };
    work_with(link, stage, place, clock, on)
}

/// With records as they come, or with dead letters as the records that they were.
fn work_with(link: impl Link, stage: Stage, place: &Place, clock: Rc<dyn Clock>, on: WorkerSettings) -> Ended {
    let Running { part, control, .. } = &*place.running;
    let Some(again) = &part.again else { return Worker::new(link, stage, clock, on).run() };
    let stage = stage.for_letters(again.most, control);
    Worker::new(LetterLink::new(link, again.clone()), stage, clock, on).run()
}
