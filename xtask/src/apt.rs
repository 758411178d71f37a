//! Debian's packages, for what this machine does not have.

use crate::run;
use anyhow::Result;
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Runs `apt-get` in a folder, one at a time: it lets nobody in beside itself.
pub fn apt(folder: &Path, arguments: &[&str]) -> Result<()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=120"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive").current_dir(folder).stdin(Stdio::null());
    run(&mut command)
}
