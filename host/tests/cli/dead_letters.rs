//! `dead-letters` on the embedded log.

use crate::{
    command::{done, json_lines},
    support::{Folder, golden_text},
};

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
        ("show prize", "error: shop has no stage `prize`: did you mean `price`?\n"),
        ("list zzz", "error: shop has no stage `zzz`: it has price, tax\n"),
        ("list --since soon", "write a time such as `2026-01-01T00:00:00Z`, or how long ago it was, such as `1h`"),
        ("list --kind poison", "[possible values: reject, fault, limit, retry]"),
    ] {
        let said = folder.says(&format!("dead-letters {words}"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words}");
        assert!(said.err.contains(why), "{}", said.err);
    }
}
