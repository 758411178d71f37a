//! Serde over the tree, without stopping at the first mistake.
//!
//! A mistake is reported at the innermost node that it passes; the node becomes a hole, which reads as anything,
//! and the whole is read again until it goes through. So the types need nothing but `derive(Deserialize)`, and what
//! is left of a wrong manifest can still be checked as a whole.

use super::{
    parts::{Entries, Items, Located, Word},
    refusal::{Refusal, TRUTH},
    report::{Diagnostic, Findings, first_line},
    shapes,
    tree::{Content, Node, Scalar, State},
};
use crate::text::nearest;
use serde::{
    Deserializer,
    de::{self, DeserializeOwned, Unexpected, Visitor},
};

/// No text is that wrong by mistake, and each pass costs a reading of the whole.
const MOST_PASSES: usize = 500;

/// What could be read of the tree; `None` when nothing could.
pub(super) fn collect<T: DeserializeOwned>(root: &Node, source: &str, findings: &Findings) -> Option<T> {
    let context = Context { source, findings, hole: Node::hole(0..0) };
    for _ in 0..MOST_PASSES {
        match T::deserialize(Reader { node: root, context: &context }) {
            Ok(value) => return Some(value),
            Err(_) if root.state.get() == State::Skipped => return None,
            // A node was set aside: again. A node's state changes at most twice.
            Err(_) => {}
        }
    }
    findings.add(
        Diagnostic::mistake(root.span.end..root.span.end, "there may be more mistakes than these")
            .help("correct these first"),
    );
    None
}

/// What all readers of one text share.
pub(super) struct Context<'a> {
    pub(super) source: &'a str,
    pub(super) findings: &'a Findings,
    /// What stands for a key that is missing.
    pub(super) hole: Node,
}

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) context: &'a Context<'a>,
}

