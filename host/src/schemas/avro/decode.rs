//! From bytes to JSON text, without a tree between them.

use super::{
    Avro, DEEPEST, LARGEST, Misfit, decimal,
    shape::{Shape, Uuid},
    time,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;

pub(super) fn decode(avro: &Avro, body: &[u8], to: &mut Vec<u8>) -> Result<(), Misfit> {
    let most = to.len() + LARGEST;
    let mut reader = Reader { avro, rest: body, depth: 0, most };
    reader.value(avro.root, to)?;
    match reader.rest.len() {
        0 => Ok(()),
        left => Err(Misfit::new(format!("{left} bytes stand behind its end"))),
    }
}

struct Reader<'a> {
    avro: &'a Avro,
    rest: &'a [u8],
    depth: usize,
    /// The text may grow so large.
    most: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, id: usize, to: &mut Vec<u8>) -> Result<(), Misfit> {
        self.room(to)?;
        let avro = self.avro;
        match &avro.node(id).shape {
            Shape::Null => to.extend_from_slice(b"null"),
            Shape::Boolean => match self.byte()? {
                0 => to.extend_from_slice(b"false"),
                1 => to.extend_from_slice(b"true"),
                other => return Err(Misfit::new(format!("a boolean is 0 or 1, and this is {other}"))),
            },
            Shape::Int => put(self.int()?, to),
            Shape::Long => put(self.long()?, to),
            Shape::Float => {
                let number = f32::from_le_bytes(*self.array()?);
                if number.is_finite() { put(number, to) } else { put(special(number.into()), to) }
            }
            Shape::Double => {
                let number = f64::from_le_bytes(*self.array()?);
                if number.is_finite() { put(number, to) } else { put(special(number), to) }
            }
            Shape::Bytes => put_base64(self.bytes()?, to),
            Shape::Fixed(size) => put_base64(self.take(*size)?, to),
            Shape::String | Shape::Uuid(Uuid::Text) => put(self.text()?, to),
            Shape::Enum { symbols, .. } => {
                let index = self.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                put(symbol.ok_or_else(|| Misfit::new(format!("there is no symbol {index}")))?, to);
            }
            Shape::Decimal { precision, scale, size } => {
                let unscaled = match size {
                    Some(size) => self.take(*size)?,
                    None => self.bytes()?,
                };
                put(decimal::text(unscaled, *precision, *scale)?, to);
            }
            Shape::Uuid(Uuid::Fixed) => {
                put(uuid::Uuid::from_bytes(*self.array()?).hyphenated().to_string(), to);
            }
            Shape::Date => {
                let days = self.int()?;
                put_or_count(time::date(days), days.into(), to);
            }
            Shape::Time(unit) => {
                let count = if *unit == time::Unit::Millis { self.int()?.into() } else { self.long()? };
                put_or_count(time::time(count, *unit), count, to);
            }
            Shape::Timestamp { unit, is_local } => {
                let count = self.long()?;
                put_or_count(time::timestamp(count, *unit, *is_local), count, to);
            }
            Shape::Duration => {
                let [a, b, c, d, e, f, g, h, i, j, k, l] = *self.array()?;
                let [months, days, millis] = [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes);
                let text = format!("{{\"months\":{months},\"days\":{days},\"millis\":{millis}}}");
                to.extend_from_slice(text.as_bytes());
            }
            Shape::Union(branches) => {
                let index = self.int()?;
                let branch = usize::try_from(index).ok().and_then(|index| branches.get(index));
                let branch = *branch.ok_or_else(|| Misfit::new(format!("there is no branch {index}")))?;
                self.value(branch, to)?;
            }
            Shape::Record(record) => {
                self.enter()?;
                to.push(b'{');
                for (at, field) in record.fields.iter().enumerate() {
                    if at > 0 {
                        to.push(b',');
                    }
                    to.extend_from_slice(&field.key);
                    self.value(field.node, to).map_err(|misfit| misfit.in_field(&field.name))?;
                }
                to.push(b'}');
                self.depth -= 1;
            }
            Shape::Array(items) => {
                self.enter()?;
                to.push(b'[');
                let mut index = 0;
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        if index > 0 {
                            to.push(b',');
                        }
                        self.value(*items, to).map_err(|misfit| misfit.in_item(index))?;
                        index += 1;
                    }
                }
                to.push(b']');
                self.depth -= 1;
            }
            Shape::Map(values) => {
                self.enter()?;
                to.push(b'{');
                let mut is_first = true;
                while let Some(count) = self.block()? {
                    for _ in 0..count {
                        if !std::mem::take(&mut is_first) {
                            to.push(b',');
                        }
                        let key = self.text()?;
                        put(key, to);
                        to.push(b':');
                        self.value(*values, to).map_err(|misfit| misfit.in_field(key))?;
                    }
                }
                to.push(b'}');
                self.depth -= 1;
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Misfit> {
        self.depth += 1;
        match self.depth > DEEPEST {
            true => Err(Misfit::new(format!("it is nested deeper than {DEEPEST} times"))),
            false => Ok(()),
        }
    }

    fn room(&self, to: &[u8]) -> Result<(), Misfit> {
        match to.len() > self.most {
            true => Err(Misfit::new(format!("it makes more than {} MiB of JSON", LARGEST >> 20))),
            false => Ok(()),
        }
    }

    /// How many items come next; nothing behind the last ones. A count below zero has the size of its items behind it.
    fn block(&mut self) -> Result<Option<u64>, Misfit> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(Some(count.unsigned_abs()).filter(|count| *count > 0))
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Misfit> {
        let (bytes, rest) = self.rest.split_at_checked(size).ok_or_else(|| Misfit::new("it ends too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Misfit> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| Misfit::new("it ends too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Misfit> {
        self.array().map(|[byte]| *byte)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Misfit> {
        let size = self.long()?;
        self.take(usize::try_from(size).map_err(|_| Misfit::new(format!("it has a size of {size}")))?)
    }

    fn text(&mut self) -> Result<&'a str, Misfit> {
        str::from_utf8(self.bytes()?).map_err(|_| Misfit::new("it is no UTF-8"))
    }

    fn int(&mut self) -> Result<i32, Misfit> {
        let number = self.long()?;
        i32::try_from(number).map_err(|_| Misfit::new(format!("{number} is no int")))
    }

    /// Seven bits a byte, the lowest first; the sign is the lowest bit of all.
    fn long(&mut self) -> Result<i64, Misfit> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(Misfit::new("a number has more than 64 bits"))
    }
}

/// What JSON has no number for.
fn special(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

fn put<T: Serialize>(value: T, to: &mut Vec<u8>) {
    serde_json::to_writer(to, &value).expect("memory takes all that is written");
}

fn put_or_count(text: Option<String>, count: i64, to: &mut Vec<u8>) {
    match text {
        Some(text) => put(text, to),
        None => put(count, to),
    }
}

fn put_base64(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(b"{\"base64\":\"");
    let start = to.len();
    to.resize(start + bytes.len().div_ceil(3) * 4, 0);
    BASE64_STANDARD.encode_slice(bytes, &mut to[start..]).expect("four characters for three bytes");
    to.extend_from_slice(b"\"}");
}
