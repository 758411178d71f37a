//! Any schema and any value of it: what the library writes is read here and written again, to the byte.

use super::*;
use apache_avro::{
    Decimal, Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter,
};
use fastrand::Rng;
use serde_json::{Value as Json, json};

/// A type at random; `depth` bounds it, and `names` makes each named one another.
fn kind(random: &mut Rng, depth: usize, names: &mut usize) -> Json {
    let logical = |kind: &str, logical: &str| json!({"type": kind, "logicalType": logical});
    let mut name = || {
        *names += 1;
        format!("N{names}")
    };
    match random.u8(..if depth > 0 { 25 } else { 20 }) {
        0 => json!("null"),
        1 => json!("boolean"),
        2 => json!("int"),
        3 => json!("long"),
        4 => json!("float"),
        5 => json!("double"),
        6 => json!("bytes"),
        7 => json!("string"),
        8 => json!({"type": "enum", "name": name(), "symbols": ["A", "B", "C"]}),
        9 => json!({"type": "fixed", "name": name(), "size": 3}),
        10 => json!({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3}),
        11 => logical("int", "date"),
        12 => logical("int", "time-millis"),
        13 => logical("long", "time-micros"),
        14 => logical("long", "timestamp-millis"),
        15 => logical("long", "timestamp-micros"),
        16 => logical("long", "timestamp-nanos"),
        17 => logical("long", "local-timestamp-millis"),
        18 => logical("string", "uuid"),
        19 => logical("long", "local-timestamp-micros"),
        20 => json!({"type": "array", "items": kind(random, depth - 1, names)}),
        21 => json!({"type": "map", "values": kind(random, depth - 1, names)}),
        22 => {
            // What JSON tells apart.
            let other = ["int", "string", "boolean"][random.usize(..3)];
            json!(["null", other, {"type": "array", "items": kind(random, depth - 1, names)}])
        }
        _ => {
            let own = name();
            let fields = 0..random.usize(..5);
            let fields: Vec<_> =
                fields.map(|at| json!({"name": format!("f{at}"), "type": kind(random, depth - 1, names)})).collect();
            json!({"type": "record", "name": own, "fields": fields})
        }
    }
}

/// A value of a schema at random, often at an edge.
fn value(random: &mut Rng, schema: &Schema) -> Value {
    let long = |random: &mut Rng| match random.u8(..5) {
        0 => i64::MAX,
        1 => i64::MIN,
        2 => random.i64(-3..3),
        3 => 1 << random.u8(..63),
        _ => random.i64(..),
    };
    let int = |random: &mut Rng| match random.u8(..4) {
        0 => i32::MAX,
        1 => i32::MIN,
        2 => random.i32(-3..3),
        _ => random.i32(..),
    };
    let text = |random: &mut Rng| (0..random.usize(..6)).map(|_| random.char(..)).collect::<String>();
    match schema {
        Schema::Null => Value::Null,
        Schema::Boolean => Value::Boolean(random.bool()),
        Schema::Int => Value::Int(int(random)),
        Schema::Long => Value::Long(long(random)),
        Schema::Float => Value::Float(f32::from_bits(random.u32(..))),
        Schema::Double => Value::Double(match random.u8(..4) {
            0 => random.f64(),
            1 => long(random) as f64,
            _ => f64::from_bits(random.u64(..)),
        }),
        Schema::Bytes => Value::Bytes((0..random.usize(..9)).map(|_| random.u8(..)).collect()),
        Schema::String => Value::String(text(random)),
        Schema::Enum(symbols) => {
            let index = random.usize(..symbols.symbols.len());
            Value::Enum(index as u32, symbols.symbols[index].clone())
        }
        Schema::Fixed(fixed) => Value::Fixed(fixed.size, (0..fixed.size).map(|_| random.u8(..)).collect()),
        // As few bytes as there may be, as every library writes them.
        Schema::Decimal(_) => {
            let number = num_bigint::BigInt::from(random.i64(..));
            Value::Decimal(Decimal::from(number.to_signed_bytes_be()))
        }
        Schema::Date => Value::Date(int(random)),
        Schema::TimeMillis => Value::TimeMillis(int(random)),
        Schema::TimeMicros => Value::TimeMicros(random.i64(-10..90_000_000_000)),
        Schema::TimestampMillis => Value::TimestampMillis(long(random)),
        Schema::TimestampMicros => Value::TimestampMicros(long(random)),
        Schema::TimestampNanos => Value::TimestampNanos(long(random)),
        Schema::LocalTimestampMillis => Value::LocalTimestampMillis(long(random)),
        Schema::LocalTimestampMicros => Value::LocalTimestampMicros(long(random)),
        Schema::Uuid(_) => Value::Uuid(uuid::Uuid::from_u128(random.u128(..))),
        Schema::Array(array) => Value::Array((0..random.usize(..4)).map(|_| value(random, &array.items)).collect()),
        Schema::Map(map) => {
            Value::Map((0..random.usize(..4)).map(|_| (text(random), value(random, &map.types))).collect())
        }
        Schema::Union(union) => {
            let index = random.usize(..union.variants().len());
            Value::Union(index as u32, Box::new(value(random, &union.variants()[index])))
        }
        Schema::Record(record) => {
            Value::Record(record.fields.iter().map(|f| (f.name.clone(), value(random, &f.schema))).collect())
        }
        other => panic!("no value is made of {other:?}"),
    }
}

#[test]
fn what_the_library_writes_is_read_and_written_again_to_the_byte() {
    let mut random = Rng::with_seed(11);
    for round in 0..3000 {
        let text = kind(&mut random, 4, &mut 0).to_string();
        let schema = shape::parse(&text, &[]).unwrap().remove(0);
        let written = value(&mut random, &schema);
        let bytes = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(written.clone()).unwrap();
        let avro = avro(&text);
        let json = decoded(&avro, &bytes).unwrap_or_else(|why| panic!("{round}: {text}\n{written:?}\n{why}"));
        let again = encoded(&avro, &json).unwrap_or_else(|why| panic!("{round}: {text}\n{json}\n{why}"));
        // Of what is not a number there are many, and one is written.
        if !json.contains("\"NaN\"") {
            assert_eq!(again, bytes, "{round}: {text}\n{json}");
            let read = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &again[..]).unwrap();
            assert_eq!(read, written, "{round}: {text}\n{json}");
        }
    }
}

#[test]
fn no_bytes_and_no_text_are_too_odd() {
    let mut random = Rng::with_seed(12);
    for _ in 0..3000 {
        let avro = avro(&kind(&mut random, 4, &mut 0).to_string());
        let bytes: Vec<_> =
            (0..random.usize(..40)).map(|_| if random.bool() { random.u8(..4) } else { random.u8(..) }).collect();
        if let Ok(json) = decoded(&avro, &bytes) {
            assert!(serde_json::from_str::<Json>(&json).is_ok(), "{json}");
        }
        let mut text = String::from_utf8(vec![b'['; random.usize(..3)]).unwrap();
        let words = ["{\"f0\":", "1", "\"x\"", "null", "[", "]", "}", ",", "1e400", "-0", "{}", "\"\\ud800\""];
        (0..random.usize(..8)).for_each(|_| text.push_str(words[random.usize(..words.len())]));
        drop(encoded(&avro, &text));
    }
}
