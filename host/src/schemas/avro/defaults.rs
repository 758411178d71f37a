//! Defaults, which a schema writes in JSON of its own: bytes are texts of small letters, and a logical type is what
//! lies under it.

use super::{
    Avro,
    encode::{narrow, put_bytes, put_long},
    shape::{Shape, Uuid},
};
use serde_json::Value;

/// The most bytes that a default makes. One of records whose fields have defaults of their own may double at each step.
const LARGEST: usize = 1 << 20;
/// The most work that all defaults of a schema make together: each type that is held against a value is one, and so is each
/// byte. A value that fits nowhere in a union which has itself within would double it at each step.
const MOST_WORK: usize = 4 << 20;

/// The work that may still be done for a schema's defaults.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Budget {
        Budget(MOST_WORK)
    }
}

impl Budget {
    fn spend(&mut self, work: usize) -> Option<()> {
        self.0 = self.0.checked_sub(work)?;
        Some(())
    }
}

/// Appends a default's bytes. Nothing comes of one that is not of this type: to other libraries, too, it is there when it
/// is asked for, and not before.
pub(super) fn write(avro: &Avro, node: usize, default: &Value, budget: &mut Budget, to: &mut Vec<u8>) -> Option<()> {
    budget.spend(1 + default.as_str().map_or(0, str::len))?;
    let latin = |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>();
    let fixed = |size: usize| latin(default.as_str()?).filter(|bytes| bytes.len() == size);
    match &avro.node(node).shape {
        Shape::Null => default.as_null()?,
        Shape::Boolean => to.push(u8::from(default.as_bool()?)),
        Shape::Int | Shape::Date => put_long(i32::try_from(default.as_i64()?).ok()?.into(), to),
        Shape::Long | Shape::Timestamp { .. } | Shape::Time(_) => put_long(default.as_i64()?, to),
        Shape::Float => to.extend_from_slice(&narrow(number(default)?)?.to_le_bytes()),
        Shape::Double => to.extend_from_slice(&number(default)?.to_le_bytes()),
        Shape::Bytes | Shape::Decimal { size: None, .. } => put_bytes(&latin(default.as_str()?)?, to),
        Shape::String | Shape::Uuid(Uuid::Text) => put_bytes(default.as_str()?.as_bytes(), to),
        Shape::Fixed(size) | Shape::Decimal { size: Some(size), .. } => to.extend_from_slice(&fixed(*size)?),
        Shape::Uuid(Uuid::Fixed) => to.extend_from_slice(&fixed(16)?),
        Shape::Duration => to.extend_from_slice(&fixed(12)?),
        Shape::Enum { symbols, .. } => {
            let symbol = default.as_str()?;
            put_long(symbols.iter().position(|known| known == symbol)? as i64, to);
        }
        Shape::Array(items) => {
            let list = default.as_array()?;
            if !list.is_empty() {
                put_long(list.len() as i64, to);
                list.iter().try_for_each(|item| write(avro, *items, item, budget, to))?;
            }
            to.push(0);
        }
        Shape::Map(values) => {
            let map = default.as_object()?;
            if !map.is_empty() {
                put_long(map.len() as i64, to);
                for (key, value) in map {
                    put_bytes(key.as_bytes(), to);
                    write(avro, *values, value, budget, to)?;
                }
            }
            to.push(0);
        }
        // It is one of the first branch; newer rules let it be any.
        Shape::Union(branches) => {
            let start = to.len();
            branches.iter().enumerate().find_map(|(at, branch)| {
                to.truncate(start);
                put_long(at as i64, to);
                write(avro, *branch, default, budget, to)
            })?;
        }
        Shape::Record(record) => {
            let map = default.as_object()?;
            for field in &record.fields {
                match (map.get(&field.name), &field.default) {
                    (Some(value), _) => write(avro, field.node, value, budget, to)?,
                    (None, Some(bytes)) if to.len() <= LARGEST => {
                        budget.spend(bytes.len())?;
                        to.extend_from_slice(bytes);
                    }
                    _ => return None,
                }
            }
        }
    }
    (to.len() <= LARGEST).then_some(())
}

fn number(default: &Value) -> Option<f64> {
    match default.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity" | "INF") => Some(f64::INFINITY),
        Some("-Infinity" | "-INF") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => default.as_f64(),
    }
}
