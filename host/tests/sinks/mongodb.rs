//! Into MongoDB: at least once, under ids that make a repeat change nothing. What stands in for the server here keeps
//! everything in memory, so it is the host that is killed, and the line that is cut.

use crate::{lines, papers, process::soak, proxy::Proxy, support::Pipeline};
use ::mongodb::bson::{Document, doc};
use std::{collections::BTreeMap, thread, time::Duration};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use xtask::mongodb::Mongodb;

struct Scene {
    server: Mongodb,
    proxy: Proxy,
    pipeline: Pipeline,
    runtime: Runtime,
    _folder: TempDir,
}

impl Scene {
    /// `{uri}` stands for how the server is reached, past what cuts the line.
    fn new(manifest: &str) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let server = Mongodb::start(folder.path()).unwrap();
        let proxy = Proxy::to(server.port());
        let pipeline = Pipeline::new(&manifest.replace("{uri}", &format!("mongodb://127.0.0.1:{}", proxy.port())));
        let partitions = manifest.split("in: {partitions: ").nth(1).unwrap().split('}').next().unwrap();
        pipeline.says(&format!("topics create in --partitions {partitions}"));
        Scene { server, proxy, pipeline, runtime: Runtime::new().unwrap(), _folder: folder }
    }

    /// All documents, by their ids.
    fn documents(&self) -> Vec<Document> {
        let mut all = Vec::new();
        self.runtime.block_on(async {
            let client = ::mongodb::Client::with_uri_str(self.server.uri()).await.unwrap();
            let mut found = client.database("shop").collection("orders").find(doc! {}).await.unwrap();
            while found.advance().await.unwrap() {
                all.push(found.deserialize_current().unwrap());
            }
        });
        all.sort_by_key(|document: &Document| document.get("_id").unwrap().to_string());
        all
    }

    fn count(&self) -> usize {
        self.documents().len()
    }
}

const BY_POSITION: &str = "
topics: {in: {partitions: 4}}
sinks:
  orders: {input: in, workers: 2, commit-interval: 5ms, mongodb: {uri: '{uri}', database: shop, collection: orders}}
";

#[test]
fn every_record_is_one_document_while_the_host_is_killed_and_the_line_cut() {
    let (records, kills, cuts) = if soak() { (100_000, 20, 5) } else { (10_000, 4, 2) };
    let scene = Scene::new(BY_POSITION);
    let pieces = kills + cuts;
    let piece = u64::div_ceil(records, pieces);
    let mut host = scene.pipeline.run("");
    for number in 0..pieces {
        let before = scene.count();
        scene.pipeline.produce("in", &lines(number * piece..((number + 1) * piece).min(records)));
        host.until("something comes", Duration::from_secs(60), || scene.count() > before);
        thread::sleep(Duration::from_millis(number * 7919 % 40));
        if number % (kills / cuts + 1) == 1 {
            scene.proxy.cut();
        } else {
            host.kill();
            host = scene.pipeline.run("");
        }
    }
    host.kill();
    scene.pipeline.drain();
    let mut ids: Vec<_> = scene.documents().iter().map(|document| number(document, "id")).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..records as i64).collect::<Vec<_>>());
}

fn number(document: &Document, name: &str) -> i64 {
    let value = document.get(name).unwrap();
    value.as_i64().or_else(|| value.as_i32().map(i64::from)).unwrap()
}

const BY_FIELD: &str = "
topics: {in: {partitions: 1}}
sinks:
  orders: {input: in, mongodb: {uri: '{uri}', database: shop, collection: orders, mode: MODE, id: value.id}}
";

#[test]
fn the_last_record_of_an_id_counts_and_a_tombstone_removes_its_document() {
    let scene = Scene::new(&BY_FIELD.replace("MODE", "upsert"));
    let records = [
        r#"{"key":"1","value":"{\"id\":1,\"total\":10.25,\"when\":{\"$date\":\"2026-01-01T00:00:00Z\"}}"}"#,
        r#"{"key":"2","value":"{\"id\":2}"}"#,
        r#"{"key":"1","value":"{\"total\":1,\"id\":1}"}"#,
        r#"{"key":"2","value":null}"#,
        r#"{"key":"3","value":null}"#,
        r#"{"key":"3","value":"{\"id\":3,\"deep\":{\"a\":[1,null]}}"}"#,
        r#"{"key":"4","value":"{\"no\":\"id\"}"}"#,
        // The server itself has something against it.
        r#"{"key":"5","value":"{\"id\":5,\"$inc\":1}"}"#,
    ];
    let said = scene.pipeline.given(records.join("\n"), "produce in --format json");
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.pipeline.drain();
    assert!(said.contains("6 records written, 2 dead letters in"), "{said}");
    let due = [doc! { "_id": 1, "total": 1, "id": 1 }, doc! { "_id": 3, "id": 3, "deep": { "a": [1, null] } }];
    assert_eq!(scene.documents(), due);
}

