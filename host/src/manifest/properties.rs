//! librdkafka's properties: those that the host must set itself are refused, and secrets are fetched from files.

use super::{
    checked::{Properties, Secret},
    report::Findings,
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
struct Owned(&'static str, &'static str, &'static str);

const REMOVE: &str = "remove it";
const IN_TIME: &str = "the host sets it, as a record must be sent before its transaction ends";
const OWNED: &[Owned] = &[
    Owned("allow.auto.create.topics", "topics are made as the manifest says", "write them under `topics`"),
    Owned("auto.commit.enable", "offsets are committed together with what came of the records", REMOVE),
    Owned("auto.offset.reset", "where a stage starts is its own", "write `from: …` in the stage"),
    Owned("bootstrap.servers", "the brokers have a key of their own", "write `brokers: …` under `kafka`"),
    Owned("delivery.report.only.error", "every record's fate must be known", REMOVE),
    Owned("delivery.timeout.ms", IN_TIME, REMOVE),
    Owned("enable.auto.commit", "offsets are committed together with what came of the records", REMOVE),
    Owned("enable.auto.offset.store", "offsets are committed together with what came of the records", REMOVE),
    Owned("enable.idempotence", "the host sets it", "write `delivery: …` in the stage"),
    Owned("enable.partition.eof", "the host sets it", REMOVE),
    Owned("group.id", "a stage's group is its own", "write `group: …` in the stage"),
    Owned("group.instance.id", "the host gives each worker its name", REMOVE),
    Owned("group.protocol", "the host sets it", REMOVE),
    Owned("isolation.level", "only committed records are read", REMOVE),
    Owned("message.timeout.ms", IN_TIME, REMOVE),
    Owned("metadata.broker.list", "the brokers have a key of their own", "write `brokers: …` under `kafka`"),
    Owned("partition.assignment.strategy", "the host sets it", REMOVE),
    Owned("transaction.timeout.ms", "the host sets it", REMOVE),
    Owned("transactional.id", "the host gives each worker its name", REMOVE),
];

/// The names of the properties that the host sets itself.
pub(super) fn owned() -> impl Iterator<Item = &'static str> {
    OWNED.iter().map(|owned| owned.0)
}

/// Puts what is written over what is there.
pub(super) fn put(written: &Named<Property>, folder: &Path, findings: &Findings, into: &mut Properties) {
    for (key, value) in written.iter() {
        if let Some(Owned(name, because, instead)) = OWNED.iter().find(|owned| owned.0 == key.value) {
            findings.mistake(&key.at, || (format!("`{name}` cannot be set: {because}"), (*instead).to_owned()));
            continue;
        }
        let text = match value {
            Property::Text(text) => text.clone(),
            Property::File(path) => match read(&folder.join(&path.value)) {
                Ok(text) => text,
                Err(error) => {
                    findings.mistake(&path.at, || describe(path, &error));
                    continue;
                }
            },
        };
        into.insert(key.value.clone(), Secret::from(text));
    }
}

/// The text of a file without the newline at its end.
fn read(path: &Path) -> io::Result<String> {
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

fn describe(path: &Spanned<String>, error: &io::Error) -> (String, String) {
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
