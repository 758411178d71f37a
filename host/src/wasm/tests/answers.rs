//! What a guest gives, and what it knows.

use crate::{
    record::Header,
    transport::Partition,
    wasm::{
        Instance,
        fixture::{One, Stage, compiled, setup, show, written},
    },
};

#[test]
fn a_stage_of_one_line_changes_the_value_alone() {
    let mut upper = Instance::new(&compiled("upper"), setup()).unwrap();
    assert_eq!(show(&One::of("hello").hand_to(&mut upper)), "k=HELLO");
    assert_eq!(show(&One { value: None, ..One::of("") }.hand_to(&mut upper)), "k=none");
    assert_eq!(show(&One { key: None, ..One::of("") }.hand_to(&mut upper)), "none=");
}

#[test]
fn every_byte_comes_back() {
    let mut trial = Stage::trial();
    let bytes: Vec<u8> = (0..=255).collect();
    let record = One { key: Some(bytes.clone()), value: Some(bytes.clone()), ..One::of("") };
    let given = record.hand_to(&mut trial.0).unwrap();
    assert_eq!((given[0].key.as_ref(), given[0].value.as_ref()), (Some(&bytes), Some(&bytes)));
}

#[test]
fn a_record_says_where_it_goes() {
    let mut trial = Stage::trial();
    for (value, given) in [
        ("filter", "nothing"),
        ("tombstone", "k=none"),
        ("to large rest of it", "k=rest of it ->large"),
        ("partition 7", "k=partition 7 p7"),
        ("at 5", "k=at 5 @5"),
        ("add", "k=add +[tag=a tag=b none=none]"),
        ("replace", "k=replace =[only=this]"),
        ("many 3", "none= | none= | none="),
    ] {
        assert_eq!(trial.says(value), given);
    }
}

#[test]
fn a_guest_that_says_it_failed_keeps_its_words() {
    let mut trial = Stage::trial();
    for (value, failure) in [
        ("reject", "reject(asked) asked to reject"),
        ("retry", "retry asked to retry"),
        ("later", "retry in 250 ms(asked) asked for later"),
        ("fault", "fault(asked) asked for a fault"),
    ] {
        assert_eq!(trial.says(value), failure);
    }
}

#[test]
fn a_guest_knows_the_record_in_hand() {
    let mut trial = Stage::trial();
    assert_eq!(trial.says("origin"), "k=orders-prod/orders/3@42/1700000000000/1");
    let other = One { partition: Partition { input: 1, number: 0 }, timestamp: None, attempt: 2, ..One::of("origin") };
    assert_eq!(trial.takes(other), "k=returns-prod/returns/0@42/none/2");

    let header = |name: &str, value: Option<&str>| Header { name: name.into(), value: value.map(Into::into) };
    let headers = vec![header("a", Some("1")), header("a", Some("2")), header("b", None)];
    assert_eq!(trial.takes(One { headers, ..One::of("headers") }), "k=a=1 a=2 b=none");
    assert_eq!(trial.says("headers"), "k=");
}

#[test]
fn a_guest_knows_its_configuration() {
    let mut trial = Stage::trial();
    assert_eq!(trial.says("config currency"), "k=EUR");
    assert_eq!(trial.says("config nothing"), "k=none");
    assert_eq!(trial.says("config"), "k=currency=EUR rate=2");
}

/// The value of its only record is what the configuration says to `rate`.
#[test]
fn wasi_config_is_the_same_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = written(
        folder.path(),
        r#"(module
            (import "wasi:config/store@0.2.0-rc.1" "get" (func $get (param i32 i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "rate")
            (global $free (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 8)))))
            (func (export "millstream:stage/transformer@0.1.0#transform")
                (param i32 i32 i32 i32 i32 i32) (result i32)
                ;; Ok at 512, Some at 516, the text's place and length behind it.
                (call $get (i32.const 16) (i32.const 4) (i32.const 512))
                ;; One record at 1024, with no key; its value is that text.
                (i32.store8 (i32.const 1036) (i32.load8_u (i32.const 516)))
                (i32.store (i32.const 1040) (i32.load (i32.const 520)))
                (i32.store (i32.const 1044) (i32.load (i32.const 524)))
                ;; Ok at 256, and the list.
                (i32.store (i32.const 264) (i32.const 1024))
                (i32.store (i32.const 268) (i32.const 1))
                (i32.const 256)))"#,
    );
    let mut stage = Stage(Instance::new(&compiled.unwrap(), setup()).unwrap());
    assert_eq!(stage.says("whatever"), "none=2");
}
