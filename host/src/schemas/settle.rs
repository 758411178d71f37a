//! Before anything starts: each topic's schema is found, compared and registered, so that what is written has an id.

use super::{
    codec::{Codec, Part, Writer},
    http::Trouble,
    registry::Registry,
    schema::{Schema, Written},
    shelf::Shelf,
    store::Store,
};
use crate::manifest::{Manifest, Register, SchemaRegistry, SchemaSource, TopicSchema};
use anyhow::Result;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The schemas of a pipeline's topics.
#[derive(Clone, Debug)]
pub struct Schemas {
    store: Arc<Store>,
    wanted: Vec<Wanted>,
    /// Where subjects are looked up when the ids are the pipeline's own.
    lends: Option<Arc<Store>>,
}

/// A part of a topic that has a schema.
#[derive(Clone, Debug)]
struct Wanted {
    topic: String,
    part: Part,
    schema: TopicSchema,
}

/// Which schema each topic's records are written with.
#[derive(Clone, Debug)]
pub struct Bound {
    pub(super) store: Arc<Store>,
    writers: BTreeMap<(String, Part), Writer>,
}

/// Why nothing can be written yet.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// The registry does not answer, and what it would say is not cached.
    #[error("{0}")]
    Unavailable(String),
    /// It does not let this one in, or cannot be trusted.
    #[error("{0}")]
    Denied(String),
    /// It has something against the schemas, each in one line.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// The state folder is of no use.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

/// What is known of a wanted schema.
enum Standing {
    /// It has this id.
    Known(u32, Written),
    /// It had this id when the registry was asked last.
    Cached(u32, Written),
    /// It is new, and nothing speaks against it.
    New(Written),
}

impl Wanted {
    /// Who writes the topic looks for its schemas under this name.
    fn subject(&self) -> String {
        match &self.schema.source {
            SchemaSource::Subject(subject) => subject.clone(),
            SchemaSource::Text(_) => format!("{}-{}", self.topic, self.part),
        }
    }

    fn refusal(&self, why: &str) -> String {
        format!("topics.{}.{}: {why}", self.topic, self.part)
    }
}

impl Schemas {
    /// Those of a manifest's topics. Ids are the registry's, where one is named; on a log that is gone at the end, and
    /// without a registry, they are kept in the state folder, and mean something there alone.
    pub fn of(manifest: &Manifest, state: &Path, is_scratch: bool) -> Result<Schemas> {
        let registry = manifest.schema_registry.as_ref();
        let (store, lends) = match registry {
            Some(registry) if !is_scratch => (Store::of_registry(Some(state), registry)?, None),
            Some(registry) => (Store::local(state), Some(Store::of_registry(None, registry)?)),
            None => (Store::local(state), None),
        };
        let parts = manifest.topics.iter().flat_map(|(topic, settings)| {
            let parts = [(Part::Key, &settings.key), (Part::Value, &settings.value)];
            parts.into_iter().filter_map(move |(part, schema)| {
                let schema = schema.clone()?;
                // On a log that is new everything is.
                let register = if is_scratch { Register::Missing } else { schema.register };
                Some(Wanted { topic: topic.clone(), part, schema: TopicSchema { register, ..schema } })
            })
        });
        Ok(Schemas { store, wanted: parts.collect(), lends })
    }

    /// Those of one topic alone.
    pub fn only(mut self, topic: &str) -> Schemas {
        self.wanted.retain(|wanted| wanted.topic == topic);
        self
    }

    /// True when no topic has a schema.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Reads any topic by the ids in its records, with nothing but a registry.
    pub fn reader(registry: &SchemaRegistry) -> Result<Codec> {
        Ok(Codec::of_reader(Store::of_registry(None, registry)?, [true; 2]))
    }

    /// Reads one of the topics; nothing for one that has no schema.
    pub fn reader_of(&self, topic: &str) -> Option<Codec> {
        let has = |part| self.wanted.iter().any(|wanted| wanted.topic == topic && wanted.part == part);
        let parts = [Part::Key, Part::Value].map(has);
        parts.contains(&true).then(|| Codec::of_reader(self.store.clone(), parts))
    }

    /// Finds the schemas, and registers those that are new. Nothing is registered when something speaks against any of
    /// them. A registry that does not answer is no trouble where its answers are cached.
    pub fn settle(&self) -> Result<Bound, Unsettled> {
        let standings = self.look()?;
        let (mut settled, mut said) = (Vec::new(), Vec::new());
        for (wanted, standing) in self.wanted.iter().zip(standings) {
            let (id, written, is_said) = match standing {
                Standing::Known(id, written) => (id, written, true),
                Standing::Cached(id, written) => (id, written, false),
                Standing::New(written) => (self.register(wanted, &written)?, written, true),
            };
            if is_said {
                said.push((wanted, id, written.clone()));
            }
            settled.push((wanted, id, written));
        }
        self.note(&said)?;
        let mut writers = BTreeMap::new();
        for (wanted, id, written) in settled {
            let why = |why: String| Unsettled::Refused(vec![wanted.refusal(&why)]);
            let schema = self.store.take_up(id, &written).map_err(why)?;
            let writer = Writer { topic: wanted.topic.clone(), id, schema };
            writers.insert((wanted.topic.clone(), wanted.part), writer);
        }
        Ok(Bound { store: self.store.clone(), writers })
    }

