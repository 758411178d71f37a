//! From a file to a module that is known to be a stage, or a source. What is wrong with a file is said in one line, and what to do
//! instead.

use super::{
    failure::clean,
    interface::{COMPATIBLE, Fit, Interface, Kind, VERSION, is_newer, newest},
    limits::{Bytes, Limits},
    preview1, wasi,
};
use crate::text::hex;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The WIT package, as guests are made from it.
const WIT: &str = include_str!("../../../wit/stage.wit");

const MAGIC: [u8; 4] = *b"\0asm";

/// A file that was read and is what it is to be: a stage exports a transformer, a source a poller, and neither imports
/// what is not allowed.
#[derive(Clone, Debug)]
pub struct Module(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    path: PathBuf,
    digest: String,
    imports: Vec<String>,
    exports: Vec<String>,
    component: Vec<u8>,
    component_digest: String,
}

/// Why a file is no module for this host.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
pub enum LoadError {
    #[error("{} is not there: build the module, or correct its path", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is a folder: name the .wasm file in it", .path.display())]
    Folder { path: PathBuf },
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    #[error("{} is empty: build the module again", .path.display())]
    Empty { path: PathBuf },
    #[error("{} has more than {}, the most that it may have: strip its debug information, or `limits: {{module-size: …}}` gives it more", .path.display(), Bytes(*.limit))]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} is text, not a WebAssembly module: name the .wasm file that the build makes", .path.display())]
    Text { path: PathBuf },
    #[error("{} is not a WebAssembly module: name the .wasm file that the build makes", .path.display())]
    Garbage { path: PathBuf },
    #[error("{} is damaged or cut off ({why}): build the module again", .path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} is a core module without a component's type: build it with an SDK of Millstream, or make a component of it", .path.display())]
    Untyped { path: PathBuf },
    #[error("{} imports {}, which nothing allows: build it without, as Rust does for wasm32-unknown-unknown", .path.display(), list(.imports))]
    NotAllowed { path: PathBuf, imports: Vec<String> },
    #[error("{} is a {}, not a {wanted}: it stands under `{}s:`, or a module that exports {} takes its place", .path.display(), .wanted.other(), .wanted.other(), .wanted.export())]
    OtherKind { path: PathBuf, wanted: Kind },
    #[error("{} is made for millstream:stage@{version}, and this version runs {VERSION}: build it with an SDK of this version", .path.display())]
    OtherVersion { path: PathBuf, version: String },
    #[error("{} needs a newer millstream: it is made for millstream:stage@{version}, and this one knows {VERSION}; run it with one that knows {version}, or build it with an older SDK", .path.display())]
    Newer { path: PathBuf, version: String },
    #[error("{} is not a {wanted}: it exports {}, where {}@{VERSION} is needed", .path.display(), list(.exports), .wanted.export())]
    Neither { path: PathBuf, wanted: Kind, exports: Vec<String> },
    #[error("{} is not valid WebAssembly ({why}): build the module again", .path.display())]
    Invalid { path: PathBuf, why: String },
    #[error("{} takes more than {limit:?} of CPU time to compile: what it was made of has very large functions; `limits: {{compile-time: …}}` gives it more", .path.display())]
    SlowToCompile { path: PathBuf, limit: Duration },
    #[error("{} needs more than {} of memory to compile: what it was made of has very large functions; `limits: {{compile-memory: …}}` gives it more", .path.display(), Bytes(*.limit))]
    LargeToCompile { path: PathBuf, limit: u64 },
    #[error("{} cannot be compiled: that is done in a process of its own, which does not start ({why})", .path.display())]
    NoCompiler { path: PathBuf, why: io::Error },
    #[error("{} does not fit millstream:stage@{VERSION} ({why}): build it with an SDK of this version", .path.display())]
    Unfit { path: PathBuf, why: String },
}

impl Module {
    /// Reads a file, of the size that any may have, and finds out whether it is of this kind. Nothing is compiled yet.
    pub fn load(path: &Path, kind: Kind) -> Result<Self, LoadError> {
        Self::load_within(Limits::default().module_size, path, kind)
    }

    /// The same of a file with so many bytes at most.
    pub fn load_within(limit: u64, path: &Path, kind: Kind) -> Result<Self, LoadError> {
        Self::of(limit, path, read(path, limit)?, kind)
    }

