//! Says once that the cluster does not answer, and once that it does again, whoever noticed first.

use super::{reasons::plain, settings::Cluster};
use rdkafka::{
    client::ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What the process knows about its cluster. Shared by all of its clients.
#[derive(Debug)]
pub struct Health {
    cluster: Cluster,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A check is under way.
    checking: bool,
    /// It has been said that the cluster does not answer.
    waiting: bool,
    /// What the clients said last.
    reason: String,
    /// When a broker was last seen not to answer.
    trouble: Option<Instant>,
    /// When each call that has not returned yet began.
    calls: Vec<Instant>,
}

/// For how long after an outage a member or a writer may be taken for its own double.
const ECHO: Duration = Duration::from_secs(30);
/// What the clients log has to be as bad as this to be heard here.
pub(super) const LOGGED: RDKafkaLogLevel = RDKafkaLogLevel::Warning;
/// How long a call may take before the cluster is asked whether it is still there: the library does not return from
/// some of its calls while no broker answers, and tells nothing in between.
const LONG: Duration = Duration::from_secs(2);
/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(3);

impl Health {
    /// Nothing is known yet: all is well.
    pub fn new(cluster: Cluster) -> Arc<Health> {
        let health = Arc::new(Health { cluster, state: Mutex::default() });
        let watched = Arc::downgrade(&health);
        thread::spawn(move || {
            while let Some(health) = watched.upgrade() {
                if health.lock().calls.iter().any(|begun| begun.elapsed() > LONG) {
                    health.suspect("");
                }
                drop(health);
                thread::sleep(LONG / 4);
            }
        });
        health
    }

    /// Makes a call that may not return while the cluster is out of reach.
    pub(super) fn watch_over<T>(&self, call: impl FnOnce() -> T) -> T {
        let watched = Call { health: self, begun: Instant::now() };
        self.lock().calls.push(watched.begun);
        call()
    }

    /// True while the cluster does not answer.
    pub fn waiting(&self) -> bool {
        self.lock().waiting
    }

    /// True when the cluster, or one of its brokers, was out of reach a short while ago: what they say of this process now
    /// may be an echo of its own past.
    pub(super) fn troubled_lately(&self) -> bool {
        self.lock().trouble.is_some_and(|at| at.elapsed() < ECHO)
    }

    /// A client had trouble to reach a broker. That alone says little, as brokers also close idle connections: it is
    /// looked at by a question of our own.
    pub(super) fn suspect(self: &Arc<Self>, reason: &str) {
        let mut state = self.lock();
        if !reason.is_empty() {
            state.reason = reason.to_owned();
        }
        if !std::mem::replace(&mut state.checking, true) {
            let health = self.clone();
            thread::spawn(move || health.ask());
        }
    }

    /// What a client logs. A broker that stands still is told nowhere else: the connection to it is open, and requests
    /// to it run out of time. A connection that ends in good order, as an idle one does, is no warning.
    pub(super) fn overhear(&self, level: RDKafkaLogLevel, facility: &str) {
        if level as i32 <= LOGGED as i32 && matches!(facility, "FAIL" | "REQTMOUT") {
            self.lock().trouble = Some(Instant::now());
        }
    }

    /// Asks until there is an answer.
    fn ask(self: Arc<Self>) {
        let since = Instant::now();
        let client = BaseConsumer::from_config_and_context(&self.cluster.plain(), Listener(self.clone()));
        if let Ok(client) = client {
            while client.fetch_metadata(None, QUESTION).is_err() {
                self.say_waiting();
                thread::sleep(Duration::from_millis(300));
            }
        }
        let mut state = self.lock();
        if state.waiting {
            state.trouble = Some(Instant::now());
        }
        if std::mem::take(&mut state.waiting) {
            tracing::info!("Kafka answers again after {} s: going on", since.elapsed().as_secs().max(1));
        }
        state.checking = false;
    }

    fn say_waiting(&self) {
        let (is_news, reason) = {
            let mut state = self.lock();
            state.trouble = Some(Instant::now());
            (!std::mem::replace(&mut state.waiting, true), state.reason.clone())
        };
        if is_news {
            // It may have to be looked at once more, which takes a moment.
            let reason = plain(&self.cluster, &reason);
            tracing::warn!("Kafka at {} does not answer: waiting for it ({reason})", self.cluster.brokers);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has not returned yet.
struct Call<'a> {
    health: &'a Health,
    begun: Instant,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.health.lock().calls.retain(|begun| *begun != self.begun);
    }
}

/// Collects why the question found no answer.
struct Listener(Arc<Health>);

impl ClientContext for Listener {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, reason: &str) {
        self.0.lock().reason = reason.to_owned();
    }
}

impl ConsumerContext for Listener {}