impl<'a> Reader<'a> {
    /// What stands in the text, fit for a message; nothing of what is secret or comes from the environment.
    pub(super) fn written(&self) -> &'a str {
        match &self.node.content {
            _ if self.node.secret => "…",
            Content::Scalar(Scalar { text, from_environment: false, .. }) => text,
            _ => &self.context.source[self.node.span.clone()],
        }
    }

    fn refuses_lists<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            // `derive` would take it for the fields in their order.
            Content::List(_) if !self.node.is_hole() => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.any(visitor),
        }
    }

    fn any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            _ if self.node.is_hole() => visitor.visit_unit(),
            Content::List(items) => visitor.visit_seq(Items::new(items, self.context)),
            Content::Map(map) => visitor.visit_map(Entries::new(map, self)),
            Content::Scalar(scalar) if scalar.quoted => visitor.visit_str(&scalar.text),
            Content::Scalar(scalar) => typed(scalar, visitor),
        }
    }

    /// A number or a truth is wanted: what the environment gives is one, even where the text needs quotes for it.
    fn typed<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Scalar(scalar) if scalar.from_environment => typed(scalar, visitor),
            _ => self.any(visitor),
        }
    }

    /// Reports a refusal at the innermost node that it passes, and sets that node aside.
    pub(super) fn settle<T>(self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        result.map_err(|refusal| {
            if matches!(refusal, Refusal::Reported) {
                return refusal;
            }
            if std::ptr::eq(self.node, &self.context.hole) {
                return Refusal::InHole;
            }
            if self.node.is_hole() {
                // Nothing could be made up for it: as if it were not written.
                self.node.state.set(State::Skipped);
                return Refusal::Reported;
            }
            match refusal {
                Refusal::InHole => self.lose(),
                Refusal::Missing(key) => self.miss(key),
                refusal => {
                    self.node.state.set(State::Hole);
                    if matches!(refusal, Refusal::ExpectedMap { .. }) {
                        self.context.findings.set_incomplete();
                    }
                    self.context.findings.add(self.describe(refusal));
                }
            }
            Refusal::Reported
        })
    }

    /// A part that must be there could not be made up: nothing of the node is left.
    fn lose(self) {
        self.node.state.set(State::Hole);
        self.context.findings.set_incomplete();
    }

    fn miss(self, key: &'static str) {
        let Content::Map(map) = &self.node.content else {
            return self.lose();
        };
        if map.get(key).is_some() {
            return self.lose(); // It is there, but had to be skipped.
        }
        map.missing.borrow_mut().push(key);
        if !map.cut_off {
            let at = first_line(self.context.source, &self.node.span);
            self.context
                .findings
                .add(Diagnostic::mistake(at, format!("`{key}` is missing here")).help(format!("add `{key}: …`")));
        }
    }

    fn refused(self, refusal: &Refusal) -> Diagnostic {
        let from_environment = matches!(&self.node.content, Content::Scalar(scalar) if scalar.from_environment);
        let message = match self.node.secret || from_environment {
            true => "this is not accepted here".to_owned(),
            false => refusal.to_string(),
        };
        Diagnostic::mistake(self.node.span.clone(), message)
    }

    fn describe(self, refusal: Refusal) -> Diagnostic {
        let (expected, found, words) = match refusal {
            Refusal::Expected { expected, found, words } => (expected, found, words),
            Refusal::ExpectedMap { expected, found } => (expected, found, &[] as &[_]),
            other => return self.refused(&other),
        };
        let (found, help) = match &self.node.content {
            _ if self.node.secret => ("something else".to_owned(), None),
            Content::Scalar(scalar) if scalar.from_environment => {
                (format!("something else in `{}`", shapes::short(self.written())), None)
            }
            Content::Scalar(scalar) if !scalar.is_null() => {
                (format!("`{}`", shapes::short(&scalar.text)), way_out(scalar, &expected, words))
            }
            Content::Scalar(_) if expected.starts_with("a text") => {
                (found, Some("write \"\" for an empty text".to_owned()))
            }
            _ => (found, None),
        };
        let diagnostic = Diagnostic::mistake(self.node.span.clone(), format!("expected {expected}, found {found}"));
        match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

fn way_out(scalar: &Scalar, expected: &str, words: &[&'static str]) -> Option<String> {
    if scalar.quoted && expected.starts_with("a whole number") && scalar.text.parse::<u64>().is_ok() {
        return Some("a number stands without quotes".to_owned());
    }
    if scalar.quoted && expected == TRUTH && matches!(&*scalar.text, "true" | "false") {
        return Some(format!("`{}` stands without quotes", scalar.text));
    }
    nearest(&scalar.text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"))
}

/// YAML 1.2's core schema: `no` and `on` are texts.
fn typed<'a, V: Visitor<'a>>(scalar: &'a Scalar, visitor: V) -> Result<V::Value, Refusal> {
    let text = &*scalar.text;
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return visitor.visit_unit(),
        "true" | "True" | "TRUE" => return visitor.visit_bool(true),
        "false" | "False" | "FALSE" => return visitor.visit_bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<u64>() {
        return visitor.visit_u64(number);
    }
    if let Ok(number) = text.parse::<i64>() {
        return visitor.visit_i64(number);
    }
    match text.parse::<f64>() {
        // Rust's `inf` and `nan` are texts in YAML.
        Ok(number) if text.contains(|c: char| c.is_ascii_digit()) => visitor.visit_f64(number),
        _ => visitor.visit_str(text),
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(self.any(visitor))
    }

    /// A text is wanted: 8080 and 1e3 stay as they are written.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(match &self.node.content {
            _ if self.node.is_hole() => visitor.visit_str(""),
            Content::Scalar(scalar) if !scalar.is_null() => visitor.visit_str(&scalar.text),
            _ => self.any(visitor),
        })
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(if self.node.is_hole() { visitor.visit_u64(1) } else { self.typed(visitor) })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(if self.node.is_hole() { visitor.visit_bool(false) } else { self.typed(visitor) })
    }

    /// Nothing, also when the environment gives nothing, is as if it were not written.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(match &self.node.content {
            _ if self.node.is_hole() => visitor.visit_some(self),
            Content::Scalar(scalar) if scalar.is_null() => visitor.visit_none(),
            Content::Scalar(scalar) if scalar.from_environment && scalar.text.is_empty() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(match self.node.is_hole() {
            true => visitor.visit_seq(Items::new(&[], self.context)),
            false => self.any(visitor),
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(match self.node.is_hole() {
            true => visitor.visit_map(Entries::empty(self.context)),
            false => self.refuses_lists(visitor),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        self.settle(match (name, &self.node.content) {
            (shapes::SPANNED, _) => visitor.visit_seq(Located::value(self)),
            (shapes::MANY, Content::List(_)) => return self.deserialize_seq(visitor),
            (shapes::MANY, _) => visitor.visit_seq(Items::new(std::slice::from_ref(self.node), self.context)),
            (shapes::AS_WRITTEN, Content::Scalar(_)) => return self.deserialize_str(visitor),
            (shapes::AS_WRITTEN, _) => self.any(visitor),
            _ => visitor.visit_newtype_struct(self),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.settle(match &self.node.content {
            Content::Scalar(scalar) if !scalar.is_null() => visitor.visit_enum(Word(&scalar.text)),
            Content::Scalar(_) => Err(expected_word("nothing", words)),
            Content::List(_) => Err(expected_word("a list", words)),
            Content::Map(_) => Err(expected_word("a mapping", words)),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

fn expected_word(found: &str, words: &'static [&'static str]) -> Refusal {
    Refusal::Expected { expected: super::refusal::one_of(words, "or"), found: found.to_owned(), words }
}
