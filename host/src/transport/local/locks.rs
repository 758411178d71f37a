//! Who may do what beside others: locks on files, which end with the process that holds them, however it ends.

use super::trouble::Trouble;
use crate::text::hex;
use sha2::{Digest, Sha256};
use std::{
    cell::Cell,
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The longest name of a group that becomes a file's name as it is.
const LONGEST: usize = 200;
/// The longest time that one who has written leaves to others who wait.
const LONGEST_AWAY: Duration = Duration::from_millis(50);

/// One process runs a pipeline on an embedded log at a time; who has this is it.
#[derive(Debug)]
pub struct HostLock {
    _file: File,
}

/// A group's members are all in the process that has this.
#[derive(Debug)]
pub(super) struct GroupLock {
    _file: File,
}

/// Where the locks of a log are.
#[derive(Clone, Debug)]
pub(super) struct Locks {
    folder: PathBuf,
}

impl Locks {
    /// The locks of the log in this folder.
    pub(super) fn open(folder: &Path) -> Result<Locks, Trouble> {
        let folder = folder.join("locks");
        fs::create_dir_all(&folder).map_err(|error| {
            Trouble::passing(format!(
                "{} cannot be made: {error}: the log needs a folder that it may write; see `state:`",
                folder.display()
            ))
        })?;
        Ok(Locks { folder })
    }

    /// The host's lock; `None` when another process has it.
    pub(super) fn host(&self) -> Result<Option<HostLock>, Trouble> {
        Ok(self.take("host")?.map(|file| HostLock { _file: file }))
    }

    /// A group's lock; `None` when somebody has it.
    pub(super) fn group(&self, group: &str) -> Result<Option<GroupLock>, Trouble> {
        if group.is_empty() {
            return Err(Trouble::refused("a group needs a name"));
        }
        Ok(self.take(&of_group(group))?.map(|file| GroupLock { _file: file }))
    }

    /// True when somebody has a group. Who asks shares the lock for a moment, and so is not taken for one who has it.
    pub(super) fn is_at_work(&self, group: &str) -> Result<bool, Trouble> {
        let path = self.folder.join(of_group(group));
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            other => other.map_err(|error| cannot(&path, "opened", &error))?,
        };
        Ok(!tried(file.try_lock_shared(), &path)?)
    }

    /// The queue of those who want to write.
    pub(super) fn queue(&self) -> Result<Queue, Trouble> {
        Ok(Queue {
            door: self.file("door")?,
            pen: self.file("pen")?,
            path: self.folder.clone(),
            away_until: Cell::default(),
        })
    }

    fn take(&self, name: &str) -> Result<Option<File>, Trouble> {
        let (file, path) = (self.file(name)?, self.folder.join(name));
        while !tried(file.try_lock(), &path)? {
            // With somebody who only asks it can be shared, and in a moment had.
            if !tried(file.try_lock_shared(), &path)? {
                return Ok(None);
            }
            thread::yield_now();
        }
        Ok(Some(file))
    }

    fn file(&self, name: &str) -> Result<File, Trouble> {
        let path = self.folder.join(name);
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        file.map_err(|error| cannot(&path, "opened", &error))
    }
}

/// Those who want to write, in turn: SQLite lets whoever asks at the right moment, and one who asks all the time keeps
/// the others out.
///
/// Who wants the pen waits for it with the door held. Who has just put it down finds the door shut behind the one who
/// waits, and so comes after; and stays away for longer than it had the pen, so that small transactions are not
/// left behind by large ones.
#[derive(Debug)]
pub(super) struct Queue {
    door: File,
    pen: File,
    path: PathBuf,
    away_until: Cell<Option<Instant>>,
}

/// The pen, for as long as this lives.
pub(super) struct Pen<'a> {
    queue: &'a Queue,
    since: Instant,
}

impl Queue {
    /// Waits for the pen.
    pub(super) fn wait(&self) -> Result<Pen<'_>, Trouble> {
        if let Some(until) = self.away_until.take() {
            thread::sleep(until.saturating_duration_since(Instant::now()));
        }
        self.lock(&self.door)?;
        let taken = self.lock(&self.pen);
        let opened = self.door.unlock();
        taken?;
        let pen = Pen { queue: self, since: Instant::now() };
        opened.map_err(|error| cannot(&self.path, "unlocked", &error))?;
        Ok(pen)
    }

    fn lock(&self, file: &File) -> Result<(), Trouble> {
        loop {
            match file.lock() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(|error| cannot(&self.path, "locked", &error)),
            }
        }
    }

    fn somebody_waits(&self) -> bool {
        match self.door.try_lock() {
            Ok(()) => self.door.unlock().is_err(),
            Err(_) => true,
        }
    }
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        let Queue { pen, away_until, .. } = self.queue;
        if self.queue.somebody_waits() {
            let now = Instant::now();
            away_until.set(Some(now + ((now - self.since) * 3 / 2).min(LONGEST_AWAY)));
        }
        // What cannot be unlocked is unlocked when the file is closed.
        pen.unlock().ok();
    }
}

fn cannot(path: &Path, what: &str, error: &std::io::Error) -> Trouble {
    Trouble::passing(format!("{} cannot be {what}: {error}", path.display()))
}

/// True when the lock was taken, false when somebody else has it.
fn tried(lock: Result<(), TryLockError>, path: &Path) -> Result<bool, Trouble> {
    match lock {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(cannot(path, "locked", &error)),
    }
}

/// The name of a group's lock.
fn of_group(group: &str) -> String {
    format!("group.{}", file_name(group))
}

/// A group may have any name; a file may not.
fn file_name(group: &str) -> String {
    let mut name = String::with_capacity(group.len());
    for byte in group.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name.push(byte.into()),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    match name.len() > LONGEST {
        true => hex(&Sha256::digest(group)),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::open(folder.path()).unwrap();
        let held = locks.group("a/b").unwrap().unwrap();
        assert!(locks.group("a/b").unwrap().is_none());
        assert!(locks.group("a_b").unwrap().is_some());
        assert!(locks.host().unwrap().is_some());
        drop(held);
        assert!(locks.group("a/b").unwrap().is_some());
        assert_eq!(locks.group("").unwrap_err().to_string(), "a group needs a name");
    }

    #[test]
    fn who_asks_whether_a_group_is_at_work_is_in_nobody_s_way() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::open(folder.path()).unwrap();
        assert!(!locks.is_at_work("g").unwrap());
        assert_eq!(fs::read_dir(folder.path().join("locks")).unwrap().count(), 0);
        let held = locks.group("g").unwrap().unwrap();
        assert!(locks.is_at_work("g").unwrap());
        drop(held);
        let asks = File::open(folder.path().join("locks/group.g")).unwrap();
        asks.lock_shared().unwrap();
        assert!(!locks.is_at_work("g").unwrap());
        thread::scope(|scope| {
            let joins = scope.spawn(|| locks.group("g").unwrap());
            drop(asks);
            assert!(joins.join().unwrap().is_some());
        });
    }

    #[test]
    fn every_name_of_a_group_is_a_name_of_a_file_and_no_two_the_same() {
        assert_eq!(file_name("orders.price-1_x"), "orders.price-1_x");
        assert_eq!(file_name("a/../b ü"), "a%2f..%2fb%20%c3%bc");
        let (long, longer) = ("x".repeat(300), "x".repeat(301));
        assert!(file_name(&long).len() <= LONGEST && file_name(&long) != file_name(&longer));
    }
}
