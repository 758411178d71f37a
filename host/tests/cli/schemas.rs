//! Topics with schemas: what is checked, registered, written and read, and what is said of a registry that is no help.

use crate::{
    registry::{Manners, Registry, certificate},
    support::{Folder, Said, closed_port},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    thread,
    time::{Duration, Instant},
};

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"note","type":["null","string"],"default":null}]}"#;

/// The same, and what the shop found out later.
const LATER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"default":0}]}"#;

const MANIFEST: &str = "name: shop
topics:
  orders: {partitions: 1, value: {avro: order.avsc}}
  priced: {partitions: 1, value: {avro: order.avsc}}
  raw: {partitions: 1}
stages:
  price: {module: trial.wasm, inputs: [orders, raw], output: priced, values: json}
";

/// A pipeline on the embedded log, and its topics.
fn shop(manifest: &str) -> Folder {
    let folder = Folder::with(manifest).file("order.avsc", ORDER).trial("trial.wasm");
    folder.set("MILLSTREAM_MANIFEST", "pipeline.yaml")
}

fn topics(folder: &Folder) {
    for topic in ["orders", "raw"] {
        done(folder.says(&format!("topics create {topic}")));
    }
}

fn done(said: Said) -> String {
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

fn consume(folder: &Folder, words: &str) -> String {
    done(folder.says(&format!("consume {words} --from-beginning --until-end")))
}

fn run(folder: &Folder) -> Said {
    folder.says("run pipeline.yaml --until-idle=300ms --quiet")
}

#[test]
fn values_are_written_and_read_without_a_registry() {
    let folder = shop(MANIFEST);
    topics(&folder);
    let lines = "{\"price\":\"12.5\",\"id\":1}\n{\"id\":9007199254740993,\"price\":7,\"note\":\"é\"}\n";
    done(folder.given(lines, "produce orders"));
    let first = r#"{"id":1,"price":"12.50","note":null}"#;
    let read = format!("{first}\n{{\"id\":9007199254740993,\"price\":\"7.00\",\"note\":\"é\"}}\n");
    assert_eq!(consume(&folder, "orders"), read);
    // A zero, the id, and what Avro makes of it.
    assert_eq!(consume(&folder, "orders --format hex -n 1"), "orders/0@0 key none value 0000000001020404e200\n");
    let raw: Value = serde_json::from_str(&consume(&folder, "orders --format json --raw -n 1")).unwrap();
    assert_eq!(raw["value"], json!({ "base64": BASE64_STANDARD.encode([0, 0, 0, 0, 1, 2, 4, 4, 0xe2, 0]) }));
    // What is a part of the pipeline is the same there and back.
    done(run(&folder));
    assert_eq!(consume(&folder, "priced"), read);
    let said = folder.given("{\"id\":1,\"price\":\"1.234\"}\n", "produce orders");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("line 1: the value does not fit the schema of orders: $.price: "), "{said:?}");
}

