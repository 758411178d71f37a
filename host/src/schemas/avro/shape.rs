//! A schema's types, each in one place, so that a recursive one is nothing special.

use super::{Avro, LARGEST, decimal::MOST_DIGITS, defaults, json::Kinds, names, time::Unit};
use apache_avro::{
    Schema,
    error::Details,
    schema::{DecimalSchema, FixedSchema, InnerDecimalSchema, RecordSchema, UuidSchema},
};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A type.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    /// What it may be in JSON.
    pub(super) kinds: Kinds,
    /// What messages, and tags in JSON, call it: a name, or a word such as `long`.
    pub(super) name: String,
    /// The names that it had before.
    pub(super) aliases: Vec<String>,
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
    Enum {
        symbols: Vec<String>,
        /// A symbol that is not known is read as another.
        has_default: bool,
    },
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
    /// The names that it had before.
    pub(super) aliases: Vec<String>,
    /// `"name":`, as JSON has it.
    pub(super) key: Vec<u8>,
    pub(super) node: usize,
    /// The bytes that stand for it where nothing is given.
    pub(super) default: Option<Vec<u8>>,
}

/// Where a default waits until all types are known. The library would refuse a schema for one that does not fit.
const DEFAULT: &str = "millstream.default";

/// Reads schemas as the library does: those that one refers to, each behind those that it refers to itself, and that one.
pub(super) fn parse(text: &str, known: &[String]) -> Result<Vec<Schema>, String> {
    names::take_any();
    let mut fields = Vec::new();
    for (at, text) in known.iter().map(String::as_str).chain([text]).enumerate() {
        let mut schema = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        set_defaults_aside(&mut schema);
        fields.push(json!({"name": at.to_string(), "type": schema}));
    }
    // As the fields of one record, each knows the types of those before it.
    match Schema::parse(&json!({"type": "record", "name": "-", "fields": fields})) {
        Ok(Schema::Record(all)) => Ok(all.fields.into_iter().map(|field| field.schema).collect()),
        Ok(_) => Err("it is no schema".to_owned()),
        Err(error) => Err(match error.into_details() {
            Details::ParsePrimitive(name) => format!("there is no type {name}"),
            other => other.to_string(),
        }),
    }
}

