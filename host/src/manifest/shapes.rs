//! The shapes that values take in a manifest beyond what serde knows: with their place, one or a list, named things
//! in their order, texts that may stand in a file, configuration of any form.

use super::report::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer, value::SeqAccessDeserializer},
};
use std::{borrow::Cow, fmt, marker::PhantomData};

/// The reader gives a value with its place to who asks under this name.
pub(super) const SPANNED: &str = "$spanned";
/// The reader gives a single value as a list of one to who asks under this name.
pub(super) const MANY: &str = "$many";
/// The reader gives a scalar as its text, anything else as it is, to who asks under this name.
pub(crate) const AS_WRITTEN: &str = "$as-written";

/// A value, its place, and how messages show it.
#[derive(Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    /// `None` when the value is made up, because what is written was reported: say nothing more about it.
    pub(crate) at: Option<Span>,
    /// `${VAR}`, not what it stands for.
    pub(super) written: String,
}

impl<T> Spanned<T> {
    /// Another value with the same place.
    pub(super) fn with<U>(&self, value: U) -> Spanned<U> {
        Spanned { value, at: self.at.clone(), written: self.written.clone() }
    }

    /// How a message shows it.
    pub(crate) fn shown(&self) -> String {
        format!("`{}`", short(&self.written))
    }
}

/// As much of a text as fits into a message: a line, and no more than 60 characters.
pub(super) fn short(text: &str) -> &str {
    let end = text.char_indices().take(60).take_while(|(_, c)| !c.is_control()).last();
    &text[..end.map_or(0, |(at, c)| at + c.len_utf8())]
}

impl<'d, T: Deserialize<'d>> Deserialize<'d> for Spanned<T> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        /// Whether it is there (1), its start, its end, how it is written, what it is.
        #[derive(Deserialize)]
        struct Parts<T>(u8, usize, usize, String, T);

        struct Visit<T>(PhantomData<T>);
        impl<'d, T: Deserialize<'d>> Visitor<'d> for Visit<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_seq<A: SeqAccess<'d>>(self, parts: A) -> Result<Spanned<T>, A::Error> {
                let Parts(is_there, start, end, written, value) =
                    Parts::deserialize(SeqAccessDeserializer::new(parts))?;
                let at = (is_there == 1).then_some(start..end);
                Ok(Spanned { value, at, written })
            }
        }
        deserializer.deserialize_newtype_struct(SPANNED, Visit(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// One, or a list of them.
pub(crate) struct Many<T>(pub(crate) Vec<T>);

impl<'d, T: Deserialize<'d>> Deserialize<'d> for Many<T> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'d, T: Deserialize<'d>> Visitor<'d> for Visit<T> {
            type Value = Many<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("one, or a list")
            }

            fn visit_seq<A: SeqAccess<'d>>(self, mut items: A) -> Result<Many<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Many(all))
            }
        }
        deserializer.deserialize_newtype_struct(MANY, Visit(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Many<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Many".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// Things by their names, in the order in which they are written. Nothing at all is none of them.
pub(crate) struct Named<T>(pub(crate) Vec<(Spanned<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<T> Named<T> {
    /// The names and the things.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Spanned<String>, T)> {
        self.0.iter()
    }
}

impl<'d, T: Deserialize<'d>> Deserialize<'d> for Named<T> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'d, T: Deserialize<'d>> Visitor<'d> for Visit<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a mapping such as `{NAME: …}`")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Named<T>, E> {
                Ok(Named::default())
            }

            fn visit_map<A: MapAccess<'d>>(self, mut entries: A) -> Result<Named<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    all.push(entry);
                }
                Ok(Named(all))
            }
        }
        deserializer.deserialize_map(Visit(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Named".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "null"], "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// The name of one topic, where a list is a likely mistake: `OTHER` says where a list may stand.
pub(super) struct One<Other>(pub(super) String, PhantomData<Other>);

/// Where a list of topics may stand.
pub(super) trait ListKey {
    /// The key.
    const KEY: &'static str;
}

/// A list of inputs stands under `inputs`.
pub(super) struct Inputs;
impl ListKey for Inputs {
    const KEY: &'static str = "inputs";
}

/// A list of outputs stands under `outputs`.
pub(super) struct Outputs;
impl ListKey for Outputs {
    const KEY: &'static str = "outputs";
}

impl<'d, Other: ListKey> Deserialize<'d> for One<Other> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<Other>(PhantomData<Other>);
        impl<Other: ListKey> Visitor<'_> for Visit<Other> {
            type Value = One<Other>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "one topic (several go under `{}`)", Other::KEY)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<One<Other>, E> {
                Ok(One(text.to_owned(), PhantomData))
            }
        }
        deserializer.deserialize_str(Visit(PhantomData))
    }
}

impl<Other> JsonSchema for One<Other> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "One".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// A list of topics, or topics by names of their own.
pub(super) enum Topics {
    List(Vec<Spanned<String>>),
    Named(Named<Spanned<String>>),
}

impl<'d> Deserialize<'d> for Topics {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'d> Visitor<'d> for Visit {
            type Value = Topics;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of topics, or a mapping such as `{NAME: TOPIC}`")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Topics, E> {
                Ok(Topics::List(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'d>>(self, items: A) -> Result<Topics, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Topics::List)
            }

            fn visit_map<A: MapAccess<'d>>(self, entries: A) -> Result<Topics, A::Error> {
                Named::deserialize(MapAccessDeserializer::new(entries)).map(Topics::Named)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl JsonSchema for Topics {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Topics".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let list = generator.subschema_for::<Vec<String>>();
        let named = generator.subschema_for::<Named<String>>();
        json_schema!({ "anyOf": [list, named] })
    }
}
