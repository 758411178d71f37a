//! The log's file: what is in it, and how it is opened without harm to one that is not ours.

use super::{Durability, locks::Queue, trouble::Trouble};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// `Mill`: what tells our files from others of SQLite's.
const APPLICATION: i64 = 0x4d69_6c6c;
/// The version of what is below.
const FORMAT: i64 = 1;
/// How long to wait for who writes past the queue, which only SQLite's own tools do.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to keep everybody waiting for something that can be done later.
const MOMENT: Duration = Duration::from_millis(100);

/// `part.topic` is null when its topic was deleted; its batches are then removed step by step. An id is never used
/// twice, so a partition of a topic that was made anew is another one. They begin somewhere, so that those of another log
/// are others, too: a database may know them longer than this file is there. `progress` keeps the names beside the id: a group
/// is to notice that what it read is gone.
const TABLES: &str = "
    CREATE TABLE topic (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, config TEXT NOT NULL);
    CREATE TABLE part (
        id INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER, number INTEGER NOT NULL,
        first INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0, cleaned INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, number)
    );
    CREATE TABLE batch (
        part INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, size INTEGER NOT NULL,
        latest INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (part, last)
    );
    CREATE TABLE progress (
        grp TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL,
        PRIMARY KEY (grp, name, number)
    ) WITHOUT ROWID;
    CREATE TABLE version (topics INTEGER NOT NULL);
    INSERT INTO version VALUES (1);
    INSERT INTO sqlite_sequence (name, seq) VALUES ('part', abs(random() % 1000000000000));
";

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Access {
    /// To read only.
    Read,
    /// To write: what a commit waits for, and where those wait who want to.
    Write(Durability, Queue),
}

/// A connection to the log's file.
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
    /// One that only reads has none.
    queue: Option<Queue>,
}

impl Store {
    /// Makes the file when it is missing.
    pub(super) fn make(path: &Path, queue: Queue, durability: Durability) -> Result<Store, Trouble> {
        let of = |trouble: Trouble| trouble.of(path);
        let mut store = Store { connection: open(path, true).map_err(of)?, path: path.to_owned(), queue: Some(queue) };
        store.prepare(durability).map_err(of)?;
        Ok(store)
    }

    /// Another connection to a file that is there.
    pub(super) fn open(path: &Path, access: Access) -> Result<Store, Trouble> {
        let of = |trouble: Trouble| trouble.of(path);
        let (durability, queue) = match access {
            Access::Read => (None, None),
            Access::Write(durability, queue) => (Some(durability), Some(queue)),
        };
        let mut store = Store { connection: open(path, queue.is_some()).map_err(of)?, path: path.to_owned(), queue };
        if let Some(durability) = durability {
            store.tune(durability).map_err(of)?;
        }
        store.connection.set_prepared_statement_cache_capacity(64);
        store.read(|tx| if identify(tx)? { Ok(()) } else { Err(Trouble::damaged("the log is gone")) })?;
        Ok(store)
    }

    fn prepare(&mut self, durability: Durability) -> Result<(), Trouble> {
        if self.connection.is_readonly("main")? {
            return Err(Trouble::file("it cannot be written: the log needs a file and a folder that it may write"));
        }
        if !self.is_made()? {
            // Two may come at once; the second finds it made.
            let _pen = self.queue.as_ref().map(Queue::wait).transpose()?;
            if !self.is_made()? {
                self.connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
                let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                tx.execute_batch(TABLES)?;
                tx.pragma_update(None, "user_version", FORMAT)?;
                tx.pragma_update(None, "application_id", APPLICATION)?;
                tx.commit()?;
            }
        }
        self.check_length()?;
        self.tune(durability)
    }

    /// Looks at one moment: somebody else may be making it.
    fn is_made(&self) -> Result<bool, Trouble> {
        identify(&*self.connection.unchecked_transaction()?)
    }

