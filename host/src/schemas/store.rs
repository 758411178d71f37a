//! Schemas by their ids: those that are known, and how others are asked for. Nobody waits for a registry who has no
//! need of it, and who has, waits for an answer that a thread of its own brings.

use super::{
    http::Trouble,
    registry::Registry,
    schema::{Schema, Written},
    shelf::Shelf,
};
use crate::manifest::SchemaRegistry;
use anyhow::Result;
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A registry that has several servers may know a schema on one of them a moment before it does on another: that there is
/// none is believed when so many further questions say it, so far apart.
const LOOKS_AGAIN: u32 = 2;
const LOOK_AGAIN: Duration = Duration::from_millis(1500);
/// How long it is believed then.
const DISBELIEF: Duration = Duration::from_secs(30);
/// Of so many ids it is remembered, about.
const MOST_MISSING: usize = 1000;
/// Between two questions for an id that have no answer.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// What nobody has asked for so long, is wanted no more.
const INTEREST: Duration = Duration::from_secs(60);

/// Where schemas come from.
#[derive(Debug)]
pub(super) struct Store {
    /// Nothing is kept without one.
    pub(super) shelf: Option<Shelf>,
    /// Without one, the shelf is all there is.
    pub(super) registry: Option<Registry>,
    /// That nothing can be kept was said.
    pub(super) said_unkept: AtomicBool,
    known: RwLock<HashMap<u32, Arc<Schema>>>,
    asked: Mutex<Asked>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    /// What is to be asked for.
    wanted: HashMap<u32, Wanted>,
    /// What there is none of, or none that can be read: since when, and why.
    missing: HashMap<u32, (Instant, String)>,
    /// Somebody asks.
    is_asking: bool,
    /// As the last question found it, whatever it asked for.
    door: Door,
}

/// How a registry takes questions; the worse, the later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    /// It answers, whatever it says.
    #[default]
    Open,
    /// It gives no answer.
    Silent,
    /// It lets nobody in.
    Shut,
}

/// An id that is to be asked for.
#[derive(Debug)]
struct Wanted {
    /// When it is asked for next.
    due: Instant,
    /// How long it is left alone when there is no answer again.
    delay: Duration,
    /// When somebody needed it last.
    needed: Instant,
    /// How often the registry said that there is none.
    denials: u32,
    /// The registry answers, but not to this.
    is_stuck: bool,
}

