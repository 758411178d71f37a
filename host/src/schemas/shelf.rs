//! Schemas in the state folder: `schemas/OF/ID.json`. A registry's are kept there, as an id means the same for ever;
//! without a registry they live there, and who makes the file of an id has it.

use super::schema::{Language, Written};
use crate::text::hex;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

/// A folder of schemas.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

/// A schema's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    subject: String,
    schema_type: Language,
    schema: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    references: Vec<String>,
}

/// Which schema a subject's text is.
#[derive(Serialize, Deserialize)]
struct Named {
    id: u32,
    /// The digest of the text that it was found by.
    of: String,
}

impl Shelf {
    /// The schemas that are this pipeline's alone.
    pub(super) fn local(state: &Path) -> Shelf {
        Shelf { folder: state.join("schemas").join("local") }
    }

    /// Those of the registry at this address.
    pub(super) fn of_registry(state: &Path, url: &str) -> Shelf {
        Shelf { folder: state.join("schemas").join(hex(&Sha256::digest(url)[..8])) }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The schema with this id.
    pub(super) fn get(&self, id: u32) -> Result<Option<Written>> {
        let kept: Option<Kept> = self.read(&self.file(id))?;
        Ok(kept.map(Written::from))
    }

    /// Keeps a schema for ever.
    pub(super) fn keep(&self, id: u32, written: &Written) -> Result<()> {
        self.put(&self.file(id), &Kept::of("", written), true).map(drop)
    }

    /// All schemas of a subject, the oldest first.
    pub(super) fn of_subject(&self, subject: &str) -> Result<Vec<(u32, Written)>> {
        let all = self.ids()?.into_iter().filter_map(|id| {
            let kept = self.read::<Kept>(&self.file(id)).transpose()?;
            Some(kept.map(|kept| (id, kept)))
        });
        let all: Vec<_> = all.collect::<Result<_>>()?;
        Ok(all.into_iter().filter(|(_, kept)| kept.subject == subject).map(|(id, kept)| (id, kept.into())).collect())
    }

    /// Gives a schema an id of its own. Others may do the same: who comes first has it.
    pub(super) fn add(&self, subject: &str, written: &Written) -> Result<u32> {
        loop {
            let next = self.ids()?.last().map_or(1, |last| last + 1);
            if self.put(&self.file(next), &Kept::of(subject, written), false)? {
                return Ok(next);
            }
        }
    }

    /// The id that a subject's text, or its latest one, was found to have.
    pub(super) fn remembered(&self, subject: &str, text: &str) -> Result<Option<u32>> {
        let named: Option<Named> = self.read(&self.subject(subject))?;
        Ok(named.filter(|named| named.of == digest(text)).map(|named| named.id))
    }

    pub(super) fn remember(&self, subject: &str, text: &str, id: u32) -> Result<()> {
        self.put(&self.subject(subject), &Named { id, of: digest(text) }, true).map(drop)
    }

    /// Throws away all that is kept.
    pub(super) fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| self.folder.display().to_string())
            }
            _ => Ok(()),
        }
    }

    fn file(&self, id: u32) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn subject(&self, subject: &str) -> PathBuf {
        self.folder.join("subjects").join(format!("{}.json", hex(&Sha256::digest(subject)[..16])))
    }

    fn ids(&self) -> Result<Vec<u32>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| self.folder.display().to_string()),
        };
        let id = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".json")?.parse().ok();
        let mut ids: Vec<u32> = entries.filter_map(|entry| id(entry.ok()?.file_name())).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Writes a file as a whole, or not at all; false when one was there that is not to be replaced.
    fn put(&self, path: &Path, what: &impl Serialize, replaces: bool) -> Result<bool> {
        let folder = path.parent().unwrap_or(&self.folder);
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer(&mut file, what)?;
            file.flush()?;
            file.as_file().sync_all()?;
            let placed = match replaces {
                true => file.persist(path).map(drop),
                false => file.persist_noclobber(path).map(drop),
            };
            match placed {
                Err(error) if !replaces && error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error.error),
                Ok(()) => fs::File::open(folder)?.sync_all().map(|()| true),
            }
        };
        write().with_context(|| path.display().to_string())
    }
}

impl Kept {
    fn of(subject: &str, written: &Written) -> Kept {
        let Written { language, text, others } = written.clone();
        Kept { subject: subject.to_owned(), schema_type: language, schema: text, references: others }
    }
}

impl From<Kept> for Written {
    fn from(kept: Kept) -> Written {
        Written { language: kept.schema_type, text: kept.schema, others: kept.references }
    }
}

fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn those_who_add_at_once_get_ids_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let added: Vec<_> = thread::scope(|scope| {
            let shelf = || Shelf::local(folder.path());
            let add = |number: u32| {
                move || shelf().add("t-value", &Written::new(Language::Avro, &format!("\"{number}\""))).unwrap()
            };
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(add(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut sorted = added.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, Vec::from_iter(1..=8));
        let shelf = Shelf::local(folder.path());
        for (number, id) in added.iter().enumerate() {
            assert_eq!(shelf.get(*id).unwrap().unwrap().text, format!("\"{number}\""));
        }
        assert_eq!(shelf.of_subject("t-value").unwrap().len(), 8);
        assert_eq!(shelf.of_subject("t-key").unwrap(), []);
        assert_eq!(shelf.get(9).unwrap(), None);
    }

    #[test]
    fn a_text_is_known_by_its_id_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::of_registry(folder.path(), "http://localhost:8081");
        shelf.remember("a/../b-value", "one", 7).unwrap();
        assert_eq!(shelf.remembered("a/../b-value", "one").unwrap(), Some(7));
        assert_eq!(shelf.remembered("a/../b-value", "two").unwrap(), None);
        assert_eq!(shelf.remembered("b-value", "one").unwrap(), None);
    }
}
