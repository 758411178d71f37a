//! Schemas by their ids: those that are known, and how others are asked for. Nobody waits for a registry who has no
//! need of it, and who has, waits for an answer that a thread of its own brings.

use super::{
    registry::{Registry, Trouble},
    schema::{Schema, Written},
    shelf::Shelf,
};
use crate::manifest::SchemaRegistry;
use anyhow::Result;
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

/// How long it is believed that there is no schema of some id.
const DISBELIEF: Duration = Duration::from_secs(10);
/// Between two questions to a registry that does not answer.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Where schemas come from.
#[derive(Debug)]
pub(super) struct Store {
    /// Nothing is kept without one.
    pub(super) shelf: Option<Shelf>,
    /// Without one, the shelf is all there is.
    pub(super) registry: Option<Registry>,
    known: RwLock<HashMap<u32, Arc<Schema>>>,
    asked: Mutex<Asked>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    /// What is to be asked for.
    wanted: BTreeSet<u32>,
    /// What there is none of, or none that can be read: since when, and why.
    missing: HashMap<u32, (Instant, String)>,
    /// Somebody asks.
    is_asking: bool,
    /// The registry does not answer.
    is_away: bool,
}

/// What there is of an id.
#[derive(Debug)]
pub(super) enum Found {
    Schema(Arc<Schema>),
    /// There is none that could be read, and this is why.
    Missing(String),
    /// Nobody knows yet.
    Waiting,
}

impl Store {
    pub(super) fn local(state: &Path) -> Arc<Store> {
        Store::new(Some(Shelf::local(state)), None)
    }

    pub(super) fn of_registry(state: Option<&Path>, settings: &SchemaRegistry) -> Result<Arc<Store>> {
        let registry = Registry::new(settings)?;
        Ok(Store::new(state.map(|state| Shelf::of_registry(state, registry.url())), Some(registry)))
    }

    fn new(shelf: Option<Shelf>, registry: Option<Registry>) -> Arc<Store> {
        let (known, asked, bell) = Default::default();
        Arc::new(Store { shelf, registry, known, asked, bell })
    }

    /// What there is of an id. It is waited for so long, unless it is known that the registry does not answer.
    pub(super) fn find(self: &Arc<Store>, id: u32, patience: Duration) -> Found {
        if let Some(schema) = self.known(id) {
            return Found::Schema(schema);
        }
        let until = Instant::now() + patience;
        let mut asked = self.lock();
        if let Some((since, why)) = asked.missing.get(&id) {
            if since.elapsed() < DISBELIEF {
                return Found::Missing(why.clone());
            }
            asked.missing.remove(&id);
        }
        if !asked.wanted.contains(&id) {
            drop(asked);
            if let Some(found) = self.on_shelf(id) {
                return found;
            }
            asked = self.lock();
            asked.wanted.insert(id);
        }
        if !asked.is_asking {
            asked.is_asking = true;
            let store = self.clone();
            let started = thread::Builder::new().name("schemas".into()).spawn(move || store.ask());
            asked.is_asking = started.is_ok();
        }
        while asked.wanted.contains(&id) && !asked.is_away {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Found::Waiting;
            }
            asked = self.bell.wait_timeout(asked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        match (self.known(id), asked.missing.get(&id)) {
            (Some(schema), _) => Found::Schema(schema),
            (None, Some((_, why))) => Found::Missing(why.clone()),
            (None, None) => Found::Waiting,
        }
    }

    /// Takes up a schema that is known to have this id.
    pub(super) fn take_up(&self, id: u32, written: &Written) -> Result<Arc<Schema>, String> {
        if let Some(schema) = self.known(id) {
            return Ok(schema);
        }
        let schema = Arc::new(Schema::read(written)?);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(id, schema.clone());
        Ok(schema)
    }

    fn known(&self, id: u32) -> Option<Arc<Schema>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// What is kept of an id; nothing when it is to be asked for.
    fn on_shelf(&self, id: u32) -> Option<Found> {
        let missing = |why: String| {
            self.lock().missing.insert(id, (Instant::now(), why.clone()));
            Some(Found::Missing(why))
        };
        match self.shelf.as_ref().map(|shelf| (shelf.get(id), shelf)) {
            Some((Ok(Some(written)), _)) => match self.take_up(id, &written) {
                Ok(schema) => Some(Found::Schema(schema)),
                Err(why) => missing(unreadable(id, &why)),
            },
            Some((Ok(None), shelf)) if self.registry.is_none() => {
                missing(format!("there is no schema {id} in {}", shelf.folder().display()))
            }
            // A file that is damaged is fetched again.
            Some((Err(why), _)) if self.registry.is_none() => missing(format!("{why:#}")),
            _ => None,
        }
    }

    /// Asks for what is wanted, until nothing is.
    fn ask(&self) {
        let mut delay = FIRST_DELAY;
        loop {
            let wanted = {
                let mut asked = self.lock();
                let wanted = asked.wanted.first().copied();
                asked.is_asking = wanted.is_some();
                wanted
            };
            let (Some(id), Some(registry)) = (wanted, &self.registry) else { return };
            let answer = registry.by_id(id);
            let mut asked = self.lock();
            let why = match answer {
                Ok(Some(written)) => {
                    if let Some(Err(error)) = self.shelf.as_ref().map(|shelf| shelf.keep(id, &written)) {
                        tracing::warn!("schema {id} cannot be kept: {error:#}");
                    }
                    self.take_up(id, &written).err().map(|why| unreadable(id, &why))
                }
                Ok(None) => Some(format!("the schema registry at {} has no schema {id}", registry.url())),
                Err(Trouble::Refused(why)) => Some(why),
                Err(Trouble::Unavailable(why) | Trouble::Denied(why)) => {
                    if !std::mem::replace(&mut asked.is_away, true) {
                        tracing::warn!("{why}; records whose schema is not cached wait until it does");
                    }
                    drop(asked);
                    self.bell.notify_all();
                    thread::sleep(delay);
                    delay = (delay * 2).min(LONGEST_DELAY);
                    continue;
                }
            };
            if let Some(why) = why {
                asked.missing.insert(id, (Instant::now(), why));
            }
            asked.wanted.remove(&id);
            if std::mem::take(&mut asked.is_away) {
                tracing::info!("the schema registry at {} answers again", registry.url());
            }
            delay = FIRST_DELAY;
            drop(asked);
            self.bell.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(id: u32, why: &str) -> String {
    format!("schema {id} cannot be read: {why}")
}