    /// The same of what was read already: the path is what messages name.
    pub fn of(limit: u64, path: &Path, bytes: Vec<u8>, kind: Kind) -> Result<Self, LoadError> {
        let path = path.to_path_buf();
        match bytes.len() as u64 {
            0 => return Err(LoadError::Empty { path }),
            size if size > limit => return Err(LoadError::TooLarge { path, limit }),
            _ => {}
        }
        let digest = hex(&Sha256::digest(&bytes));
        let interface = interface(&path, &bytes)?;
        let (interface, component, component_digest) = if interface.component {
            (interface, bytes, digest.clone())
        } else {
            let component = encode(&path, &interface, bytes, kind)?;
            let digest = hex(&Sha256::digest(&component));
            (self::interface(&path, &component)?, component, digest)
        };

        let fit = interface.fits(kind);
        // That it stands in the wrong place is said first: what it may import depends on that.
        if let Fit::Other = fit {
            return Err(LoadError::OtherKind { path, wanted: kind });
        }
        let foreign = interface.foreign(kind);
        if !foreign.is_empty() {
            return Err(not_allowed(&path, foreign));
        }
        let Interface { imports, exports, .. } = interface;
        match fit {
            Fit::Fits => {
                Ok(Self(Arc::new(Parts { kind, path, digest, imports, exports, component, component_digest })))
            }
            Fit::OtherVersion(version) => Err(other_version(&path, &version)),
            Fit::Other | Fit::Unknown => Err(LoadError::Neither { path, wanted: kind, exports }),
        }
    }

    /// Why it cannot be linked: most likely it asks for what only a later host has, when it was made for one.
    pub(super) fn unfit(&self, why: String) -> LoadError {
        let path = self.path().into();
        match newest(self.imports()).or_else(|| newest(self.exports())) {
            Some(version) => LoadError::Newer { path, version },
            None => LoadError::Unfit { path, why },
        }
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        let path = self.path();
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }

    /// The file's SHA-256 in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// The names of what it imports.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.0.exports
    }

    /// The component's SHA-256 in hexadecimal: the file's own, unless it was made of what is there.
    pub(super) fn component_digest(&self) -> &str {
        &self.0.component_digest
    }

    /// The component: the file itself, or what was made of a core module.
    pub(super) fn component(&self) -> &[u8] {
        &self.0.component
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::NotFound => LoadError::Missing { path: path.into() },
        _ => LoadError::Unreadable { path: path.into(), why },
    };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(LoadError::Folder { path: path.into() });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

fn interface(path: &Path, bytes: &[u8]) -> Result<Interface, LoadError> {
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        let path = path.into();
        return Err(if is_text(bytes) { LoadError::Text { path } } else { LoadError::Garbage { path } });
    }
    Interface::read(bytes).map_err(|error| {
        let why = format!("{} at byte {}", clean(error.message()), error.offset());
        LoadError::Damaged { path: path.into(), why }
    })
}

/// Whether the beginning reads as UTF-8 without control characters.
fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    let text = match str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut in two.
        Err(error) if error.error_len().is_none() => str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default(),
        Err(_) => return false,
    };
    !text.chars().any(|c| c.is_control() && !c.is_whitespace())
}

/// Makes a component of a core module that carries its component's type, or that exports what one of the package's
/// worlds wants under the names that are agreed on for it.
fn encode(path: &Path, interface: &Interface, mut core: Vec<u8>, kind: Kind) -> Result<Vec<u8>, LoadError> {
    // A core module's names do not tell what it exports, so the more is allowed; the component's are looked at again.
    let foreign = interface.foreign(Kind::Stage);
    if !foreign.is_empty() {
        return Err(not_allowed(path, foreign));
    }
    if !interface.typed {
        let Some((world, version)) = interface.world(kind) else {
            return Err(LoadError::Untyped { path: path.into() });
        };
        if !version.starts_with(COMPATIBLE) {
            return Err(other_version(path, version));
        }
        core = typed(core, world, version).map_err(|error| invalid(path, &error))?;
    }
    let mut encoder =
        ComponentEncoder::default().validate(true).module(&core).map_err(|error| invalid(path, &error))?;
    if interface.imports.iter().any(|import| import == wasi::PREVIEW1) {
        encoder = encoder.adapter(wasi::PREVIEW1, preview1::adapter()).map_err(|error| invalid(path, &error))?;
    }
    encoder.encode().map_err(|error| invalid(path, &error))
}

fn other_version(path: &Path, version: &str) -> LoadError {
    let (path, newer) = (path.into(), is_newer(version));
    let version = version.into();
    if newer { LoadError::Newer { path, version } } else { LoadError::OtherVersion { path, version } }
}

/// An interface of our own that is not known here may be one of a later host.
fn not_allowed(path: &Path, imports: Vec<String>) -> LoadError {
    match newest(&imports) {
        Some(version) => LoadError::Newer { path: path.into(), version },
        None => LoadError::NotAllowed { path: path.into(), imports },
    }
}

/// The module with the type of this world, in the version that its own names speak of.
fn typed(mut core: Vec<u8>, world: &str, version: &str) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("stage.wit", WIT)?;
    resolve.packages[package].name.version = Some(version.parse()?);
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8)?;
    Ok(core)
}

fn invalid(path: &Path, error: &anyhow::Error) -> LoadError {
    LoadError::Invalid { path: path.into(), why: clean(&format!("{error:#}")) }
}

/// Names as they stand in a sentence.
fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
