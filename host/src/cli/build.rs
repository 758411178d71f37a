//! Builds modules with the commands that their manifest names.

use super::{say, wrong};
use crate::manifest::NamedModule;
use anyhow::{Context, Result};
use std::{io, path::Path, process::Command};

/// Runs the build commands of some modules in the manifest's folder. What they say themselves is said in any case.
pub(super) fn build<'a>(manifest: &Path, modules: impl Iterator<Item = &'a NamedModule>, quiet: bool) -> Result<()> {
    let folder = manifest.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut done: Vec<&str> = Vec::new();
    for NamedModule { name, module, .. } in modules {
        let Some(command) = &module.build else { continue };
        // Several stages may come from one build.
        if done.contains(&command.value.as_str()) {
            continue;
        }
        done.push(&command.value);
        add_rust_target(folder, &command.value)?;
        if !quiet {
            say(&format!("building {name}: {}\n", command.written));
        }
        let status = Command::new("sh")
            .args(["-c", &command.value])
            .current_dir(folder)
            // A folder that was set for another build would hold the module instead.
            .env_remove("CARGO_TARGET_DIR")
            // What a build says is no result of this command.
            .stdout(io::stderr())
            .status()
            .with_context(|| format!("the build of {name} cannot be started"))?;
        if !status.success() {
            return Err(wrong(format!("the build of {name} failed ({status}): {}", command.written)));
        }
    }
    Ok(())
}

/// A Rust toolchain has no target for wasm until somebody adds it, and says so only in the middle of a build.
fn add_rust_target(folder: &Path, command: &str) -> Result<()> {
    let Some(target) = wasm_target(command) else { return Ok(()) };
    let asked =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).current_dir(folder).output();
    let Ok(asked) = asked else { return Ok(()) };
    if Path::new(String::from_utf8_lossy(&asked.stdout).trim()).exists() {
        return Ok(());
    }
    say(&format!("adding the target {target} to the Rust toolchain\n"));
    let added = Command::new("rustup").args(["target", "add", target]).current_dir(folder).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => Err(wrong(format!(
            "the Rust toolchain has no target {target}: add it, as `rustup target add {target}` does"
        ))),
    }
}

/// The target for wasm that a command builds for with Rust.
fn wasm_target(command: &str) -> Option<&str> {
    let mut words = command.split(|c: char| c.is_whitespace() || c == '=').skip_while(|word| *word != "--target");
    let quoted = |c: char| !c.is_ascii_alphanumeric();
    words.nth(1).map(|target| target.trim_matches(quoted)).filter(|target| target.starts_with("wasm32-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_read_off_the_command() {
        for (command, target) in [
            ("cargo build --release --target wasm32-unknown-unknown", Some("wasm32-unknown-unknown")),
            ("cargo build --target=wasm32-wasip2 --release", Some("wasm32-wasip2")),
            ("(cd ../price && cargo build --target 'wasm32-wasip1')", Some("wasm32-wasip1")),
            ("cargo component build --release", None),
            ("cargo build --target x86_64-unknown-linux-gnu", None),
            ("cargo build --target", None),
            ("tinygo build -target=wasip2", None),
            ("make wasm32-wasip2", None),
        ] {
            assert_eq!(wasm_target(command), target, "{command}");
        }
    }
}
