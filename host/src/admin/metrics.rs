//! What a host counts, in the text format of Prometheus.

use super::Admin;
use crate::{
    clock::{Clock, SystemClock},
    plan::Work,
    stage::{Counts, Histogram, KINDS},
    supervisor::{Running, State},
};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{Arc, PoisonError},
};

/// The text, metric by metric.
struct Text(String);

/// A metric's name, its type, and what it is.
type About = (&'static str, &'static str, &'static str);

impl Text {
    fn about(&mut self, (name, kind, help): About) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, stage: &str, histogram: &Histogram) {
        let (below, count, sum) = histogram.read();
        let bucket = format!("{name}_bucket");
        for (bound, count) in below {
            self.value(&bucket, &[("stage", stage), ("le", &bound.to_string())], count);
        }
        self.value(&bucket, &[("stage", stage), ("le", "+Inf")], count);
        self.value(&format!("{name}_sum"), &[("stage", stage)], sum);
        self.value(&format!("{name}_count"), &[("stage", stage)], count);
    }
}

/// All metrics of a host.
pub(super) fn metrics(admin: &Admin) -> String {
    let mut text = Text(String::new());
    text.about(("millstream_build_info", "gauge", "The version of this host."));
    text.value("millstream_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    if let Some(bytes) = memory() {
        text.about(("millstream_memory_bytes", "gauge", "The memory that this process has."));
        text.value("millstream_memory_bytes", &[], bytes);
    }
    let running = admin.running();
    let parts: Vec<_> = running.iter().filter(|running| !running.part.is_source()).collect();
    counters(&mut text, &parts);
    histograms(&mut text, &parts);
    lags(&mut text, admin, &parts);
    modules(&mut text, admin, running);
    text.0
}

fn counters(text: &mut Text, parts: &[&Arc<Running>]) {
    // All of a part's counts are of one moment, or they would not add up.
    let counts: Vec<_> = parts.iter().map(|running| (&***running, running.tally.counts())).collect();
    let mut each = |name: &'static str, help, value: &dyn Fn(&Running, &Counts) -> u64| {
        text.about((name, "counter", help));
        for (running, counts) in &counts {
            text.value(name, &[("stage", &running.part.name)], value(running, counts));
        }
    };
    // A sink gives nothing back, and that is what it is for.
    let is_sink = |running: &Running| matches!(running.part.work, Work::Sink { .. });
    each("millstream_records_received_total", "Records that are done with.", &|_, counts| counts.tried());
    each("millstream_records_transformed_total", "Records that something came of.", &|running, counts| {
        if is_sink(running) { counts.filtered } else { counts.transformed }
    });
    each("millstream_records_filtered_total", "Records that nothing came of.", &|running, counts| {
        if is_sink(running) { 0 } else { counts.filtered }
    });
    each("millstream_records_skipped_total", "Records that failed and were passed over.", &|_, counts| counts.skipped);
    each("millstream_received_bytes_total", "Bytes of the records that are done with.", &|_, counts| {
        counts.taken_bytes
    });
    each("millstream_emitted_bytes_total", "Bytes of the records that came of them.", &|_, counts| counts.sent_bytes);
    each("millstream_retries_total", "How often a record was put off to be tried again.", &|running, _| {
        running.tally.retries()
    });
    each("millstream_rebalances_total", "How often partitions came or went, for any worker.", &|running, _| {
        running.tally.rebalances()
    });
    let name = "millstream_records_dead_lettered_total";
    text.about((name, "counter", "Records that became dead letters, by what made them fail."));
    for (running, counts) in &counts {
        for (kind, count) in KINDS.iter().zip(counts.dead_by_kind) {
            text.value(name, &[("stage", &running.part.name), ("kind", kind)], count);
        }
    }
    let name = "millstream_records_emitted_total";
    text.about((name, "counter", "Records that came of others, by the topic that they went to."));
    for running in parts {
        let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
        for (topic, count) in running.part.link.outputs.iter().zip(running.tally.emitted()) {
            *by_topic.entry(topic).or_default() += count;
        }
        for (topic, count) in by_topic {
            text.value(name, &[("stage", &running.part.name), ("output", topic)], count);
        }
    }
    let name = "millstream_transactions_total";
    text.about((name, "counter", "Transactions, by how they ended."));
    for running in parts {
        let (committed, aborted) = running.tally.transactions();
        for (outcome, count) in [("committed", committed), ("aborted", aborted)] {
            text.value(name, &[("stage", &running.part.name), ("outcome", outcome)], count);
        }
    }
}

