//! The mapping, value by value, and against the library that knows nothing of it.
#![allow(clippy::unwrap_used)]

mod evolution;
mod oracle;

use super::*;

fn avro(schema: &str) -> Avro {
    Avro::read(schema, &[]).unwrap()
}

fn encoded(avro: &Avro, json: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    avro.encode(json.as_bytes(), &mut bytes).map(|()| bytes).map_err(|misfit| misfit.to_string())
}

fn decoded(avro: &Avro, bytes: &[u8]) -> Result<String, String> {
    let mut text = Vec::new();
    avro.decode(bytes, &mut text).map(|()| String::from_utf8(text).unwrap()).map_err(|misfit| misfit.to_string())
}

/// What a value is after it was written and read.
fn there_and_back(schema: &str, json: &str) -> Result<String, String> {
    let avro = avro(schema);
    decoded(&avro, &encoded(&avro, json)?)
}

/// A record with one field of this type.
fn of(kind: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{kind}}}]}}"#)
}

#[test]
fn each_type_is_what_the_guide_says() {
    let logical = |kind: &str, logical: &str| format!(r#"{{"type":"{kind}","logicalType":"{logical}"}}"#);
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}"#;
    let narrow = r#"{"type":{"type":"fixed","name":"F","size":3},"logicalType":"decimal","precision":6,"scale":0}"#;
    for (kind, json) in [
        ("\"null\"", "null"),
        ("\"boolean\"", "true"),
        ("\"int\"", "-2147483648"),
        ("\"long\"", "9223372036854775807"),
        ("\"long\"", "-9223372036854775808"),
        ("\"float\"", "0.1"),
        ("\"double\"", "0.1"),
        ("\"double\"", "1e+300"),
        ("\"double\"", "5.0"),
        ("\"double\"", "\"NaN\""),
        ("\"float\"", "\"-Infinity\""),
        ("\"string\"", "\"a \\\"b\\\" \u{e9}\""),
        ("\"bytes\"", r#"{"base64":"AP8="}"#),
        (r#"{"type":"fixed","name":"F","size":2}"#, r#"{"base64":"AP8="}"#),
        (r#"{"type":"enum","name":"E","symbols":["A","B"]}"#, "\"B\""),
        (r#"{"type":"array","items":"int"}"#, "[1,2,3]"),
        (r#"{"type":"array","items":"int"}"#, "[]"),
        (r#"{"type":"map","values":"int"}"#, r#"{"b":1,"a b":2}"#),
        (decimal, "\"12.30\""),
        (decimal, "\"-0.05\""),
        (decimal, "\"1234567890123456789012345678.90\""),
        (narrow, "\"-999999\""),
        (&logical("int", "date"), "\"2026-01-31\""),
        (&logical("int", "date"), "\"1969-12-31\""),
        (&logical("int", "date"), "\"9999-12-31\""),
        (&logical("int", "date"), "\"-009999-01-01\""),
        (&logical("int", "date"), "2147483647"),
        (&logical("int", "time-millis"), "\"12:34:56.789\""),
        (&logical("long", "time-micros"), "\"00:00:00.000001\""),
        (&logical("long", "time-micros"), "86400000000"),
        (&logical("long", "timestamp-millis"), "\"2026-01-31T12:34:56.000Z\""),
        (&logical("long", "timestamp-micros"), "\"1969-12-31T23:59:59.999999Z\""),
        (&logical("long", "timestamp-nanos"), "\"2026-01-31T12:34:56.123456789Z\""),
        (&logical("long", "timestamp-millis"), "\"9999-12-31T23:59:59.999Z\""),
        (&logical("long", "timestamp-micros"), "\"0001-01-01T00:00:00.000000Z\""),
        (&logical("long", "timestamp-millis"), "\"-009999-01-01T00:00:00.000Z\""),
        (&logical("long", "local-timestamp-micros"), "\"9999-12-31T23:59:59.999999\""),
        (&logical("long", "timestamp-millis"), "9223372036854775807"),
        (&logical("long", "local-timestamp-millis"), "\"2026-01-31T12:34:56.789\""),
        (&logical("long", "local-timestamp-micros"), "\"2026-01-31T12:34:56.000789\""),
        (&logical("string", "uuid"), "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
        (&logical("string", "uuid"), "\"none yet\""),
        (r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#, "\"67e55044-10b1-426f-9247-bb680e5fe0c8\""),
        (
            r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#,
            r#"{"months":1,"days":2,"millis":4294967295}"#,
        ),
        // A logical type that its type cannot have is what lies under it, too.
        (&logical("bytes", "uuid"), r#"{"base64":"AP8="}"#),
        (r#"{"type":"fixed","name":"F","size":2,"logicalType":"uuid"}"#, r#"{"base64":"AP8="}"#),
        (&logical("string", "date"), "\"x\""),
        (r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}"#, r#"{"base64":"AP8="}"#),
        // A logical type that nobody knows is what lies under it.
        (&logical("long", "shop-time"), "5"),
    ] {
        let json = format!(r#"{{"a":{json}}}"#);
        assert_eq!(there_and_back(&of(kind), &json).as_deref(), Ok(json.as_str()), "{kind}");
    }
}

#[test]
fn more_ways_to_write_a_value_are_understood() {
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}"#;
    let timestamp = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    for (kind, json, read) in [
        ("\"int\"", "5.0", "5"),
        ("\"double\"", "5", "5.0"),
        ("\"double\"", "9007199254740992", "9007199254740992.0"),
        ("\"float\"", "16777216", "16777216.0"),
        // What JavaScript makes of 123456790000.0 and 9.223372036854778e18, which are not just that.
        ("\"float\"", "123456790000", "123456790000.0"),
        ("\"double\"", "9223372036854778000", "9.223372036854778e+18"),
        (decimal, "12.3", "\"12.30\""),
        (decimal, "-7", "\"-7.00\""),
        (decimal, "\"0012.3000\"", "\"12.30\""),
        (timestamp, "\"2026-01-31T13:34:56+01:00\"", "\"2026-01-31T12:34:56.000Z\""),
        (timestamp, "\"9999-12-31T23:59:59-01:00\"", "253402304399000"),
        (timestamp, "\"2026-01-31T13:34:56+01:00[Europe/Berlin]\"", "\"2026-01-31T12:34:56.000Z\""),
        (timestamp, "0", "\"1970-01-01T00:00:00.000Z\""),
        (r#"{"type":"int","logicalType":"date"}"#, "-1", "\"1969-12-31\""),
        (r#"{"type":"long","logicalType":"time-micros"}"#, "\"12:34\"", "\"12:34:00.000000\""),
    ] {
        let read = format!(r#"{{"a":{read}}}"#);
        assert_eq!(there_and_back(&of(kind), &format!(r#"{{"a":{json}}}"#)), Ok(read), "{kind} {json}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_path() {
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#;
    let date = r#"{"type":"int","logicalType":"date"}"#;
    let millis = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    for (kind, json, why) in [
        ("\"int\"", "2147483648", "2147483648 is not an int"),
        ("\"int\"", "1.5", "1.5 is not an int"),
        ("\"int\"", "\"1\"", "\"1\" is no number"),
        ("\"long\"", "9223372036854775808", "9223372036854775808 is not a long"),
        ("\"long\"", "9007199254740993.0", "9007199254740992.0 is not a long"),
        ("\"float\"", "1e39", "1e39 is too large for a float"),
        ("\"float\"", "16777217", "16777217 would be rounded in a float"),
        ("\"double\"", "9007199254740993", "9007199254740993 would be rounded in a double"),
        ("\"double\"", "-9223372036854775807", "-9223372036854775807 would be rounded in a double"),
        (r#"["null","double"]"#, "9007199254740993", "9007199254740993 would be rounded in a double"),
        ("\"string\"", "7", "7 is no text"),
        ("\"boolean\"", "null", "null is neither true nor false"),
        ("\"bytes\"", "\"AP8=\"", "\"AP8=\" is not bytes: write {\"base64\": \"…\"}"),
        (r#"{"type":"fixed","name":"F","size":2}"#, r#"{"base64":"AA=="}"#, "it has 1 bytes, and F has 2"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "\"B\"", "\"B\" is no symbol of E"),
        (decimal, "\"1.005\"", "\"1.005\" has more than 2 digits behind the point"),
        (decimal, "100", "100 has more than 4 digits"),
        (decimal, "0.1234567890123456", "0.1234567890123456 may not be exact any more: write this decimal as text"),
        (decimal, "\"1e2\"", "\"1e2\" is no decimal: write one such as \"12.30\""),
        (decimal, "\"1e999999999\"", "\"1e999999999\" is no decimal: write one such as \"12.30\""),
        (date, "\"2026-01-31T00:00:00\"", "\"2026-01-31T00:00:00\" is no date: write one such as \"2026-01-31\""),
        (date, "\"2026-02-30\"", "\"2026-02-30\" is no date: write one such as \"2026-01-31\""),
        (millis, "\"2026-01-31T12:00:00.0001Z\"", "\"2026-01-31T12:00:00.0001Z\" has more than 3 digits of a second"),
        (
            millis,
            "\"2026-01-31T12:00:00\"",
            "\"2026-01-31T12:00:00\" is no timestamp: write one such as \"2026-01-31T12:34:56Z\"",
        ),
        (
            r#"{"type":"long","logicalType":"local-timestamp-millis"}"#,
            "\"2026-01-31T12:00:00+01:00\"",
            "\"2026-01-31T12:00:00+01:00\" is no timestamp: write one such as \"2026-01-31T12:34:56\"",
        ),
        (
            r#"{"type":"int","logicalType":"time-millis"}"#,
            "\"12:00:00+01:00\"",
            "\"12:00:00+01:00\" is no time of a day: write one such as \"12:34:56.789\"",
        ),
        (r#"["null","int"]"#, "2147483648", "2147483648 is not an int"),
        (r#"["null","int","string"]"#, "true", "true is none of null, int, string"),
    ] {
        let said = encoded(&avro(&of(kind)), &format!(r#"{{"a":{json}}}"#)).unwrap_err();
        assert_eq!(said, format!("$.a: {why}"), "{kind} {json}");
    }
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"items","type":{"type":"array","items":
        {"type":"record","name":"Item","fields":[{"name":"price","type":"int"},{"name":"of","type":["null","Item"]}]}}},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","OLD"]},"default":"NEW"},
    {"name":"tags","type":{"type":"map","values":"string"},"default":{"a":"b"}},
    {"name":"raw","type":"bytes","default":"\u00ff"}
]}"#;

#[test]
fn what_is_missing_is_filled_in_and_what_is_unknown_is_refused() {
    let order = avro(ORDER);
    let written = encoded(&order, r#"{"items":[{"price":1}],"id":1}"#).unwrap();
    assert_eq!(
        decoded(&order, &written).unwrap(),
        r#"{"id":1,"items":[{"price":1,"of":null}],"note":null,"state":"NEW","tags":{"a":"b"},"raw":{"base64":"/w=="}}"#
    );
    for (json, why) in [
        (r#"{"id":1,"items":[{"price":1},{"price":"x"}]}"#, "$.items[1].price: \"x\" is no number"),
        (
            r#"{"id":1,"items":[{"price":1,"of":{"price":2,"of":{"price":null}}}]}"#,
            "$.items[0].of.of.price: null is no number",
        ),
        (r#"{"id":1}"#, "$.items: it is missing, and has no default"),
        (r#"{"id":1,"items":[],"more":1}"#, "$.more: shop.Order has no such field"),
        (r#"{"id":1,"id":2,"items":[]}"#, "$.id: it is given twice"),
        (r#"{"id":1,"items":[],"tags":{"x y":1}}"#, "$.tags[\"x y\"]: 1 is no text"),
        ("[]", "$: a list is no object"),
    ] {
        assert_eq!(encoded(&order, json).unwrap_err(), why, "{json}");
    }
    assert!(encoded(&order, "{\"id\":").unwrap_err().starts_with("$: it is no JSON: "));
}

#[test]
fn a_union_is_its_value_and_the_branch_is_the_first_that_looks_like_it() {
    let records = r#"["null",
        {"type":"record","name":"A","namespace":"n","fields":[{"name":"x","type":"int"}]},
        {"type":"record","name":"B","namespace":"n","fields":[{"name":"x","type":"string"},{"name":"y","type":"int","default":0}]},
        {"type":"record","name":"C","namespace":"n","fields":[{"name":"z","type":["null","int"]}]},
        {"type":"map","values":"int"}]"#;
    let numbers =
        r#"["double","long","int","string",{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}]"#;
    let uuid_or_symbol =
        r#"[{"type":"string","logicalType":"uuid"},{"type":"enum","name":"State","symbols":["NEW","OLD"]}]"#;
    for (kind, json, branch) in [
        (records, "null", 0),
        (records, r#"{"x":1}"#, 1),
        (records, r#"{"x":"1"}"#, 2),
        (records, r#"{"y":7,"x":"1"}"#, 2),
        (records, r#"{}"#, 3),
        (records, r#"{"a":1}"#, 4),
        (r#"["long","double"]"#, "1.0", 1),
        (r#"["long","double"]"#, "1.5", 1),
        (r#"["int","float"]"#, "1", 0),
        (r#"["float","int"]"#, "1", 1),
        (r#"["int","double"]"#, "2147483648", 1),
        (r#"["null","int"]"#, "1.0", 1),
        (r#"[{"type":"int","logicalType":"date"},"double"]"#, "1.0", 1),
        (numbers, "1", 1),
        (numbers, "1.5", 0),
        (numbers, "1.0", 0),
        (numbers, "\"1.50\"", 3),
        (uuid_or_symbol, "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"", 0),
        (uuid_or_symbol, "\"NEW\"", 1),
        (uuid_or_symbol, "\"none yet\"", 0),
    ] {
        let written = encoded(&avro(kind), json).unwrap();
        assert_eq!(written[0] / 2, branch, "{json}");
    }
    // The other branch is named.
    let tagged = encoded(&avro(records), r#"{"n.B":{"x":"1"}}"#).unwrap();
    assert_eq!(tagged, encoded(&avro(records), r#"{"x":"1"}"#).unwrap());
    assert_eq!(encoded(&avro(numbers), r#"{"bytes":"1.5"}"#).unwrap()[0] / 2, 4);
    assert_eq!(encoded(&avro(records), r#"{"n.A":{"x":"1"}}"#).unwrap_err(), "$[\"n.A\"].x: \"1\" is no number");
}

#[test]
fn bytes_that_are_no_value_are_refused_with_their_path() {
    let order = avro(ORDER);
    let whole = encoded(&order, r#"{"id":300,"items":[{"price":1}],"note":"n"}"#).unwrap();
    for end in 0..whole.len() {
        assert!(decoded(&order, &whole[..end]).is_err(), "{end}");
    }
    let more = [&whole[..], b"x"].concat();
    assert_eq!(decoded(&order, &more).unwrap_err(), "$: 1 bytes stand behind its end");
    for (kind, bytes, why) in [
        ("\"boolean\"", &[2][..], "$.a: a boolean is 0 or 1, and this is 2"),
        ("\"int\"", &[0xff, 0xff, 0xff, 0xff, 0x7f], "$.a: -17179869184 is no int"),
        ("\"long\"", &[0xff; 11], "$.a: a number has more than 64 bits"),
        ("\"string\"", &[1], "$.a: it has a size of -1"),
        ("\"string\"", &[2, 0xff], "$.a: it is no UTF-8"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, &[2], "$.a: there is no symbol 1"),
        (r#"["null","int"]"#, &[4], "$.a: there is no branch 2"),
        (r#"{"type":"array","items":"string"}"#, &[4, 0, 3, 0], "$.a[1]: it has a size of -2"),
        // Billions of nothing.
        (
            r#"{"type":"array","items":"null"}"#,
            &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            "$.a[13421771]: it makes more than 64 MiB of JSON",
        ),
    ] {
        let said = decoded(&avro(&of(kind)), bytes).unwrap_err();
        assert_eq!(said.replace(char::is_numeric, "#"), why.replace(char::is_numeric, "#"), "{kind}");
    }
    let decimal = avro(r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#);
    for more in [&[6, 1, 0, 0][..], &[4, 0x30, 0x39]] {
        assert_eq!(decoded(&decimal, more).unwrap_err(), "$: it has more than 4 digits");
    }
    assert_eq!(decoded(&decimal, &[8, 0xff, 0xff, 0xd8, 0xf1]).unwrap(), "\"-99.99\"", "bytes of the sign alone");
    let list = avro(r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#);
    let deep = [vec![2; 5000], vec![0]].concat();
    assert!(decoded(&list, &deep).unwrap_err().ends_with("it is nested deeper than 120 times"));
    // As deep as it may be, it is written again.
    let deep = [vec![2; 119], vec![0]].concat();
    let json = decoded(&list, &deep).unwrap();
    assert_eq!(encoded(&list, &json).unwrap(), deep);
}

#[test]
fn a_value_that_was_written_in_blocks_is_read() {
    let avro = avro(&of(r#"{"type":"array","items":"int"}"#));
    // Two blocks, the first with its size.
    assert_eq!(decoded(&avro, &[3, 4, 2, 4, 2, 6, 0]).unwrap(), r#"{"a":[1,2,3]}"#);
}

#[test]
fn schemas_may_refer_to_others() {
    let item = r#"{"type":"record","name":"Item","namespace":"shop","fields":[{"name":"n","type":"int"}]}"#;
    let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"item","type":"Item"}]}"#;
    assert!(Avro::read(order, &[]).is_err());
    let avro = Avro::read(order, &[item.to_owned()]).unwrap();
    assert_eq!(decoded(&avro, &encoded(&avro, r#"{"item":{"n":1}}"#).unwrap()).unwrap(), r#"{"item":{"n":1}}"#);
    // What is referred to may be anything that defines it.
    let union = format!(r#"["null",{item}]"#);
    let nested = format!(r#"{{"name":"Other","type":{item}}}"#);
    for known in [union, nested] {
        assert!(Avro::read(order, std::slice::from_ref(&known)).is_ok(), "{known}");
    }
}

#[test]
fn a_record_of_nothing_does_not_grow_for_ever() {
    // Each has two of the one before it, and none of them has a byte.
    let mut schema = r#"{"type":"record","name":"R0","fields":[]}"#.to_owned();
    for n in 1..=40 {
        let before = n - 1;
        schema = format!(
            r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":{schema}}},{{"name":"b","type":"R{before}"}}]}}"#
        );
    }
    let said = decoded(&avro(&schema), &[]).unwrap_err();
    assert!(said.ends_with("it makes more than 64 MiB of JSON"), "{said}");
    let endless = avro(r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#);
    assert!(decoded(&endless, &[]).unwrap_err().ends_with("it is nested deeper than 120 times"));
}

#[test]
fn a_default_does_not_grow_for_ever() {
    let mut schema = r#"{"type":"record","name":"R0","fields":[{"name":"n","type":"int","default":0}]}"#.to_owned();
    for n in 1..=40 {
        let before = n - 1;
        schema = format!(
            r#"{{"type":"record","name":"R{n}","fields":[
                {{"name":"a","type":{schema},"default":{{}}}},{{"name":"b","type":"R{before}","default":{{}}}}]}}"#
        );
    }
    assert_eq!(encoded(&avro(&schema), "{}").unwrap_err(), "$.a: it is missing, and has no default");
}

#[test]
fn a_default_that_fits_nowhere_is_given_up() {
    let branches = r#"["int","A","B"]"#;
    let schema = format!(
        r#"{{"type":"record","name":"R","fields":[
            {{"name":"a","type":["int",
                {{"type":"record","name":"A","fields":[{{"name":"x","type":["int","A",
                    {{"type":"record","name":"B","fields":[{{"name":"x","type":{branches}}}]}}]}}]}},"B"],
              "default":{}"none"{}}}]}}"#,
        "{\"x\":".repeat(60),
        "}".repeat(60)
    );
    assert_eq!(encoded(&avro(&schema), "{}").unwrap_err(), "$.a: it is missing, and has no default");
}

#[test]
fn a_float_is_rounded_once() {
    let float = avro("\"float\"");
    // Its text lies between two floats, and the double that is nearest to it lies just in the middle of them.
    let odd = [0xfd, 0x43, 0xae, 0x15];
    let text = decoded(&float, &odd).unwrap();
    assert_eq!((text.as_str(), encoded(&float, &text)), ("7.038531e-26", Ok(odd.to_vec())));
    let schema = of("\"float\"").replace("}]}", ",\"default\":7.038531e-26}]}");
    assert_eq!(encoded(&avro(&schema), "{}"), Ok(odd.to_vec()));
}

#[test]
fn schemas_that_other_libraries_take_are_taken() {
    for schema in [
        r#"{"type":"record","name":"Order","namespace":"my-shop.v-1","fields":[{"name":"an-id","type":"int"}]}"#,
        r#"{"type":"record","name":"my-shop.Bestellung-\u00e4","fields":[{"name":"1","type":"int"}]}"#,
        r#"{"type":"enum","name":"E","symbols":["a-b","1","\u00e9"]}"#,
        r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
        r#"{"type":"record","name":"n.R","aliases":["a-b"],"fields":[{"name":"r","type":["null","a-b"]}]}"#,
    ] {
        assert!(Avro::read(schema, &[]).is_ok(), "{schema}: {:?}", Avro::read(schema, &[]).err());
    }
    for (schema, why) in [
        (r#"{"type":"record","name":"","fields":[]}"#, "Invalid schema name"),
        (r#"{"type":"record","name":"R","fields":[{"name":"","type":"int"}]}"#, "Invalid field name"),
        (r#"["int","int"]"#, "duplicate types"),
        (r#"{"type":"array","items":"Item"}"#, "Item"),
        (
            r#"[{"type":"fixed","name":"F","size":1},{"type":"array","items":{"type":"fixed","name":"F","size":2}}]"#,
            "F is defined twice",
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":70000,"scale":66000}"#,
            "a decimal has 70000 digits, and 10000 are the most",
        ),
        (
            r#"{"type":"fixed","name":"F","size":1000000000000,"logicalType":"decimal","precision":4}"#,
            "F has 1000000000000 bytes, and 67108864 are the most",
        ),
        ("{", "it is no JSON"),
        ("7", "Must be a JSON string, object or array"),
    ] {
        let said = Avro::read(schema, &[]).unwrap_err();
        assert!(said.contains(why), "{schema}: {said}");
    }
}

#[test]
fn a_default_that_does_not_fit_is_none() {
    for (kind, default) in [
        ("\"int\"", "\"x\""),
        ("\"int\"", "2147483648"),
        ("\"int\"", "null"),
        ("\"string\"", "null"),
        ("\"float\"", "1e39"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "\"B\""),
        (r#"{"type":"fixed","name":"F","size":2}"#, "\"x\""),
        (r#"{"type":"record","name":"I","fields":[{"name":"n","type":"int"}]}"#, "{}"),
    ] {
        let schema = format!(
            r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{kind},"default":{default}}},{{"name":"b","type":"int"}}]}}"#
        );
        let said = encoded(&avro(&schema), r#"{"b":1}"#).unwrap_err();
        assert_eq!(said, "$.a: it is missing, and has no default", "{kind} {default}");
    }
    // The branch of a union may be any, and what is not a number has its words.
    for (kind, default, json) in [
        (r#"["null","int"]"#, "7", "7"),
        (r#"["int","null"]"#, "null", "null"),
        ("\"double\"", "\"NaN\"", "\"NaN\""),
        ("\"double\"", "1", "1.0"),
        (r#"{"type":"int","logicalType":"date"}"#, "0", "\"1970-01-01\""),
    ] {
        let schema =
            format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a","type":{kind},"default":{default}}}]}}"#);
        assert_eq!(there_and_back(&schema, "{}"), Ok(format!(r#"{{"a":{json}}}"#)), "{kind} {default}");
    }
}

#[test]
fn a_type_without_a_namespace_stays_without_one() {
    let schema = r#"{"type":"record","name":"shop.Order","fields":[
        {"name":"a","type":{"type":"record","name":"Item","fields":[{"name":"x","type":"int"}]}},
        {"name":"b","type":{"type":"record","name":"Item","namespace":"","fields":[{"name":"y","type":"int"}]}},
        {"name":"c","type":["null","Item",".Item"]}]}"#;
    let json = r#"{"a":{"x":1},"b":{"y":2},"c":{"y":3}}"#;
    assert_eq!(there_and_back(schema, json).as_deref(), Ok(json));
}
