//! Finds the Go packages that generated Go code needs: they lie in the generator's own crate, beside its code, and
//! `scaffold::bindings` takes them from there.

use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const GENERATOR: &str = "wit-bindgen-go";
/// Below `src/pkg` of the generator: the folders of Go packages.
const PARTS: [&str; 4] = ["LICENSE", "wit/async", "wit/runtime", "wit/types"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let packages = generator().join("src/pkg");
    let mut rows = String::new();
    for part in PARTS {
        for file in files(&packages.join(part)) {
            let name = file.strip_prefix(&packages).expect("it lies below");
            rows += &format!("({name:?}, include_str!({file:?})),\n");
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("go_packages.rs");
    fs::write(&out, format!("[\n{rows}]")).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// The generator's folder. Cargo alone knows where it put it.
fn generator() -> PathBuf {
    // Everything is there when this runs, unless nobody needed the packages for tests yet.
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[]));
    let metadata = metadata.unwrap_or_else(|error| panic!("cargo does not say where {GENERATOR} is: {error}"));
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let found: Vec<_> = packages.filter(|package| package["name"] == GENERATOR).collect();
    let [package] = found[..] else { panic!("there is one {GENERATOR}, not {}", found.len()) };
    let manifest = package["manifest_path"].as_str().expect("every package has a manifest");
    Path::new(manifest).parent().expect("a file has a folder").to_owned()
}

fn metadata(how: &[&str]) -> Result<Value, String> {
    let target = env::var("TARGET").expect("cargo sets it");
    let output = Command::new(env::var_os("CARGO").expect("cargo sets it"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &target])
        .args(how)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// A file, or those of a folder, always in the same order.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    files.sort();
    files
}
