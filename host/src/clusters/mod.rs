//! Named clusters in the user's configuration: where each is, and what lets a client in. A secret stands there by
//! where it comes from; it is fetched when the cluster is used, and never shown.

mod origin;
mod written;

pub use origin::Origin;

use crate::manifest::{Kafka, Properties, Report};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The variable that names another file.
const VARIABLE: &str = "MILLSTREAM_CLUSTERS_FILE";

/// The clusters that a user has given names to.
#[derive(Debug, Default)]
pub struct Clusters {
    /// The one that is meant where none is named.
    pub current: Option<String>,
    /// All of them, by their names.
    pub all: BTreeMap<String, Connection>,
}

/// How a cluster is reached.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// `HOST:PORT`; at least one.
    pub brokers: Vec<String>,
    /// librdkafka's properties, by where their values come from.
    pub properties: BTreeMap<String, Origin>,
}

/// Why there are no clusters to be had.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was written by hand, and all of this is wrong with it.
    #[error("{0:?}")]
    Mistakes(Report),
    /// The file cannot be read.
    #[error("{0}")]
    File(String),
}

impl Connection {
    /// What a client is told, with every secret fetched. The error names the property that is in want of its value.
    pub fn fetch(&self) -> Result<Kafka> {
        let fetched = self.properties.iter().map(|(name, origin)| {
            let value = origin.fetch().with_context(|| name.clone())?;
            Ok((name.clone(), value))
        });
        Ok(Kafka { brokers: self.brokers.clone(), properties: fetched.collect::<Result<Properties>>()? })
    }

    /// True when a secret stands in the file itself.
    pub fn holds_secrets(&self) -> bool {
        let is_plain = |(name, origin): (&String, &Origin)| {
            matches!(origin, Origin::Written(_)) && crate::manifest::is_secret(name)
        };
        self.properties.iter().any(is_plain)
    }
}

/// Where this user's clusters are written down.
pub fn file() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(file) = set(VARIABLE) {
        return Ok(file);
    }
    // A relative one counts as not set, as the specification of these folders says.
    let folder = set("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(set("HOME")?.join(".config")));
    let folder = folder.with_context(|| format!("neither HOME nor {VARIABLE} says where clusters are written down"))?;
    Ok(folder.join("millstream").join("clusters.yaml"))
}

impl Clusters {
    /// Those of a file; none, when there is no such file.
    pub fn read(path: &Path) -> Result<Clusters, Unreadable> {
        match fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(Clusters::default()),
            Ok(text) => written::read(path, &text).map_err(Unreadable::Mistakes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Clusters::default()),
            Err(error) => Err(Unreadable::File(format!("{}: {error}", path.display()))),
        }
    }

    /// Writes them down for this user alone: all of it, or nothing when something goes wrong.
    pub fn write(&self, path: &Path) -> Result<()> {
        let why = || format!("{} cannot be written", path.display());
        // Where the file is a link to another place, that is where it stays.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(why)?;
        // It begins its life with rights for nobody else.
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(why)?;
        file.write_all(written::text(self).as_bytes()).with_context(why)?;
        file.as_file().sync_all().with_context(why)?;
        file.persist(&path).with_context(why)?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read(text: &str) -> Result<Clusters, String> {
        written::read(Path::new("clusters.yaml"), text).map_err(|report| report.render(None))
    }

    #[test]
    fn what_is_written_is_read_again_and_belongs_to_the_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/clusters.yaml");
        let odd = "a: b # \"c\" 'd' ${E} ü\\";
        let origins = [
            ("client.id", Origin::Written("yes".to_owned().into())),
            ("client.rack", Origin::Written(odd.to_owned().into())),
            ("sasl.username", Origin::Written("0".to_owned().into())),
            ("sasl.password", Origin::Environment("KAFKA_PASSWORD".into())),
            ("ssl.key.password", Origin::Command("pass show 'kafka: x'".into())),
            ("ssl.key.pem", Origin::File("/etc/a b.pem".into())),
            ("ssl.ca.location", Origin::Written(String::new().into())),
        ];
        let connection = Connection {
            brokers: vec!["a:1".into(), "[::1]:2".into()],
            properties: origins.map(|(name, origin)| (name.to_owned(), origin)).into(),
        };
        let all = BTreeMap::from([("prod".to_owned(), connection), ("null".to_owned(), Connection::default())]);
        let mut clusters = Clusters { current: Some("prod".into()), all };
        clusters.all.get_mut("null").unwrap().brokers.push("b:1".into());
        clusters.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Clusters::read(&path).unwrap();
        assert_eq!(again.current.as_deref(), Some("prod"));
        assert_eq!(again.all["prod"].brokers, ["a:1", "[::1]:2"]);
        assert!(again.all["prod"].properties == clusters.all["prod"].properties, "{}", written::text(&clusters));
        assert_eq!(again.all["null"].brokers, ["b:1"]);
    }

    #[test]
    fn a_file_that_is_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let [real, link] = ["real.yaml", "link.yaml"].map(|name| folder.path().join(name));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        Clusters { current: Some("x".into()), ..Clusters::default() }.write(&link).unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&real).unwrap().contains("current: x"));
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place_and_without_a_secret() {
        let said = read(
            "current: dev\nclusters:\n  my prod: {brokers: a:1}\n  prod:\n    brokers: 'a:b'\n    properties:\n      \
             group.id: x\n      sasl.password: {env: A, file: b}\n      ssl.key.password: [swordfish]\n      \
             ssl.key.pem: {command: ''}\n  none: {}\n",
        )
        .unwrap_err();
        for words in [
            "there is no cluster `dev`",
            "`my prod` cannot be a name",
            "`a:b` is no address of a broker",
            "`group.id` cannot be set",
            "clusters.yaml:8",
            "one of `env`, `file` and `command`",
            "clusters.yaml:9",
            "clusters.yaml:10",
            "`brokers` is missing here",
        ] {
            assert!(said.contains(words), "{words}:\n{said}");
        }
        assert!(!said.contains("swordfish"), "{said}");
    }
}
