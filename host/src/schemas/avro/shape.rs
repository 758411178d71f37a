//! A schema's types, each in one place, so that a recursive one is nothing special.

use super::{Avro, defaults, json::Kinds, time::Unit};
use apache_avro::{
    Schema,
    schema::{InnerDecimalSchema, Name, RecordSchema, UuidSchema},
};
use std::collections::HashMap;

/// A type.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    /// What it may be in JSON.
    pub(super) kinds: Kinds,
    /// What messages, and tags in JSON, call it: a name, or a word such as `long`.
    pub(super) name: String,
}

#[derive(Debug)]
pub(super) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Record),
    Enum(Vec<String>),
    Fixed(usize),
    /// A fixed one has a size.
    Decimal {
        precision: usize,
        scale: usize,
        size: Option<usize>,
    },
    Uuid(Uuid),
    Date,
    Time(Unit),
    Timestamp {
        unit: Unit,
        is_local: bool,
    },
    Duration,
}

/// How a UUID is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Uuid {
    Text,
    Bytes,
    Fixed,
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    pub(super) by_name: HashMap<String, usize>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// `"name":`, as JSON has it.
    pub(super) key: Vec<u8>,
    pub(super) node: usize,
    /// The bytes that stand for it where nothing is given.
    pub(super) default: Option<Vec<u8>>,
}

/// Reads a schema as the library does.
pub(super) fn parse(text: &str, known: &[String]) -> Result<Schema, String> {
    let parsed = match known {
        [] => Schema::parse_str(text),
        known => Schema::parse_str_with_list(text, known).map(|(schema, _)| schema),
    };
    parsed.map_err(|error| error.to_string())
}

pub(super) fn read(text: &str, known: &[String]) -> Result<Avro, String> {
    let (schema, others) = match known {
        [] => (parse(text, known)?, Vec::new()),
        known => Schema::parse_str_with_list(text, known).map_err(|error| error.to_string())?,
    };
    let mut builder = Builder::default();
    for other in &others {
        builder.define(other, None)?;
    }
    let root = builder.build(&schema, None)?;
    builder.finish(root)
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Option<Node>>,
    named: HashMap<String, usize>,
    /// Defaults are written when all types are known: the record, the field, what stands in the schema.
    defaults: Vec<(usize, usize, serde_json::Value)>,
}

impl Builder {
    /// A type that others may refer to.
    fn define(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<(), String> {
        match schema.name() {
            // One may have been met within another.
            Some(name) if self.named.contains_key(&name.fullname(namespace)) => Ok(()),
            _ => self.build(schema, namespace).map(drop),
        }
    }

    /// `namespace` is that of the type around it.
    fn build(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<usize, String> {
        let plain = |shape, kinds, name: &str| Node { shape, kinds, name: name.to_owned() };
        let counted = Kinds::TEXT.or(Kinds::NUMBER);
        let timestamp = |unit, is_local| plain(Shape::Timestamp { unit, is_local }, counted, "long");
        let node = match schema {
            Schema::Null => plain(Shape::Null, Kinds::NULL, "null"),
            Schema::Boolean => plain(Shape::Boolean, Kinds::BOOL, "boolean"),
            Schema::Int => plain(Shape::Int, Kinds::NUMBER, "int"),
            Schema::Long => plain(Shape::Long, Kinds::NUMBER, "long"),
            Schema::Float => plain(Shape::Float, counted, "float"),
            Schema::Double => plain(Shape::Double, counted, "double"),
            Schema::Bytes | Schema::BigDecimal => plain(Shape::Bytes, Kinds::MAP, "bytes"),
            Schema::String => plain(Shape::String, Kinds::TEXT, "string"),
            Schema::Array(array) => {
                let items = self.build(&array.items, namespace)?;
                plain(Shape::Array(items), Kinds::LIST, "array")
            }
            Schema::Map(map) => {
                let values = self.build(&map.types, namespace)?;
                plain(Shape::Map(values), Kinds::MAP, "map")
            }
            Schema::Union(union) => {
                let branches: Result<Vec<_>, _> =
                    union.variants().iter().map(|branch| self.build(branch, namespace)).collect();
                // What it may be is put together at the end.
                plain(Shape::Union(branches?), Kinds::default(), "union")
            }
            Schema::Record(record) => return self.record(record, namespace),
            Schema::Enum(symbols) => {
                let name = symbols.name.fullname(namespace);
                return Ok(self.name(name, Shape::Enum(symbols.symbols.clone()), Kinds::TEXT));
            }
            Schema::Fixed(fixed) => {
                return Ok(self.name(fixed.name.fullname(namespace), Shape::Fixed(fixed.size), Kinds::MAP));
            }
            Schema::Decimal(decimal) => {
                let (precision, scale) = (decimal.precision, decimal.scale);
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => {
                        plain(Shape::Decimal { precision, scale, size: None }, counted, "bytes")
                    }
                    InnerDecimalSchema::Fixed(fixed) => {
                        let shape = Shape::Decimal { precision, scale, size: Some(fixed.size) };
                        return Ok(self.name(fixed.name.fullname(namespace), shape, counted));
                    }
                }
            }
            Schema::Uuid(UuidSchema::String) => plain(Shape::Uuid(Uuid::Text), Kinds::TEXT, "string"),
            Schema::Uuid(UuidSchema::Bytes) => plain(Shape::Uuid(Uuid::Bytes), Kinds::TEXT, "bytes"),
            Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return Ok(self.name(fixed.name.fullname(namespace), Shape::Uuid(Uuid::Fixed), Kinds::TEXT));
            }
            Schema::Date => plain(Shape::Date, counted, "int"),
            Schema::TimeMillis => plain(Shape::Time(Unit::Millis), counted, "int"),
            Schema::TimeMicros => plain(Shape::Time(Unit::Micros), counted, "long"),
            Schema::TimestampMillis => timestamp(Unit::Millis, false),
            Schema::TimestampMicros => timestamp(Unit::Micros, false),
            Schema::TimestampNanos => timestamp(Unit::Nanos, false),
            Schema::LocalTimestampMillis => timestamp(Unit::Millis, true),
            Schema::LocalTimestampMicros => timestamp(Unit::Micros, true),
            Schema::LocalTimestampNanos => timestamp(Unit::Nanos, true),
            Schema::Duration(fixed) => {
                return Ok(self.name(fixed.name.fullname(namespace), Shape::Duration, Kinds::MAP));
            }
            Schema::Ref { name } => {
                return self
                    .find(name, namespace)
                    .ok_or_else(|| format!("there is no type {}", name.fullname(namespace)));
            }
        };
        Ok(self.put(node))
    }

