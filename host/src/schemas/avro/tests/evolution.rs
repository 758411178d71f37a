//! What a new schema reads of what an old one wrote.

use super::*;

fn reads(old: &str, new: &str) -> Result<(), String> {
    avro(new).reads(&avro(old)).map_err(|misfit| misfit.to_string())
}

#[test]
fn a_wider_type_reads_a_narrower_one_and_not_the_other_way_round() {
    let date = r#"{"type":"int","logicalType":"date"}"#;
    let millis = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
    let decimal = |scale| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#);
    for (old, new) in [
        ("\"int\"", "\"long\""),
        ("\"int\"", "\"double\""),
        ("\"long\"", "\"float\""),
        ("\"float\"", "\"double\""),
        ("\"int\"", r#"["null","int"]"#),
        ("\"int\"", r#"["null","long"]"#),
        (r#"["null","int"]"#, r#"["string","long","null"]"#),
        (r#"["int"]"#, "\"int\""),
        (r#"{"type":"array","items":"int"}"#, r#"{"type":"array","items":"long"}"#),
        (r#"{"type":"map","values":"int"}"#, r#"{"type":"map","values":["null","int"]}"#),
        (date, millis),
    ] {
        assert_eq!(reads(&of(old), &of(new)), Ok(()), "{old} {new}");
        if old != r#"["int"]"# {
            assert!(reads(&of(new), &of(old)).is_err(), "{new} {old}");
        }
    }
    for (one, other) in [("\"string\"", "\"bytes\""), ("\"int\"", date), ("\"bytes\"", &decimal(2))] {
        assert_eq!(reads(&of(one), &of(other)), Ok(()), "{one} {other}");
        assert_eq!(reads(&of(other), &of(one)), Ok(()), "{other} {one}");
    }
    for (old, new, why) in [
        ("\"string\"", "\"int\"", "$.a: int does not read string"),
        (r#"["null","string"]"#, "\"string\"", "$.a: string does not read null"),
        (r#"["null","string"]"#, r#"["null","int"]"#, "$.a: [null, int] does not read string"),
        (r#"{"type":"array","items":"long"}"#, r#"{"type":"array","items":"int"}"#, "$.a[]: int does not read long"),
        (&decimal(2), &decimal(3), "$.a: a decimal(9, 3) does not read a decimal(9, 2)"),
    ] {
        assert_eq!(reads(&of(old), &of(new)).unwrap_err(), why);
    }
}

#[test]
fn a_new_field_has_a_default_and_a_renamed_one_an_alias() {
    let record = |fields: &str| format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
    let one = record(r#"{"name":"a","type":"int"}"#);
    let two = |more: &str| record(&format!(r#"{{"name":"a","type":"int"}},{{"name":"b","type":"int"{more}}}"#));
    assert_eq!(reads(&one, &two(r#","default":0"#)), Ok(()));
    assert_eq!(reads(&two(""), &one), Ok(()));
    for more in ["", r#","default":"x""#] {
        assert_eq!(reads(&one, &two(more)).unwrap_err(), "$.b: it is new, and has no default");
    }
    assert_eq!(reads(&one, &record(r#"{"name":"z","type":"long","aliases":["a"]}"#)), Ok(()));
    // Each has the other within.
    let tree = |name: &str, field: &str| {
        format!(
            r#"{{"type":"record","name":"T","fields":[
                {{"name":"{field}","type":["null",{{"type":"record","name":"{name}","fields":[{{"name":"n","type":".T"}}]}}]}}]}}"#
        )
    };
    assert_eq!(reads(&tree("U", "u"), &tree("other.U", "u")), Ok(()), "a namespace does not matter");
    assert_eq!(reads(&tree("U", "u"), &tree("V", "u")).unwrap_err(), "$.u: [null, V] does not read U");
    let renamed = tree("V", "u").replace(r#""name":"V""#, r#""name":"V","aliases":["U"]"#);
    assert_eq!(reads(&tree("U", "u"), &renamed), Ok(()));
    let deep = tree("U", "u").replace(r#""name":"n""#, r#""name":"m""#);
    assert_eq!(reads(&tree("U", "u"), &deep).unwrap_err(), "$.u.m: it is new, and has no default");
}

#[test]
fn where_a_type_is_defined_does_not_matter() {
    let item = r#"{"type":"record","name":"Item","fields":[{"name":"n","type":"int"}]}"#;
    let order = |first: &str, second: &str| {
        format!(
            r#"{{"type":"record","name":"O","fields":[{{"name":"{first}","type":{item}}},{{"name":"{second}","type":"Item"}}]}}"#
        )
    };
    assert_eq!(reads(&order("a", "b"), &order("b", "a")), Ok(()));
}

#[test]
fn a_symbol_that_is_gone_needs_a_default() {
    let symbols =
        |symbols: &str, more: &str| of(&format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]{more}}}"#));
    let old = symbols(r#""A","B""#, "");
    assert_eq!(reads(&old, &symbols(r#""B","C","A""#, "")), Ok(()));
    assert_eq!(reads(&old, &symbols(r#""A""#, r#","default":"A""#)), Ok(()));
    for more in ["", r#","default":"Z""#] {
        assert_eq!(reads(&old, &symbols(r#""A""#, more)).unwrap_err(), "$.a: E has no symbol B any more");
    }
    let fixed = |name: &str, size: u8| of(&format!(r#"{{"type":"fixed","name":"{name}","size":{size}}}"#));
    assert_eq!(reads(&fixed("F", 2), &fixed("n.F", 2)), Ok(()));
    assert!(reads(&fixed("F", 2), &fixed("F", 3)).is_err());
    assert!(reads(&fixed("F", 2), &fixed("G", 2)).is_err());
}

#[test]
fn what_relied_on_a_record_that_is_not_read_is_looked_at_again() {
    let record = |name: &str, fields: &str| format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#);
    let field = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":{kind}}}"#);
    let t = |name: &str, u: &str, n: &str| {
        let u = record(u, &field("t", &format!(r#"["null","{name}"]"#)));
        record(name, &format!("{},{}", field("u", &u), field("n", n)))
    };
    let root = |x: &str, y: &str| record("Root", &format!("{},{}", field("x", x), field("y", y)));
    let old = root(&t("T", "U", "\"int\""), "\"U\"");
    // Its first T does not read the old one, the second does; its U has the first one within.
    let other = record("b.T", &field("n", "\"int\""));
    let new = root(&format!("[{},{other}]", t("a.T", "a.U", "\"string\"")), "\"a.U\"");
    assert_eq!(reads(&old, &new).unwrap_err(), "$.y.t.n: string does not read int");
}
