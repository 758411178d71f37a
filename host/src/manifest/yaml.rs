//! From YAML text to the tree. The parser gives events with their places; anchors, aliases, merge keys and the
//! environment are put in here, and what is wrong with the text itself is reported without giving up the rest.

use super::{
    Environment,
    environment::expand,
    report::{Diagnostic, Findings, Span},
    shapes::short,
    syntax,
    tree::{Content, Entry, Map, Node, Scalar, State},
};
use granit_parser::{Event, Parser, ScalarStyle};
use std::{
    cell::RefCell,
    collections::{
        HashMap,
        hash_map::Entry::{Occupied, Vacant},
    },
};

/// A bomb of aliases must not eat the host's memory.
const MOST_COPIED: usize = 10_000;
/// What is read recursively must not eat its stack.
const DEEPEST: usize = 64;

/// What a text is, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Document {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What stands in one that is not empty.
    pub(crate) outline: &'static str,
    /// Some of its values must not be shown.
    pub(crate) has_secrets: bool,
}

/// Never fails: what cannot be read is reported, and what was read before it is returned. Without an environment,
/// `${` in a value means nothing.
pub(super) fn read(
    document: Document,
    source: &str,
    environment: Option<Environment<'_>>,
    findings: &Findings,
) -> Node {
    let (open, anchors) = (Vec::new(), HashMap::new());
    let mut builder = Builder { document, source, environment, findings, open, anchors, copied: 0, root: None };
    let options = granit_parser::options! { emit_unresolved_aliases: true };
    let mut parser = Parser::new_from_str_with_options(source, options);
    loop {
        match parser.next_event() {
            Some(Ok((event, span))) => {
                let span = whole_characters(source, span.byte_range().unwrap_or_default());
                if let Err(Refused) = builder.take(event, span) {
                    findings.set_cut_off();
                    return Node::hole(0..0);
                }
            }
            Some(Err(error)) => {
                let at = syntax::report(source, &error, findings);
                return builder.cut_off(at);
            }
            None => break,
        }
    }
    match builder.root {
        Some(Node { content: Content::Scalar(scalar), .. }) if scalar.is_null() => empty(document, findings),
        Some(root) => root,
        None => empty(document, findings),
    }
}

fn empty(document: Document, findings: &Findings) -> Node {
    findings.set_cut_off();
    findings.add(Diagnostic::mistake(0..0, format!("the {} is empty", document.name)).help(document.outline));
    Node::hole(0..0)
}

/// A span that slices the source, whatever the parser says.
fn whole_characters(source: &str, span: Span) -> Span {
    let start = syntax::floor_char(source, span.start);
    start..syntax::floor_char(source, span.end).max(start)
}

/// The text as a whole is refused, and that is reported.
struct Refused;

/// A list or a mapping whose end has not come yet.
struct Open {
    start: usize,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<Node> },
}

