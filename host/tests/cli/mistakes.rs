//! A wrong manifest is refused with all that is wrong with it, before anything starts.

use crate::support::{Folder, Said, golden, readme_blocks};
use std::{fs, io::ErrorKind, net::TcpListener};

/// Modules that are no stages, each in its own way.
fn odd_modules(manifest: &str) -> Folder {
    Folder::with(manifest)
        .file("garbage.wasm", [0x7f, b'E', b'L', b'F', 2, 1, 1, 0])
        .file("text.wasm", "(module)")
        .file("empty.wasm", "")
        .module("core.wasm", "(module)")
        .module("other-world.wasm", r#"(component (core module $m) (export "m" (core module $m)))"#)
        .module("greedy.wasm", r#"(component (import "wasi:keyvalue/store@0.2.0" (instance)))"#)
        .file("folder/x", "")
        .trial("trial.wasm")
}

const MANY: &str = "\
name: my orders
state: ''
kafka:
  brokers: localhost
  properties: {group.id: mine, linger.ms: soon, no.such.property: 1, retries: -1}
topics:
  orders: {partitions: four}
  raw: {retention: 1d}
stages:
  missing: {module: nowhere.wasm, input: orders, output: a, workers: 0}
  garbage: {module: garbage.wasm, input: orders, ouptut: b}
  text: {module: text.wasm, input: orders, output: c, commit-interval: 20s}
  empty: {module: empty.wasm, input: orders, output: d, from: yesterday}
  core: {module: core.wasm, input: orders, output: e, on-error: dead-leter}
  world: {module: other-world.wasm, input: orders, output: f, group: ''}
  greedy: {module: greedy.wasm, input: orders, output: orders}
  folder: {module: folder, input: orders, output: h}
  pinned:
    module: trial.wasm
    sha256: 0000000000000000000000000000000000000000000000000000000000000000
    input: orders
    output: i
  refuses: {module: trial.wasm, input: orders, output: j, config: {refuse: there is no currency}}
  unsure: {module: trial.wasm, input: orders, output: k, config: {refuse: '${NOT_SET}'}}
sinks: {}
";

/// How many places are given, as `FILE:LINE:COLUMN`.
fn places(said: &Said) -> usize {
    let is_place = |line: &&str| {
        let place = line.trim_start().strip_prefix("--> pipeline.yaml:").and_then(|place| place.split_once(':'));
        place.is_some_and(|(line, column)| line.parse::<u32>().is_ok() && column.parse::<u32>().is_ok())
    };
    said.err.lines().filter(is_place).count()
}

#[test]
fn every_mistake_is_shown_at_once_with_its_place() {
    let said = odd_modules(MANY).says("check pipeline.yaml");
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let mistakes = said.err.lines().filter(|line| line.starts_with("error: ")).count();
    assert!(mistakes >= 24, "{mistakes} mistakes");
    assert_eq!(places(&said), mistakes, "each has a place");
    golden("many-mistakes", &[said]);
}

#[test]
fn a_wrong_manifest_starts_nothing() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    broker.set_nonblocking(true).unwrap();
    let kafka = broker.local_addr().unwrap();
    let folder = odd_modules(MANY);
    let before = folder.names();
    let checked = folder.says(&format!("check pipeline.yaml --kafka {kafka}"));
    let run = folder.says(&format!("run pipeline.yaml --kafka {kafka}"));
    assert_eq!((run.code, run.out.as_str()), (2, ""));
    assert_eq!(run.err, checked.err, "`run` says what `check` says");
    assert_eq!(folder.names(), before, "no file was made");
    assert_eq!(broker.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "nobody connected");
}

#[test]
fn properties_that_do_not_fit_together_are_a_mistake_of_the_manifest() {
    let said = |properties: &str, own: &str| {
        Folder::with(&format!(
            "name: x\nkafka:\n  brokers: localhost:1\n  properties: {properties}\ntopics: {{i: }}\nstages:\n  a:\n    module: trial.wasm\n    input: i\n    output: o\n    properties: {own}\n"
        ))
        .trial("trial.wasm")
        .says("check pipeline.yaml")
    };
    golden(
        "properties",
        &[
            said("{security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN}", "{}"),
            said("{security.protocol: SASL_PLAINTEXT, sasl.mechanism: MAGIC}", "{}"),
            said("{client.id: a}", "{acks: 1}"),
            said("{}", "{message.timeout.ms: 1000, transaction.timeout.ms: 1000}"),
            said("{sasl.jaas.config: x}", "{}"),
        ],
    );
}

#[test]
fn what_was_asked_for_is_looked_at_first() {
    let manifest = "name: x\nkafka: {brokers: localhost:1}\ntopics: {i: }\nstages:\n  price: {module: nowhere.wasm, input: i, output: o}\n  audit: {input: i, output: p}\n";
    let folder =
        Folder::with(manifest).file("folder/x", "").file("binary.yaml", [0xff, 0xfe, 0]).file("empty.yaml", "");
    let asked = [
        "frobnicate",
        "run",
        "run pipeline.yaml --frobnicate",
        "run pipeline.yaml --scratch",
        "run pipeline.yaml --scratch --kafka localhost:1",
        "run pipeline.yaml --kafka localhost:99999",
        "run pipeline.yaml --admin nowhere",
        "run pipeline.yaml --admin 0.0.0.0:0",
        "swap price",
        "swap price nowhere.wasm --admin 127.0.0.1:1",
        "swap price folder --admin 127.0.0.1:1",
        "swaps --admin 127.0.0.1:1 --admin 127.0.0.1:2",
        "status --admin nowhere",
        "run pipeline.yaml --until-idle=banana",
        "run pipeline.yaml --log-format xml",
        "run pipeline.yaml --instance a/b",
        "run pipeline.yaml --only prise",
        "run pipeline.yaml --only audi,price",
        "run pipeline.yaml --only somebody-else",
        "run pipeline.yaml --only price",
        "run empty.yaml --only price",
        "run nowhere.yaml",
        "check nowhere.yaml",
        "check folder",
        "check binary.yaml",
        "produce",
        "produce orders",
        "produce orders --format avro --kafka localhost:1",
        "produce orders --format json --key-separator : --kafka localhost:1",
        "produce orders --key-separator= --kafka localhost:1",
        "consume orders",
        "consume orders -o yesterday --kafka localhost:1",
        "consume orders -o @yesterday --kafka localhost:1",
        "consume orders -o -1 --kafka localhost:1",
        "consume orders -o start --from-beginning --kafka localhost:1",
        "consume orders --format avro --kafka localhost:1",
        "consume orders -n many --kafka localhost:1",
        "offsets",
        "offsets show orders.price",
        "offsets set orders.price --to earliest",
        "offsets set orders.price --topic orders",
        "offsets set orders.price --topic orders --to start",
        "topics list",
        "topics list --manifest nowhere.yaml",
        "topics list --manifest pipeline.yaml",
        "topics create orders --partitions 0",
        "topics create orders --config retention.ms",
        "topics list --kafka=",
        "topics grow orders",
        "completions tcsh",
    ];
    let said: Vec<_> = asked.iter().map(|words| folder.says(words)).collect();
    for said in &said {
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.shown());
    }
    golden("asked-wrong", &said);
}