    /// Gives a schema that is new its id.
    fn register(&self, wanted: &Wanted, written: &Written) -> Result<u32, Unsettled> {
        let subject = wanted.subject();
        let id = match (&self.store.registry, &self.store.shelf) {
            (Some(registry), _) => registry.register(&subject, written).map_err(|t| wanted.unsettled(t))?,
            (None, Some(shelf)) => shelf.add(&subject, written).map_err(Unsettled::Failed)?,
            (None, None) => return Err(Unsettled::Refused(vec![wanted.refusal("there is no registry")])),
        };
        tracing::info!(target: "start", "schema {id} is new: {subject}");
        Ok(id)
    }

    /// The same for those who write nothing: one that is new has no id yet.
    pub fn known(&self) -> Result<Bound, Unsettled> {
        let mut writers = BTreeMap::new();
        for (wanted, standing) in self.wanted.iter().zip(self.look()?) {
            let why = |why: String| Unsettled::Refused(vec![wanted.refusal(&why)]);
            let (id, schema) = match standing {
                Standing::Known(id, written) | Standing::Cached(id, written) => {
                    (id, self.store.take_up(id, &written).map_err(why)?)
                }
                Standing::New(written) => (0, Arc::new(Schema::read(&written).map_err(why)?)),
            };
            let writer = Writer { topic: wanted.topic.clone(), id, schema };
            writers.insert((wanted.topic.clone(), wanted.part), writer);
        }
        Ok(Bound { store: self.store.clone(), writers })
    }

    /// What `settle` would find, and changes nothing: what it would register, each in one line.
    pub fn compare(&self) -> Result<Vec<String>, Unsettled> {
        let standings = self.look()?;
        let new = self.wanted.iter().zip(standings).filter(|(_, standing)| matches!(standing, Standing::New(_)));
        Ok(new.map(|(wanted, _)| format!("schema {} is not there: `run` registers it", wanted.subject())).collect())
    }

    fn look(&self) -> Result<Vec<Standing>, Unsettled> {
        let (mut standings, mut refused) = (Vec::new(), Vec::new());
        for wanted in &self.wanted {
            match self.stand(wanted) {
                Ok(standing) => standings.push(standing),
                Err(Unsettled::Refused(more)) => refused.extend(more),
                Err(other) => return Err(other),
            }
        }
        if refused.is_empty() { Ok(standings) } else { Err(Unsettled::Refused(refused)) }
    }

    fn stand(&self, wanted: &Wanted) -> Result<Standing, Unsettled> {
        let subject = wanted.subject();
        match (&self.store.registry, &self.store.shelf) {
            (Some(registry), shelf) => self.stand_in(registry, shelf.as_ref(), wanted, &subject),
            (None, Some(shelf)) => self.stand_alone(shelf, wanted, &subject),
            (None, None) => Err(Unsettled::Refused(vec![wanted.refusal("there is no registry")])),
        }
    }

    /// As a registry has it.
    fn stand_in(
        &self,
        registry: &Registry,
        shelf: Option<&Shelf>,
        wanted: &Wanted,
        subject: &str,
    ) -> Result<Standing, Unsettled> {
        let refuse = |why: String| Unsettled::Refused(vec![wanted.refusal(&why)]);
        let cached = |why: String| {
            let found = shelf.and_then(|shelf| {
                let id = shelf.remembered(subject, wanted.text()).ok()??;
                let written = match &wanted.schema.source {
                    SchemaSource::Text(written) => written.clone(),
                    SchemaSource::Subject(_) => shelf.get(id).ok()??,
                };
                Some(Standing::Cached(id, written))
            });
            match found {
                Some(found) => {
                    tracing::warn!("{why}; going on with what is cached of {subject}");
                    Ok(found)
                }
                None => Err(Unsettled::Unavailable(why)),
            }
        };
        let found = match &wanted.schema.source {
            SchemaSource::Subject(_) => match registry.latest(subject) {
                Ok(Some(found)) => Ok(found),
                Ok(None) => return Err(refuse(format!("{} has no subject {subject}", registry.url()))),
                Err(trouble) => Err(trouble),
            },
            SchemaSource::Text(written) => match registry.find(subject, written) {
                Ok(Some(id)) => Ok((id, written.clone())),
                Ok(None) if wanted.schema.register == Register::Never => {
                    return Err(refuse(format!(
                        "{} has no such schema of {subject}, and with `register: never` it has to be there",
                        registry.url()
                    )));
                }
                Ok(None) => match registry.objection(subject, written) {
                    Ok(None) => return Ok(Standing::New(written.clone())),
                    Ok(Some(why)) => {
                        return Err(refuse(format!("it is not compatible with the latest schema of {subject}: {why}")));
                    }
                    // It has just said that the schema is not there: what is cached of it is not true any more.
                    Err(trouble) => return Err(wanted.unsettled(trouble)),
                },
                Err(trouble) => Err(trouble),
            },
        };
        match found {
            Ok((id, written)) => Ok(Standing::Known(id, written)),
            Err(Trouble::Unavailable(why) | Trouble::Failing(why)) => cached(why),
            Err(trouble) => Err(wanted.unsettled(trouble)),
        }
    }

