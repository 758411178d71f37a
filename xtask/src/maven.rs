//! Programs from Maven Central, each fetched once for all checkouts of this machine.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Where the jars of a program lie that a folder of this crate describes by its `pom.xml`; fetched when they do not.
pub(crate) fn fetch(program: &str, said: &str) -> Result<PathBuf> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join(program).join("pom.xml");
    let wanted = fs::read_to_string(&pom)?;
    let cache = cache()?;
    let (jars, complete) = (cache.join(program), cache.join(program).join("pom.xml"));
    let lock = File::create(cache.join(format!("{program}.lock")))?;
    lock.lock()?;
    if fs::read_to_string(&complete).is_ok_and(|had| had == wanted) {
        return Ok(jars);
    }
    eprintln!("fetching {said} from Maven Central, once…");
    if jars.exists() {
        fs::remove_dir_all(&jars)?;
    }
    fs::create_dir_all(&jars)?;
    let status = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", &format!("-DoutputDirectory={}", jars.display())])
        .status()
        .context("mvn cannot be started: install Maven and a Java of 17 or later")?;
    ensure!(status.success(), "Maven could not fetch {said}");
    fs::write(&complete, wanted)?;
    Ok(jars)
}

/// Where what is fetched is kept.
pub(crate) fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME says where what is fetched may be kept")?
        .join("millstream");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}