    fn record(&mut self, record: &RecordSchema, namespace: Option<&str>) -> Result<usize, String> {
        let name = record.name.fullname(namespace);
        let namespace = record.name.namespace().or(namespace);
        // It may have itself within.
        let id = self.nodes.len();
        self.nodes.push(None);
        self.named.insert(name.clone(), id);
        let mut fields = Vec::new();
        for (at, field) in record.fields.iter().enumerate() {
            let node = self.build(&field.schema, namespace)?;
            let key = format!("{}:", serde_json::Value::from(field.name.as_str())).into_bytes();
            fields.push(Field { name: field.name.clone(), key, node, default: None });
            if let Some(default) = &field.default {
                self.defaults.push((id, at, default.clone()));
            }
        }
        let by_name = fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        self.nodes[id] = Some(Node { shape: Shape::Record(Record { fields, by_name }), kinds: Kinds::MAP, name });
        Ok(id)
    }

    fn put(&mut self, node: Node) -> usize {
        self.nodes.push(Some(node));
        self.nodes.len() - 1
    }

    fn name(&mut self, name: String, shape: Shape, kinds: Kinds) -> usize {
        let id = self.put(Node { shape, kinds, name: name.clone() });
        self.named.insert(name, id);
        id
    }

    fn find(&self, name: &Name, namespace: Option<&str>) -> Option<usize> {
        self.named.get(&name.fullname(namespace)).or_else(|| self.named.get(name.name())).copied()
    }

    fn finish(self, root: usize) -> Result<Avro, String> {
        let nodes: Option<Vec<_>> = self.nodes.into_iter().collect();
        let mut avro = Avro { nodes: nodes.ok_or("a type has no end")?, root };
        for id in 0..avro.nodes.len() {
            if let Shape::Union(branches) = &avro.nodes[id].shape {
                let kinds = branches.iter().fold(Kinds::default(), |all, branch| all.or(avro.nodes[*branch].kinds));
                avro.nodes[id].kinds = kinds;
            }
        }
        for (id, at, default) in self.defaults {
            let Shape::Record(record) = &avro.nodes[id].shape else { continue };
            let mut bytes = Vec::new();
            let field = &record.fields[at];
            defaults::write(&avro, field.node, &default, &mut bytes)
                .ok_or_else(|| format!("the default of {}.{} is none of its type", avro.nodes[id].name, field.name))?;
            if let Shape::Record(record) = &mut avro.nodes[id].shape {
                record.fields[at].default = Some(bytes);
            }
        }
        Ok(avro)
    }
}
