//! Builds stages with the commands that their manifest names.

use super::wrong;
use crate::manifest::Module;
use anyhow::{Context, Result};
use std::{path::Path, process::Command};

/// Runs the build commands of some stages in the manifest's folder.
pub(super) fn build<'a>(manifest: &Path, modules: impl Iterator<Item = &'a (String, Module)>) -> Result<()> {
    let folder = manifest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut done: Vec<&str> = Vec::new();
    for (stage, module) in modules {
        let Some(command) = &module.build else { continue };
        // Several stages may come from one build.
        if done.contains(&command.value.as_str()) {
            continue;
        }
        done.push(&command.value);
        add_rust_target(folder, &command.value)?;
        eprintln!("building {stage}: {}", command.written);
        let status = Command::new("sh")
            .args(["-c", &command.value])
            .current_dir(folder)
            // A folder that was set for another build would hold the module instead.
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .with_context(|| format!("the build of {stage} cannot be started"))?;
        if !status.success() {
            return Err(wrong(format!("the build of {stage} failed ({status}): {}", command.written)));
        }
    }
    Ok(())
}

/// A Rust toolchain has no target for wasm until somebody adds it, and says so only in the middle of a build.
fn add_rust_target(folder: &Path, command: &str) -> Result<()> {
    let mut words = command.split(|c: char| c.is_whitespace() || c == '=').skip_while(|word| *word != "--target");
    let Some(target) = words.nth(1).filter(|target| target.starts_with("wasm32-")) else { return Ok(()) };
    let asked =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).current_dir(folder).output();
    let Ok(asked) = asked else { return Ok(()) };
    if Path::new(String::from_utf8_lossy(&asked.stdout).trim()).exists() {
        return Ok(());
    }
    eprintln!("adding the target {target} to the Rust toolchain");
    let added = Command::new("rustup").args(["target", "add", target]).current_dir(folder).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => Err(wrong(format!(
            "the Rust toolchain has no target {target}: add it, as `rustup target add {target}` does"
        ))),
    }
}
