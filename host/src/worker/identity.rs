//! Who a worker is. Its name in the cluster outlives it: the one that comes after a crash takes over from the one
//! before at once, where a new name would have to wait for the old one's timeouts.

use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The most workers that one stage may have over one state folder.
const MOST: u32 = 1024;

/// A worker's name, taken for as long as this lives.
#[derive(Debug)]
pub struct Identity {
    name: String,
    /// The lock goes with the process, however it ends.
    _lock: File,
}

impl Identity {
    /// The name: unique in the cluster, and the same after a restart.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Where identities are kept.
#[derive(Clone, Debug)]
pub struct Identities {
    folder: PathBuf,
    instance: String,
}

impl Identities {
    /// The identities of a state folder. They carry `instance`, or else an id that is written there once.
    pub fn open(state: &Path, instance: Option<&str>) -> Result<Identities> {
        let folder = state.join("workers");
        fs::create_dir_all(&folder).with_context(|| {
            format!("{} cannot be made: the host keeps its identity there; see `state:`", folder.display())
        })?;
        let instance = match instance {
            Some(name) => name.to_owned(),
            None => read_or_write(&state.join("instance"))?,
        };
        Ok(Identities { folder, instance })
    }

    /// Takes the lowest number of a stage that nobody here has.
    pub fn take(&self, pipeline: &str, stage: &str) -> Result<Identity> {
        for number in 0..MOST {
            let path = self.folder.join(format!("{pipeline}.{stage}.{number}"));
            let lock = File::options().create(true).truncate(false).write(true).open(&path);
            let lock = lock.with_context(|| format!("{} cannot be opened", path.display()))?;
            match lock.try_lock() {
                Ok(()) => {
                    let name = format!("{pipeline}.{stage}.{}.{number}", self.instance);
                    return Ok(Identity { name, _lock: lock });
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("{} cannot be locked", path.display()));
                }
            }
        }
        bail!("{} has {MOST} workers of {stage} already", self.folder.display())
    }
}

/// An id that whoever comes first writes: complete or not at all, also when two come at once.
fn read_or_write(path: &Path) -> Result<String> {
    let context = || format!("{} cannot be read or written: the host keeps its identity there", path.display());
    if let Some(id) = read(path).with_context(context)? {
        return Ok(id);
    }
    let draft = path.with_extension(format!("{}", std::process::id()));
    let mut file = File::create(&draft).with_context(context)?;
    writeln!(file, "{:016x}", fastrand::u64(..)).and_then(|()| file.sync_all()).with_context(context)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).with_context(context)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).with_context(context),
        _ => read(path).and_then(|id| id.ok_or_else(|| ErrorKind::NotFound.into())).with_context(context),
    }
}

fn read(path: &Path) -> std::io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
