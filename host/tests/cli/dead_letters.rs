//! `dead-letters` on the embedded log.

use crate::{
    command::{Said, done, json_lines},
    support::{Folder, golden_text},
};
use serde_json::{Value, json};
use std::fs;

const MANIFEST: &str = "
name: shop
topics: {orders: {partitions: 1}}
stages:
  price: {module: trial.wasm, input: orders, output: priced, limits: {time: 50ms}}
  tax: {module: trial.wasm, input: priced, output: taxed}
";

/// What the orders are: two are rejected, and one takes too long.
const ORDERS: [&str; 6] = ["ann:tea", "bob:reject 1", "ann:loop", "cid:reject two", "bob:tea", "cid:fault"];

/// A folder whose pipeline has run with these orders.
fn with(orders: &[&str]) -> Folder {
    let folder = Folder::with(MANIFEST).trial("trial.wasm").set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    done(folder.says("topics create orders"));
    put(&folder, orders);
    folder
}

/// More orders, and a run that takes them.
fn put(folder: &Folder, orders: &[&str]) {
    done(folder.given(orders.join("\n"), "produce orders --key-separator :").without_log());
    assert_eq!(folder.says("run pipeline.yaml --until-idle=0s").code, 0);
}

/// Without times and digests, which differ each time.
fn plain(text: &str) -> String {
    let is_digit = |c: &char| c.is_ascii_digit();
    let plain = |word: &str| match word.trim_end_matches([',', '\n']) {
        date if date.len() == 10 && date.split('-').count() == 3 => word.replace(|c: char| is_digit(&c), "9"),
        time if time.split(':').count() == 2 && time.len() == 5 => word.replace(|c: char| is_digit(&c), "9"),
        moment if moment.ends_with('Z') && moment.starts_with("20") => word.replace(moment, "TIME"),
        digest if digest.starts_with("sha256:") => word.replace(digest, "DIGEST"),
        _ => word.to_owned(),
    };
    text.split_inclusive([' ', '\n'])
        .map(|word| {
            let end = word.len() - usize::from(word.ends_with(' '));
            plain(&word[..end]) + &word[end..]
        })
        .collect()
}

#[test]
fn dead_letters_are_counted_and_shown() {
    let folder = with(&ORDERS);
    let mut shown = String::new();
    for words in [
        "dead-letters list",
        "dlq list price --kind reject,fault",
        "dead-letters list tax",
        "dead-letters show price -n 2",
        "dead-letters show price --code time-limit",
        "dead-letters show price --since 2100-01-01T00:00:00Z",
    ] {
        let out = done(folder.says(words));
        assert!(out.lines().all(|line| line.chars().count() <= 80 || line.starts_with("  module")), "{out}");
        shown.push_str(&format!("$ millstream {words}\n{}\n", plain(&out)));
    }
    golden_text("dead-letters", &shown);
}

#[test]
fn programs_read_dead_letters_as_json() {
    let folder = with(&ORDERS);
    let listed = &json_lines(&done(folder.says("dead-letters list --json")))[0];
    let rows: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| (row["kind"].as_str(), row["letters"].as_u64())).collect();
    assert_eq!(rows, [(Some("fault"), Some(1)), (Some("limit"), Some(1)), (Some("reject"), Some(2))]);
    assert!(listed[2]["first"].as_i64() <= listed[2]["last"].as_i64(), "{listed}");
    // One by one they are as `consume` prints them.
    let shown = done(folder.says("dead-letters show price --json"));
    let consumed = folder.says("consume shop.price.dead-letter -o start --until-end --format json");
    assert_eq!(shown, done(consumed));
    assert_eq!(done(folder.says("dead-letters show tax --json")), "");
}

#[test]
fn what_no_host_wrote_is_told_apart_from_letters() {
    let folder = with(&ORDERS);
    done(folder.given("mine", "produce shop.price.dead-letter"));
    let listed = done(folder.says("dead-letters list"));
    assert!(listed.ends_with("shop.price.dead-letter: 1 record that no host wrote\n"), "{listed}");
    assert_eq!(json_lines(&done(folder.says("dead-letters show price --json"))).len(), 4);
}