fn histograms(text: &mut Text, parts: &[&Arc<Running>]) {
    let name = "millstream_transform_duration_seconds";
    text.about((name, "histogram", "How long a module took for a record; of a call for many, each has its share."));
    for running in parts {
        if let Work::Stage { setup, .. } = &running.part.work {
            text.histogram(name, &running.part.name, &setup.timing);
        }
    }
    let name = "millstream_commit_duration_seconds";
    text.about((name, "histogram", "How long a commit took, from its begin until its outcome was known."));
    for running in parts {
        text.histogram(name, &running.part.name, &running.tally.commits);
    }
}

fn lags(text: &mut Text, admin: &Admin, parts: &[&Arc<Running>]) {
    let (records, seconds) = ("millstream_lag_records", "millstream_lag_seconds");
    let now = SystemClock::new(Arc::default()).wall_ms();
    let mut lags = admin.lags.lock().unwrap_or_else(PoisonError::into_inner);
    // Where the log does not answer, nothing is said rather than something that is not so.
    let known: Vec<_> = parts.iter().filter_map(|running| Some((running, lags.of(running)?))).collect();
    text.about((records, "gauge", "Records that the group has not done, up to the last stable offset."));
    let behind = |lag: &crate::transport::log::Lag| lag.end.saturating_sub(lag.committed.unwrap_or(lag.start));
    for (running, lag) in &known {
        for ((topic, partition), lag) in lag {
            let labels =
                [("stage", running.part.name.as_str()), ("topic", topic), ("partition", &partition.to_string())];
            text.value(records, &labels, behind(lag));
        }
    }
    text.about((seconds, "gauge", "How old the record is that was done last, when others wait behind it."));
    for (running, lag) in &known {
        let waits = lag.values().any(|lag| behind(lag) > 0);
        // Before anything was done, there is nothing to tell it by.
        let age = running.tally.reached().map(|reached| (now - reached).max(0) as f64 / 1e3);
        if let Some(age) = if waits { age } else { Some(0.0) } {
            text.value(seconds, &[("stage", &running.part.name)], age);
        }
    }
}

fn modules(text: &mut Text, admin: &Admin, running: &[Arc<Running>]) {
    let about =
        ("millstream_stage_up", "gauge", "Whether a source, a stage or a sink is at work, or may be at any time.");
    text.about(about);
    for running in running {
        let up = !matches!(running.state(), State::Stopped | State::Ended);
        text.value(about.0, &[("stage", &running.part.name)], u8::from(up));
    }
    let about = ("millstream_module_info", "gauge", "The module that a stage runs.");
    text.about(about);
    for running in running {
        if let Some(modules) = running.modules() {
            let (name, current) = (&running.part.name, modules.current());
            text.value(about.0, &[("stage", name), ("digest", &current.digest), ("module", &current.name)], 1);
        }
    }
    let about = ("millstream_instances", "gauge", "Instances of modules that workers have.");
    text.about(about);
    for running in running {
        if let Some(modules) = running.modules() {
            text.value(about.0, &[("stage", &running.part.name)], modules.instances());
        }
    }
    let about = ("millstream_swaps_total", "counter", "Swaps since this host started, by their outcome.");
    text.about(about);
    for (stage, desk) in admin.desks() {
        let outcomes: BTreeMap<_, _> = desk.outcomes();
        for (outcome, count) in outcomes {
            text.value(about.0, &[("stage", stage), ("outcome", outcome)], count);
        }
    }
}

/// What the system says this process has.
fn memory() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
