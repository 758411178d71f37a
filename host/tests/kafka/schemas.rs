//! Schemas in a real registry, beside clients that we did not write: Confluent's own for Python.

use crate::{
    command::{MILLSTREAM, Running, json_lines},
    process::soak,
    support::{Kafka, Pipeline, until},
};
use serde_json::Value;
use std::{fs, process::Command, time::Duration};
use tempfile::TempDir;
use xtask::registry::{Registry, python};

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"long"},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","OLD"]}},
    {"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
    {"name":"weight","type":"double"},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"day","type":{"type":"int","logicalType":"date"}},
    {"name":"code","type":{"type":"string","logicalType":"uuid"}},
    {"name":"raw","type":"bytes"},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
        {"name":"name","type":"string"},{"name":"count","type":"int"}]}}},
    {"name":"tags","type":{"type":"map","values":"string"}},
    {"name":"paid","type":["null",
        {"type":"record","name":"Card","fields":[{"name":"card","type":"string"}]},
        {"type":"record","name":"Transfer","fields":[{"name":"iban","type":"string"},{"name":"bic","type":["null","string"]}]}]}
]}"#;

const STAGE: &str = "
topics:
  '{name}-orders': {partitions: 3, value: {avro: order.avsc}}
  '{name}-copies': {partitions: 3, value: {avro: copy.avsc}}
  '{name}-raw': {partitions: 1}
stages:
  copy: {module: '{guests}/trial.wasm', inputs: ['{name}-orders', '{name}-raw'], output: '{name}-copies', values: json}
";

/// With one field more, at its end.
fn later() -> String {
    let (fields, end) = ORDER.rsplit_once("\n]}").unwrap();
    format!("{fields},\n    {{\"name\":\"more\",\"type\":\"long\",\"default\":-1}}\n]}}{end}")
}

struct Shop {
    pipeline: Pipeline,
    registry: Registry,
    /// What the registry keeps.
    _folder: TempDir,
}