#[test]
fn who_asks_for_what_is_not_there_hears_what_is() {
    let folder = Folder::with(MANIFEST).trial("trial.wasm").set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    assert_eq!(done(folder.says("dead-letters list")), "no dead letters wait\n");
    assert_eq!(done(folder.says("dead-letters list --json")), "[]\n");
    assert!(!folder.path(".millstream").exists(), "who only looks makes no log");
    for (words, why) in [
        ("show prize", "error: shop has no stage or sink `prize`: did you mean `price`?\n"),
        ("list zzz", "error: shop has no stage or sink `zzz`: it has price, tax\n"),
        ("list --since soon", "write a time such as `2026-01-01T00:00:00Z`, or how long ago it was, such as `1h`"),
        ("list --kind poison", "[possible values: reject, fault, limit, retry, decode, encode]"),
    ] {
        let said = folder.says(&format!("dead-letters {words}"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words}");
        assert!(said.err.contains(why), "{}", said.err);
    }
}

/// A folder whose stage lets nothing through, and has these records as dead letters; by now it would.
fn dead(records: &[Value], rest: &str) -> Folder {
    let manifest = |output: &str| {
        format!(
            "name: shop\ntopics: {{orders: {{partitions: 1}}, tight: {{config: {{max.message.bytes: 64}}}}}}\n\
             stages:\n  price: {{module: trial.wasm, input: orders, limits: {{outputs: 1}}, output: {output}{rest}}}\n"
        )
    };
    let folder = Folder::with(&manifest("tight")).trial("trial.wasm").set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    done(folder.says("topics create orders"));
    let lines: Vec<_> = records.iter().map(Value::to_string).collect();
    done(folder.given(lines.join("\n"), "produce orders --format json"));
    assert_eq!(folder.says("run pipeline.yaml --until-idle=0s").code, 0);
    fs::write(folder.path("pipeline.yaml"), manifest("priced")).unwrap();
    done(folder.says("topics create priced"));
    folder
}

/// What `retry` printed, without what it logs of each letter.
fn retried(folder: &Folder, words: &str) -> Said {
    let said = folder.says(&format!("dead-letters retry price {words}")).without_log();
    assert_eq!(said.err, "", "{said:?}");
    said
}

fn records(folder: &Folder, topic: &str) -> Vec<Value> {
    json_lines(&done(folder.says(&format!("consume {topic} -o start --until-end --format json"))))
}

/// The values of a record's headers of this name.
fn headers<'a>(record: &'a Value, name: &str) -> Vec<&'a str> {
    let all = record["headers"].as_array().unwrap();
    all.iter().filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

#[test]
fn a_letter_is_tried_again_as_the_record_that_it_was() {
    let orders = [
        json!({"key": "ann", "value": "origin", "headers": [["a", "1"]], "timestamp": 1_700_000_000_000_i64}),
        json!({"key": "bob", "value": "headers", "headers": [["a", "1"], ["b", null]]}),
        json!({"key": "cid", "value": "reject", "headers": [["a", "1"]]}),
        json!({"key": "dan", "value": "add", "headers": [["a", "1"]]}),
    ];
    let folder = dead(&orders, "");
    assert_eq!(records(&folder, "shop.price.dead-letter").len(), 4);
    assert!(records(&folder, "priced").is_empty());
    let said = retried(&folder, "");
    assert_eq!(said.parts().1, "price: 4 dead letters retried: 3 went through, 1 failed again\n");

    let priced = records(&folder, "priced");
    assert_eq!(priced[0]["value"], "orders/orders/0@0/1700000000000/2");
    assert_eq!((&priced[0]["headers"], &priced[0]["timestamp"]), (&json!([["a", "1"]]), &orders[0]["timestamp"]));
    assert_eq!((&priced[1]["value"], &priced[1]["headers"]), (&json!("a=1 b=none"), &json!([["a", "1"], ["b", null]])));
    assert_eq!(priced[2]["headers"], json!([["a", "1"], ["tag", "a"], ["tag", "b"], ["none", null]]));

    // Whoever does it twice does nothing twice; what failed again is one letter that waits, and has one attempt more.
    for attempts in ["2", "3"] {
        let waits = json_lines(&done(folder.says("dead-letters show price --json")));
        let [letter] = &waits[..] else { panic!("{waits:?}") };
        assert_eq!((&letter["key"], &letter["value"]), (&json!("cid"), &json!("reject")));
        assert_eq!(letter["headers"].as_array().unwrap().len(), 14, "{letter}");
        for (name, value) in [("attempts", attempts), ("offset", "2"), ("topic", "orders"), ("kind", "reject")] {
            assert_eq!(headers(letter, &format!("millstream.error.{name}")), [value]);
        }
        let said = retried(&folder, "");
        assert_eq!(said.parts().1, "price: 1 dead letter retried: 0 went through, 1 failed again\n");
    }
    assert_eq!(records(&folder, "priced"), priced);
    let said = retried(&folder, "--fail-on-dead-letter --json");
    assert_eq!(said.code, 3);
    let expected = json!({"stage": "price", "retried": 1, "through": 0, "sent": 0, "failed": 1, "left": 0, "foreign": 0, "complete": true});
    assert_eq!(json_lines(&said.out), [expected]);
}

