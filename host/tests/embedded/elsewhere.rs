//! What `compose/` looks at of a host, beside what a host tells.

use crate::{support::Pipeline, swapping::get};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

/// What Prometheus adds to each.
const OWN: [&str; 2] = ["job", "instance"];

/// The metrics of a host, each with the values that its labels have.
type Told = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn read(address: &str) -> Told {
    let mut told = Told::new();
    for line in get(address, "/metrics").1.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = told.entry(name.to_owned()).or_default();
        for (label, value) in pairs(labels.trim_end_matches('}')) {
            metric.entry(label.to_owned()).or_default().insert(value.to_owned());
        }
    }
    told
}

/// `a="x", b=~"y"`, pair by pair; no value has a comma in it.
fn pairs(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = labels.split(',').filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(label, value)| (label.trim_end_matches('!'), value.trim_start_matches('~').trim_matches('"')))
}

/// What stands under this key, wherever it does.
fn all(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| all(field, key, found));
        }
        _ => {}
    }
}

/// What a text looks at and no host tells.
fn missing(text: &str, told: &Told) -> Vec<String> {
    let mut missing = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in text.match_indices("millstream_") {
        let name = &text[at..][..text[at..].find(|c| !is_word(c)).unwrap_or(text.len() - at)];
        let Some(metric) = told.get(name) else {
            missing.push(name.to_owned());
            continue;
        };
        let Some((labels, _)) = text[at + name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            continue;
        };
        for (label, value) in pairs(labels).filter(|(label, _)| !OWN.contains(label)) {
            let is_there = metric.get(label).is_some_and(|values| value.starts_with('$') || values.contains(value));
            if !is_there {
                missing.push(format!("{name}{{{label}={value}}}"));
            }
        }
    }
    let labels: BTreeSet<_> = told.values().flat_map(BTreeMap::keys).map(String::as_str).chain(OWN).collect();
    for by in text.split("by (").skip(1) {
        let names = by.split(')').next().unwrap().split(',').map(str::trim);
        missing.extend(names.filter(|name| !labels.contains(name)).map(|name| format!("by ({name})")));
    }
    missing
}

#[test]
fn all_that_the_dashboard_and_the_alerts_look_at_is_told() {
    let pipeline = Pipeline::new(
        "
topics: {in: {partitions: 2}, out: {partitions: 2}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out}
",
    );
    pipeline.says("topics create in --partitions 2");
    let host = pipeline.run("--admin 127.0.0.1:0");
    pipeline.produce("in", &["k:pass".to_owned()]);
    let address = host.admin();
    let is_done = || get(&address, "/metrics").1.contains("millstream_records_received_total{stage=\"copy\"} 1\n");
    host.until("its record is done", Duration::from_secs(30), is_done);
    let told = read(&address);

    let compose = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose");
    let dashboard = fs::read_to_string(compose.join("grafana/dashboards/millstream.json")).unwrap();
    let mut looked_at = Vec::new();
    for key in ["expr", "definition"] {
        all(&serde_json::from_str(&dashboard).unwrap(), key, &mut looked_at);
    }
    assert!(looked_at.len() > 20, "{looked_at:?}");
    looked_at.push(fs::read_to_string(compose.join("prometheus/rules.yml")).unwrap());
    for text in looked_at {
        assert_eq!(missing(&text, &told), [""; 0], "{text}");
    }
    // And what is not told would be found.
    let wrong =
        r#"sum by (kind, flavour) (millstream_swaps_total{outcome="rolled-up", stage="$stage"} / millstream_sweets)"#;
    assert_eq!(
        missing(wrong, &told),
        ["millstream_swaps_total{outcome=rolled-up}", "millstream_sweets", "by (flavour)"]
    );
}
