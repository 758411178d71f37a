//! Whether a new schema reads what an old one wrote, by Avro's rules for that: fields by their names and the names they had
//! before, what is missing by its default, a number in a wider one. (The library's own check knows no alias of a type, and
//! takes a record that is defined where it is used for another than one that is only named there.)

use super::{
    Avro, Misfit,
    shape::{Node, Record, Shape, Uuid},
    time::Unit,
};
use std::collections::HashMap;

pub(super) fn check(old: &Avro, new: &Avro) -> Result<(), Misfit> {
    let mut check = Check { old, new, held: Vec::new(), refused: HashMap::new() };
    check.reads(old.root, new.root)
}

struct Check<'a> {
    old: &'a Avro,
    new: &'a Avro,
    /// Records of which it is so, as far as all of this is. One that is looked at stands here already: it may have itself
    /// within.
    held: Vec<(usize, usize)>,
    /// Those of which it is not.
    refused: HashMap<(usize, usize), Misfit>,
}

impl Check<'_> {
    fn reads(&mut self, old: usize, new: usize) -> Result<(), Misfit> {
        let (was, is) = (self.old.node(old), self.new.node(new));
        let no = || Misfit::new(format!("{} does not read {}", name(self.new, is), name(self.old, was)));
        match (&was.shape, &is.shape) {
            (Shape::Union(branches), _) => branches.iter().try_for_each(|branch| self.reads(*branch, new)),
            (_, Shape::Union(branches)) => {
                let mut deepest = no();
                for branch in branches {
                    match self.reads(old, *branch) {
                        Ok(()) => return Ok(()),
                        // The branch that was meant has most in common.
                        Err(misfit) if misfit.depth() > deepest.depth() => deepest = misfit,
                        Err(_) => {}
                    }
                }
                Err(deepest)
            }
            (Shape::Array(was), Shape::Array(is)) | (Shape::Map(was), Shape::Map(is)) => {
                self.reads(*was, *is).map_err(Misfit::in_each)
            }
            (Shape::Record(from), Shape::Record(to)) if is_named_like(was, is) => self.record((old, new), from, to),
            (Shape::Enum { symbols: was_symbols, .. }, Shape::Enum { symbols, has_default })
                if is_named_like(was, is) =>
            {
                let gone = was_symbols.iter().find(|symbol| !has_default && !symbols.contains(symbol));
                gone.map_or(Ok(()), |gone| Err(Misfit::new(format!("{} has no symbol {gone} any more", is.name))))
            }
            (
                Shape::Decimal { precision: was_precision, scale: was_scale, .. },
                Shape::Decimal { precision, scale, .. },
            ) if (was_precision, was_scale) != (precision, scale) => Err(Misfit::new(format!(
                "a decimal({precision}, {scale}) does not read a decimal({was_precision}, {was_scale})"
            ))),
            (from, to) => match (Plain::of(from), Plain::of(to)) {
                (Some(Plain::Fixed(_)), Some(Plain::Fixed(_))) if !is_named_like(was, is) => Err(no()),
                (Some(from), Some(to)) if from == to || from.widens_to(to) => Ok(()),
                _ => Err(no()),
            },
        }
    }

    fn record(&mut self, pair: (usize, usize), old: &Record, new: &Record) -> Result<(), Misfit> {
        if self.held.contains(&pair) {
            return Ok(());
        }
        if let Some(misfit) = self.refused.get(&pair) {
            return Err(misfit.clone());
        }
        let start = self.held.len();
        self.held.push(pair);
        let read = new.fields.iter().try_for_each(|field| {
            let mut names = [&field.name].into_iter().chain(&field.aliases);
            let result = match names.find_map(|name| old.by_name.get(name)) {
                Some(at) => self.reads(old.fields[*at].node, field.node),
                None if field.default.is_some() => Ok(()),
                None => Err(Misfit::new("it is new, and has no default")),
            };
            result.map_err(|misfit| misfit.in_field(&field.name))
        });
        if let Err(misfit) = &read {
            // What was found meanwhile may have relied on it.
            self.held.truncate(start);
            self.refused.insert(pair, misfit.clone());
        }
        read
    }
}

/// What lies under a type without parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
}

impl Plain {
    fn of(shape: &Shape) -> Option<Plain> {
        Some(match shape {
            Shape::Null => Plain::Null,
            Shape::Boolean => Plain::Boolean,
            Shape::Int | Shape::Date | Shape::Time(Unit::Millis) => Plain::Int,
            Shape::Long | Shape::Time(_) | Shape::Timestamp { .. } => Plain::Long,
            Shape::Float => Plain::Float,
            Shape::Double => Plain::Double,
            Shape::Bytes | Shape::Decimal { size: None, .. } => Plain::Bytes,
            Shape::String | Shape::Uuid(Uuid::Text) => Plain::Text,
            Shape::Fixed(size) | Shape::Decimal { size: Some(size), .. } => Plain::Fixed(*size),
            Shape::Uuid(Uuid::Fixed) => Plain::Fixed(16),
            Shape::Duration => Plain::Fixed(12),
            Shape::Array(_) | Shape::Map(_) | Shape::Union(_) | Shape::Record(_) | Shape::Enum { .. } => return None,
        })
    }

    fn widens_to(self, other: Plain) -> bool {
        match self {
            Plain::Int => matches!(other, Plain::Long | Plain::Float | Plain::Double),
            Plain::Long => matches!(other, Plain::Float | Plain::Double),
            Plain::Float => other == Plain::Double,
            Plain::Bytes => other == Plain::Text,
            Plain::Text => other == Plain::Bytes,
            _ => false,
        }
    }
}

/// By Avro's rules a namespace does not matter, and the new one may say what it was called before.
fn is_named_like(old: &Node, new: &Node) -> bool {
    old.name.rsplit('.').next() == new.name.rsplit('.').next() || new.aliases.contains(&old.name)
}

/// What a message calls a type.
fn name(avro: &Avro, node: &Node) -> String {
    match &node.shape {
        Shape::Union(branches) => {
            let names: Vec<_> = branches.iter().map(|branch| avro.node(*branch).name.as_str()).collect();
            format!("[{}]", names.join(", "))
        }
        _ => node.name.clone(),
    }
}
