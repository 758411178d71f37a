//! What stands inside of a node, as serde walks it: the items of a list, the entries of a mapping, a word, and the
//! place of a value.

use super::{
    reader::{Context, Reader},
    refusal::{Refusal, one_of},
    report::Diagnostic,
    shapes,
    tree::{Entry, Map, Node, State},
};
use crate::text::nearest;
use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
        value::UsizeDeserializer,
    },
};

/// The items of a list.
pub(super) struct Items<'a> {
    rest: std::slice::Iter<'a, Node>,
    context: &'a Context<'a>,
}

impl<'a> Items<'a> {
    pub(super) fn new(items: &'a [Node], context: &'a Context<'a>) -> Self {
        Items { rest: items.iter(), context }
    }
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        let node = self.rest.find(|node| node.state.get() != State::Skipped);
        node.map(|node| seed.deserialize(Reader { node, context: self.context })).transpose()
    }
}

/// The entries of a mapping, and after them the keys that are missing, each with a hole under it.
pub(super) struct Entries<'a> {
    map: Option<(&'a Map, Reader<'a>)>,
    context: &'a Context<'a>,
    next: usize,
    value: Option<&'a Node>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(map: &'a Map, of: Reader<'a>) -> Self {
        Entries { map: Some((map, of)), context: of.context, next: 0, value: None }
    }

    /// Those of a hole.
    pub(super) fn empty(context: &'a Context<'a>) -> Self {
        Entries { map: None, context, next: 0, value: None }
    }
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        let Some((map, of)) = self.map else {
            return Ok(None);
        };
        while let Some(entry) = map.entries.get(self.next) {
            self.next += 1;
            if entry.value.state.get() != State::Skipped {
                self.value = Some(&entry.value);
                return seed.deserialize(Key { entry, map, of }).map(Some);
            }
        }
        let missing = map.missing.borrow().get(self.next - map.entries.len()).copied();
        self.next += 1;
        self.value = Some(&self.context.hole);
        missing.map(|key| seed.deserialize(key.into_deserializer())).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let node = self.value.take().expect("serde asks for a value only after its key");
        seed.deserialize(Reader { node, context: self.context })
    }
}

/// Reads the key of an entry.
#[derive(Clone, Copy)]
struct Key<'a> {
    entry: &'a Entry,
    map: &'a Map,
    of: Reader<'a>,
}

impl Key<'_> {
    /// Reports that the key is refused. One with a near name is then read as that name, so that its value is checked
    /// too and no "missing" follows; any other is passed over.
    fn refuse(self, refusal: Refusal) -> Refusal {
        let key = self.entry.key.borrow().clone();
        let shown = if self.of.node.secret { "…" } else { shapes::short(&key) };
        let mut diagnostic =
            Diagnostic::mistake(self.entry.key_span.clone(), format!("no key `{shown}` is known here"));
        let mut near = None;
        if let Refusal::UnknownKey(known) = refusal {
            near = nearest(&key, known.iter().copied());
            diagnostic = diagnostic.help(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", one_of(known, "and")),
            });
        }
        self.of.context.findings.add(diagnostic);
        match near {
            Some(near) if self.map.get(near).is_none() => *self.entry.key.borrow_mut() = near.to_owned(),
            _ => self.entry.value.state.set(State::Skipped),
        }
        Refusal::Reported
    }
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let key = self.entry.key.borrow().clone();
        visitor.visit_str(&key).map_err(|refusal| self.refuse(refusal))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        match name {
            shapes::SPANNED => visitor.visit_seq(Located::key(self)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

/// A value or a key as [`shapes::Spanned`] wants it: whether it is there, where it starts and ends, how it is
/// written, and what it is.
pub(super) struct Located<'a> {
    of: Of<'a>,
    next: usize,
}

#[derive(Clone, Copy)]
enum Of<'a> {
    Value(Reader<'a>),
    Key(Key<'a>),
}

impl<'a> Located<'a> {
    pub(super) fn value(reader: Reader<'a>) -> Self {
        Located { of: Of::Value(reader), next: 0 }
    }

    fn key(key: Key<'a>) -> Self {
        Located { of: Of::Key(key), next: 0 }
    }
}

impl<'a> SeqAccess<'a> for Located<'a> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        let span = match self.of {
            Of::Value(reader) => &reader.node.span,
            Of::Key(key) => &key.entry.key_span,
        };
        self.next += 1;
        match (self.next, self.of) {
            (1, Of::Value(reader)) => seed.deserialize(u8::from(!reader.node.is_hole()).into_deserializer()),
            (1, Of::Key(_)) => seed.deserialize(1_u8.into_deserializer()),
            (2, _) => seed.deserialize::<UsizeDeserializer<Refusal>>(span.start.into_deserializer()),
            (3, _) => seed.deserialize::<UsizeDeserializer<Refusal>>(span.end.into_deserializer()),
            (4, Of::Value(reader)) => seed.deserialize(reader.written().into_deserializer()),
            (4, Of::Key(key)) => seed.deserialize(key.entry.key.borrow().as_str().into_deserializer()),
            (_, Of::Value(reader)) => seed.deserialize(reader),
            (_, Of::Key(key)) => seed.deserialize(key),
        }
        .map(Some)
    }
}

/// One of a few words.
pub(super) struct Word<'a>(pub(super) &'a str);

impl<'a> EnumAccess<'a> for Word<'a> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<(S::Value, Self), Refusal> {
        let word = IntoDeserializer::<Refusal>::into_deserializer(self.0);
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'a> VariantAccess<'a> for Word<'a> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'a>>(self, _: S) -> Result<S::Value, Refusal> {
        Err(only_a_word(self.0))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, _: V) -> Result<V::Value, Refusal> {
        Err(only_a_word(self.0))
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Refusal> {
        Err(only_a_word(self.0))
    }
}

fn only_a_word(word: &str) -> Refusal {
    serde::de::Error::invalid_type(Unexpected::Str(word), &"a mapping")
}
