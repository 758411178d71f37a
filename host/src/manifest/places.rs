//! Where things stand in the text of a manifest, for those who find out later that something is wrong with them.

use super::{
    NamedModule,
    report::{Span, first_line},
    tree::{Content, Node},
};
use std::collections::BTreeMap;

/// The places of everything that is written.
#[derive(Clone, Debug, Default)]
pub struct Places {
    at: Span,
    whole: Span,
    inner: BTreeMap<String, Places>,
}

impl Places {
    /// The place of what a path of keys leads to, such as `["stages", "price", "sha256"]`, or of the nearest thing
    /// above it that is written. Items of a list are numbered from 0. A mapping's place is its key.
    pub fn of(&self, path: &[&str]) -> Span {
        match path.split_first().and_then(|(key, rest)| Some((self.inner.get(*key)?, rest))) {
            Some((inner, rest)) => inner.of(rest),
            None => self.at.clone(),
        }
    }

    /// All that a path of keys leads to; `None` when it is not written.
    pub(crate) fn whole(&self, path: &[&str]) -> Option<Span> {
        match path.split_first() {
            Some((key, rest)) => self.inner.get(*key)?.whole(rest),
            None => Some(self.whole.clone()),
        }
    }

    /// The keys of the mapping that a path leads to.
    pub(super) fn keys(&self, path: &[&str]) -> impl Iterator<Item = &str> {
        let at = path.iter().try_fold(self, |places, key| places.inner.get(*key));
        at.into_iter().flat_map(|places| places.inner.keys().map(String::as_str))
    }

    /// The place of a module.
    pub fn module(&self, of: &NamedModule) -> Span {
        self.of(&[of.kind.key(), &of.name, "module"])
    }

    /// The place of a module's `sha256`.
    pub fn sha256(&self, of: &NamedModule) -> Span {
        self.of(&[of.kind.key(), &of.name, "sha256"])
    }

    pub(super) fn read(root: &Node, source: &str) -> Self {
        Places { at: first_line(source, &root.span), whole: root.span.clone(), inner: Places::inside(root) }
    }

    fn inside(node: &Node) -> BTreeMap<String, Places> {
        match &node.content {
            Content::Scalar(_) => BTreeMap::new(),
            Content::List(items) => {
                let place = |item: &Node| Places {
                    at: item.span.clone(),
                    whole: item.place().clone(),
                    inner: Places::inside(item),
                };
                items.iter().enumerate().map(|(index, item)| (index.to_string(), place(item))).collect()
            }
            Content::Map(map) => {
                let mut inner = BTreeMap::new();
                for entry in &map.entries {
                    let at = match &entry.value.content {
                        Content::Scalar(scalar) if !scalar.is_null() => &entry.value.span,
                        _ => &entry.key_span,
                    };
                    let whole = entry.key_span.start..entry.value.place().end.max(entry.key_span.end);
                    let place = Places { at: at.clone(), whole, inner: Places::inside(&entry.value) };
                    inner.insert(entry.key.borrow().clone(), place);
                }
                inner
            }
        }
    }
}