#[test]
fn what_does_not_fit_is_a_dead_letter_with_the_path_of_its_field() {
    let folder = shop(MANIFEST);
    topics(&folder);
    done(folder.given("{\"id\":1,\"price\":\"1.00\"}\n", "produce orders"));
    // No frame; a frame of a schema that nobody has; a value that breaks off.
    let framed = |bytes: &[u8]| format!("{}\n", json!({ "value": { "base64": BASE64_STANDARD.encode(bytes) } }));
    let wrong = framed(b"{\"id\":1}") + &framed(&[0, 0, 0, 0, 9, 2, 0]) + &framed(&[0, 0, 0, 0, 1, 2, 4]);
    done(folder.given(wrong, "produce orders --format json --raw"));
    let lines =
        "{\"id\":1,\"price\":\"x\"}\n{\"id\":1,\"price\":\"1\",\"more\":1}\nno JSON\n{\"id\":2,\"price\":\"2\"}\n";
    done(folder.given(lines, "produce raw"));
    done(run(&folder));
    let priced = consume(&folder, "priced");
    assert_eq!(priced.lines().count(), 2, "{priced}");
    let letters = consume(&folder, "shop.price.dead-letter --format json");
    let header = |letter: &Value, name: &str| {
        let headers = letter["headers"].as_array().unwrap();
        let header = headers.iter().find(|h| h[0] == format!("millstream.error.{name}"));
        header.unwrap()[1].as_str().unwrap().to_owned()
    };
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut said: Vec<_> = letters
        .iter()
        .map(|letter| format!("{} {}: {}", header(letter, "kind"), header(letter, "code"), header(letter, "message")))
        .collect();
    said.sort();
    let expected = [
        "decode misfit: the value cannot be read: $.price: it ends too early (schema 1)",
        "decode no-schema: the value cannot be read: $: it does not begin with a zero and the id of a schema: it was \
         written without one",
        "decode unknown-schema: the value cannot be read: there is no schema 9 in .millstream/schemas/local",
        "encode misfit: the value does not fit the schema of priced: $.more: shop.Order has no such field (schema 2)",
        "encode misfit: the value does not fit the schema of priced: $.price: \"x\" is no decimal: write one such as \
         \"12.30\" (schema 2)",
        "encode misfit: the value does not fit the schema of priced: $: it is no JSON: expected ident at line 1 column 2 \
         (schema 2)",
    ];
    assert_eq!(said, expected);
    // The letter is the record as it came, so it can be tried again.
    assert!(letters.iter().any(|letter| letter["value"] == r#"{"id":1,"price":"x"}"#));
    let listed = done(folder.says("dead-letters list --json"));
    assert!(listed.contains("decode") && listed.contains("encode"), "{listed}");
}

#[test]
fn a_dead_letter_is_shown_as_its_schema_says() {
    let folder = shop(&MANIFEST.replace("priced: {partitions: 1, value: {avro: order", "priced: {value: {avro: paid"));
    let folder =
        folder.file("paid.avsc", r#"{"type":"record","name":"Paid","fields":[{"name":"by","type":"string"}]}"#);
    topics(&folder);
    done(folder.given("{\"id\":1,\"price\":\"2.00\"}\n", "produce orders"));
    let breaks_off = json!({ "value": { "base64": BASE64_STANDARD.encode([0, 0, 0, 0, 1, 2, 4, 255]) } });
    done(folder.given(format!("{breaks_off}\n"), "produce orders --format json --raw"));
    done(run(&folder));
    let shown = done(folder.says("dead-letters show price"));
    for line in ["value   {\"id\":1,\"price\":\"2.00\",\"note\":null}\n", "value   hex 00000000010204ff\n"] {
        assert!(shown.contains(line), "{shown}");
    }
    // For programs a letter is what it is, bytes and all.
    let lines = done(folder.says("dead-letters show price --json"));
    assert_eq!(lines.matches("base64").count(), 2, "{lines}");
}

#[test]
fn dead_letters_whose_schema_does_not_come_are_shown_as_they_are() {
    let registry = Registry::start(Manners::default());
    let folder = shop(&with_registry(&format!("http://{}", registry.address()), ""));
    topics(&folder);
    let unknown =
        |last| format!("{}\n", json!({ "value": { "base64": BASE64_STANDARD.encode([0, 0, 0, 0, 9, last]) } }));
    done(folder.given(unknown(254) + &unknown(255), "produce orders --format json --raw"));
    done(run(&folder));
    drop(registry.stop());
    let said = folder.says("dead-letters show price");
    assert_eq!(said.err, "a schema of orders did not come in time: what was written with it is shown as it is\n");
    for line in ["value   hex 0000000009fe\n", "value   hex 0000000009ff\n"] {
        assert!(said.out.contains(line), "{said:?}");
    }
}

#[test]
fn a_record_is_read_with_the_schema_that_it_was_written_with() {
    let folder = shop(MANIFEST);
    topics(&folder);
    done(folder.given("{\"id\":1,\"price\":\"1\"}\n", "produce orders"));
    let folder = folder.file("order.avsc", LATER);
    done(folder.given("{\"id\":2,\"price\":\"2\",\"at\":\"2026-01-31T00:00:00Z\"}\n", "produce orders"));
    let read = "{\"id\":1,\"price\":\"1.00\",\"note\":null}\n\
                {\"id\":2,\"price\":\"2.00\",\"note\":null,\"at\":\"2026-01-31T00:00:00.000Z\"}\n";
    assert_eq!(consume(&folder, "orders"), read);
    done(run(&folder));
    // What has no time gets the one that stands in the schema.
    let priced = consume(&folder, "priced");
    assert_eq!(priced, read.replacen("null}", "null,\"at\":\"1970-01-01T00:00:00.000Z\"}", 1));
    // One that does not read what is there is refused before anything starts.
    let folder =
        folder.file("order.avsc", ORDER.replace(r#"{"name":"note""#, r#"{"name":"by","type":"int"},{"name":"note""#));
    for words in ["check pipeline.yaml", "run pipeline.yaml --until-idle=300ms", "produce orders"] {
        let said = folder.given("", words);
        assert_eq!(said.code, 2, "{said:?}");
        let line = "topics.orders.value: it does not read what was written with schema 2 of orders-value: ";
        assert!(said.err.contains(line), "{said:?}");
    }
}

#[test]
fn json_schemas_are_framed_as_well() {
    let schema = r#"{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}"#;
    let manifest = MANIFEST.replace("avro: order.avsc", "json-schema: order.json");
    let folder = shop(&manifest).file("order.json", schema);
    topics(&folder);
    done(folder.given("{\"id\":1}\n", "produce orders"));
    assert_eq!(consume(&folder, "orders --format hex"), "orders/0@0 key none value 00000000017b226964223a317d\n");
    done(run(&folder));
    assert_eq!(consume(&folder, "priced"), "{\"id\":1}\n");
    let said = folder.given("{\"id\":\"x\"}\n", "produce orders");
    assert!(
        said.err.contains("line 1: the value does not fit the schema of orders: $.id: \"x\" is not of type"),
        "{said:?}"
    );
}

#[test]
fn keys_have_schemas_too() {
    let manifest = MANIFEST.replace("avro: order.avsc}", "avro: order.avsc}, key: {avro: key.avsc}");
    let folder = shop(&manifest).file("key.avsc", "\"long\"");
    topics(&folder);
    done(folder.given("7|{\"id\":1,\"price\":\"1\"}\n", "produce orders --key-separator |"));
    done(run(&folder));
    assert_eq!(consume(&folder, "priced --format key-value"), "7\t{\"id\":1,\"price\":\"1.00\",\"note\":null}\n");
}

/// The registry of a manifest, with more about it.
fn with_registry(url: &str, more: &str) -> String {
    format!("schema-registry: {{url: '{url}'{more}}}\n{MANIFEST}")
}

#[test]
fn a_registry_gives_the_ids_and_is_not_missed_where_they_are_cached() {
    let registry = Registry::start(Manners::default());
    let folder = shop(&with_registry(&format!("http://{}", registry.address()), ""));
    topics(&folder);
    registry.put("other-value", "\"string\"");
    let said = folder.says("check pipeline.yaml");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("note: schema orders-value is not there: `run` registers it\n"), "{said:?}");
    assert!(!folder.path(".millstream/schemas").exists());
    done(folder.given("{\"id\":1,\"price\":\"1\"}\n", "produce orders"));
    // Another client writes with another schema.
    let id = registry.put("orders-value", LATER) as u8;
    let other = [0, 0, 0, 0, id, 4, 2, 2, 0, 0];
    let line = format!("{}\n", json!({ "value": { "base64": BASE64_STANDARD.encode(other) } }));
    done(folder.given(line, "produce orders --format json --raw"));
    let read = "{\"id\":1,\"price\":\"1.00\",\"note\":null}\n\
                {\"id\":2,\"price\":\"0.02\",\"note\":null,\"at\":\"1970-01-01T00:00:00.000Z\"}\n";
    assert_eq!(consume(&folder, "orders"), read);
    assert_eq!(registry.asked(&format!("GET /schemas/ids/{id}")), 1);
    let asked = "POST /subjects/orders-value/versions";
    assert_eq!(registry.asked(asked), 1);
    done(run(&folder.file("order.avsc", LATER)));
}

#[test]
fn what_is_not_cached_waits_until_the_registry_is_back() {
    let registry = Registry::start(Manners::default());
    let folder = shop(&with_registry(&format!("http://{}", registry.address()), ""));
    topics(&folder);
    done(folder.given("{\"id\":1,\"price\":\"1\"}\n", "produce orders"));
    done(run(&folder));
    let id = registry.put("orders-value", &ORDER.replace("\"Order\"", "\"Order\",\"doc\":\"in euros\"")) as u8;
    let back = registry.stop();
    // What is known goes on without it, what is not waits, and what stands behind that in its partition.
    let line = |bytes: &[u8]| format!("{}\n", json!({ "value": { "base64": BASE64_STANDARD.encode(bytes) } }));
    let lines =
        line(&[0, 0, 0, 0, 1, 4, 2, 2, 0]) + &line(&[0, 0, 0, 0, id, 6, 2, 2, 0]) + &line(&[0, 0, 0, 0, 1, 8, 2, 2, 0]);
    done(folder.given(lines, "produce orders --format json --raw"));
    let mut host = folder.start("run pipeline.yaml --until-idle=1s");
    while consume(&folder, "priced").lines().count() < 2 {
        thread::sleep(Duration::from_millis(50));
    }
    host.wait_until_said("records whose schema is not cached wait");
    assert_eq!(consume(&folder, "priced").lines().count(), 2);
    // It may be ended meanwhile, at once.
    host.signal("TERM");
    let said = host.end();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err.matches("going on with what is cached").count(), 2, "{said:?}");
    assert_eq!(said.err.matches("records whose schema is not cached wait").count(), 1, "{said:?}");
    host = folder.start("run pipeline.yaml --until-idle=1s");
    host.wait_until_said("records whose schema is not cached wait");
    let _registry = back();
    let said = host.end();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("answers again"), "{said:?}");
    let priced = consume(&folder, "priced");
    let ids: Vec<_> = priced.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let letters = consume(&folder, "shop.price.dead-letter");
    assert_eq!(letters, "");
}

#[test]
fn who_waits_for_a_schema_may_leave() {
    let registry = Registry::start(Manners::default());
    let folder = shop(&with_registry(&format!("http://{}", registry.address()), ""));
    topics(&folder);
    done(folder.given("{\"id\":1,\"price\":\"1\"}\n", "produce orders"));
    let id = registry.put("orders-value", LATER) as u8;
    let back = registry.stop();
    let line =
        format!("{}\n", json!({ "value": { "base64": BASE64_STANDARD.encode([0, 0, 0, 0, id, 4, 2, 2, 0, 0]) } }));
    done(folder.given(line, "produce orders --format json --raw"));
    let mut host = folder.start("consume orders --from-beginning --group g");
    host.wait_until_said("orders/0@1 waits for its schema");
    let ended = Instant::now();
    host.signal("INT");
    let said = host.end();
    assert!(ended.elapsed() < Duration::from_secs(3), "{said:?}");
    // What was there is printed, and only that is the group's progress.
    let first = "{\"id\":1,\"price\":\"1.00\",\"note\":null}\n";
    assert_eq!((said.code, &*said.out), (0, first), "{said:?}");
    assert_eq!(said.err.matches("orders/0@1 waits for its schema\n").count(), 1, "{said:?}");
    assert_eq!(said.err.matches("records whose schema is not cached wait").count(), 1, "{said:?}");
    let _registry = back();
    let second = "{\"id\":2,\"price\":\"0.02\",\"note\":null,\"at\":\"1970-01-01T00:00:00.000Z\"}\n";
    assert_eq!(done(folder.says("consume orders --group g --until-end")), second);
}

#[test]
fn a_password_in_a_url_is_refused_and_not_shown() {
    let folder = shop(MANIFEST);
    topics(&folder);
    let said = folder.says("consume raw --schema-registry http://me:hunter2@localhost:8081");
    let line = "error: a name and a password do not belong into the URL of a schema registry: name a manifest whose \
                `schema-registry` has a `user` and a `password`\n";
    assert_eq!((said.code, &*said.err), (2, line), "{said:?}");
}

#[test]
fn nothing_starts_before_its_schemas_are_known() {
    let registry = Registry::start(Manners::default());
    let folder = shop(&with_registry(&format!("http://{}", registry.address()), ""));
    topics(&folder);
    let back = registry.stop();
    let host = folder.start("run pipeline.yaml --until-idle=300ms");
    thread::sleep(Duration::from_millis(1500));
    let _registry = back();
    let said = host.end();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err.matches("waiting until it does").count(), 1, "{said:?}");
    assert_eq!(said.err.matches("the schema registry answers").count(), 1, "{said:?}");
}

/// What `check --online` says in the end, without what is another each time.
fn complaint(folder: &Folder, address: &str) -> String {
    let said = folder.says("check pipeline.yaml --online");
    assert_ne!(said.code, 0, "{said:?}");
    let line = said.err.lines().find(|line| line.starts_with("error: ")).unwrap();
    format!("{} {}", said.code, line.replace(address, "ADDRESS"))
}

#[test]
fn each_trouble_with_a_registry_is_one_clear_line() {
    let closed = closed_port();
    let nobody = shop(&with_registry(&format!("http://{closed}"), ""));
    assert_eq!(
        complaint(&nobody, &closed),
        "1 error: the schema registry at http://ADDRESS does not answer: Connection refused (os error 111)"
    );
    let said = nobody.says("check pipeline.yaml");
    assert_eq!((said.code, said.err.matches("schemas were not compared").count()), (0, 1), "{said:?}");

    let guarded = Registry::start(Manners { authorization: Some("Basic bWU6c2VjcmV0"), ..Manners::default() });
    let address = guarded.address();
    let url = format!("http://{address}");
    assert_eq!(
        complaint(&shop(&with_registry(&url, "")), address),
        "2 error: the schema registry at http://ADDRESS lets nobody in unknown (401 Unauthorized): write `user` and \
         `password`, or `token`, under `schema-registry`"
    );
    let wrong = shop(&with_registry(&url, ", user: me, password: wrong"));
    let refused = "2 error: the schema registry at http://ADDRESS refuses who asks (401 Unauthorized): correct `user` \
                   and `password`, or `token`, under `schema-registry`";
    assert_eq!(complaint(&wrong, address), refused);
    assert_eq!(wrong.says("run pipeline.yaml").code, 2);
    let right = shop(&with_registry(&url, ", user: me, password: {file: password}")).file("password", "secret\n");
    done(right.says("check pipeline.yaml --online"));

    let strict = Registry::start(Manners { strict: true, ..Manners::default() });
    strict.put("orders-value", LATER);
    let refused =
        "2 error: topics.orders.value: it is not compatible with the latest schema of orders-value: a field is gone";
    assert_eq!(
        complaint(&shop(&with_registry(&format!("http://{}", strict.address()), "")), strict.address()),
        refused
    );

    let open = Registry::start(Manners::default());
    let never = shop(&with_registry(&format!("http://{}", open.address()), ", register: never"));
    let said = never.says("run pipeline.yaml");
    let line = "has no such schema of orders-value, and with `register: never` it has to be there";
    assert!(said.code == 2 && said.err.contains(line), "{said:?}");
    assert_eq!(open.asked("POST /subjects/orders-value/versions"), 0);
}

#[test]
fn a_certificate_is_trusted_when_somebody_vouches_for_it() {
    let (certificate, key) = certificate("127.0.0.1");
    let (pem, key_pem) = (certificate.to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap());
    let authorization = Some("Bearer abc");
    let registry = Registry::start(Manners { certificate: Some((certificate, key)), authorization, strict: false });
    let url = format!("https://{}", registry.address());
    let folder = |url: &str, more: &str| {
        let folder = shop(&with_registry(url, &format!(", token: abc{more}")));
        folder.file("its.pem", &pem).file("its.key", &key_pem)
    };
    let own = ", certificate: its.pem, key: its.key";
    done(folder(&url, &format!(", ca: its.pem{own}")).says("check pipeline.yaml --online"));
    assert_eq!(
        complaint(&folder(&url, own), registry.address()),
        "2 error: the certificate of the schema registry at https://ADDRESS cannot be trusted: self-signed certificate: \
         name the file of who vouches for it under `schema-registry: {ca: …}`, or correct the URL"
    );
    // It is another's.
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let said = complaint(&folder(&elsewhere, &format!(", ca: its.pem{own}")), &elsewhere);
    assert!(said.contains("cannot be trusted: hostname mismatch"), "{said}");
    // It lets nobody in who has none.
    let said = folder(&url, ", ca: its.pem").says("check pipeline.yaml --online");
    assert!(said.code == 1 && said.err.contains("does not answer: "), "{said:?}");
}

#[test]
fn a_subject_is_what_the_registry_has() {
    let registry = Registry::start(Manners::default());
    let manifest = with_registry(&format!("http://{}", registry.address()), "");
    let folder = shop(&manifest.replace(
        "orders: {partitions: 1, value: {avro: order.avsc}}",
        "orders: {partitions: 1, value: {subject: shop.Order}}",
    ));
    topics(&folder);
    let said = folder.says("check pipeline.yaml");
    assert!(said.code == 2 && said.err.contains("has no subject shop.Order"), "{said:?}");
    registry.put("shop.Order", ORDER);
    done(folder.given("{\"id\":1,\"price\":\"1\"}\n", "produce orders"));
    assert_eq!(consume(&folder, "orders"), "{\"id\":1,\"price\":\"1.00\",\"note\":null}\n");
}