    fn tune(&mut self, durability: Durability) -> Result<(), Trouble> {
        let synchronous = match durability {
            Durability::Fsync => "FULL",
            Durability::Os => "NORMAL",
        };
        let mode: String = self.connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Trouble::file("the file system cannot share memory: name a folder on a local disk"));
        }
        self.connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(())
    }

    /// A file that was cut off is found before anything is written behind the cut. What is still in the -wal may be
    /// missing in the file.
    fn check_length(&self) -> Result<(), Trouble> {
        let number = |pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
        let needed = number("page_count")? * number("page_size")?;
        let wal = fs::metadata(beside(&self.path, "-wal")).map_or(0, |facts| facts.len());
        let there = fs::metadata(&self.path).map_or(0, |facts| facts.len());
        if wal == 0 && there < needed {
            return Err(Trouble::damaged(format!(
                "the file ends early, it has {there} of {needed} bytes: put back a copy of it, with its -wal"
            )));
        }
        Ok(())
    }

    /// Looks at one moment of the log.
    pub(super) fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let tx = self.connection.transaction().map_err(|error| Trouble::from(error).of(&self.path))?;
        work(&tx).map_err(|trouble| trouble.of(&self.path))
    }

    /// Changes the log: all of it or nothing.
    pub(super) fn write<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let Store { connection, path, queue } = self;
        let _pen = queue.as_ref().map(Queue::wait).transpose()?;
        let write = || {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        };
        write().map_err(|trouble: Trouble| trouble.of(path))
    }

    /// What changes when anybody else has committed something.
    pub(super) fn data_version(&self) -> Result<i64, Trouble> {
        let look = || self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0));
        self.done(look())
    }

    /// Brings what was committed from the -wal into the file, as far as readers allow.
    pub(super) fn checkpoint(&self) -> Result<(), Trouble> {
        self.done(self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())))
    }

    /// Does it to the end, and cuts the -wal back, unless somebody reads for longer than a moment.
    pub(super) fn cut_wal(&self) -> Result<(), Trouble> {
        self.done(self.connection.busy_timeout(MOMENT))?;
        let cut = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.done(self.connection.busy_timeout(PATIENCE).and(cut))
    }

    /// Leaves checkpoints to the caller, who then does them between two transactions.
    pub(super) fn keep_checkpoints(&self) -> Result<(), Trouble> {
        self.done(self.connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(())))
    }

    fn done<T>(&self, result: rusqlite::Result<T>) -> Result<T, Trouble> {
        result.map_err(|error| Trouble::from(error).of(&self.path))
    }

    /// How many rows this connection has changed: it tells whether there was anything to do.
    pub(super) fn changes(&self) -> u64 {
        self.connection.total_changes()
    }

    /// How large the -wal is.
    pub(super) fn wal_size(&self) -> u64 {
        fs::metadata(beside(&self.path, "-wal")).map_or(0, |facts| facts.len())
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the file grow by so many pages and no more, as on a disk that is full; `None` lifts it.
    #[cfg(test)]
    pub(super) fn limit_growth(&self, pages: Option<u64>) {
        let count: u64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let limit = pages.map_or(u64::from(u32::MAX) - 1, |pages| count + pages);
        self.connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(())).unwrap();
    }
}

fn open(path: &Path, write: bool) -> Result<Connection, Trouble> {
    let access = match write {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// True when it is a log that we can read, false when there is nothing in it yet. It is only looked at.
fn identify(connection: &Connection) -> Result<bool, Trouble> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (application, format) = (number("application_id")?, number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, format) {
        (APPLICATION, FORMAT) => Ok(true),
        (APPLICATION, newer) => Err(Trouble::damaged(format!(
            "this log has format {newer}, and this millstream knows format {FORMAT}: run the one that wrote it, or a \
             later one"
        ))),
        (0, 0) if tables == 0 => Ok(false),
        _ => Err(Trouble::damaged(
            "this file of SQLite's is no log of millstream's, so it is left as it is: move it away, or name another \
             folder with `state:`",
        )),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Other machines' disks share no memory, and SQLite's locks there are not to be relied on.
#[cfg(target_os = "linux")]
pub(super) fn check_file_system(folder: &Path) -> Result<(), Trouble> {
    let kind = match rustix::fs::statfs(folder).map(|facts| facts.f_type as u32) {
        Ok(0x6969) => "NFS",
        Ok(0x517b | 0xff53_4d42 | 0xfe53_4d42) => "SMB",
        Ok(0x5346_414f) => "AFS",
        Ok(0x00c3_6400) => "Ceph",
        _ => return Ok(()),
    };
    Err(Trouble::damaged(format!(
        "{} lies on a network file system ({kind}), where a log cannot be kept whole: name a folder on a local disk \
         with `state:`",
        folder.display()
    )))
}

/// Nothing is known of file systems here.
#[cfg(not(target_os = "linux"))]
pub(super) fn check_file_system(_: &Path) -> Result<(), Trouble> {
    Ok(())
}
