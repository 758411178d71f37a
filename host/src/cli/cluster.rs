//! A cluster by its name, for the commands that work on one: found among the user's, its secrets fetched.

use super::{Mistakes, client, say, terminal, wrong};
use crate::{
    clusters::{self, Clusters, Connection, Unreadable},
    manifest::Kafka,
    text::nearest,
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// What is wrong when two of them are named.
pub(super) const TWO: &str = "`--kafka` and `--cluster` each name a cluster: leave one of them out";

/// Who may read a file beside its owner.
const OTHERS: u32 = 0o077;

/// The user's clusters, or all [`Mistakes`] of their file.
pub(super) fn read(path: &Path) -> Result<Clusters> {
    Clusters::read(path).map_err(|error| match error {
        Unreadable::Mistakes(report) => Mistakes(report.render(terminal())).into(),
        Unreadable::File(why) => wrong(why),
    })
}

/// The name of the one that is meant where none is named.
pub(super) fn current() -> Result<Option<String>> {
    // Where there is no place for clusters, there is none.
    let Ok(path) = clusters::file() else { return Ok(None) };
    Ok(read(&path)?.current)
}

/// How the cluster of this name is reached. Its secrets are fetched once, however often it is asked for: a command
/// that gets one may ask somebody.
pub(super) fn fetch(name: &str) -> Result<Kafka> {
    static FETCHED: Mutex<BTreeMap<String, Kafka>> = Mutex::new(BTreeMap::new());
    if let Some(kafka) = FETCHED.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
        return Ok(kafka.clone());
    }
    let path = clusters::file().map_err(|error| wrong(format!("{error:#}")))?;
    let clusters = read(&path)?;
    let connection = find(&clusters, name)?;
    warn_of_others(&path, name, connection);
    let kafka = connection.fetch().map_err(|error| wrong(format!("cluster {name}: {error:#}")))?;
    client::check_cluster(&kafka).map_err(|why| wrong(format!("cluster {name}: {why}")))?;
    FETCHED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), kafka.clone());
    Ok(kafka)
}

/// One of them; of what is none, that is said.
pub(super) fn find<'a>(clusters: &'a Clusters, name: &str) -> Result<&'a Connection> {
    let known = || clusters.all.keys().map(String::as_str);
    clusters.all.get(name).ok_or_else(|| {
        wrong(match nearest(name, known()) {
            Some(near) => format!("there is no cluster {name}: did you mean {near}?"),
            None if clusters.all.is_empty() => {
                format!("there is no cluster {name}, nor any other: `millstream clusters add` makes one known")
            }
            None => format!("there is no cluster {name}: there is {}", known().collect::<Vec<_>>().join(", ")),
        })
    })
}

fn warn_of_others(path: &Path, name: &str, connection: &Connection) {
    let is_open = || fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & OTHERS != 0);
    if connection.holds_secrets() && is_open() {
        let path = path.display();
        say(&format!("warning: {path} holds a secret of cluster {name}, and others may read it: `chmod 600 {path}`\n"));
    }
}
