//! The manifest's text as a tree whose nodes know their place, and whose parts can be set aside when they are wrong.

use super::report::Span;
use std::cell::{Cell, RefCell};

/// What the reader makes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is read as it is written.
    Good,
    /// It is wrong or missing, and reported: it reads as anything.
    Hole,
    /// Nothing could be made up for it: it reads as if it were not written.
    Skipped,
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    /// Where it stands by an alias; its span is then that of what the alias repeats.
    pub(super) alias: Option<Span>,
    pub(super) content: Content,
    pub(super) state: Cell<State>,
    /// Messages must not show it.
    pub(super) secret: bool,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Content {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A text, a number, nothing: the reader decides by what is wanted.
#[derive(Clone, Default)]
pub(super) struct Scalar {
    /// After the environment was put in.
    pub(super) text: String,
    pub(super) quoted: bool,
    /// Something of it came from the environment: messages show the source instead.
    pub(super) from_environment: bool,
}

/// A mapping, each key once.
#[derive(Clone, Default)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
    /// Keys that are required and not there: reported, and read as holes from then on.
    pub(super) missing: RefCell<Vec<&'static str>>,
    /// The text ended to be YAML inside it: what is missing may well stand behind.
    pub(super) cut_off: bool,
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Entry {
    /// As written, or the known key that was probably meant.
    pub(super) key: RefCell<String>,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

impl Scalar {
    /// YAML 1.2's words for nothing.
    pub(super) fn is_null(&self) -> bool {
        !self.quoted && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Map {
    /// The entry under this key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| *entry.key.borrow() == key)
    }
}

impl Node {
    /// A value as it is written.
    pub(super) fn new(span: Span, content: Content) -> Self {
        Node { span, alias: None, content, state: Cell::new(State::Good), secret: false }
    }

    /// Something that is wrong or missing.
    pub(super) fn hole(span: Span) -> Self {
        let node = Node::new(span, Content::Scalar(Scalar { quoted: true, ..Scalar::default() }));
        node.state.set(State::Hole);
        node
    }

    /// Where it stands, be it by an alias.
    pub(super) fn place(&self) -> &Span {
        self.alias.as_ref().unwrap_or(&self.span)
    }

    /// True when it reads as anything.
    pub(super) fn is_hole(&self) -> bool {
        self.state.get() == State::Hole
    }

    fn inner(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match &self.content {
            Content::Scalar(_) => Box::new(std::iter::empty()),
            Content::List(items) => Box::new(items.iter()),
            Content::Map(map) => Box::new(map.entries.iter().map(|entry| &entry.value)),
        }
    }

    /// How many values it holds, itself included.
    pub(super) fn count(&self) -> usize {
        1 + self.inner().map(Node::count).sum::<usize>()
    }

    /// How many values stand inside of each other.
    pub(super) fn depth(&self) -> usize {
        1 + self.inner().map(Node::depth).max().unwrap_or(0)
    }
}