    /// As the pipeline itself has it.
    fn stand_alone(&self, shelf: &Shelf, wanted: &Wanted, subject: &str) -> Result<Standing, Unsettled> {
        let written = match (&wanted.schema.source, &self.lends) {
            (SchemaSource::Text(written), _) => written.clone(),
            (SchemaSource::Subject(subject), Some(store)) => {
                let registry = store.registry.as_ref().expect("it was made with one");
                let found = registry.latest(subject).map_err(|trouble| wanted.unsettled(trouble))?;
                let none = || {
                    Unsettled::Refused(vec![wanted.refusal(&format!("{} has no subject {subject}", registry.url()))])
                };
                found.ok_or_else(none)?.1
            }
            (SchemaSource::Subject(_), None) => {
                return Err(Unsettled::Refused(vec![
                    wanted.refusal("a subject needs a registry: add `schema-registry`"),
                ]));
            }
        };
        let all = shelf.of_subject(subject).map_err(Unsettled::Failed)?;
        if let Some((id, _)) = all.iter().rev().find(|(_, known)| is_same(known, &written)) {
            return Ok(Standing::Known(*id, written));
        }
        if let Some((id, latest)) = all.last()
            && let Err(why) = written.reads(latest)
        {
            return Err(Unsettled::Refused(vec![
                wanted.refusal(&format!("it does not read what was written with schema {id} of {subject}: {why}")),
            ]));
        }
        if wanted.schema.register == Register::Never {
            return Err(Unsettled::Refused(vec![wanted.refusal(&format!(
                "{} has no such schema of {subject}, and with `register: never` it has to be there",
                shelf.folder().display()
            ))]));
        }
        Ok(Standing::New(written))
    }

    /// Keeps what the registry said for a time when it says nothing. Where an id was another schema's before, it has lost
    /// its schemas and gives their ids again, so nothing that was cached of it is true.
    fn note(&self, said: &[(&Wanted, u32, Written)]) -> Result<(), Unsettled> {
        let (Some(registry), Some(shelf)) = (&self.store.registry, &self.store.shelf) else { return Ok(()) };
        let is_other = |(_, id, written): &&(&Wanted, u32, Written)| {
            shelf.get(*id).is_ok_and(|kept| kept.is_some_and(|kept| !is_equal(&kept, written)))
        };
        if let Some((_, id, _)) = said.iter().find(is_other) {
            tracing::warn!(
                "the schema registry at {} was made anew, schema {id} is another one than before: what was cached of it \
                 is thrown away",
                registry.url()
            );
            self.store.forget().map_err(Unsettled::Failed)?;
            if said.len() < self.wanted.len() {
                let url = registry.url();
                return Err(Unsettled::Unavailable(format!(
                    "the schema registry at {url} did not answer for all schemas"
                )));
            }
        }
        for (wanted, id, written) in said {
            let (subject, text) = (wanted.subject(), wanted.text());
            self.store.keep(|shelf| shelf.keep(*id, written).and_then(|()| shelf.remember(&subject, text, *id)));
        }
        Ok(())
    }
}

impl Wanted {
    /// What it is found by; of the latest one, whatever it is, nothing is known.
    fn text(&self) -> &str {
        match &self.schema.source {
            SchemaSource::Text(written) => &written.text,
            SchemaSource::Subject(_) => "",
        }
    }

    fn unsettled(&self, trouble: Trouble) -> Unsettled {
        match trouble {
            Trouble::Unavailable(why) | Trouble::Failing(why) => Unsettled::Unavailable(why),
            Trouble::Denied(why) | Trouble::Withheld(why) => Unsettled::Denied(why),
            Trouble::Refused(why) => Unsettled::Refused(vec![self.refusal(&why)]),
        }
    }
}

impl Bound {
    /// What a stage's records go through, by the topics of its inputs and outputs.
    pub fn codec(&self, inputs: &[String], outputs: &[String]) -> Codec {
        Codec::new(self, inputs, outputs)
    }

    /// What key and value of a topic's records are written with.
    pub(super) fn writers(&self, topic: &str) -> [Option<&Writer>; 2] {
        [Part::Key, Part::Value].map(|part| self.writers.get(&(topic.to_owned(), part)))
    }
}

/// The same schema may be laid out in another way.
fn is_same(known: &Written, written: &Written) -> bool {
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    known.language == written.language
        && (known.text == written.text || parsed(&known.text).is_some_and(|known| Some(known) == parsed(&written.text)))
}

/// The same to a registry, which may give a text back in other words than it was given.
fn is_equal(known: &Written, written: &Written) -> bool {
    is_same(known, written) || known.means(written)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