struct Builder<'a> {
    document: Document,
    source: &'a str,
    environment: Option<Environment<'a>>,
    findings: &'a Findings,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Refused> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.findings.add(
                    Diagnostic::mistake(span, format!("a {} is one document", self.document.name))
                        .help("remove the `---` and what does not belong to it"),
                );
                return Err(Refused);
            }
            Event::MappingStart(_, anchor, _) => {
                let kind = OpenKind::Map { entries: Vec::new(), key: None };
                return self.start(span, anchor, kind);
            }
            Event::SequenceStart(_, anchor, _) => {
                return self.start(span, anchor, OpenKind::List(Vec::new()));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let open = self.open.pop().expect("the parser ends only what it started");
                let (node, anchor) = self.close(open, span.end, false);
                self.put(node, anchor);
            }
            Event::Scalar(text, style, anchor, _) => {
                let node = self.scalar(span, &text, style != ScalarStyle::Plain);
                self.put(node, anchor);
            }
            Event::Alias(anchor) => {
                let node = self.alias(anchor, span)?;
                self.put(node, 0);
            }
            Event::UnresolvedAlias(name) => {
                self.findings.add(
                    Diagnostic::mistake(span.clone(), format!("no anchor `&{name}` stands before this"))
                        .help(format!("write `&{name}` before the value that is meant")),
                );
                self.put(Node::hole(span), 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, span: Span, anchor: usize, kind: OpenKind) -> Result<(), Refused> {
        self.check_depth(1, &span)?;
        self.open.push(Open { start: span.start, anchor, kind });
        Ok(())
    }

    fn check_depth(&self, more: usize, span: &Span) -> Result<(), Refused> {
        if self.open.len() + more <= DEEPEST {
            return Ok(());
        }
        self.findings.add(
            Diagnostic::mistake(span.clone(), format!("this is nested more than {DEEPEST} levels deep"))
                .help("write it flatter, or as a text"),
        );
        Err(Refused)
    }

    /// A key stays as it is; in a value the environment is put in.
    fn scalar(&self, span: Span, text: &str, quoted: bool) -> Node {
        let is_key = matches!(self.open.last(), Some(Open { kind: OpenKind::Map { key: None, .. }, .. }));
        if is_key {
            let scalar = Scalar { text: text.to_owned(), quoted, from_environment: false };
            return Node::new(span, Content::Scalar(scalar));
        }
        let Some(environment) = self.environment else {
            let scalar = Scalar { text: text.to_owned(), quoted, from_environment: false };
            return Node::new(span, Content::Scalar(scalar));
        };
        let expanded = expand(self.source, &span, text, environment, self.findings);
        let scalar = Scalar { text: expanded.text, quoted, from_environment: expanded.from_environment };
        let node = Node::new(span, Content::Scalar(scalar));
        if expanded.broken {
            node.state.set(State::Hole);
        }
        node
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Refused> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.findings.add(
                Diagnostic::mistake(span.clone(), "this stands inside of what it repeats")
                    .help("write the value out here"),
            );
            return Ok(Node::hole(span));
        };
        self.check_depth(node.depth(), &span)?;
        self.copied += node.count();
        if self.copied > MOST_COPIED {
            self.findings.add(
                Diagnostic::mistake(span, format!("the aliases stand for more than {MOST_COPIED} values"))
                    .help("use fewer aliases of aliases"),
            );
            return Err(Refused);
        }
        Ok(Node { alias: Some(span), ..node })
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push(Entry {
                    key: RefCell::new(key_text(&key, self.source)),
                    key_span: key.span,
                    value: node,
                }),
            },
        }
    }

    fn close(&self, open: Open, end: usize, cut_off: bool) -> (Node, usize) {
        let last = match &open.kind {
            OpenKind::List(items) => items.last(),
            OpenKind::Map { entries, .. } => entries.last().map(|entry| &entry.value),
        };
        // Without a bracket, the parser sees the end only where something else begins, behind any comments.
        let end = match last {
            Some(last) if !self.source[..end].ends_with(['}', ']']) => last.place().end,
            _ => end,
        };
        // Its end of an empty collection may lie before its start.
        let span = open.start..end.max(open.start);
        let content = match open.kind {
            OpenKind::List(items) => Content::List(items),
            OpenKind::Map { entries, .. } => Content::Map(self.map(entries, cut_off)),
        };
        (Node::new(span, content), open.anchor)
    }

    /// Reports keys that are there twice, and takes in what `<<` brings.
    fn map(&self, written: Vec<Entry>, cut_off: bool) -> Map {
        let mut map = Map { cut_off, ..Map::default() };
        let (merged, own): (Vec<_>, Vec<_>) = written.into_iter().partition(|entry| *entry.key.borrow() == "<<");
        let mut seen = HashMap::new();
        for entry in own {
            let key = entry.key.borrow().clone();
            match seen.entry(key) {
                Occupied(first) => self.findings.add(
                    Diagnostic::mistake(entry.key_span, format!("`{}` is given twice", short(first.key())))
                        .also(Span::clone(first.get()), "first here")
                        .help("keep one of the two"),
                ),
                Vacant(free) => {
                    free.insert(entry.key_span.clone());
                    map.entries.push(entry);
                }
            }
        }
        for entry in merged {
            let values = match entry.value.content {
                Content::List(items) => items,
                _ => vec![entry.value],
            };
            for value in values {
                self.merge(value, &mut map, &mut seen);
            }
        }
        map
    }

    fn merge(&self, value: Node, into: &mut Map, seen: &mut HashMap<String, Span>) {
        match value.content {
            Content::Map(more) => {
                for entry in more.entries {
                    let key = entry.key.borrow().clone();
                    if let Vacant(free) = seen.entry(key) {
                        free.insert(entry.key_span.clone());
                        into.entries.push(entry);
                    }
                }
            }
            _ if value.is_hole() => {}
            _ => self.findings.add(
                Diagnostic::mistake(value.span, "`<<` takes a mapping or a list of mappings")
                    .help("write `<<: *name`, where `&name` stands before a mapping"),
            ),
        }
    }

    /// The text is no YAML from here on: closes what is open and returns what there is.
    fn cut_off(mut self, at: usize) -> Node {
        self.findings.set_cut_off();
        while let Some(open) = self.open.pop() {
            let (node, anchor) = self.close(open, at, true);
            self.put(node, anchor);
        }
        self.root.unwrap_or_else(|| Node::hole(0..0))
    }
}

/// A key that is no plain text is called as it is written.
fn key_text(key: &Node, source: &str) -> String {
    match &key.content {
        Content::Scalar(Scalar { text, from_environment: false, .. }) => text.clone(),
        _ => source[key.span.clone()].to_owned(),
    }
}
