//! Which log a command works on: a manifest's, or that of some brokers.

use super::{
    Mistakes, Wrong, client, cluster,
    load::{MANIFEST, Source, broker, read},
    say, terminal, wrong,
};
use crate::{
    manifest::{Manifest, Properties},
    transport::{kafka::Cluster, local::LocalLog, log::Log},
};
use anyhow::Result;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The log of a command that needs no more of a manifest.
#[derive(clap::Args)]
pub(super) struct Which {
    /// How the cluster is reached; also as MILLSTREAM_KAFKA
    #[arg(
        long,
        global = true,
        value_name = "BROKERS",
        value_delimiter = ',',
        value_parser = broker,
        env = "MILLSTREAM_KAFKA"
    )]
    kafka: Option<Vec<String>>,
    /// A cluster of `millstream clusters`; also as MILLSTREAM_CLUSTER
    #[arg(long, global = true, value_name = "NAME", env = "MILLSTREAM_CLUSTER")]
    cluster: Option<String>,
    /// A manifest that says it (millstream.yaml); also as MILLSTREAM_MANIFEST
    #[arg(long, global = true, value_name = "FILE", env = "MILLSTREAM_MANIFEST")]
    manifest: Option<PathBuf>,
}

impl Which {
    /// The log, or all [`Mistakes`] of the manifest that should say which. Where nothing is named, it is the user's
    /// current cluster, and that is said.
    pub(super) fn open(&self) -> Result<Log> {
        self.open_with_manifest().map(|(log, _)| log)
    }

    /// The log, with the manifest that says which, if one does.
    pub(super) fn open_with_manifest(&self) -> Result<(Log, Option<Manifest>)> {
        let log = match (self.path(), &self.kafka, &self.cluster) {
            (_, Some(_), Some(_)) => return Err(wrong(cluster::TWO)),
            (Some(path), ..) => {
                let manifest = self.read(path)?;
                return Ok((open(&manifest)?, Some(manifest)));
            }
            (None, Some(brokers), None) => Log::Kafka(Cluster::new(&brokers.join(","), &Properties::new())),
            (None, None, Some(name)) => Log::kafka(&cluster::fetch(name)?),
            (None, None, None) => {
                let Some(name) = cluster::current()? else {
                    return Err(wrong(
                        "no log is given: add `--kafka HOST:PORT`, `--cluster NAME` or `--manifest FILE`",
                    ));
                };
                let log = Log::kafka(&cluster::fetch(&name)?);
                say(&format!("on cluster {name}, as `clusters use` says: {log}\n"));
                log
            }
        };
        Ok((log, None))
    }

    /// What cannot be undone is not done to a cluster that nobody names.
    pub(super) fn be_named(&self) -> Result<()> {
        let is_named = self.path().is_some() || self.kafka.is_some() || self.cluster.is_some();
        match if is_named { None } else { cluster::current()? } {
            Some(name) => Err(wrong(format!("say which cluster is meant: add `--cluster {name}`"))),
            None => Ok(()),
        }
    }

    /// The manifest, where more of it is needed than its log; or all of its [`Mistakes`].
    pub(super) fn manifest(&self) -> Result<Manifest> {
        self.read(self.source().manifest)
    }

    /// The manifest's file, and the brokers that stand over its own.
    pub(super) fn source(&self) -> Source {
        let manifest = self.manifest.clone().unwrap_or_else(|| PathBuf::from(MANIFEST));
        Source { manifest, kafka: self.kafka.clone(), cluster: self.cluster.clone() }
    }

    /// In the folder of a pipeline its log is what is meant, unless brokers or a cluster are named.
    fn path(&self) -> Option<PathBuf> {
        let is_named = self.kafka.is_some() || self.cluster.is_some();
        let here = || (!is_named && Path::new(MANIFEST).is_file()).then(|| PathBuf::from(MANIFEST));
        self.manifest.clone().or_else(here)
    }

    fn read(&self, path: PathBuf) -> Result<Manifest> {
        let mut reading = read(&Source { manifest: path, ..self.source() })?;
        let found = reading.draft().map(|draft| client::check(draft, &reading)).unwrap_or_default();
        found.into_iter().for_each(|mistake| reading.report.add(mistake));
        let (manifest, _) = reading.finish().map_err(|report| Mistakes(report.render(terminal())))?;
        Ok(manifest)
    }
}

/// The log of a manifest; an embedded one is made when it is missing.
pub(super) fn open(manifest: &Manifest) -> Result<Log> {
    Ok(match &manifest.kafka {
        Some(kafka) => Log::kafka(kafka),
        None => Log::Local(LocalLog::open_with(&manifest.state, manifest.durability)?),
    })
}

/// The log of a manifest; nothing when it is an embedded one that was not made yet.
pub(super) fn existing(manifest: &Manifest) -> Result<Option<Log>> {
    match &manifest.kafka {
        None if !LocalLog::is_in(&manifest.state) => Ok(None),
        _ => open(manifest).map(Some),
    }
}

/// Says which log it was that failed; where what was asked is wrong, or nobody reads the answer, that is no matter.
pub(super) fn explain(log: &Log) -> impl Fn(anyhow::Error) -> anyhow::Error {
    |error| match error.is::<Wrong>() || error.is::<io::Error>() {
        true => error,
        false => error.context(log.to_string()),
    }
}

/// Milliseconds since 1970, from a number or from RFC 3339.
pub(super) fn time(text: &str) -> Option<i64> {
    let millis = match text.parse::<i64>() {
        Ok(millis) => millis,
        Err(_) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
    };
    (millis >= 0).then_some(millis)
}
