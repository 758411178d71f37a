//! Posts in Avro, through stages in three languages: in one process, and in one process for each part.

use crate::folder::Example;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use xtask::registry::Registry;

const COUNT: u64 = 300;
const PARTS: [&str; 4] = ["feed", "clean", "tags", "mood"];

/// What is to come of them: of every five posts one says nothing, and one mentions nothing.
fn due() -> BTreeSet<String> {
    let of = |n: u64| -> &'static [(&'static str, &'static str)] {
        match n % 5 {
            0 => &[("berlin", "0.33")],
            1 => &[("rust", "0.29"), ("wasm", "0.29")],
            3 => &[("berlin", "-0.25"), ("monday", "-0.25")],
            _ => &[],
        }
    };
    let author = |n: u64| ["ada", "grace", "linus"][n as usize % 3];
    let mention = |n: u64, (tag, mood): &(&str, &str)| {
        let at = jiff::Timestamp::from_millisecond((1_767_225_600_000 + n * 60_000) as i64).unwrap();
        let at = format!("{at:.3}");
        json!({ "tag": tag, "post": n, "author": author(n), "at": at, "mood": mood }).to_string()
    };
    (0..COUNT).flat_map(|n| of(n).iter().map(move |found| mention(n, found))).collect()
}

/// The mentions, each once, by the tags that are their keys.
fn mentions(example: &Example) -> BTreeSet<String> {
    let records = example.records("mentions");
    let values: BTreeSet<_> = records
        .iter()
        .map(|record| {
            let value: Value = serde_json::from_str(record["value"].as_str().unwrap()).unwrap();
            assert_eq!(record["key"], value["tag"]);
            value.to_string()
        })
        .collect();
    assert_eq!(values.len(), records.len(), "some are doubled");
    values
}

#[test]
fn the_same_comes_of_one_process_and_of_one_for_each_part() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path()).unwrap();
    let mut example = Example::new("posts");
    // Brokers that are named stand in the place of a manifest, unless that is named as well.
    example.set("MILLSTREAM_MANIFEST", "millstream.yaml");
    example.set("REGISTRY", registry.url());
    example.set("EVERY", "5ms");
    example.set("COUNT", COUNT.to_string());
    example.passes_its_cases();
    let mut host = example.run("--until-idle");
    assert!(host.wait(Duration::from_secs(180)).success(), "{}", host.said());
    assert_eq!(mentions(&example), due());
    // In the topic it is Avro, with the number of its schema in front.
    let raw = example.says("consume mentions --from-beginning -n 1 --format hex");
    assert!(raw.contains(" value 00000000"), "{raw}");

    // It may say that it waits for the group's members, which are kept for a while.
    let deleted = example.given("", "resources --delete --yes");
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let start = |part: &str| example.run(&format!("--only {part} --admin off"));
    let mut hosts = PARTS.map(start);
    for (host, part) in hosts.iter().zip(PARTS) {
        host.wait_until_said(&format!("{part}: "));
    }
    // One of them goes, and comes back.
    hosts[1].kill();
    hosts[1] = start("clean");
    hosts[3].until("all are there", Duration::from_secs(180), || mentions(&example).len() >= due().len());
    assert_eq!(mentions(&example), due());
    for host in &mut hosts {
        host.signal("TERM");
        assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.said());
    }
}
