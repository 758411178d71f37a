//! A look-up over HTTP, by a catalogue that takes its time, is away, and comes back.

use crate::folder::Example;
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::Duration,
};

/// The catalogue of the example.
struct Catalogue {
    process: Child,
    port: String,
}

impl Catalogue {
    fn open(example: &Example, port: &str) -> Catalogue {
        let mut command = example.program("python3");
        let mut process = command.args(["catalogue.py", port]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        let port = said.trim_end().rsplit(':').next().unwrap().to_owned();
        Catalogue { process, port }
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn orders_wait_for_the_catalogue_and_are_written_once() {
    let mut example = Example::new("enrich");
    example.passes_its_cases();
    let catalogue = Catalogue::open(&example, "0");
    let port = catalogue.port.clone();
    example.set("CATALOGUE", format!("localhost:{port}"));
    let mut host = example.run("");
    let order = |n: usize| format!("{n}:{{\"product\": \"{}\", \"count\": {n}}}\n", ["espresso", "tea", "beer"][n % 3]);
    let produce = |from: usize, to: usize| {
        let said = example.given(&(from..to).map(order).collect::<String>(), "produce orders --key-separator :");
        assert_eq!(said.code, 0, "{said:?}");
    };
    host.wait_until_said("look-up: orders → enriched");
    host.until("the topic is there", Duration::from_secs(60), || example.says("topics list").contains("orders"));
    produce(0, 12);
    host.until("they are enriched", Duration::from_secs(60), || example.records("enriched").len() == 8);
    // Away: the orders wait.
    drop(catalogue);
    produce(12, 24);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(example.records("enriched").len(), 8);
    let _catalogue = Catalogue::open(&example, &port);
    host.until("those that waited are, too", Duration::from_secs(60), || example.records("enriched").len() == 16);
    host.until("and none is printed late", Duration::from_secs(60), || {
        example.records("enrich.look-up.dead-letter").len() == 8
    });
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
    // Once each, whatever was tried again.
    let mut values: Vec<serde_json::Value> = example
        .records("enriched")
        .iter()
        .map(|record| serde_json::from_str(record["value"].as_str().unwrap()).unwrap())
        .collect();
    values.sort_by_key(|value| value["count"].as_u64());
    let expected: Vec<_> = (0..24)
        .filter(|n| n % 3 < 2)
        .map(|n| match n % 3 {
            0 => json!({"product": "espresso", "count": n, "name": "Espresso", "price": 2.5}),
            _ => json!({"product": "tea", "count": n, "name": "Green tea", "price": 3.2}),
        })
        .collect();
    assert_eq!(values, expected);
    let letters = example.says("dead-letters list");
    assert!(letters.contains("unknown-product                 8"), "{letters}");
}
