//! Makes a module of the text in `src/wasm/batcher.wat`.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let text = "src/wasm/batcher.wat";
    println!("cargo::rerun-if-changed={text}");
    let module = Path::new(&env::var("OUT_DIR")?).join("batcher.wasm");
    fs::write(module, wat::parse_file(text)?)?;
    Ok(())
}