impl Shop {
    fn new(kafka: &Kafka) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start(folder.path()).unwrap();
        let pipeline = Pipeline::new(kafka, &format!("schema-registry: {{url: '{}'}}\n{STAGE}", registry.url()));
        let shop = Shop { pipeline, registry, _folder: folder };
        shop.put("order.avsc", ORDER);
        shop.put("copy.avsc", ORDER);
        shop
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.pipeline.folder.path().join(name), text).unwrap();
    }

    /// What the Python client prints.
    fn python(&self, words: &[&str]) -> String {
        let mut command = Command::new(python().unwrap());
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/schemas.py"));
        command.arg(words[0]).args([&self.pipeline.kafka.address, &self.registry.url()]).args(&words[1..]);
        let output = command.current_dir(self.pipeline.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the Java client prints.
    fn java(&self, words: &[&str]) -> String {
        let jars = format!(
            "{}/*:{}/*",
            xtask::registry::java_client().unwrap().display(),
            xtask::kafka::fetch().unwrap().display()
        );
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-cp", &jars]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/Schemas.java"));
        command.arg(words[0]).args([&self.pipeline.kafka.address, &self.registry.own_url()]).args(&words[1..]);
        let output = command.current_dir(self.pipeline.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn write(&self, schema: &str, numbers: std::ops::Range<usize>) {
        let (first, last) = (numbers.start.to_string(), numbers.end.to_string());
        self.python(&["write", &self.pipeline.topic("orders"), schema, &first, &last]);
    }

    fn says(&self, input: &str, words: &str) -> String {
        let mut command = xtask::clean_command(MILLSTREAM);
        command.args(words.split_whitespace()).current_dir(self.pipeline.folder.path());
        command.env("MILLSTREAM_MANIFEST", "pipeline.yaml");
        let said = Running::start(&mut command, words).given(input);
        assert_eq!(said.code, 0, "{said:?}");
        said.out
    }

    fn copies(&self) -> usize {
        let topic = self.pipeline.topic("copies");
        self.says("", &format!("consume {topic} --from-beginning --until-end")).lines().count()
    }
}

#[test]
fn the_python_client_and_a_stage_read_what_the_other_writes() {
    let kafka = Kafka::shared();
    let mut shop = Shop::new(&kafka);
    let [orders, copies, raw] = ["orders", "copies", "raw"].map(|stem| shop.pipeline.topic(stem));
    kafka.make(&orders, 3, &[]);
    kafka.make(&raw, 1, &[]);
    let count = if soak() { 10_000 } else { 1_000 };

    shop.write("order.avsc", 0..count);
    shop.pipeline.drain();
    let equal = shop.python(&["compare", &orders, &copies, &count.to_string()]);
    assert_eq!(equal, format!("{count} equal, {count} to the byte\n"));

    // A shop that knows more, before the stage does; then the stage knows it, too.
    shop.put("later.avsc", &later());
    shop.write("later.avsc", count..count + 10);
    shop.put("copy.avsc", &later());
    shop.pipeline.drain();
    let equal = shop.python(&["compare", &orders, &copies, &(count + 10).to_string()]);
    assert!(equal.starts_with(&format!("{} equal", count + 10)), "{equal}");

    // The registry is killed. What has a schema that is cached goes on, also after a restart; the rest waits.
    shop.put("last.avsc", &later().replace("\"default\":-1}", "\"default\":-2}"));
    shop.write("last.avsc", count + 10..count + 11);
    shop.registry.kill();
    shop.says("{\"no\":\"order\"}\n", &format!("produce {raw}"));
    let mut host = shop.pipeline.run(&["--until-idle=2s"]);
    let dead = format!("{}.copy.dead-letter", shop.pipeline.name);
    let letters =
        |shop: &Shop| json_lines(&shop.says("", &format!("consume {dead} --from-beginning --until-end --format json")));
    until("the wrong one is a dead letter", Duration::from_secs(60), || letters(&shop).len() == 1);
    until("what waits is said", Duration::from_secs(60), || {
        host.said().contains("records whose schema is not cached wait")
    });
    assert_eq!(shop.copies(), count + 10);
    shop.registry.boot().unwrap();
    let status = host.wait(Duration::from_secs(120));
    assert!(status.success(), "{status}:\n{}", host.said());
    let equal = shop.python(&["compare", &orders, &copies, &(count + 11).to_string()]);
    assert!(equal.starts_with(&format!("{} equal", count + 11)), "{equal}");
    let letters = letters(&shop);
    let header = |name: &str| -> Value {
        let headers = letters[0]["headers"].as_array().unwrap();
        headers.iter().find(|h| h[0] == format!("millstream.error.{name}")).unwrap()[1].clone()
    };
    assert_eq!((letters.len(), header("kind")), (1, "encode".into()));
    let message = header("message");
    assert!(message.as_str().unwrap().contains("$.no: shop.Order has no such field"), "{message}");
}

#[test]
fn the_java_client_and_a_stage_read_what_the_other_writes() {
    let kafka = Kafka::shared();
    let shop = Shop::new(&kafka);
    let [orders, copies, raw] = ["orders", "copies", "raw"].map(|stem| shop.pipeline.topic(stem));
    kafka.make(&orders, 3, &[]);
    kafka.make(&raw, 1, &[]);
    let count = if soak() { "10000" } else { "1000" };
    shop.java(&["write", &orders, "order.avsc", count]);
    shop.pipeline.drain();
    assert_eq!(shop.java(&["compare", &orders, &copies, count]), format!("{count} equal\n"));
}

#[test]
fn a_schema_that_is_not_compatible_is_refused_before_anything_starts() {
    let kafka = Kafka::shared();
    let shop = Shop::new(&kafka);
    let [orders, raw] = ["orders", "raw"].map(|stem| shop.pipeline.topic(stem));
    kafka.make(&orders, 3, &[]);
    kafka.make(&raw, 1, &[]);
    shop.pipeline.drain();
    shop.put("copy.avsc", &later().replace(",\"default\":-1", ""));
    let mut host = shop.pipeline.run(&["--until-idle=2s"]);
    let status = host.wait(Duration::from_secs(60));
    assert_eq!(status.code(), Some(2), "{}", host.said());
    assert!(host.said().contains("it is not compatible with the latest schema of "), "{}", host.said());
}
