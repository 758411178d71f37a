//! The guests of this repository, built when something needs them.

use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The target that guests in Rust are built for.
const TARGET: &str = "wasm32-unknown-unknown";

/// What is built of them.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "fetch/Cargo.toml"];

/// Builds the guests in Rust; the folder that holds their modules.
pub fn build() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/rust").canonicalize()?;
    add_target(&folder)?;
    for workspace in WORKSPACES {
        let status = Command::new("cargo")
            .args(["build", "--quiet", "--release", "--locked", "--target", TARGET, "--target-dir", "target"])
            .args(["--manifest-path", workspace])
            .current_dir(&folder)
            // They are built to one place, and in one way, whoever asks.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS")
            .status()
            .context("cargo cannot be started")?;
        ensure!(status.success(), "the guests in Rust could not be built");
    }
    Ok(folder.join("target").join(TARGET).join("release"))
}

/// The module `trial` with manners of its own, whatever its records say: another module each time.
///
/// # Panics
/// When it does not say how it behaves.
pub fn with_manners(trial: &[u8], word: &str) -> Vec<u8> {
    const GOOD: &[u8] = b"manners:good";
    let at = trial.windows(GOOD.len()).position(|bytes| bytes == GOOD).expect("the module says how it behaves");
    let mut module = trial.to_vec();
    module[at + 8..at + 32].copy_from_slice(format!("{word:24}").as_bytes());
    module
}

/// Adds the target when the toolchain does not have it.
fn add_target(folder: &Path) -> Result<()> {
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).output()?;
    let libraries = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(libraries.trim()).exists() {
        return Ok(());
    }
    eprintln!("adding the target {TARGET} to the toolchain…");
    let status = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(folder)
        .status()
        .with_context(|| format!("rustup cannot be started: add the target {TARGET} to the toolchain by hand"))?;
    ensure!(status.success(), "rustup could not add the target {TARGET}");
    Ok(())
}
