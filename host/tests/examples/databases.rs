//! Examples that write into a database, with hosts that are killed on the way.

use crate::folder::Example;
use ::mongodb::bson::{Document, doc};
use std::{collections::BTreeMap, fmt::Write, thread, time::Duration};
use tokio::runtime::Runtime;
use xtask::{mongodb::Mongodb, postgres::Postgres};

/// Starts hosts and kills them until so many are gone; a last one does the rest and ends by itself.
fn with_kills(example: &Example, kills: usize, after: Duration) {
    for _ in 0..kills {
        let mut host = example.run("");
        host.wait_until_said("→");
        thread::sleep(after);
        host.kill();
    }
    drain(example);
}

/// Runs the manifest to its end.
fn drain(example: &Example) {
    let mut host = example.run("--until-idle");
    assert!(host.wait(Duration::from_secs(120)).success(), "{}", host.said());
}

#[test]
fn a_thousand_numbers_are_a_thousand_documents() {
    let folder = tempfile::tempdir().unwrap();
    let server = Mongodb::start(folder.path()).unwrap();
    let mut example = Example::new("numbers");
    example.set("MONGO", server.uri());
    example.set("EVERY", "3ms");
    with_kills(&example, 4, Duration::from_millis(700));
    let numbers = Runtime::new().unwrap().block_on(async {
        let client = ::mongodb::Client::with_uri_str(server.uri()).await.unwrap();
        let collection = client.database("numbers").collection::<Document>("numbers");
        let mut found = collection.find(doc! {}).await.unwrap();
        let mut numbers = Vec::new();
        while found.advance().await.unwrap() {
            let document: Document = found.deserialize_current().unwrap();
            let number = document.get("number").unwrap();
            numbers.push(number.as_i64().or_else(|| number.as_i32().map(i64::from)).unwrap());
        }
        numbers
    });
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_table_follows_the_changes_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path()).unwrap();
    let mut example = Example::new("cdc");
    example.set("PG", server.url());
    example.passes_its_cases();
    // The README's own changes.
    let page = std::fs::read_to_string(example.path("README.md")).unwrap();
    let changes: String = page
        .lines()
        .map(str::trim_start)
        .filter(|line| line.contains(";{\"op\""))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(changes.lines().count(), 4);
    let produce = |changes: &str| {
        let said = example.given(changes, "produce changes --key-separator ;");
        assert_eq!(said.code, 0, "{said:?}");
    };
    let mut host = example.run("");
    host.wait_until_said("rows: changes → customers");
    produce(&changes);
    let rows = |query: &str| server.sql(query).unwrap_or_default();
    host.until("they are there", Duration::from_secs(60), || {
        rows("select id, name, email from customers") == ["1|Ada L.|ada@example.com"]
    });
    host.kill();
    // Many more, while hosts are killed.
    let (mut due, mut text) = (BTreeMap::from([(1, "Ada L.".to_owned())]), String::new());
    for n in 0..6000_u64 {
        let id = 10 + n * 7919 % 500;
        if n % 5 == 4 && due.remove(&id).is_some() {
            writeln!(text, "{id};{{\"op\": \"d\", \"before\": {{\"id\": {id}}}, \"after\": null}}").unwrap();
        } else {
            let name = format!("name {n}");
            writeln!(text, "{id};{{\"op\": \"u\", \"after\": {{\"id\": {id}, \"name\": \"{name}\"}}}}").unwrap();
            due.insert(id, name);
        }
    }
    for part in text.lines().collect::<Vec<_>>().chunks(1500) {
        produce(&(part.join("\n") + "\n"));
        let mut host = example.run("");
        host.wait_until_said("→");
        thread::sleep(Duration::from_millis(600));
        host.kill();
    }
    drain(&example);
    let found = rows("select id, name from customers order by id");
    let due: Vec<_> = due.iter().map(|(id, name)| format!("{id}|{name}")).collect();
    assert_eq!(found, due);
}

#[test]
fn words_are_counted_right_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(folder.path()).unwrap();
    let mut example = Example::new("word-count");
    example.set("PG", server.url());
    example.passes_its_cases();
    let page = std::fs::read_to_string(example.path("README.md")).unwrap();
    let text = page.repeat(40);
    drain(&example);
    let said = example.given(&text, "produce texts");
    assert_eq!(said.code, 0, "{said:?}");
    with_kills(&example, 3, Duration::from_millis(700));
    let mut due: BTreeMap<String, usize> = BTreeMap::new();
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *due.entry(word.to_owned()).or_default() += 1;
    }
    let found = server.sql("select word, count(*) from words group by word order by word collate \"C\"").unwrap();
    let due: Vec<_> = due.iter().map(|(word, count)| format!("{word}|{count}")).collect();
    assert_eq!(found, due);
}
