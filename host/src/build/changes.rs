//! Whether a module is still what its build would make. The sources of a build are the files of its folder, as git would
//! see them; what it takes from elsewhere is not looked at, so one that seems to take something from elsewhere is made
//! every time. Its own tools then find out what there is to do.

use super::{Build, Yard};
use crate::text::hex;
use anyhow::Result;
use ignore::WalkBuilder;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Where it is kept, in the state folder.
const FILE: &str = "builds.json";
/// Larger files are told apart by their sizes and times, and so are all when they are larger than this together.
const READ_BYTES: u64 = 1 << 20;
const READ_BYTES_IN_ALL: u64 = 64 << 20;
/// With more files than this, nobody is made to wait until all were looked at.
const MOST_FILES: usize = 20_000;
/// Folders of what others made.
const FOREIGN: [&str; 3] = [".git", "node_modules", "__pycache__"];
/// Files that say so of the folder that they lie in: what cargo makes, and Python's environments.
const MARKS: [&str; 2] = ["CACHEDIR.TAG", "pyvenv.cfg"];

/// What modules were made of, the last time.
pub(super) struct Changes<'a> {
    yard: &'a Yard,
    state: PathBuf,
    made: Vec<PathBuf>,
    kept: BTreeMap<String, String>,
}

impl<'a> Changes<'a> {
    pub(super) fn read(yard: &'a Yard) -> Self {
        let text = fs::read(yard.state.join(FILE)).unwrap_or_default();
        let real = |path: &PathBuf| path.canonicalize().ok();
        Changes {
            yard,
            state: real(&yard.state).unwrap_or_default(),
            made: yard.modules.iter().filter_map(real).collect(),
            // What cannot be read is made anew.
            kept: serde_json::from_slice(&text).unwrap_or_default(),
        }
    }

    /// A digest of what a build is made of; nothing when that cannot be told.
    pub(super) fn sources(&self, build: &Build) -> Option<String> {
        let (below, command) = build.place();
        let reaches_out = |text: &str| text.contains("..") || text.contains('~') || text.contains('$');
        if reaches_out(command) || below.is_some_and(reaches_out) {
            return None;
        }
        let root = self.yard.folder.canonicalize().ok()?;
        let folder = root.join(below.unwrap_or_default()).canonicalize().ok()?;
        let mut digest = Sha256::new();
        part(&mut digest, env!("CARGO_PKG_VERSION").as_bytes());
        part(&mut digest, build.command.as_bytes());
        let mut left = READ_BYTES_IN_ALL;
        for path in self.files(&root, &folder)? {
            part(&mut digest, path.as_os_str().as_bytes());
            let facts = path.metadata().ok()?;
            if facts.len() > READ_BYTES.min(left) {
                let times = [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()];
                part(&mut digest, format!("{} {times:?}", facts.len()).as_bytes());
                continue;
            }
            left -= facts.len();
            let text = fs::read(&path).ok()?;
            let depth = path.strip_prefix(&folder).ok()?.components().count() - 1;
            if climbs(&text) > depth {
                return None;
            }
            part(&mut digest, &text);
        }
        Some(hex(&digest.finalize()))
    }

    /// The files of a folder below another, in their order; nothing when there are too many, or some cannot be seen.
    fn files(&self, root: &Path, folder: &Path) -> Option<Vec<PathBuf>> {
        let (around, state) = (folder.to_owned(), self.state.clone());
        let walk = WalkBuilder::new(root)
            .standard_filters(false)
            .git_ignore(true)
            .require_git(false)
            .follow_links(true)
            .sort_by_file_path(Path::cmp)
            .filter_entry(move |entry| {
                let (path, name) = (entry.path(), entry.file_name().to_string_lossy());
                let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
                if !is_folder {
                    return path.starts_with(&around);
                }
                let is_foreign = entry.depth() > 0
                    && (FOREIGN.contains(&&*name) || MARKS.iter().any(|mark| path.join(mark).exists()));
                (path.starts_with(&around) || around.starts_with(path)) && path != state && !is_foreign
            })
            .build();
        let mut files = Vec::new();
        for entry in walk {
            let entry = entry.ok()?;
            if entry.error().is_some() || files.len() == MOST_FILES {
                return None;
            }
            let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
            if is_file && !self.made.iter().any(|made| made == entry.path()) {
                files.push(entry.into_path());
            }
        }
        Some(files)
    }

    /// Whether its modules are there, and are those that were made of these sources.
    pub(super) fn is_made(&self, build: &Build, sources: Option<&String>) -> bool {
        let now = sources.and_then(|sources| stamp(build, sources));
        now.is_some() && self.kept.get(&key(build)) == now.as_ref()
    }

    /// Notes what its modules were made of just now; without sources they will be made again.
    pub(super) fn note(&mut self, build: &Build, sources: Option<&String>) {
        match sources.and_then(|sources| stamp(build, sources)) {
            Some(stamp) => drop(self.kept.insert(key(build), stamp)),
            None => drop(self.kept.remove(&key(build))),
        }
    }

    /// Keeps it. Where that fails, all will be made again, which is no failure.
    pub(super) fn keep(&self) {
        let write = || -> Result<()> {
            fs::create_dir_all(&self.yard.state)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.yard.state)?;
            file.write_all(&serde_json::to_vec_pretty(&self.kept)?)?;
            file.persist(self.yard.state.join(FILE))?;
            Ok(())
        };
        write().ok();
    }
}

