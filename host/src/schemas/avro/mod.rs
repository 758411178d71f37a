//! Avro: a schema made ready to turn bytes into JSON text and JSON text into bytes, each in one go.
//!
//! The mapping stands in `docs/guide.md`, under "Schemas". What is written from bytes comes back as the same bytes,
//! unless a union has branches that look alike in JSON.

mod decimal;
mod decode;
mod defaults;
mod encode;
mod evolve;
mod json;
mod names;
mod shape;
#[cfg(test)]
mod tests;
mod time;

use super::Misfit;
use shape::Node;

/// The deepest value: as deep as JSON is read.
const DEEPEST: usize = 120;
/// The largest JSON text that is made of a value, and the most bytes. A few bytes can say that there are billions of empty
/// items.
const LARGEST: usize = 64 << 20;

/// Whether two schemas, each with those that it refers to, are the same but for what says nothing of a value's bytes.
pub(super) fn is_alike(one: (&str, &[String]), other: (&str, &[String])) -> bool {
    // The last one is the schema itself.
    let parsed = |(text, known)| shape::parse(text, known).ok()?.pop();
    parsed(one).is_some_and(|one| Some(one) == parsed(other))
}

/// A schema.
#[derive(Debug)]
pub(super) struct Avro {
    nodes: Vec<Node>,
    root: usize,
}

impl Avro {
    /// Reads a schema's text; `known` are the texts of those that it refers to. In words, what is wrong with it.
    pub(super) fn read(text: &str, known: &[String]) -> Result<Avro, String> {
        shape::read(text, known)
    }

    /// Appends a value as JSON text.
    pub(super) fn decode(&self, body: &[u8], to: &mut Vec<u8>) -> Result<(), Misfit> {
        decode::decode(self, body, to)
    }

    /// Appends the bytes of a value that is given as JSON text.
    pub(super) fn encode(&self, text: &[u8], to: &mut Vec<u8>) -> Result<(), Misfit> {
        encode::encode(self, text, to)
    }

    /// Whether who reads with this schema reads what was written with the old one; where not, and why.
    pub(super) fn reads(&self, old: &Avro) -> Result<(), Misfit> {
        evolve::check(old, self)
    }

    fn node(&self, id: usize) -> &Node {
        &self.nodes[id]
    }
}
