//! What a module asks for and offers, read from its file without compiling it.

use super::wasi;
use semver::Version;
use std::fmt;
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

/// The export that makes a module a stage, and the one that makes it a source.
const TRANSFORMER: &str = "millstream:stage/transformer";
const POLLER: &str = "millstream:stage/poller";
/// What either may export as well.
const LIFECYCLE: &str = "millstream:stage/lifecycle";

/// The version of the WIT package here. Others that are semver-compatible with it load as well.
pub(super) const VERSION: &str = "0.1.0";
pub(super) const COMPATIBLE: &str = "0.1.";

/// What a module may import from the WIT package.
const INTERFACES: [&str; 3] = ["millstream:stage/types", "millstream:stage/config", "millstream:stage/log"];
/// What a stage may import beside it: a source has no record in hand.
const CONTEXT: &str = "millstream:stage/context";

/// The draft of `wasi:config` that is there for guests whose tools bring it.
const WASI_CONFIG: &str = "wasi:config/store@0.2.0-rc.1";

/// Whether a version of the WIT package is later than the one here.
pub(super) fn is_newer(version: &str) -> bool {
    let number = |version: &str| version.parse::<Version>().ok();
    number(version).zip(number(VERSION)).is_some_and(|(other, own)| other > own)
}

/// The latest version of the WIT package that these names speak of, if it is later than the one here.
pub(super) fn newest(names: &[String]) -> Option<String> {
    let versions = names.iter().filter_map(|name| name.strip_prefix("millstream:stage/")?.split_once('@'));
    let newer = versions.map(|(_, version)| version).filter(|version| is_newer(version));
    newer.max_by_key(|version| version.parse::<Version>().ok()).map(str::to_owned)
}

/// The names on the outside of a module.
pub(super) struct Interface {
    pub(super) component: bool,
    /// For a core module: whether it carries the type of the component it is to become.
    pub(super) typed: bool,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// What a module is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It takes records.
    Stage,
    /// It is polled.
    Source,
}

impl Kind {
    /// What makes a module this.
    pub(super) fn export(self) -> &'static str {
        match self {
            Kind::Stage => TRANSFORMER,
            Kind::Source => POLLER,
        }
    }

    /// The other one.
    pub(super) fn other(self) -> Kind {
        match self {
            Kind::Stage => Kind::Source,
            Kind::Source => Kind::Stage,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::Stage => "stage",
            Kind::Source => "source",
        })
    }
}

/// What a module's exports make it.
pub(super) enum Fit {
    /// What is wanted.
    Fits,
    /// What is wanted, for a package of another version, which is given.
    OtherVersion(String),
    /// The other kind.
    Other,
    Unknown,
}

impl Interface {
    /// Reads the names. The whole file is walked, so one that is cut off is found here.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut interface = Self { component: false, typed: false, imports: Vec::new(), exports: Vec::new() };
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding, .. } => {
                    interface.component |= depth == 0 && encoding == Encoding::Component;
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                // Only the outermost names count: what is nested has been linked inside.
                _ if depth > 1 => {}
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        interface.imports.push(import?.module.into());
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        interface.exports.push(export?.name.into());
                    }
                }
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        interface.imports.push(import?.name.name.into());
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        interface.exports.push(export?.name.name.into());
                    }
                }
                Payload::CustomSection(section) => interface.typed |= section.name().starts_with("component-type"),
                _ => {}
            }
        }
        interface.imports.sort();
        interface.imports.dedup();
        interface.exports.sort();
        Ok(interface)
    }

    /// The imports that nothing allows to a module of this kind.
    pub(super) fn foreign(&self, kind: Kind) -> Vec<String> {
        let known = |interface: &str| INTERFACES.contains(&interface) || (kind == Kind::Stage && interface == CONTEXT);
        let allowed = |import: &str| match import.split_once('@') {
            Some((interface, version)) => {
                import == WASI_CONFIG
                    || (known(interface) && version.starts_with(COMPATIBLE))
                    || wasi::provides(interface, version)
            }
            // Names of a core module that are no interface: what the adapter or the encoding itself provides.
            None => {
                !self.component
                    && (import.starts_with(['$', '[']) || import == "__main_module__" || import == wasi::PREVIEW1)
            }
        };
        self.imports.iter().filter(|import| !allowed(import)).cloned().collect()
    }

    /// The world that a core module's names speak of, and the package's version in them.
    pub(super) fn world(&self, wanted: Kind) -> Option<(&'static str, &str)> {
        let version = |interface: &str, function: &str| {
            let exports = || self.exports.iter().filter_map(|export| export.strip_suffix(function));
            exports().find_map(|export| export.strip_prefix(interface)?.strip_prefix('@'))
        };
        let opens = version(LIFECYCLE, "#open").is_some();
        [wanted, wanted.other()].into_iter().find_map(|kind| match (kind, opens) {
            (Kind::Stage, false) => Some(("stage", version(TRANSFORMER, "#transform")?)),
            (Kind::Stage, true) => Some(("stage-with-lifecycle", version(TRANSFORMER, "#transform")?)),
            (Kind::Source, false) => Some(("source", version(POLLER, "#poll")?)),
            (Kind::Source, true) => Some(("source-with-lifecycle", version(POLLER, "#poll")?)),
        })
    }

    /// Whether it is of this kind.
    pub(super) fn fits(&self, kind: Kind) -> Fit {
        let version = |kind: Kind| {
            let exports = || self.exports.iter().filter_map(|export| export.split_once('@'));
            exports().find(|(name, _)| *name == kind.export()).map(|(_, version)| version)
        };
        match (version(kind), version(kind.other())) {
            (Some(version), _) if version.starts_with(COMPATIBLE) => Fit::Fits,
            (Some(version), _) => Fit::OtherVersion(version.into()),
            (None, Some(_)) => Fit::Other,
            (None, None) => Fit::Unknown,
        }
    }
}
