//! A Rust toolchain has no target for wasm until somebody adds it, and says so only in the middle of a build.

use std::{path::Path, process::Command};

/// A target that a toolchain lacks.
#[derive(Debug)]
pub struct Target(String);

/// The target for wasm that a command builds for, when the toolchain of a folder lacks it.
pub fn missing_target(folder: &Path, command: &str) -> Option<Target> {
    let target = wasm_target(command)?;
    let asked =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).current_dir(folder).output();
    let libraries = asked.ok().filter(|asked| asked.status.success())?.stdout;
    let is_there = Path::new(String::from_utf8_lossy(&libraries).trim()).exists();
    (!is_there).then(|| Target(target.to_owned()))
}

impl Target {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Has rustup add it; whether it did.
    pub fn add(&self, folder: &Path) -> bool {
        let added = Command::new("rustup").args(["target", "add", &self.0]).current_dir(folder).status();
        added.is_ok_and(|status| status.success())
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
