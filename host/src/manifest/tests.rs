//! Manifests beside what is said of them, in `tests/manifests`; after a change, `UPDATE=1` writes the texts anew: read
//! them. And what must hold for any text whatever.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::damage;
use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

const FOLDER: &str = "tests/manifests";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "NAME" => "from-environment",
        "BROKERS" => "first-broker:9092,second-broker:9092",
        "PASSWORD" => "swordfish",
        "FOUR" => "4",
        "RATE" => "1.25",
        "INPUT" => "raw",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The golden manifests, as paths that start in this package.
fn manifests() -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    paths
}

fn read_file(path: &Path) -> Reading {
    read(path, &fs::read_to_string(path).unwrap(), &environment, None)
}

fn read_text(text: &str) -> Reading {
    read(Path::new("test.yaml"), text, &environment, None)
}

/// All that a user, or a developer, ever sees of a reading.
fn said(reading: Reading) -> String {
    match reading.finish() {
        Ok((manifest, warnings)) => warnings.render(None) + &format!("{manifest:#?}\n"),
        Err(report) => report.render(None),
    }
}

#[test]
fn every_golden_manifest_is_answered_as_its_text_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in manifests() {
        let said = said(read_file(&path));
        let expected = path.with_extension("txt");
        if update {
            fs::write(&expected, said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{}\n{said}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as written beside them (UPDATE=1 rewrites):\n{}", wrong.join("\n"));
}

#[test]
fn no_mistake_hides_another() {
    let reading = read_file(Path::new("tests/manifests/many-mistakes.yaml"));
    assert!(reading.report.mistakes() >= 14);
}

#[test]
fn secrets_are_never_shown() {
    for path in manifests() {
        let reading = read_file(&path);
        let colored = reading.report.render(Some(80));
        let modules = format!("{:?}", reading.modules);
        let said = said(reading) + &colored + &modules;
        for secret in ["hunter2", "hunter3", "swordfish", "file-secret"] {
            assert!(!said.contains(secret), "{secret} of {}:\n{said}", path.display());
        }
    }
}

#[test]
fn secrets_arrive() {
    let (manifest, _) = read_file(Path::new("tests/manifests/full.yaml")).finish().ok().unwrap();
    assert_eq!(manifest.stages[0].properties["sasl.password"].reveal(), "file-secret");
    assert_eq!(manifest.stages[0].properties["security.protocol"].reveal(), "PLAINTEXT");
    assert_eq!(manifest.kafka.as_ref().unwrap().properties["security.protocol"].reveal(), "SASL_SSL");
}

#[test]
fn configuration_is_as_written_or_json() {
    let (manifest, _) = read_file(Path::new("tests/manifests/full.yaml")).finish().ok().unwrap();
    let shown: Vec<_> =
        manifest.stages[0].config.iter().map(|(key, value)| format!("{key}={}", value.reveal())).collect();
    assert_eq!(
        shown,
        [
            "currency=EUR",
            "empty=",
            "no=no",
            "port=080",
            "rates={\"usd\":1.5,\"all\":[1,\"1\",null,\"yes\",\"1.25\"]}",
            "ratio=1e3"
        ]
    );
}

#[test]
fn the_environment_is_put_in() {
    let (manifest, _) = read_file(Path::new("tests/manifests/environment.yaml")).finish().ok().unwrap();
    let stage = manifest.stages.iter().find(|stage| stage.name == "price").unwrap();
    assert_eq!(manifest.name, "from-environment");
    assert_eq!(manifest.kafka.as_ref().unwrap().brokers, ["first-broker:9092", "second-broker:9092"]);
    assert_eq!(manifest.kafka.as_ref().unwrap().properties["sasl.password"].reveal(), "pre-swordfish");
    assert_eq!(stage.module.path.value, Path::new("tests/manifests/guests/price.wasm"));
    assert_eq!(stage.module.build.as_ref().unwrap().value, "cargo build --jobs 4 && echo $HOME $HOME");
    assert_eq!(stage.module.sha256, None);
    assert_eq!((stage.workers, &*stage.outputs[0].topic), (4, "priced"));
    assert_eq!(stage.config["cost"].reveal(), "$5");
    assert_eq!(stage.config["list"].reveal(), r#"["4","${FOUR}"]"#);
}

#[test]
fn brokers_from_the_command_line_stand_over_the_written_ones() {
    let brokers = ["other:9092".to_owned()];
    for file in ["minimal.yaml", "embedded.yaml"] {
        let path = Path::new(FOLDER).join(file);
        let reading =
            read(&path, &fs::read_to_string(&path).unwrap(), &environment, Some(&Over::Brokers(brokers.to_vec())));
        let (manifest, warnings) = reading.finish().ok().unwrap();
        assert_eq!((manifest.kafka.unwrap().brokers, warnings.warnings()), (brokers.to_vec(), 0));
    }
}

#[test]
fn a_cluster_from_the_command_line_takes_the_place_of_brokers_and_of_what_lets_a_client_in() {
    let text = "name: x\nkafka:\n  brokers: '${NO_BROKERS}'\n  properties: {sasl.password: '${NO_PASSWORD}', ssl.key.pem: {file: \
                nowhere}, linger.ms: 1, acks: 1}\nstages:\n  a: {module: a.wasm, input: i, output: o, properties: {sasl.username: \
                me, linger.ms: 3}}\n";
    let secret = |text: &str| Secret::from(text.to_owned());
    let properties = [("sasl.username", "you"), ("linger.ms", "2"), ("client.id", "x")];
    let properties = properties.map(|(name, value)| (name.to_owned(), secret(value)));
    let cluster = Kafka { brokers: vec!["here:1".to_owned()], properties: properties.into() };
    let reading = read(Path::new("test.yaml"), text, &environment, Some(&Over::Cluster(cluster)));
    let (manifest, _) = reading.finish().map_err(|report| report.render(None)).unwrap();
    let kafka = manifest.kafka.unwrap();
    let shown = |properties: &Properties| {
        let each = properties.iter().map(|(name, value)| format!("{name}={}", value.reveal()));
        each.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kafka.brokers, ["here:1"]);
    assert_eq!(shown(&kafka.properties), "acks=1 client.id=x linger.ms=2 sasl.username=you");
    // A stage's own stand over the cluster's, but for those that let it in.
    assert_eq!(shown(&manifest.stages[0].properties), "acks=1 client.id=x linger.ms=3 sasl.username=you");
    // Without the cluster all of it is missing.
    let report = read(Path::new("test.yaml"), text, &environment, None).finish().unwrap_err();
    assert_eq!(report.mistakes(), 3, "{report:?}");
}

#[test]
fn what_is_wrong_with_modules_is_shown_with_the_rest() {
    let path = Path::new("tests/manifests/groups.yaml");
    let mut reading = read_file(path);
    let named = reading.modules[1].clone();
    let missing =
        Diagnostic::mistake(reading.places.module(&named), format!("there is no file `{}`", named.module.path));
    reading.report.add(missing.clone().help("build it"));
    reading.report.add(missing.help("build it"));
    let Err(report) = reading.finish() else { panic!("there are mistakes") };
    assert_eq!((report.mistakes(), report.warnings()), (2, 1));
    assert!(report.render(None).contains("error: there is no file `b.wasm`\n --> tests/manifests/groups.yaml:6:17"));
}

#[test]
fn a_part_is_sound_when_no_mistake_stands_in_it() {
    let source =
        "name: x\nkafka: localhost\nstages:\n  a: {module: m.wasm, config: {a: 1, b: '${NONE}'}, limits: {time: 1s}}\n";
    let reading = read_text(source);
    let stage = |key| ["stages", "a", key];
    assert!(!reading.is_sound(&stage("config")) && reading.is_sound(&stage("limits")) && reading.is_sound(&["state"]));
    assert!(reading.draft().is_some() && read_text("name: [").draft().is_none());
}

#[test]
fn only_what_excerpts_show_is_shown() {
    let source = "name: x\nkafka: {brokers: a:1, properties: {linger.ms: \"5\", client.id: '${NAME}', sasl.password: hunter2}}\n";
    let reading = read_text(source);
    let shows = |key, value| reading.report.shows(&reading.places.of(&["kafka", "properties", key]), value);
    assert!(shows("linger.ms", "5"));
    assert!(!shows("client.id", "from-environment") && !shows("sasl.password", "hunter2"));
}

#[test]
fn a_place_that_is_not_written_is_the_nearest_above() {
    let source = "name: x\nstages:\n  a: {module: m.wasm, sha256: 1, inputs: [x, y]}\n";
    let places = read_text(source).places;
    let shown = |span: Span| &source[span];
    assert_eq!(shown(places.of(&["stages", "a", "sha256"])), "1");
    assert_eq!(shown(places.of(&["stages", "a", "build"])), "a");
    assert_eq!(shown(places.of(&["stages", "a", "inputs", "1"])), "y");
    assert_eq!(shown(places.of(&["topics", "t"])), "name: x");
}

#[test]
fn a_text_without_limits_ends_all_the_same() {
    let start = "name: x\nkafka: localhost:9092\n";
    let lines = |line: &str| (0..5_000).map(|n| line.replace('#', &n.to_string())).collect::<String>();
    for text in [
        format!("{start}stages:\n{}", "  ? {}\n".repeat(5_000)),
        format!("{start}stages:\n{}", lines("  s#: {module: m, input: i#, output: o}\n")),
        format!("{start}stages: {{a: {{module: m, output: o, inputs: [\n{}]}}}}", lines("  t#,\n")),
        format!("{start}topics:\n{}", lines("  t#: {partitions: none}\n")),
        format!("{start}topics: {}", "{password: ".repeat(50_000)),
        format!("{start}topics: {}", "- ".repeat(50_000)),
        format!("{start}{}", "a: &a [*a, ".repeat(10_000)),
        "x".repeat(2 << 20),
    ] {
        let started = Instant::now();
        let said = said(read_text(&text));
        assert!(said.len() < 1 << 20);
        assert!(started.elapsed() < Duration::from_secs(20), "{said}");
    }
}

#[test]
fn any_text_gets_an_answer() {
    let seeds: Vec<_> = manifests().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let pieces = [
        "\t",
        "\n",
        "  ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "|\n",
        "#",
        "~",
        "${PASSWORD}",
        "${",
        "---\n",
        "é",
        "\u{feff}",
        "\r\n",
        "://a:b@",
        "0",
        "? ",
        "!!str ",
        "%",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let started = Instant::now();
    for _ in 0..4_000 {
        let mut text: Vec<char> = random.choice(&seeds).unwrap().chars().collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..=text.len());
            let end = (at + random.usize(0..12)).min(text.len());
            let piece: Vec<char> = match random.u8(0..3) {
                0 => Vec::new(),
                1 => random.choice(pieces).unwrap().chars().collect(),
                _ => text[at..end].repeat(2),
            };
            text.splice(at..end, piece);
        }
        let text: String = text.into_iter().collect();
        let said = read_text(&text).report.render(None);
        for value in ["swordfish", "from-environment", "first-broker"] {
            assert!(!said.contains(value), "{value}\n{text}\n{said}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(120));
}

/// Whoever writes a manifest may write anything: there is a manifest, or a mistake that stands somewhere in the text.
#[test]
fn texts_of_any_kind_are_a_manifest_or_have_a_mistake_in_them() {
    let examples = ["../examples/quickstart/millstream.yaml", "../examples/upper/pipeline.yaml"].map(PathBuf::from);
    let texts: Vec<_> = manifests().iter().chain(&examples).map(|path| fs::read(path).unwrap()).collect();
    let lines: Vec<_> = texts.iter().flat_map(|text| text.split_inclusive(|byte| *byte == b'\n')).collect();
    let (mut sound, mut wrong) = (0, 0);
    for mut random in damage::tries(1_500) {
        let mut text = random.choice(&texts).unwrap().clone();
        if text.len() > 20_000 {
            continue;
        }
        match random.u8(0..3) {
            0 => {
                // A line of another, in the place of one of its own.
                let mut own: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
                if let Some(line) = random.choice(&mut own) {
                    *line = random.choice(&lines).unwrap();
                }
                text = own.concat();
            }
            1 => damage::harm(&mut random, &mut text),
            _ => {
                let at = random.usize(0..=text.len());
                let piece = random
                    .choice([&b"\t"[..], b": ", b"- ", b"[", b"}", b"'", b"\n\n", b"&a ", b"*a", b"1e999"])
                    .unwrap();
                text.splice(at..at, piece.iter().copied());
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let started = Instant::now();
        let reading = read_text(&text);
        for at in reading.report.places() {
            assert!(text.get(at.clone()).is_some(), "{at:?} of {} bytes:\n{text}", text.len());
        }
        match reading.finish() {
            Ok(_) => sound += 1,
            Err(report) => {
                wrong += 1;
                assert!(report.mistakes() > 0 && report.render(Some(80)).len() > 10, "{text}");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}:\n{text}", started.elapsed());
    }
    assert!(sound > 20 && wrong > 100, "{sound} sound, {wrong} wrong");
}

#[test]
fn the_schema_knows_what_the_reader_knows() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let judged = |path: &Path| {
        let tree = as_json(&fs::read_to_string(path).unwrap());
        validator.iter_errors(&tree).map(|error| error.instance_path().to_string()).collect::<BTreeSet<_>>()
    };
    for path in manifests().into_iter().filter(|path| read_file(path).report.mistakes() == 0) {
        assert_eq!(judged(&path), BTreeSet::new(), "{}", path.display());
    }
    for (file, wrong_at) in [
        ("properties.yaml", "/kafka/properties"),
        ("numbers.yaml", "/stages/1/workers"),
        ("numbers.yaml", "/topics/more"),
        ("names.yaml", "/stages"),
        ("many-mistakes.yaml", "/name"),
        ("loops.yaml", "/stages/wrong/loop"),
        ("schemas-mistakes.yaml", "/stages/words/values"),
        ("names.yaml", "/topics"),
        ("wrong-at-the-top.yaml", "/kafka"),
        ("only-a-name.yaml", ""),
    ] {
        let judged = judged(&Path::new(FOLDER).join(file));
        assert!(judged.contains(wrong_at), "{file}: {judged:?}");
    }
}

#[test]
fn the_schema_accepts_the_manifests_that_users_see_first() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let readme = fs::read_to_string("../README.md").unwrap();
    let blocks = readme.split("```").filter_map(|block| block.strip_prefix("yaml\n")).map(str::to_owned);
    let examples = fs::read_dir("../examples").unwrap().map(|entry| entry.unwrap().path());
    let examples = examples.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap());
    let examples = examples
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|name| name.ends_with(".yaml") && !name.ends_with(".test.yaml")));
    let manifests: Vec<_> = blocks.chain(examples.map(|path| fs::read_to_string(path).unwrap())).collect();
    assert!(manifests.len() >= 3);
    for manifest in manifests {
        let errors: Vec<_> = validator.iter_errors(&as_json(&manifest)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{manifest}");
    }
}

/// The tree as an editor's own YAML reader sees it.
fn as_json(source: &str) -> serde_json::Value {
    let findings = report::Findings::default();
    let root = yaml::read(MANIFEST, source, Some(&|name| Some(format!("${{{name}}}"))), &findings);
    let json = reader::collect::<values::Json>(&root, source, &findings).unwrap();
    serde_json::from_str(&json.0).unwrap()
}