/// Each part with its length, so that none runs into the next.
fn part(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

fn key(build: &Build) -> String {
    hex(&Sha256::digest(&build.command))
}

/// The sources, and what was made of them; nothing when a module is missing.
fn stamp(build: &Build, sources: &str) -> Option<String> {
    build.modules.iter().try_fold(sources.to_owned(), |stamp, module| {
        let facts = fs::metadata(module).ok()?;
        let (path, size) = (hex(&Sha256::digest(module.as_os_str().as_bytes())), facts.len());
        Some(format!("{stamp} {}:{size}:{}.{}", &path[..8], facts.mtime(), facts.mtime_nsec()))
    })
}

/// How many folders up the paths in a text go, at the most: `../../wit` goes up two.
fn climbs(text: &[u8]) -> usize {
    let mut most = usize::from(["\"..\"", "'..'"].iter().any(|up| text.windows(4).any(|word| word == up.as_bytes())));
    let mut at = 0;
    while at < text.len() {
        let mut steps = 0;
        while text[at..].starts_with(b"../") {
            (steps, at) = (steps + 1, at + 3);
        }
        if steps > 0 && text[at..].starts_with(b"..") {
            steps += 1;
        }
        (most, at) = (most.max(steps), at + 1);
    }
    most
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Scene {
        folder: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let scene = Scene { folder: tempfile::tempdir().unwrap() };
            scene.write("a/src/lib.rs", "mod b;").write(".gitignore", "out/\n").write("a/a.wasm", "a")
        }

        fn write(self, path: &str, text: &str) -> Self {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn sources(&self, command: &str) -> Option<String> {
            let folder = self.folder.path();
            let yard =
                Yard { folder: folder.into(), state: folder.join(".state"), modules: vec![folder.join("a/a.wasm")] };
            Changes::read(&yard).sources(&build(command, &yard))
        }
    }

    fn build(command: &str, yard: &Yard) -> Build {
        let command = command.to_owned();
        Build { names: Vec::new(), written: command.clone(), command, modules: yard.modules.clone() }
    }

    #[test]
    fn a_source_that_changes_is_seen_and_what_is_made_is_not() {
        let scene = Scene::new();
        let before = scene.sources("make").unwrap();
        let scene = scene.write("a/a.wasm", "other").write("out/a", "x").write(".state/builds.json", "{}");
        let scene = scene.write("target/CACHEDIR.TAG", "x").write("target/a", "x").write("node_modules/a", "x");
        assert_eq!(scene.sources("make"), Some(before.clone()));
        for (path, text) in
            [("a/src/lib.rs", "mod c;"), (".config/a", "x"), ("new", ""), ("large", &"x".repeat(2 << 20))]
        {
            let last = scene.sources("make").unwrap();
            fs::create_dir_all(scene.folder.path().join(".config")).unwrap();
            fs::write(scene.folder.path().join(path), text).unwrap();
            assert_ne!(scene.sources("make"), Some(last), "{path}");
        }
    }

    #[test]
    fn a_command_that_goes_to_a_folder_looks_at_nothing_else() {
        let scene = Scene::new();
        let before = scene.sources("cd a && make").unwrap();
        let scene = scene.write("b/src/lib.rs", "x").write("c", "x").write("a/out/x", "ignored above");
        assert_eq!(scene.sources("cd a && make"), Some(before.clone()));
        assert_ne!(scene.write("a/src/b.rs", "x").sources("cd a && make"), Some(before));
    }

    #[test]
    fn what_comes_from_elsewhere_is_made_every_time() {
        for command in ["cp ../a.wasm .", "cd .. && make", "cd a && cp $FROM/a .", "cp ~/a.wasm .", "cd none && make"] {
            assert_eq!(Scene::new().sources(command), None, "{command}");
        }
        assert_eq!(Scene::new().write("Cargo.toml", "sdk = { path = \"../sdk\" }").sources("make"), None);
        assert!(Scene::new().write("a/src/c.rs", "include!(\"../build.rs\")").sources("make").is_some());
        assert_eq!(Scene::new().write("a/src/c.rs", "include!(\"../../build.rs\")").sources("cd a && make"), None);
        let scene = Scene::new();
        symlink("nowhere", scene.folder.path().join("link")).unwrap();
        assert_eq!(scene.sources("make"), None);
    }

    #[test]
    fn a_module_that_is_gone_or_another_is_made_again() {
        let scene = Scene::new();
        let folder = scene.folder.path();
        let module = folder.join("a/a.wasm");
        let yard = Yard { folder: folder.into(), state: folder.join(".state"), modules: vec![module.clone()] };
        let build = build("make", &yard);
        let is_made = || {
            let changes = Changes::read(&yard);
            changes.is_made(&build, changes.sources(&build).as_ref())
        };
        assert!(!is_made());
        let note = |is_good: bool| {
            let mut changes = Changes::read(&yard);
            let sources = changes.sources(&build);
            changes.note(&build, sources.as_ref().filter(|_| is_good));
            changes.keep();
        };
        note(true);
        assert!(is_made());
        fs::write(&module, "another").unwrap();
        assert!(!is_made());
        note(true);
        fs::remove_file(&module).unwrap();
        assert!(!is_made());
        fs::write(&module, "a").unwrap();
        note(true);
        note(false);
        assert!(!is_made());
    }

    #[test]
    fn paths_that_go_up_are_counted() {
        for (text, steps) in [
            ("a/b", 0),
            ("../a", 1),
            ("x ../a ../../b", 2),
            ("../..", 2),
            ("\"..\"", 1),
            ("0..5, ...", 0),
            ("a/../b", 1),
        ] {
            assert_eq!(climbs(text.as_bytes()), steps, "{text}");
        }
    }
}