/// What came of a question: that the schema was taken up, or why it cannot be read; that there is none; or no answer.
type Answer = Result<Option<Result<(), String>>, Trouble>;

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
        let (said_unkept, known, asked, bell) = Default::default();
        Arc::new(Store { shelf, registry, said_unkept, known, asked, bell })
    }

    /// What there is of an id. It is waited for so long, unless it is known that there is no answer for now.
    pub(super) fn find(self: &Arc<Store>, id: u32, patience: Duration) -> Found {
        if let Some(schema) = self.known(id) {
            return Found::Schema(schema);
        }
        if i32::try_from(id).is_err() {
            return Found::Missing(format!("no schema has the id {id}: the largest is {}", i32::MAX));
        }
        let until = Instant::now() + patience;
        let mut asked = self.lock();
        if let Some((since, why)) = asked.missing.get(&id) {
            if since.elapsed() < DISBELIEF {
                return Found::Missing(why.clone());
            }
            asked.missing.remove(&id);
        }
        if !asked.wanted.contains_key(&id) {
            drop(asked);
            if let Some(found) = self.on_shelf(id) {
                return found;
            }
            asked = self.lock();
        }
        asked.want(id);
        if !asked.is_asking {
            let store = self.clone();
            asked.is_asking = thread::Builder::new().name("schemas".into()).spawn(move || store.ask()).is_ok();
        }
        // Who asks may be waiting for another one's turn.
        self.bell.notify_all();
        while asked.wanted.get(&id).is_some_and(|wanted| !wanted.is_stuck) && asked.door == Door::Open {
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

    /// Keeps something of what the registry says. Where that cannot be done, as in a folder that may only be read, it is
    /// asked for anew after the next start.
    pub(super) fn keep(&self, keep: impl FnOnce(&Shelf) -> Result<()>) {
        if let Some(Err(error)) = self.shelf.as_ref().map(keep)
            && !self.said_unkept.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("what the schema registry says cannot be cached: {error:#}");
        }
    }

    /// Forgets all that the registry said before, as its ids mean something else now.
    pub(super) fn forget(&self) -> Result<()> {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.shelf.as_ref().map_or(Ok(()), Shelf::clear)
    }

    fn known(&self, id: u32) -> Option<Arc<Schema>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// What is kept of an id; nothing when it is to be asked for.
    fn on_shelf(&self, id: u32) -> Option<Found> {
        let missing = |why: String| {
            self.lock().miss(id, why.clone());
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

    /// Asks for what is wanted, until nothing is. Nothing is locked meanwhile.
    fn ask(&self) {
        while let (Some(id), Some(registry)) = (self.next(), &self.registry) {
            let answer = guarded(|| -> Answer {
                let written = registry.by_id(id)?;
                Ok(written.map(|written| {
                    self.keep(|shelf| shelf.keep(id, &written));
                    self.take_up(id, &written).map(drop).map_err(|why| unreadable(id, &why))
                }))
            });
            let broken = |why: String| Err(Trouble::Refused(format!("schema {id} cannot be fetched: {why}")));
            self.lock().note(id, answer.unwrap_or_else(broken), registry.url());
            self.bell.notify_all();
        }
    }

    /// The id whose turn it is, when it is; nothing when none is wanted, and then nobody asks any more.
    fn next(&self) -> Option<u32> {
        let mut asked = self.lock();
        loop {
            asked.wanted.retain(|_, wanted| wanted.needed.elapsed() < INTEREST);
            let Some((id, due)) = asked.wanted.iter().map(|(id, wanted)| (*id, wanted.due)).min_by_key(|(_, due)| *due)
            else {
                asked.is_asking = false;
                return None;
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(id);
            }
            asked = self.bell.wait_timeout(asked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Somebody needs this id.
    fn want(&mut self, id: u32) {
        let now = Instant::now();
        let wanted = Wanted { due: now, delay: FIRST_DELAY, needed: now, denials: 0, is_stuck: false };
        self.wanted.entry(id).or_insert(wanted).needed = now;
    }

    /// There is none with this id.
    fn miss(&mut self, id: u32, why: String) {
        if self.missing.len() >= MOST_MISSING {
            self.missing.retain(|_, (since, _)| since.elapsed() < DISBELIEF);
        }
        if self.missing.len() >= MOST_MISSING {
            self.missing.clear();
        }
        self.missing.insert(id, (Instant::now(), why));
    }

    /// Notes what came of a question.
    fn note(&mut self, id: u32, answer: Answer, url: &str) {
        let now = match &answer {
            Err(Trouble::Unavailable(_)) => Door::Silent,
            Err(Trouble::Denied(_)) => Door::Shut,
            _ => Door::Open,
        };
        let before = std::mem::replace(&mut self.door, now);
        if before > Door::Open && now == Door::Open {
            tracing::info!("the schema registry at {url} answers again");
            // What was put off only because it was away, need not wait.
            let others = self.wanted.values_mut().filter(|wanted| !wanted.is_stuck && wanted.denials == 0);
            others.for_each(|wanted| (wanted.due, wanted.delay) = (Instant::now(), FIRST_DELAY));
        }
        let Some(wanted) = self.wanted.get_mut(&id) else { return };
        let end = match answer {
            Ok(Some(read)) => read.err(),
            Ok(None) if wanted.denials < LOOKS_AGAIN => {
                wanted.denials += 1;
                wanted.is_stuck = false;
                wanted.due = Instant::now() + LOOK_AGAIN;
                return;
            }
            Ok(None) => Some(format!("the schema registry at {url} has no schema {id}")),
            Err(Trouble::Refused(why)) => Some(why),
            // There may be a right for each subject.
            Err(Trouble::Failing(why) | Trouble::Withheld(why)) => {
                if !std::mem::replace(&mut wanted.is_stuck, true) {
                    tracing::warn!("{why}: records with schema {id} wait");
                }
                wanted.put_off();
                return;
            }
            Err(Trouble::Unavailable(why) | Trouble::Denied(why)) => {
                if now > before {
                    tracing::warn!("{why}; records whose schema is not cached wait");
                }
                wanted.put_off();
                return;
            }
        };
        self.wanted.remove(&id);
        if let Some(why) = end {
            self.miss(id, why);
        }
    }
}

impl Wanted {
    /// It comes again, behind all others.
    fn put_off(&mut self) {
        self.due = Instant::now() + self.delay;
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
    }
}

/// What comes of a job; where it panics, what it said. A schema is somebody else's, and what is made of it a library's.
fn guarded<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("it makes its reader panic: {}", text.unwrap_or("it does not say why"))
    })
}

fn unreadable(id: u32, why: &str) -> String {
    format!("schema {id} cannot be read: {why}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
