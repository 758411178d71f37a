//! librdkafka's properties: those that the host must set itself are refused, and secrets are fetched from files.

use super::{
    checked::{Kind, Properties, Secret},
    report::{Diagnostic, Findings},
    shapes::{Named, Spanned},
    values::Property,
};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A secret is a line or a certificate, not a device that never ends.
const LARGEST_FILE: u64 = 1 << 20;

/// A property that the host sets itself: which, why, and the way out.
struct Owned(&'static str, &'static str, WayOut);

#[derive(Clone, Copy)]
enum WayOut {
    /// It is not for a manifest to say.
    Remove,
    /// It is said elsewhere.
    Elsewhere(&'static str),
    /// It has a key of its own beside the properties, in what has such a key.
    Key(&'static str),
}

impl WayOut {
    /// In words, for the properties of this kind, or of the pipeline.
    fn words(self, kind: Option<Kind>) -> String {
        let has_key = |key| match kind {
            None | Some(Kind::Stage) => true,
            Some(Kind::Sink) => key != "delivery",
            Some(Kind::Source) => false,
        };
        match self {
            WayOut::Elsewhere(words) => words.to_owned(),
            WayOut::Key(key) if has_key(key) => {
                format!("write `{key}: …` in the {}", kind.unwrap_or(Kind::Stage).word())
            }
            WayOut::Remove | WayOut::Key(_) => "remove it".to_owned(),
        }
    }
}

const IN_TIME: &str = "the host sets it, as a record must be sent before its transaction ends";
const OWNED: &[Owned] = &[
    Owned(
        "allow.auto.create.topics",
        "topics are made as the manifest says",
        WayOut::Elsewhere("write them under `topics`"),
    ),
    Owned("auto.commit.enable", "offsets are committed together with what came of the records", WayOut::Remove),
    Owned("auto.offset.reset", "the host decides where to start", WayOut::Key("from")),
    Owned(
        "bootstrap.servers",
        "the brokers have a key of their own",
        WayOut::Elsewhere("write `brokers: …` under `kafka`"),
    ),
    Owned("delivery.report.only.error", "every record's fate must be known", WayOut::Remove),
    Owned("delivery.timeout.ms", IN_TIME, WayOut::Remove),
    Owned("enable.auto.commit", "offsets are committed together with what came of the records", WayOut::Remove),
    Owned("enable.auto.offset.store", "offsets are committed together with what came of the records", WayOut::Remove),
    Owned("enable.idempotence", "the host sets it", WayOut::Key("delivery")),
    Owned("enable.partition.eof", "the host sets it", WayOut::Remove),
    Owned("group.id", "the host names the groups", WayOut::Key("group")),
    Owned("group.instance.id", "the host gives each worker its name", WayOut::Remove),
    Owned("group.protocol", "the host sets it", WayOut::Remove),
    Owned("isolation.level", "only committed records are read", WayOut::Remove),
    Owned("message.timeout.ms", IN_TIME, WayOut::Remove),
    Owned(
        "metadata.broker.list",
        "the brokers have a key of their own",
        WayOut::Elsewhere("write `brokers: …` under `kafka`"),
    ),
    Owned("partition.assignment.strategy", "the host sets it", WayOut::Remove),
    Owned("transaction.timeout.ms", "the host sets it", WayOut::Remove),
    Owned("transactional.id", "the host gives each worker its name", WayOut::Remove),
];

/// The names of the properties that the host sets itself.
pub(super) fn owned() -> impl Iterator<Item = &'static str> {
    OWNED.iter().map(|owned| owned.0)
}

/// Puts what is written over what is there; the pipeline's properties are of no kind.
pub(super) fn put(
    written: &Named<Property>,
    kind: Option<Kind>,
    folder: &Path,
    findings: &Findings,
    into: &mut Properties,
) {
    for (key, value) in written.iter() {
        if let Some(Owned(name, because, way_out)) = OWNED.iter().find(|owned| owned.0 == key.value) {
            findings.mistake(&key.at, || (format!("`{name}` cannot be set: {because}"), way_out.words(kind)));
            continue;
        }
        into.extend(secret(value, folder, findings).map(|secret| (key.value.clone(), secret)));
    }
}

/// What stands here or in a file; nothing, and said why, when the file cannot be read.
pub(super) fn secret(value: &Property, folder: &Path, findings: &Findings) -> Option<Secret> {
    let path = match value {
        Property::Text(text) => return Some(Secret::from(text.clone())),
        Property::File(path) => path,
    };
    match read(&folder.join(&path.value)) {
        Ok(text) => Some(Secret::from(text)),
        Err(error) => {
            if let Some(at) = &path.at {
                let (message, help) = describe(path, &error);
                findings.add(Diagnostic::absence(at.clone(), message).help(help));
            }
            None
        }
    }
}

/// Why a property cannot be set, and the way out, where the host sets it itself.
pub(crate) fn owned_by_host(name: &str) -> Option<(String, String)> {
    let owned = OWNED.iter().find(|owned| owned.0 == name)?;
    Some((format!("`{name}` cannot be set: {}", owned.1), "remove it".to_owned()))
}

/// True for a property that says how a cluster is reached, and who comes in: of one cluster, it is of no use with
/// another, and must not become known there.
pub(super) fn is_of_connection(name: &str) -> bool {
    const OTHERS: [&str; 3] =
        ["security.protocol", "enable.ssl.certificate.verification", "enable.sasl.oauthbearer.unsecure.jwt"];
    name.starts_with("sasl.") || name.starts_with("ssl.") || OTHERS.contains(&name)
}

/// The text of a file without the newline at its end.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

pub(super) fn describe(path: &Spanned<String>, error: &io::Error) -> (String, String) {
    let path = path.shown();
    match error.kind() {
        io::ErrorKind::NotFound => (
            format!("there is no file {path}"),
            "make it, or correct the path: it starts in the manifest's folder".to_owned(),
        ),
        io::ErrorKind::IsADirectory => (format!("{path} is a folder"), "name a file in it".to_owned()),
        io::ErrorKind::InvalidData => (format!("{path} is not UTF-8"), "put a text there".to_owned()),
        io::ErrorKind::FileTooLarge => {
            (format!("{path} is larger than 1 MiB"), "put the secret alone there".to_owned())
        }
        kind => (format!("{path} cannot be read: {kind}"), "let this user read it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_properties_are_sorted() {
        assert!(owned().is_sorted());
    }
}
