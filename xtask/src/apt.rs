//! Debian's packages, for what this machine does not have.

use anyhow::{Context, Result, ensure};
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
    let output = command.output().context("apt-get cannot be started")?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{command:?}:\n{}{}", said(&output.stdout), said(&output.stderr));
    Ok(())
}
