//! Makes a module of the text in `src/wasm/batcher.wat`. And finds the Go packages that generated Go code needs: they lie
//! in the generator's own crate, beside its code, and `scaffold::bindings` takes them from there.

use serde_json::Value;
use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const GENERATOR: &str = "wit-bindgen-go";
/// Below `src/pkg` of the generator: the folders of Go packages.
const PARTS: [&str; 4] = ["LICENSE", "wit/async", "wit/runtime", "wit/types"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let text = "src/wasm/batcher.wat";
    println!("cargo::rerun-if-changed={text}");
    fs::write(out.join("batcher.wasm"), wat::parse_file(text)?)?;
    println!("cargo::rerun-if-changed=../Cargo.lock");
    fs::write(out.join("go_packages.rs"), go_packages()?)?;
    Ok(())
}

/// Rows of a path and a text.
fn go_packages() -> Result<String, Box<dyn Error>> {
    let packages = generator()?.join("src/pkg");
    let mut rows = String::new();
    for part in PARTS {
        for file in files(&packages.join(part))? {
            let name = file.strip_prefix(&packages)?;
            rows += &format!("({name:?}, include_str!({file:?})),\n");
        }
    }
    Ok(format!("[\n{rows}]"))
}

/// The generator's folder. Cargo alone knows where it put it.
fn generator() -> Result<PathBuf, Box<dyn Error>> {
    // All that is asked about is there, unless it is for tests and nobody built them yet.
    let metadata = metadata(&["--offline"])
        .or_else(|_| metadata(&[]))
        .map_err(|error| format!("cargo does not say where {GENERATOR} is: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let found: Vec<_> = packages.filter(|package| package["name"] == GENERATOR).collect();
    let [package] = found[..] else { return Err(format!("there are {} of {GENERATOR}", found.len()).into()) };
    let manifest = package["manifest_path"].as_str().and_then(|path| Path::new(path).parent());
    Ok(manifest.ok_or("a package has no folder")?.to_owned())
}

fn metadata(how: &[&str]) -> Result<Value, Box<dyn Error>> {
    let output = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &env::var("TARGET")?])
        .args(how)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A file, or those of a folder, always in the same order.
fn files(path: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    files.sort();
    Ok(files)
}
