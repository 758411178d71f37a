//! From JSON text to bytes.

use super::{
    Avro, LARGEST, Misfit, decimal,
    json::{Json, Kinds},
    shape::{Field, Node, Record, Shape, Uuid},
    time,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::fmt::Display;

pub(super) fn encode(avro: &Avro, text: &[u8], to: &mut Vec<u8>) -> Result<(), Misfit> {
    let json = Json::read(text).map_err(|error| Misfit::new(format!("it is no JSON: {error}")))?;
    avro.put(avro.root, &json, to)
}

/// Appends a number: seven bits a byte, the lowest first, the sign as the lowest bit of all.
pub(super) fn put_long(number: i64, to: &mut Vec<u8>) {
    let mut rest = (number << 1 ^ number >> 63).cast_unsigned();
    while rest >= 0x80 {
        to.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    to.push(rest as u8);
}

/// Appends bytes behind their number.
pub(super) fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    put_long(bytes.len() as i64, to);
    to.extend_from_slice(bytes);
}

impl Avro {
    fn put(&self, id: usize, json: &Json<'_>, to: &mut Vec<u8>) -> Result<(), Misfit> {
        if to.len() > LARGEST {
            return Err(Misfit::new(format!("it makes more than {} MiB", LARGEST >> 20)));
        }
        let node = self.node(id);
        let no = |what: &str| Misfit::new(format!("{json} is {what}"));
        match &node.shape {
            Shape::Null => match json {
                Json::Null => {}
                _ => return Err(no("not null")),
            },
            Shape::Boolean => match json {
                Json::Bool(truth) => to.push(u8::from(*truth)),
                _ => return Err(no("neither true nor false")),
            },
            Shape::Int => put_long(whole::<i32>(json, "an int")?.into(), to),
            Shape::Long => put_long(whole(json, "a long")?, to),
            Shape::Float => to.extend_from_slice(&float(json)?.to_le_bytes()),
            Shape::Double => to.extend_from_slice(&double(json)?.to_le_bytes()),
            Shape::Bytes => put_bytes(&bytes(json)?, to),
            Shape::Fixed(size) => {
                let bytes = bytes(json)?;
                if bytes.len() != *size {
                    return Err(Misfit::new(format!("it has {} bytes, and {} has {size}", bytes.len(), node.name)));
                }
                to.extend_from_slice(&bytes);
            }
            // Whatever it says: others that write one do not look whether it is a UUID.
            Shape::String | Shape::Uuid(Uuid::Text) => put_bytes(text(json)?.as_bytes(), to),
            Shape::Enum { symbols, .. } => {
                let symbol = text(json)?;
                let index = symbols.iter().position(|known| known == symbol);
                put_long(index.ok_or_else(|| no(&format!("no symbol of {}", node.name)))? as i64, to);
            }
            Shape::Decimal { precision, scale, size } => {
                let bytes = decimal::bytes(&decimal::unscaled(json, *precision, *scale)?, *size)?;
                match size {
                    Some(_) => to.extend_from_slice(&bytes),
                    None => put_bytes(&bytes, to),
                }
            }
            Shape::Uuid(Uuid::Fixed) => {
                to.extend_from_slice(uuid(text(json)?).ok_or_else(|| no("no UUID"))?.as_bytes());
            }
            Shape::Date => put_long(time::days(json)?.into(), to),
            Shape::Time(unit) => {
                let count = time::since_midnight(json, *unit)?;
                if *unit == time::Unit::Millis && i32::try_from(count).is_err() {
                    return Err(no("out of range"));
                }
                put_long(count, to);
            }
            Shape::Timestamp { unit, is_local } => put_long(time::since_epoch(json, *unit, *is_local)?, to),
            Shape::Duration => self.duration(json, to)?,
            Shape::Array(items) => {
                let Json::List(list) = json else { return Err(no("no list")) };
                if !list.is_empty() {
                    put_long(list.len() as i64, to);
                    for (index, item) in list.iter().enumerate() {
                        self.put(*items, item, to).map_err(|misfit| misfit.in_item(index))?;
                    }
                }
                to.push(0);
            }
            Shape::Map(values) => {
                let Json::Map(map) = json else { return Err(no("no object")) };
                if !map.is_empty() {
                    put_long(map.len() as i64, to);
                    for (key, value) in map {
                        put_bytes(key.as_bytes(), to);
                        self.put(*values, value, to).map_err(|misfit| misfit.in_field(key))?;
                    }
                }
                to.push(0);
            }
            Shape::Record(record) => {
                let Json::Map(map) = json else { return Err(no("no object")) };
                self.record(node, record, map, to)?;
            }
            Shape::Union(branches) => self.union(branches, json, to)?,
        }
        Ok(())
    }

    fn record(
        &self,
        node: &Node,
        record: &Record,
        map: &[(std::borrow::Cow<'_, str>, Json<'_>)],
        to: &mut Vec<u8>,
    ) -> Result<(), Misfit> {
        let mut given: Vec<Option<&Json<'_>>> = vec![None; record.fields.len()];
        for (at, (key, value)) in map.iter().enumerate() {
            // Most come in the schema's order.
            let is_next = record.fields.get(at).is_some_and(|field| field.name == *key);
            let place = if is_next { Some(at) } else { record.by_name.get(&**key).copied() };
            let place = place.ok_or_else(|| Misfit::new(format!("{} has no such field", node.name)).in_field(key))?;
            if given[place].replace(value).is_some() {
                return Err(Misfit::new("it is given twice").in_field(key));
            }
        }
        for (field, given) in record.fields.iter().zip(given) {
            match given {
                Some(value) => self.put(field.node, value, to).map_err(|misfit| misfit.in_field(&field.name))?,
                None => match self.absent(field) {
                    Some(Absent::Default(bytes)) => to.extend_from_slice(bytes),
                    Some(Absent::Null(branch)) => put_long(branch, to),
                    None => return Err(Misfit::new("it is missing, and has no default").in_field(&field.name)),
                },
            }
        }
        Ok(())
    }

    /// What stands for a field that is not given.
    fn absent<'a>(&self, field: &'a Field) -> Option<Absent<'a>> {
        if let Some(bytes) = &field.default {
            return Some(Absent::Default(bytes));
        }
        let Shape::Union(branches) = &self.node(field.node).shape else { return None };
        let null = branches.iter().position(|branch| matches!(self.node(*branch).shape, Shape::Null))?;
        Some(Absent::Null(null as i64))
    }

    /// The first branch that looks like the value. Nothing is tried out: what does not fit in a branch that was chosen
    /// is told with its path.
    fn union(&self, branches: &[usize], json: &Json<'_>, to: &mut Vec<u8>) -> Result<(), Misfit> {
        // A number is first looked for among its own: whole ones in an int or a long, those with a point in a float or a
        // double. A text is first looked for where any is not at home.
        let is_of_kind = |branch: &usize| {
            let shape = &self.node(*branch).shape;
            match json {
                Json::Whole(_) => !matches!(shape, Shape::Float | Shape::Double),
                Json::Float(_) => {
                    !matches!(shape, Shape::Int | Shape::Long | Shape::Date | Shape::Time(_) | Shape::Timestamp { .. })
                }
                Json::Text(text) => !matches!(shape, Shape::Uuid(Uuid::Text)) || uuid(text).is_some(),
                _ => true,
            }
        };
        let chosen = branches
            .iter()
            .position(|branch| is_of_kind(branch) && self.looks(*branch, json))
            .or_else(|| branches.iter().position(|branch| self.looks(*branch, json)));
        if let Some(at) = chosen {
            put_long(at as i64, to);
            return self.put(branches[at], json, to);
        }
        // Who wants another branch than the first says which: `{"shop.Order": {…}}`.
        if let Json::Map(map) = json
            && let [(tag, value)] = &map[..]
            && let Some(at) = branches.iter().position(|branch| self.node(*branch).name == *tag)
        {
            put_long(at as i64, to);
            return self.put(branches[at], value, to).map_err(|misfit| misfit.in_field(tag));
        }
        // Where only one comes into question, it has the words.
        let mut likely = branches.iter().enumerate().filter(|(_, branch)| self.node(**branch).kinds.takes(json));
        match (likely.next(), likely.next()) {
            (Some((at, branch)), None) => {
                put_long(at as i64, to);
                self.put(*branch, json, to)
            }
            _ => {
                let names: Vec<_> = branches.iter().map(|branch| self.node(*branch).name.as_str()).collect();
                Err(Misfit::new(format!("{json} is none of {}", names.join(", "))))
            }
        }
    }

    /// Whether a value looks like one of this type: by its kind and that of its parts, a record by its fields' names, too.
    fn looks(&self, id: usize, json: &Json<'_>) -> bool {
        let node = self.node(id);
        if !node.kinds.takes(json) {
            return false;
        }
        match (&node.shape, json) {
            (Shape::Record(record), Json::Map(map)) => {
                let fits = |(key, value): &(std::borrow::Cow<'_, str>, Json<'_>)| {
                    let field = record.by_name.get(&**key).map(|at| &record.fields[*at]);
                    field.is_some_and(|field| self.node(field.node).kinds.takes(value))
                };
                let is_given = |field: &Field| map.iter().any(|(key, _)| *key == field.name);
                map.iter().all(fits)
                    && record.fields.iter().all(|field| is_given(field) || self.absent(field).is_some())
            }
            (Shape::Bytes | Shape::Fixed(_), json) => bytes(json).is_ok(),
            (Shape::Duration, json) => self.duration(json, &mut Vec::new()).is_ok(),
            (Shape::Map(values), Json::Map(map)) => map.iter().all(|(_, value)| self.node(*values).kinds.takes(value)),
            (Shape::Array(items), Json::List(list)) => list.iter().all(|item| self.node(*items).kinds.takes(item)),
            (Shape::String, _) => true,
            // What has no parts is quickly tried.
            _ => self.put(id, json, &mut Vec::new()).is_ok(),
        }
    }

    fn duration(&self, json: &Json<'_>, to: &mut Vec<u8>) -> Result<(), Misfit> {
        let wrong =
            || Misfit::new(format!("{json} is no duration: write {{\"months\": 1, \"days\": 2, \"millis\": 3}}"));
        let Json::Map(map) = json else { return Err(wrong()) };
        let names = ["months", "days", "millis"];
        if !map.iter().all(|(key, _)| names.contains(&&**key)) {
            return Err(wrong());
        }
        for name in names {
            let given = map.iter().find(|(key, _)| key == name);
            let (_, count) = given.ok_or_else(wrong)?;
            let count = whole::<u32>(count, "a number of 32 bits").map_err(|misfit| misfit.in_field(name))?;
            to.extend_from_slice(&count.to_le_bytes());
        }
        Ok(())
    }
}

