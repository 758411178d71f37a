//! Rust: a crate of its own, with the SDK as a crate in `millstream`.

use super::{Example, File, Kit, Tool};

pub(super) const KIT: Kit = Kit {
    language: "Rust",
    tools: &[
        Tool { name: "Rust", ask: &["rustc", "--version"], oldest: Some((1, 95)), get: RUSTUP },
        Tool { name: "cargo", ask: &["cargo", "--version"], oldest: None, get: RUSTUP },
    ],
    build: "cargo build --release --target wasm32-unknown-unknown --target-dir target",
    module: "target/wasm32-unknown-unknown/release/{{crate}}.wasm",
    wit: "millstream/wit/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("src/lib.rs", guest!("rust/upper/src/lib.rs"))],
            Example::Numbers => &[("src/lib.rs", guest!("rust/numbers/src/lib.rs"))],
            Example::Route => &[("src/lib.rs", guest!("rust/route/src/lib.rs"))],
            Example::Strict => &[("src/lib.rs", guest!("rust/strict/src/lib.rs"))],
        })
    },
    files: &[
        ("Cargo.toml", guest!("rust/skeleton/Cargo.toml")),
        (".gitignore", guest!("rust/skeleton/.gitignore")),
        (".cargo/config.toml", guest!("rust/.cargo/config.toml")),
        ("millstream/Cargo.toml", guest!("rust/sdk/Cargo.toml")),
        ("millstream/src/bindings.rs", guest!("rust/sdk/src/bindings.rs")),
        ("millstream/src/context.rs", guest!("rust/sdk/src/context.rs")),
        ("millstream/src/failure.rs", guest!("rust/sdk/src/failure.rs")),
        ("millstream/src/lib.rs", guest!("rust/sdk/src/lib.rs")),
        ("millstream/src/logging.rs", guest!("rust/sdk/src/logging.rs")),
        ("millstream/src/output.rs", guest!("rust/sdk/src/output.rs")),
        ("millstream/src/record.rs", guest!("rust/sdk/src/record.rs")),
        ("millstream/src/source.rs", guest!("rust/sdk/src/source.rs")),
        ("millstream/src/stage.rs", guest!("rust/sdk/src/stage.rs")),
    ],
    generate: |project| Ok(vec![File::new("Cargo.lock", locked(project.name()))]),
};

const RUSTUP: &str = "`rustup update` brings it, and rustup comes from https://rustup.rs";

/// All that the SDK needs, in its one version. The lock of the SDK's own workspace says it, with the examples.
const LOCK: &str = guest!("rust/Cargo.lock");
const PACKAGE: &str = "[[package]]\n";

/// The lock of a project: as cargo would write it, so that it stays as it is.
fn locked(name: &str) -> String {
    let (head, packages) = LOCK.split_once(PACKAGE).unwrap_or((LOCK, ""));
    // Those of the workspace come from no registry.
    let is_needed = |package: &&str| package.contains("\nsource = ") || package.starts_with("name = \"millstream\"\n");
    let own = format!("name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"millstream\",\n]\n");
    let packages = packages.split(PACKAGE).map(str::trim_end).filter(is_needed).chain([own.trim_end()]);
    let mut packages: Vec<_> = packages.collect();
    packages.sort_by_key(|package| package.lines().next().map(|line| line.trim_matches(['"', ' ']).to_owned()));
    let packages: Vec<_> = packages.iter().map(|package| format!("{PACKAGE}{package}\n")).collect();
    format!("{head}{}", packages.join("\n"))
}
