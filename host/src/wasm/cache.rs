//! Compiled modules, kept from one run to the next: to compile a large one takes seconds, to open what was kept of it
//! takes milliseconds.
//!
//! A compiled module is machine code that is run without a further look. So the folder is this user's alone, and was so
//! before anything in it was written; a file is named after the component and the compiler that it was made by, and one
//! that is not what was written is not used.

use super::{batcher, load::Module};
use rustix::process::geteuid;
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::Once,
    time::{Duration, SystemTime},
};
use wasmtime::{Engine, component::Component};

/// Each file ends with the CRC-32C of what stands before: a disk that was full or failed may have left something else.
const CHECKSUM_BYTES: usize = 4;
/// Which way of keeping them this is.
const FORMAT: u32 = 2;
/// How much is read at once.
const PIECE: usize = 1 << 18;
/// What was not used for so long is not kept longer.
const UNUSED: Duration = Duration::from_hours(30 * 24);

/// The mode of a folder that can be trusted.
const PRIVATE: u32 = 0o700;
/// That of one that only its owner writes to, but that is not cleared yet: a process may end in between.
const CLEARING: u32 = 0o711;
/// In the mode of a folder that anybody else may write to.
const OTHERS_WRITE: u32 = 0o022;

/// A folder of compiled modules, which any number of processes may share.
pub struct Cache {
    folder: Option<PathBuf>,
    warned: Once,
}

impl Cache {
    /// Keeps compiled modules in this folder, which is made when it is missing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), warned: Once::new() }
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self { folder: None, warned: Once::new() }
    }

    /// What was kept of this module, if it is whole.
    pub(super) fn find(&self, engine: &Engine, module: &Module) -> Option<Component> {
        let folder = self.folder()?;
        let path = folder.join(file_name(engine, module));
        match is_whole(&path) {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(false) | Err(_) => return damaged(&path),
        }
        note_use(&path);
        deserialize_file(engine, &path).or_else(|| damaged(&path))
    }

    /// Keeps a compiled module. Without success the next run compiles it again, and that is all.
    pub(super) fn keep(&self, engine: &Engine, module: &Module, component: &Component) {
        let Some(folder) = self.folder() else { return };
        let kept = component
            .serialize()
            .map_err(io::Error::other)
            .and_then(|compiled| write(folder, &file_name(engine, module), &compiled));
        match kept {
            Ok(()) => forget_unused(folder),
            Err(error) => self.warn(folder, &error),
        }
    }

    /// The folder, once it is made and private.
    fn folder(&self) -> Option<&Path> {
        let folder = self.folder.as_deref()?;
        match make_private(folder) {
            Ok(()) => Some(folder),
            Err(error) => {
                self.warn(folder, &error);
                None
            }
        }
    }

    fn warn(&self, folder: &Path, error: &io::Error) {
        self.warned.call_once(|| {
            tracing::warn!("compiled modules cannot be kept in {}, each run compiles anew: {error}", folder.display());
        });
    }
}

/// Nobody else may write here: who can could have this process run any code. Whatever lies in a folder that was open to
/// others may be theirs, so it goes.
fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(folder)?;
    let found = fs::metadata(folder)?;
    if found.uid() != geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & OTHERS_WRITE != 0 || mode == CLEARING {
        fs::set_permissions(folder, Permissions::from_mode(CLEARING))?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
            }
        }
    }
    if mode != PRIVATE {
        fs::set_permissions(folder, Permissions::from_mode(PRIVATE))?;
    }
    Ok(())
}

/// Of the component rather than of the file, since how a core module becomes one may change; of what is put into it; and
/// of the compiler.
fn file_name(engine: &Engine, module: &Module) -> String {
    let mut compiler = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut compiler);
    batcher::MODULE.hash(&mut compiler);
    FORMAT.hash(&mut compiler);
    format!("{}-{:016x}", module.component_digest(), compiler.finish())
}

/// Under a name of its own first: a file with the final name is always whole, whoever else writes it.
fn write(folder: &Path, name: &str, compiled: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.{}.{:016x}", process::id(), fastrand::u64(..)));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
        file.write_all(compiled)?;
        file.write_all(&crc32c::crc32c(compiled).to_le_bytes())
    });
    written.and_then(|()| fs::rename(&temporary, folder.join(name))).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// True when a file is what was written.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let Some(mut left) = usize::try_from(file.metadata()?.len()).ok().and_then(|all| all.checked_sub(CHECKSUM_BYTES))
    else {
        return Ok(false);
    };
    let (mut piece, mut found) = (vec![0; PIECE], 0);
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE)];
        file.read_exact(piece)?;
        found = crc32c::crc32c_append(found, piece);
        left -= piece.len();
    }
    let mut kept = [0; CHECKSUM_BYTES];
    file.read_exact(&mut kept)?;
    Ok(found == u32::from_le_bytes(kept))
}

/// That it is in use shows in its time, a day or less behind. Without the right to say so it is compiled again one day.
fn note_use(path: &Path) {
    if age(path).is_some_and(|age| age > UNUSED / 30) {
        let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok()
}

/// A module that is worked on leaves a compiled one behind with each build.
fn forget_unused(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if age(&entry.path()).is_some_and(|age| age > UNUSED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn damaged(path: &Path) -> Option<Component> {
    tracing::warn!("{} is damaged: the module is compiled again", path.display());
    None
}

/// What a process of this very program compiled.
#[expect(unsafe_code, reason = "a compiled module is machine code, which has to be trusted")]
pub(super) fn deserialize(engine: &Engine, compiled: &[u8]) -> Option<Component> {
    // SAFETY: these bytes come from `Engine::precompile_component`, through a pipe from this very program, started once
    // more to compile.
    unsafe { Component::deserialize(engine, compiled) }.ok()
}

/// The same from a file, without a copy of it in memory.
#[expect(unsafe_code, reason = "a compiled module is machine code, which has to be trusted")]
fn deserialize_file(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file was written by `write`, of what `Component::serialize` gave, into a folder that this user owns and
    // that nobody else can write to, and what lay there when others could was removed; its name holds the hash of the
    // compiler that made it, and its checksum was that of what was written. Nothing is written to a file that has its
    // final name: another one takes its place, as whole as this one.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}