fn set_defaults_aside(schema: &mut Value) {
    match schema {
        Value::Array(branches) => branches.iter_mut().for_each(set_defaults_aside),
        Value::Object(map) => {
            if let Some(default) = map.remove("default") {
                map.insert(DEFAULT.to_owned(), default);
            }
            for (key, value) in map {
                match (&key[..], value) {
                    ("type" | "items" | "values", inner) => set_defaults_aside(inner),
                    ("fields", Value::Array(fields)) => fields.iter_mut().for_each(set_defaults_aside),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

pub(super) fn read(text: &str, known: &[String]) -> Result<Avro, String> {
    let mut builder = Builder::default();
    let mut root = 0;
    for schema in parse(text, known)? {
        root = builder.build(&schema)?;
    }
    builder.finish(root)
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Option<Node>>,
    named: HashMap<String, usize>,
    aliases: HashMap<String, usize>,
    /// Defaults are written when all types are known: the record, the field, what stands in the schema.
    defaults: Vec<(usize, usize, Value)>,
}

impl Builder {
    fn build(&mut self, schema: &Schema) -> Result<usize, String> {
        if let Schema::Ref { name } = schema {
            let name = name.fullname(None);
            let known = self.named.get(&name).or_else(|| self.aliases.get(&name));
            return known.copied().ok_or_else(|| format!("there is no type {name}"));
        }
        // A record may have itself within.
        let id = self.nodes.len();
        self.nodes.push(None);
        let name = schema.name().map(|name| name.fullname(None));
        let aliases: Vec<_> = schema.aliases().into_iter().flatten().map(|alias| alias.fullname(None)).collect();
        if let Some(name) = &name
            && self.named.insert(name.clone(), id).is_some()
        {
            return Err(format!("{name} is defined twice"));
        }
        self.aliases.extend(aliases.iter().map(|alias| (alias.clone(), id)));
        let counted = Kinds::TEXT.or(Kinds::NUMBER);
        let timestamp = |unit, is_local| (Shape::Timestamp { unit, is_local }, counted, "long");
        let (shape, kinds, word) = match schema {
            Schema::Null => (Shape::Null, Kinds::NULL, "null"),
            Schema::Boolean => (Shape::Boolean, Kinds::BOOL, "boolean"),
            Schema::Int => (Shape::Int, Kinds::NUMBER, "int"),
            Schema::Long => (Shape::Long, Kinds::NUMBER, "long"),
            Schema::Float => (Shape::Float, counted, "float"),
            Schema::Double => (Shape::Double, counted, "double"),
            // Only texts and fixed ones are UUIDs by Avro's rules.
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => (Shape::Bytes, Kinds::MAP, "bytes"),
            Schema::String => (Shape::String, Kinds::TEXT, "string"),
            Schema::Array(array) => (Shape::Array(self.build(&array.items)?), Kinds::LIST, "array"),
            Schema::Map(map) => (Shape::Map(self.build(&map.types)?), Kinds::MAP, "map"),
            Schema::Union(union) => {
                let branches: Result<_, _> = union.variants().iter().map(|branch| self.build(branch)).collect();
                // What it may be is put together at the end.
                (Shape::Union(branches?), Kinds::default(), "union")
            }
            Schema::Record(record) => (Shape::Record(self.record(id, record)?), Kinds::MAP, "record"),
            Schema::Enum(own) => {
                let default = own.attributes.get(DEFAULT).and_then(Value::as_str);
                let has_default = own.symbols.iter().any(|symbol| Some(&symbol[..]) == default);
                (Shape::Enum { symbols: own.symbols.clone(), has_default }, Kinds::TEXT, "enum")
            }
            Schema::Fixed(fixed) => (Shape::Fixed(size(fixed)?), Kinds::MAP, "fixed"),
            Schema::Decimal(decimal) => (self::decimal(decimal)?, counted, "bytes"),
            Schema::Uuid(UuidSchema::String) => (Shape::Uuid(Uuid::Text), Kinds::TEXT, "string"),
            Schema::Uuid(UuidSchema::Fixed(_)) => (Shape::Uuid(Uuid::Fixed), Kinds::TEXT, "fixed"),
            Schema::Date => (Shape::Date, counted, "int"),
            Schema::TimeMillis => (Shape::Time(Unit::Millis), counted, "int"),
            Schema::TimeMicros => (Shape::Time(Unit::Micros), counted, "long"),
            Schema::TimestampMillis => timestamp(Unit::Millis, false),
            Schema::TimestampMicros => timestamp(Unit::Micros, false),
            Schema::TimestampNanos => timestamp(Unit::Nanos, false),
            Schema::LocalTimestampMillis => timestamp(Unit::Millis, true),
            Schema::LocalTimestampMicros => timestamp(Unit::Micros, true),
            Schema::LocalTimestampNanos => timestamp(Unit::Nanos, true),
            Schema::Duration(_) => (Shape::Duration, Kinds::MAP, "fixed"),
            Schema::Ref { .. } => return Err("a name has no type".to_owned()),
        };
        self.nodes[id] = Some(Node { shape, kinds, name: name.unwrap_or_else(|| word.to_owned()), aliases });
        Ok(id)
    }

    fn record(&mut self, id: usize, record: &RecordSchema) -> Result<Record, String> {
        let mut fields = Vec::new();
        for (at, field) in record.fields.iter().enumerate() {
            let node = self.build(&field.schema)?;
            let key = format!("{}:", Value::from(field.name.as_str())).into_bytes();
            let (name, aliases) = (field.name.clone(), field.aliases.clone());
            fields.push(Field { name, aliases, key, node, default: None });
            if let Some(default) = field.custom_attributes.get(DEFAULT) {
                self.defaults.push((id, at, default.clone()));
            }
        }
        let by_name = fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        Ok(Record { fields, by_name })
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
        let mut budget = defaults::Budget::default();
        for (id, at, default) in self.defaults {
            let Shape::Record(record) = &avro.nodes[id].shape else { continue };
            let mut bytes = Vec::new();
            let fits = defaults::write(&avro, record.fields[at].node, &default, &mut budget, &mut bytes);
            if let Shape::Record(record) = &mut avro.nodes[id].shape {
                record.fields[at].default = fits.map(|()| bytes);
            }
        }
        Ok(avro)
    }
}

fn decimal(decimal: &DecimalSchema) -> Result<Shape, String> {
    let (precision, scale) = (decimal.precision, decimal.scale);
    if precision > MOST_DIGITS {
        return Err(format!("a decimal has {precision} digits, and {MOST_DIGITS} are the most"));
    }
    let size = match &decimal.inner {
        InnerDecimalSchema::Bytes => None,
        InnerDecimalSchema::Fixed(fixed) => Some(size(fixed)?),
    };
    Ok(Shape::Decimal { precision, scale, size })
}

fn size(fixed: &FixedSchema) -> Result<usize, String> {
    match fixed.size > LARGEST {
        true => Err(format!("{} has {} bytes, and {LARGEST} are the most", fixed.name, fixed.size)),
        false => Ok(fixed.size),
    }
}