#[test]
fn the_manifests_of_the_readme_lack_nothing_but_their_files() {
    let blocks = readme_blocks("yaml");
    assert!(!blocks.is_empty());
    for block in blocks {
        let said = Folder::with(&block)
            .set("KAFKA_PASSWORD", "x")
            .set("REGISTRY_PASSWORD", "x")
            .set("PG", "postgres://me@db/shop")
            .set("MONGO", "mongodb://db")
            .says("check pipeline.yaml");
        let errors: Vec<_> = said.err.lines().filter(|line| line.starts_with("error")).collect();
        assert!(!errors.is_empty() && errors.iter().all(|line| is_of_a_file(line)), "{}", said.err);
    }
}

#[test]
fn the_manifests_of_the_examples_lack_nothing_but_their_files() {
    let examples = fs::read_dir(crate::support::repository("examples")).unwrap().map(|entry| entry.unwrap().path());
    let folders = examples.filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    let manifests: Vec<_> = files
        .filter(|path| path.to_str().is_some_and(|name| name.ends_with(".yaml") && !name.ends_with(".test.yaml")))
        .collect();
    assert!(manifests.len() >= 2);
    for path in manifests {
        let said = Folder::with(&fs::read_to_string(&path).unwrap()).says("check pipeline.yaml");
        let errors: Vec<_> = said.err.lines().filter(|line| line.starts_with("error")).collect();
        assert!(errors.iter().all(|line| is_of_a_file(line)), "{}: {}", path.display(), said.err);
    }
}

/// A module, or a schema, that is not beside the manifest here.
fn is_of_a_file(error: &str) -> bool {
    error.contains("is not there") || error.contains("there is no file")
}
