//! Folders for what a command makes while it runs.

use anyhow::{Context, Result};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

/// A folder under the target folder, empty at first and gone at the end. A command that is interrupted leaves it behind,
/// and the next one takes it.
pub(crate) struct Scratch {
    folder: PathBuf,
    // Held for its life: it says that the folder is taken.
    _lock: File,
}

impl Scratch {
    /// The first of this stem that no other command has.
    pub(crate) fn new(stem: &str) -> Result<Scratch> {
        let all = crate::target_folder().join("xtask");
        fs::create_dir_all(&all)?;
        for number in 1.. {
            let folder = all.join(format!("{stem}-{number}"));
            let lock = File::create(folder.with_extension("lock"))?;
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) => continue,
                other => other?,
            }
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
            }
            fs::create_dir(&folder)?;
            return Ok(Scratch { folder, _lock: lock });
        }
        unreachable!("there is always another number")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}
