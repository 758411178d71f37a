//! A schema of any kind: as it is written, and made ready.

use super::{
    Misfit,
    avro::{self, Avro},
    json_schema::JsonSchema,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// In what language a schema is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// Avro.
    #[default]
    #[serde(rename = "AVRO")]
    Avro,
    /// JSON Schema.
    #[serde(rename = "JSON")]
    Json,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Language::Avro => "Avro",
            Language::Json => "JSON Schema",
        })
    }
}

/// A schema as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its language.
    pub language: Language,
    /// Its text.
    pub text: String,
    /// The texts of those that it refers to.
    pub others: Vec<String>,
}

impl Written {
    /// A schema that stands by itself.
    pub fn new(language: Language, text: &str) -> Written {
        Written { language, text: text.to_owned(), others: Vec::new() }
    }

    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        Schema::read(self).map(drop)
    }

    /// Whether who reads with this one reads what was written with that one; why not, in words. Of JSON Schema nobody
    /// here can tell.
    pub(super) fn reads(&self, old: &Written) -> Result<(), String> {
        match (self.language, old.language) {
            (Language::Avro, Language::Avro) => guarded(|| {
                let (old, new) = (Avro::read(&old.text, &old.others)?, Avro::read(&self.text, &self.others)?);
                new.reads(&old).map_err(|misfit| misfit.to_string())
            })?,
            (Language::Json, Language::Json) => Ok(()),
            (new, old) => Err(format!("it is {new}, and was {old}")),
        }
    }

    /// Whether both are the same Avro, as far as values go, in whatever words. Of JSON Schema nobody here can tell.
    pub(super) fn means(&self, other: &Written) -> bool {
        let is_avro = self.language == Language::Avro && other.language == Language::Avro;
        let is_alike = || avro::is_alike((&self.text, &self.others), (&other.text, &other.others));
        is_avro && guarded(is_alike).unwrap_or(false)
    }
}

/// A schema that is ready.
#[derive(Debug)]
pub(super) enum Schema {
    Avro(Avro),
    Json(JsonSchema),
}

impl Schema {
    /// Makes it ready. In words, what is wrong with it.
    pub(super) fn read(written: &Written) -> Result<Schema, String> {
        guarded(|| match written.language {
            Language::Avro => Avro::read(&written.text, &written.others).map(Schema::Avro),
            Language::Json if !written.others.is_empty() => {
                Err("it refers to other schemas, which JSON Schema may not do here".to_owned())
            }
            Language::Json => JsonSchema::read(&written.text).map(Schema::Json),
        })?
    }

    /// Appends a value as JSON text; of one that does not fit, a part may have been appended.
    pub(super) fn decode(&self, body: &[u8], to: &mut Vec<u8>) -> Result<(), Misfit> {
        let decode = || match self {
            Schema::Avro(avro) => avro.decode(body, to),
            Schema::Json(schema) => schema.check(body).map(|()| to.extend_from_slice(body)),
        };
        guarded(decode).map_err(Misfit::new)?
    }

    /// Appends the bytes of a value that is given as JSON text; of one that does not fit, a part may have been appended.
    pub(super) fn encode(&self, text: &[u8], to: &mut Vec<u8>) -> Result<(), Misfit> {
        let encode = || match self {
            Schema::Avro(avro) => avro.encode(text, to),
            Schema::Json(schema) => schema.check(text).map(|()| to.extend_from_slice(text)),
        };
        guarded(encode).map_err(Misfit::new)?
    }
}

/// A panic, be it in a library, ends with the schema or the record that was met. Nothing that is kept is changed by what
/// is done here, so nothing is left half done.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| "it was too odd for the code that reads it, which panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_with_what_was_met() {
        assert_eq!(guarded(|| 1), Ok(1));
        let words = guarded(|| -> u8 { panic!("odd") });
        assert!(words.is_err_and(|words| words.ends_with("which panicked")));
    }
}
