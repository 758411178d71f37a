//! Rust: a crate of its own, with the SDK as a crate in `millstream`.

use super::{Example, Kit, Tool};

pub(super) const KIT: Kit = Kit {
    language: "Rust",
    tools: &[
        Tool { name: "Rust", ask: &["rustc", "--version"], oldest: Some((1, 95)), get: RUSTUP },
        Tool { name: "cargo", ask: &["cargo", "--version"], oldest: None, get: RUSTUP },
    ],
    build: "cargo build --release --target wasm32-unknown-unknown",
    module: "target/wasm32-unknown-unknown/release/{{crate}}.wasm",
    wit: "millstream/wit/stage.wit",
    author: |example| {
        Some(match example {
            Example::Upper => &[("src/lib.rs", guest!("rust/upper/src/lib.rs"))],
            Example::Numbers => &[("src/lib.rs", guest!("rust/numbers/src/lib.rs"))],
            Example::Route | Example::Strict => return None,
        })
    },
    files: &[
        ("Cargo.toml", guest!("rust/skeleton/Cargo.toml")),
        ("Cargo.lock", guest!("rust/skeleton/Cargo.lock")),
        (".gitignore", guest!("rust/skeleton/.gitignore")),
        ("millstream/Cargo.toml", guest!("rust/sdk/Cargo.toml")),
        ("millstream/src/bindings.rs", guest!("rust/sdk/src/bindings.rs")),
        ("millstream/src/failure.rs", guest!("rust/sdk/src/failure.rs")),
        ("millstream/src/lib.rs", guest!("rust/sdk/src/lib.rs")),
        ("millstream/src/logging.rs", guest!("rust/sdk/src/logging.rs")),
        ("millstream/src/output.rs", guest!("rust/sdk/src/output.rs")),
        ("millstream/src/record.rs", guest!("rust/sdk/src/record.rs")),
        ("millstream/src/source.rs", guest!("rust/sdk/src/source.rs")),
        ("millstream/src/stage.rs", guest!("rust/sdk/src/stage.rs")),
    ],
    generate: |_| Ok(Vec::new()),
};

const RUSTUP: &str = "`rustup update` brings it, and rustup comes from https://rustup.rs";
