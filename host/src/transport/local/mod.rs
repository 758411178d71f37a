//! The embedded log behind the seam: topics, partitions, groups and transactions in one SQLite file.
//!
//! Whoever reads has a connection of its own and looks at one moment at a time; whoever writes hands its job to the
//! one thread of the process that does ([`scribe`]). Other processes do the same beside it.

mod batch;
mod bell;
mod codec;
mod compaction;
mod faults;
mod groups;
mod link;
mod locks;
mod offsets;
pub(super) mod partitioner;
mod reader;
mod rows;
mod scan;
mod schema;
mod scribe;
mod sender;
mod starts;
#[cfg(test)]
mod tests;
mod tidy;
mod topics;
mod trouble;
mod watch;
mod writer;

pub use batch::LocalBatch;
pub use groups::LocalGroups;
pub use link::LocalLink;
pub use locks::HostLock;
pub use offsets::LocalOffsets;
pub use scan::LocalScan;
pub use sender::LocalSender;

use anyhow::Result;
use bell::Bell;
use locks::{GroupLock, Locks};
use schema::{Access, Store};
use scribe::Scribe;
use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use trouble::Trouble;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The disk: nothing that was committed is lost with the power.
    #[default]
    Fsync,
    /// The operating system: faster; nothing is lost when a process ends, but the latest transactions may be lost with
    /// the power, whole and in order.
    Os,
}

/// An embedded log that is open. Its clones are the same log.
#[derive(Clone)]
pub struct LocalLog(Arc<Open>);

struct Open {
    folder: PathBuf,
    durability: Durability,
    locks: Locks,
    bell: Arc<Bell>,
    /// For questions and small changes.
    desk: Mutex<Store>,
    scribe: Mutex<Option<Arc<Scribe>>>,
    groups: Mutex<BTreeMap<String, Weak<GroupLock>>>,
}

impl LocalLog {
    /// Opens the log in a folder, and says what a commit waits for; makes both when they are missing.
    pub fn open_with(folder: &Path, durability: Durability) -> Result<LocalLog> {
        fs::create_dir_all(folder).map_err(|error| {
            Trouble::passing(format!("{} cannot be made: {error}: name another folder with `state:`", folder.display()))
        })?;
        schema::check_file_system(folder)?;
        let locks = Locks::open(folder)?;
        let desk = Store::make(&file(folder), locks.queue()?, durability)?;
        Ok(LocalLog(Arc::new(Open {
            folder: folder.to_owned(),
            durability,
            locks,
            bell: Arc::default(),
            desk: Mutex::new(desk),
            scribe: Mutex::default(),
            groups: Mutex::default(),
        })))
    }

    /// True when there is a log in this folder.
    pub fn is_in(folder: &Path) -> bool {
        file(folder).exists()
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The right to run a pipeline on it; `None` while another process has it.
    pub fn host(&self) -> Result<Option<HostLock>> {
        Ok(self.0.locks.host()?)
    }

    /// The right to move a group; `None` while somebody else has it.
    fn join(&self, group: &str) -> Result<Option<GroupLock>, Trouble> {
        self.0.locks.group(group)
    }

    /// Questions about a group.
    pub fn offsets(&self, group: &str, topics: &[String]) -> LocalOffsets {
        LocalOffsets::new(self.clone(), group, topics)
    }

    /// A group's lock, shared by all who ask for it here; `None` when it is somebody else's.
    fn share(&self, group: &str) -> Result<Option<Arc<GroupLock>>, Trouble> {
        let mut groups = self.0.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = groups.get(group).and_then(Weak::upgrade) {
            return Ok(Some(lock));
        }
        let lock = self.join(group)?.map(Arc::new);
        if let Some(lock) = &lock {
            groups.insert(group.to_owned(), Arc::downgrade(lock));
        }
        Ok(lock)
    }

    /// A connection of one's own, to read.
    fn reader(&self) -> Result<Store, Trouble> {
        Store::open(&file(&self.0.folder), Access::Read)
    }

    /// The writing thread; it starts when it is needed first.
    fn scribe(&self) -> Result<Arc<Scribe>, Trouble> {
        let mut scribe = self.0.scribe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scribe) = &*scribe {
            return Ok(scribe.clone());
        }
        let access = Access::Write(self.0.durability, self.0.locks.queue()?);
        let store = Store::open(&file(&self.0.folder), access)?;
        let started = Arc::new(Scribe::start(store, self.0.bell.clone())?);
        *scribe = Some(started.clone());
        Ok(started)
    }

    /// The connection for questions and small changes.
    fn desk(&self) -> MutexGuard<'_, Store> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LocalLog {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("LocalLog").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("log.db")
}