#[test]
fn what_comes_of_a_letter_says_where_its_record_once_stood() {
    let folder = dead(&[json!({"value": "a"}), json!({"value": "b", "headers": [["own", "1"]]})], ", provenance: true");
    assert_eq!(retried(&folder, "").parts().1, "price: 2 dead letters retried: 2 went through, 0 failed again\n");
    for (offset, record) in records(&folder, "priced").iter().enumerate() {
        let names: Vec<_> = record["headers"].as_array().unwrap().iter().map(|header| header[0].clone()).collect();
        assert_eq!(names.len(), 4 + offset, "{record}");
        for (name, value) in [("topic", "orders"), ("partition", "0"), ("offset", &offset.to_string())] {
            assert_eq!(headers(record, &format!("millstream.origin.{name}")), [value]);
        }
    }
}

#[test]
fn letters_that_are_not_meant_are_left_as_they_are() {
    let orders: Vec<_> =
        ["reject", "a", "reject", "b", "c", "many 2"].iter().map(|value| json!({"value": value})).collect();
    let folder = dead(&orders, "");
    // Somebody's own record among them.
    done(folder.given("mine", "produce shop.price.dead-letter"));
    let before = records(&folder, "shop.price.dead-letter");
    let said = retried(&folder, "--kind fault -n 2");
    assert_eq!(said.parts().1, "price: 2 dead letters retried: 2 went through, 0 failed again; 2 left\n");
    let waits = || json_lines(&done(folder.says("dead-letters show price --json")));
    let values =
        |records: &[Value]| records.iter().map(|r| r["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (values(&records(&folder, "priced")), values(&waits())),
        (vec!["a".into(), "b".into()], vec!["c".into(), "many 2".into(), "reject".into(), "reject".into()])
    );
    // Byte for byte, with the letter's own time.
    let strip = |record: &Value| {
        (record["key"].clone(), record["value"].clone(), record["headers"].clone(), record["timestamp"].clone())
    };
    assert_eq!(strip(&waits()[2]), strip(&before[0]));

    // The others: also beyond what nobody of the host wrote.
    let said = retried(&folder, "--kind limit,fault");
    assert_eq!(
        said.parts().1,
        "price: 2 dead letters retried: 1 went through, 1 failed again; 2 left; 1 of others passed over\n"
    );
    assert_eq!(values(&waits()), ["many 2", "reject", "reject"]);
    let said = retried(&folder, "--code asked");
    assert_eq!(said.parts().1, "price: 2 dead letters retried: 0 went through, 2 failed again; 1 left\n");
    assert_eq!(values(&waits()), ["many 2", "reject", "reject"]);
    let all = records(&folder, "shop.price.dead-letter");
    assert_eq!(values(&all).iter().filter(|value| *value == "mine").count(), 1);
}

#[test]
fn a_dry_run_shows_what_would_come_and_changes_nothing() {
    let orders: Vec<_> = ["a", "reject", "origin"].iter().map(|value| json!({"key": "k", "value": value})).collect();
    let folder = dead(&orders, "");
    let before = records(&folder, "shop.price.dead-letter");
    let (code, out, err) = folder.says("dead-letters retry price --dry-run").without_log().parts();
    let values: Vec<_> =
        json_lines(&out).iter().map(|r| (r["topic"].clone(), r["output"].clone(), r["value"].clone())).collect();
    assert_eq!(values.len(), 2);
    assert_eq!(values[0], (json!("priced"), json!("main"), json!("a")));
    assert!(values[1].2.as_str().unwrap().starts_with("orders/orders/0@2/"), "{values:?}");
    let expected = "orders/0@1: reject asked: asked to reject\nprice: 3 dead letters would be retried: 2 would go through, 1 would fail again\n";
    assert_eq!((code, err.as_str()), (0, expected));
    assert_eq!(records(&folder, "shop.price.dead-letter"), before);
    assert!(records(&folder, "priced").is_empty());
    assert_eq!(done(folder.says("dead-letters show price --json")).lines().count(), 3);
    let groups = folder.says("offsets show shop.price.dead-letter.retry");
    assert_eq!((groups.code, groups.out.as_str()), (2, ""), "{groups:?}");
}

#[test]
fn a_mended_module_is_tried_without_touching_the_manifest() {
    let folder = with(&ORDERS);
    let pinned = fs::read_to_string(folder.path("pipeline.yaml")).unwrap();
    fs::copy(folder.path("trial.wasm"), folder.path("mended.wasm")).unwrap();
    fs::remove_file(folder.path("trial.wasm")).unwrap();
    assert_eq!(folder.says("dead-letters retry price").code, 2);
    let said = retried(&folder, "--module mended.wasm");
    assert_eq!(said.parts().1, "price: 4 dead letters retried: 0 went through, 4 failed again\n");
    assert_eq!(fs::read_to_string(folder.path("pipeline.yaml")).unwrap(), pinned);
    let missing = folder.says("dead-letters retry price --module gone.wasm");
    assert_eq!(missing.code, 2);
    assert!(missing.err.starts_with("error: ") && missing.err.contains("gone.wasm"), "{missing:?}");
}

#[test]
fn what_could_overtake_a_newer_value_is_asked_for() {
    let folder = dead(&[json!({"key": "k", "value": "a"})], "");
    done(folder.says("topics delete priced"));
    done(folder.says("topics create priced --config cleanup.policy=compact"));
    let said = folder.says("dead-letters retry price");
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(
        said.err.starts_with("error: ") && said.err.contains("priced is compacted") && said.err.contains("`--yes`"),
        "{said:?}"
    );
    let said = folder.says("dead-letters retry price --yes").without_log();
    assert_eq!((said.code, said.out.as_str()), (0, "price: 1 dead letter retried: 1 went through, 0 failed again\n"));
    assert!(said.err.contains("priced is compacted"), "{said:?}");
}

#[test]
fn two_stages_with_one_topic_for_their_letters_do_not_meet() {
    let stage = |name: &str, output: &str| {
        format!("  {name}: {{module: trial.wasm, input: orders, output: {output}, dead-letter: dead}}\n")
    };
    let manifest = |price: &str, tax: &str| {
        let topics = "topics: {orders: {partitions: 1}, tight: {config: {max.message.bytes: 64}}}";
        format!("name: shop\n{topics}\nstages:\n{}{}", stage("price", price), stage("tax", tax))
    };
    let folder =
        Folder::with(&manifest("tight", "tight")).trial("trial.wasm").set("MILLSTREAM_MANIFEST", "pipeline.yaml");
    done(folder.says("topics create orders"));
    put(&folder, &["k:a", "k:reject", "k:b"]);
    fs::write(folder.path("pipeline.yaml"), manifest("price-out", "tax-out")).unwrap();
    ["price-out", "tax-out"].iter().for_each(|topic| drop(done(folder.says(&format!("topics create {topic}")))));
    let said = retried(&folder, "--kind fault");
    assert_eq!(
        said.parts().1,
        "price: 2 dead letters retried: 2 went through, 0 failed again; 1 left; 3 of others passed over\n"
    );
    let said = folder.says("dead-letters retry tax --kind fault").without_log();
    assert_eq!(
        said.parts().1,
        "tax: 2 dead letters retried: 2 went through, 0 failed again; 1 left; 4 of others passed over\n"
    );
    for topic in ["price-out", "tax-out"] {
        let values: Vec<_> = records(&folder, topic).iter().map(|record| record["value"].clone()).collect();
        assert_eq!(values, ["a", "b"], "{topic}");
    }
    let listed = &json_lines(&done(folder.says("dead-letters list --json")))[0];
    let rows: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| (row["stage"].as_str(), row["letters"].as_u64())).collect();
    assert_eq!(rows, [(Some("price"), Some(1)), (Some("tax"), Some(1))]);
}

#[test]
fn letters_that_ask_for_another_time_do_not_hold_the_command_up() {
    let orders = ["attempts 2", "retry", "a", "retry"].map(|value| json!({"key": "k", "value": value}));
    let retry = ", on-error: {retry: {backoff: 10ms, for: 300ms, then: dead-letter}}";
    let folder = dead(&orders, retry);
    let attempts = || -> Vec<u32> {
        let waits = json_lines(&done(folder.says("dead-letters show price --kind retry --json")));
        waits.iter().map(|letter| headers(letter, "millstream.error.attempts")[0].parse().unwrap()).collect()
    };
    let before = attempts();
    let said = retried(&folder, "");
    assert_eq!(said.parts().1, "price: 4 dead letters retried: 2 went through, 2 failed again\n");
    // The first one waited for all of the time, and for all of the others.
    let after = attempts();
    assert!(after[0] > before[0] + 1, "{before:?} {after:?}");
    assert_eq!(after[1], before[1] + 1);
}