enum Absent<'a> {
    Default(&'a [u8]),
    /// The place of null in a union.
    Null(i64),
}

fn whole<T: TryFrom<i128>>(json: &Json<'_>, what: &str) -> Result<T, Misfit> {
    if !Kinds::NUMBER.takes(json) {
        return Err(Misfit::new(format!("{json} is no number")));
    }
    let number = json.whole().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| Misfit::new(format!("{json} is not {what}")))
}

fn float(json: &Json<'_>) -> Result<f32, Misfit> {
    if let Json::Whole(number) = json {
        let near = *number as f32;
        return match survives(*number, near.into(), near) {
            true => Ok(near),
            false => Err(Misfit::new(format!("{json} would be rounded in a float"))),
        };
    }
    narrow(double(json)?).ok_or_else(|| Misfit::new(format!("{json} is too large for a float")))
}

/// The float that is nearest to what a double was read from, which is taken to be its shortest text: to go by the double
/// itself would be to round a second time. Nothing when it is too large.
pub(super) fn narrow(number: f64) -> Option<f32> {
    if !number.is_finite() {
        return Some(number as f32);
    }
    format!("{number:e}").parse().ok().filter(|narrow: &f32| narrow.is_finite())
}

fn double(json: &Json<'_>) -> Result<f64, Misfit> {
    match json {
        Json::Whole(number) => {
            let near = *number as f64;
            match survives(*number, near, near) {
                true => Ok(near),
                false => Err(Misfit::new(format!("{json} would be rounded in a double"))),
            }
        }
        Json::Float(number) => Ok(*number),
        Json::Text(text) if text == "NaN" => Ok(f64::NAN),
        Json::Text(text) if text == "Infinity" => Ok(f64::INFINITY),
        Json::Text(text) if text == "-Infinity" => Ok(f64::NEG_INFINITY),
        other => Err(Misfit::new(format!("{other} is no number"))),
    }
}

/// Whether a whole number comes back as it is: what is near it is the same, or is written with the same digits, as a guest
/// may have done it.
fn survives(number: i128, near: f64, digits: impl Display) -> bool {
    near as i128 == number || digits.to_string() == number.to_string()
}

fn uuid(text: &str) -> Option<uuid::Uuid> {
    uuid::Uuid::try_parse(text).ok()
}

fn text<'a>(json: &'a Json<'_>) -> Result<&'a str, Misfit> {
    match json {
        Json::Text(text) => Ok(text),
        other => Err(Misfit::new(format!("{other} is no text"))),
    }
}

/// `{"base64": "…"}`.
fn bytes(json: &Json<'_>) -> Result<Vec<u8>, Misfit> {
    let wrong = || Misfit::new(format!("{json} is not bytes: write {{\"base64\": \"…\"}}"));
    match json {
        Json::Map(map) => match &map[..] {
            [(key, Json::Text(text))] if key == "base64" => BASE64_STANDARD
                .decode(text.as_bytes())
                .map_err(|error| Misfit::new(format!("it is no base64: {error}"))),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}