#[test]
fn an_insert_that_comes_again_changes_nothing_and_another_one_is_wrong() {
    let scene = Scene::new(&BY_FIELD.replace("MODE", "insert"));
    let values = [r#"{"id":1,"a":1}"#, r#"{"id":2}"#, r#"{"id":1,"a":1}"#, r#"{"id":2,"a":2}"#, r#"{"id":3}"#];
    let said = scene.pipeline.given(values.join("\n"), "produce in");
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.pipeline.drain();
    assert!(said.contains("4 records written, 1 dead letter in"), "{said}");
    assert_eq!(scene.documents().len(), 3);
    assert_eq!(scene.pipeline.values("test.orders.dead-letter"), [r#"{"id":2,"a":2}"#]);
}

/// Batches that are so large that the server begins with them while they are collected, and a line that is cut meanwhile.
#[test]
fn large_batches_are_written_in_their_order_and_once() {
    const RECORDS: u64 = 60_000;
    for mode in ["upsert", "insert"] {
        let scene = Scene::new(&BY_FIELD.replace("MODE", mode));
        scene.pipeline.produce("in", &["k:{\"id\":-1}".to_owned()]);
        let mut host = scene.pipeline.run("");
        host.until("it is connected", Duration::from_secs(30), || scene.count() == 1);
        let (mut due, mut refused, mut said) = (BTreeMap::from([(-1, None)]), Vec::new(), Vec::new());
        for number in 0..RECORDS as i64 {
            let id = match mode {
                "upsert" => number % 7_000,
                // A document that is there already, and another one.
                _ if number % 500 == 499 && number > 15_000 => number - 14_750,
                _ => number,
            };
            let value = format!("{{\"id\":{id},\"number\":{number}}}");
            if number % 9_000 == 700 && mode == "upsert" {
                said.push(format!("{{\"key\":\"{id}\",\"value\":null}}"));
                due.remove(&id);
                continue;
            }
            said.push(format!("{{\"key\":\"k\",\"value\":{value:?}}}"));
            if mode == "insert" && due.contains_key(&id) {
                refused.push(value);
            } else {
                due.insert(id, Some(number));
            }
        }
        let produced = scene.pipeline.given(said.join("\n"), "produce in --format json");
        assert_eq!(produced.code, 0, "{produced:?}");
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(250));
            scene.proxy.cut();
        }
        host.kill();
        scene.pipeline.drain();
        let field = |document: &Document, name| document.contains_key(name).then(|| number(document, name));
        let found: BTreeMap<_, _> =
            scene.documents().iter().map(|document| (number(document, "_id"), field(document, "number"))).collect();
        assert!(found == due, "{mode}: {} documents, due {}", found.len(), due.len());
        if !refused.is_empty() {
            assert_eq!(scene.pipeline.values("test.orders.dead-letter"), refused);
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_one_clear_line_and_ends_in_time() {
    let scene = Scene::new(BY_POSITION);
    // Nobody listens there.
    scene.pipeline.write(&BY_POSITION.replace("workers: 2, ", "").replace("{uri}", "mongodb://me:geheim@127.0.0.1:1"));
    // There is no record yet.
    let mut host = scene.pipeline.run("--admin 127.0.0.1:0");
    host.wait_until_said("does not answer");
    thread::sleep(Duration::from_secs(3));
    let status = scene.pipeline.says(&format!("status --admin {}", host.admin()));
    assert!(status.contains("orders: cannot go on: MongoDB at 127.0.0.1:1 does not answer"), "{status}");
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(10)).success(), "{}", host.said());
    let said = host.said();
    assert_eq!(said.lines().filter(|line| line.contains("cannot go on: MongoDB at")).count(), 1, "{said}");
    assert!(said.contains("MongoDB at 127.0.0.1:1 does not answer") && !said.contains("geheim"), "{said}");
}

#[test]
fn a_server_is_believed_by_its_certificate() {
    let folder = papers();
    let file = |name: &str| folder.path().join(name);
    let server = Mongodb::with_tls(folder.path(), &file("server.pem")).unwrap();
    let uri = |host: &str, authority: &str| {
        format!("mongodb://{host}:{}/?tls=true&tlsCAFile={}", server.port(), file(authority).display())
    };
    let good = format!("{}&tlsCertificateKeyFile={}", uri("localhost", "ours.pem"), file("bearer.pem").display());
    let pipeline = Pipeline::new(&BY_POSITION.replace("{uri}", &good));
    pipeline.says("topics create in --partitions 4");
    pipeline.produce("in", &lines(0..10));
    assert!(pipeline.drain().contains("10 records written"));
    let plain = format!("mongodb://localhost:{}", server.port());
    for (uri, expected) in [
        (uri("localhost", "other.pem"), "has a certificate that cannot be trusted"),
        (uri("127.0.0.1", "ours.pem"), "has a certificate that cannot be trusted"),
        (plain, "does not answer"),
    ] {
        pipeline.write(&BY_POSITION.replace("workers: 2, ", "").replace("{uri}", &uri));
        pipeline.produce("in", &lines(0..1));
        let mut host = pipeline.run("");
        host.wait_until_said("MongoDB at");
        thread::sleep(Duration::from_secs(2));
        host.signal("TERM");
        host.wait(Duration::from_secs(10));
        let said = host.said();
        let about: Vec<_> =
            said.lines().filter(|line| line.contains("warning") && line.contains("MongoDB at")).collect();
        assert!(matches!(about[..], [line] if line.contains(expected)), "{uri}: {expected}: {said}");
    }
}
