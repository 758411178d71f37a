//! What is kept of a stage's swaps: the module that stands in place of the manifest's, and what happened.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// How many swaps are remembered, and at how many more the oldest are forgotten.
const REMEMBERED: usize = 500;

/// A module, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its SHA-256 in hexadecimal.
    pub digest: String,
    /// Its file's name.
    pub name: String,
}

/// Records of a partition, from the first one to the one before the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the first record.
    pub first: u64,
    /// The offset behind the last one.
    pub next: u64,
}

/// How a swap went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new module stands.
    Confirmed,
    /// The new module is there, and nobody has had a record for it yet, or not enough of them.
    Unproven,
    /// The new module did what it must not, and the one before goes on.
    RolledBack,
    /// Somebody went back to the one before.
    Back,
    /// The new module was not tried to the end.
    Withdrawn,
    /// The new module was not even tried.
    Refused,
}

impl Outcome {
    /// Those that a swap ends with.
    pub const ENDS: [Outcome; 5] =
        [Outcome::Confirmed, Outcome::RolledBack, Outcome::Back, Outcome::Withdrawn, Outcome::Refused];

    /// In one word, as it is told to programs.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Confirmed => "confirmed",
            Outcome::Unproven => "unproven",
            Outcome::RolledBack => "rolled-back",
            Outcome::Back => "back",
            Outcome::Withdrawn => "withdrawn",
            Outcome::Refused => "refused",
        }
    }
}

/// A swap, as it is told and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Swap {
    /// The stage.
    pub stage: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// How it went.
    pub outcome: Outcome,
    /// The module before.
    pub from: Named,
    /// The new one.
    pub to: Named,
    /// Why it did not stay.
    pub reason: Option<String>,
    /// How many records the new one did on trial, committed.
    pub records: u64,
    /// How many of them it rejected, where the one before does not.
    pub stricter: u64,
    /// How long the worker that tried it first did nothing else, in microseconds.
    pub pause_us: u64,
    /// What the new one did of the input, while it was on trial.
    pub offsets: Vec<Range>,
    /// What the new one imports that the one before does not.
    pub gains: Vec<String>,
}

/// The module that stands in place of the manifest's, for as long as the manifest names the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Standing {
    /// The digest of the manifest's.
    pub manifest: String,
    /// The one that stands.
    pub module: Named,
}

/// A stage's folder.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// That of a stage, in the pipeline's state folder. Nothing is made yet.
    pub fn of(state: &Path, stage: &str) -> Shelf {
        Shelf { folder: state.join("swaps").join(stage) }
    }

    /// What stands in place of the manifest's module, and where it lies.
    pub fn standing(&self) -> Result<Option<(Standing, PathBuf)>> {
        let path = self.folder.join("standing.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        let standing: Standing = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: remove it, and the manifest's module runs", path.display()))?;
        let module = self.module(&standing.module.digest);
        Ok(Some((standing, module)))
    }

    /// From here on this module stands in place of the manifest's, also after a restart. Its bytes are known of the one
    /// that stood before it.
    pub fn stand(&self, standing: &Standing, bytes: Option<&[u8]>) -> Result<()> {
        let (digest, before) = (&standing.module.digest, self.standing_digest());
        match bytes {
            Some(bytes) => self.write(&format!("{digest}.wasm"), bytes)?,
            None => ensure!(self.module(digest).exists(), "{digest} is not kept"),
        }
        self.write("standing.json", &serde_json::to_vec_pretty(standing)?)?;
        self.forget(&[Some(digest.as_str()), before.as_deref()]);
        Ok(())
    }

    /// The manifest's module stands again.
    pub fn clear(&self) -> Result<()> {
        let before = self.standing_digest();
        match fs::remove_file(self.folder.join("standing.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.with_context(|| format!("{} cannot be cleared", self.folder.display()))?,
        }
        self.forget(&[before.as_deref()]);
        Ok(())
    }

    /// Adds to what happened.
    pub fn note(&self, swap: &Swap) -> Result<()> {
        let path = self.folder.join("swaps.jsonl");
        let context = || format!("{} cannot be written", path.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        let mut line = serde_json::to_vec(swap)?;
        line.push(b'\n');
        // A host may have been killed over the last line: that is lost, but not this one.
        if fs::read(&path).is_ok_and(|text| text.last().is_some_and(|byte| *byte != b'\n')) {
            line.insert(0, b'\n');
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(&line)).with_context(context)?;
        let all = self.swaps()?;
        if all.len() >= 2 * REMEMBERED {
            let mut lines = Vec::new();
            for swap in &all[all.len() - REMEMBERED..] {
                serde_json::to_writer(&mut lines, swap)?;
                lines.push(b'\n');
            }
            self.write("swaps.jsonl", &lines)?;
        }
        Ok(())
    }

    /// What happened, the oldest first.
    pub fn swaps(&self) -> Result<Vec<Swap>> {
        let path = self.folder.join("swaps.jsonl");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            // The last line may be half a line, when the host was killed over it.
            text => {
                let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
                Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
            }
        }
    }

    fn module(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Whole, or not at all.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        let draft = self.folder.join(format!("{name}.{}", std::process::id()));
        let written = fs::create_dir_all(&self.folder).and_then(|()| {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        });
        written.with_context(|| format!("{} cannot be written", path.display()))
    }

    fn standing_digest(&self) -> Option<String> {
        Some(self.standing().ok()??.0.module.digest)
    }

    /// Removes all modules but these.
    fn forget(&self, kept: &[Option<&str>]) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_kept = kept.iter().flatten().any(|digest| path == self.module(digest));
            if path.extension().is_some_and(|extension| extension == "wasm") && !is_kept {
                // What cannot be removed only takes room.
                let _ = fs::remove_file(path);
            }
        }
    }
}
