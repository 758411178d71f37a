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

/// What is counted.
pub(crate) struct Metric {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type, as Prometheus calls it.
    pub(crate) kind: &'static str,
    /// What tells its values apart.
    pub(crate) labels: &'static [&'static str],
    /// What it says.
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal $labels:tt $help:literal;)*) => {
        $(const $id: Metric = Metric { name: $name, kind: stringify!($kind), labels: &$labels, help: $help };)*
        /// All that there are, in the order in which a host tells them.
        #[cfg(test)]
        pub(crate) const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    BUILD = gauge "millstream_build_info" ["version"] "The version of this host.";
    MEMORY = gauge "millstream_memory_bytes" [] "The memory that this process has.";
    RECEIVED = counter "millstream_records_received_total" ["stage"] "Records that are done with.";
    TRANSFORMED = counter "millstream_records_transformed_total" ["stage"] "Records that something came of.";
    FILTERED = counter "millstream_records_filtered_total" ["stage"] "Records that nothing came of.";
    SKIPPED = counter "millstream_records_skipped_total" ["stage"] "Records that failed and were passed over.";
    RECEIVED_BYTES = counter "millstream_received_bytes_total" ["stage"] "Bytes of the records that are done with.";
    EMITTED_BYTES = counter "millstream_emitted_bytes_total" ["stage"] "Bytes of the records that came of them.";
    RETRIES = counter "millstream_retries_total" ["stage"] "How often a record was put off to be tried again.";
    REBALANCES = counter "millstream_rebalances_total" ["stage"] "How often partitions came or went, for any worker.";
    DEAD = counter "millstream_records_dead_lettered_total" ["stage", "kind"] "Records that became dead letters, by what made them fail.";
    EMITTED = counter "millstream_records_emitted_total" ["stage", "output"] "Records that came of others, by the topic that they went to.";
    TRANSACTIONS = counter "millstream_transactions_total" ["stage", "outcome"] "Transactions, by how they ended.";
    TRANSFORM_SECONDS = histogram "millstream_transform_duration_seconds" ["stage"] "How long a module took for a record; of a call for many, each has its share.";
    COMMIT_SECONDS = histogram "millstream_commit_duration_seconds" ["stage"] "How long a commit took, from its begin until its outcome was known.";
    LAG = gauge "millstream_lag_records" ["stage", "topic", "partition"] "Records that the group has not done, up to the last stable offset.";
    LAG_SECONDS = gauge "millstream_lag_seconds" ["stage"] "How old the record is that was done last, when others wait behind it.";
    UP = gauge "millstream_stage_up" ["stage"] "Whether a source, a stage or a sink is at work, or may be at any time.";
    MODULE = gauge "millstream_module_info" ["stage", "digest", "module"] "The module that a stage runs.";
    INSTANCES = gauge "millstream_instances" ["stage"] "Instances of modules that workers have.";
    SWAPS = counter "millstream_swaps_total" ["stage", "outcome"] "Swaps since this host started, by their outcome.";
}

impl Text {
    fn about(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, metric: &Metric, labels: &[&str], value: impl Display) {
        self.line(metric.name, metric.labels.iter().copied().zip(labels.iter().copied()), value);
    }

    fn line<'a>(&mut self, name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>, value: impl Display) {
        self.0.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
            before = ',';
        }
        let _ = writeln!(self.0, "{} {value}", if before == '{' { "" } else { "}" });
    }

    fn histogram(&mut self, metric: &Metric, stage: &str, histogram: &Histogram) {
        let (below, count, sum) = histogram.read();
        let name = metric.name;
        let bucket = format!("{name}_bucket");
        for (bound, count) in below {
            self.line(&bucket, [("stage", stage), ("le", bound.to_string().as_str())].into_iter(), count);
        }
        self.line(&bucket, [("stage", stage), ("le", "+Inf")].into_iter(), count);
        self.line(&format!("{name}_sum"), [("stage", stage)].into_iter(), sum);
        self.line(&format!("{name}_count"), [("stage", stage)].into_iter(), count);
    }
}

/// All metrics of a host.
pub(super) fn metrics(admin: &Admin) -> String {
    let mut text = Text(String::new());
    text.about(&BUILD);
    text.value(&BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    if let Some(bytes) = memory() {
        text.about(&MEMORY);
        text.value(&MEMORY, &[], bytes);
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
    let mut each = |metric: &Metric, value: &dyn Fn(&Running, &Counts) -> u64| {
        text.about(metric);
        for (running, counts) in &counts {
            text.value(metric, &[&running.part.name], value(running, counts));
        }
    };
    // A sink gives nothing back, and that is what it is for.
    let is_sink = |running: &Running| matches!(running.part.work, Work::Sink { .. });
    each(&RECEIVED, &|_, counts| counts.tried());
    each(&TRANSFORMED, &|running, counts| {
        if is_sink(running) { counts.filtered } else { counts.transformed }
    });
    each(&FILTERED, &|running, counts| {
        if is_sink(running) { 0 } else { counts.filtered }
    });
    each(&SKIPPED, &|_, counts| counts.skipped);
    each(&RECEIVED_BYTES, &|_, counts| counts.taken_bytes);
    each(&EMITTED_BYTES, &|_, counts| counts.sent_bytes);
    each(&RETRIES, &|running, _| running.tally.retries());
    each(&REBALANCES, &|running, _| running.tally.rebalances());
    text.about(&DEAD);
    for (running, counts) in &counts {
        for (kind, count) in KINDS.iter().zip(counts.dead_by_kind) {
            text.value(&DEAD, &[&running.part.name, kind], count);
        }
    }
    text.about(&EMITTED);
    for running in parts {
        let mut by_topic: BTreeMap<&str, u64> = BTreeMap::new();
        for (topic, count) in running.part.link.outputs.iter().zip(running.tally.emitted()) {
            *by_topic.entry(topic).or_default() += count;
        }
        for (topic, count) in by_topic {
            text.value(&EMITTED, &[&running.part.name, topic], count);
        }
    }
    text.about(&TRANSACTIONS);
    for running in parts {
        let (committed, aborted) = running.tally.transactions();
        for (outcome, count) in [("committed", committed), ("aborted", aborted)] {
            text.value(&TRANSACTIONS, &[&running.part.name, outcome], count);
        }
    }
}

fn histograms(text: &mut Text, parts: &[&Arc<Running>]) {
    text.about(&TRANSFORM_SECONDS);
    for running in parts {
        if let Work::Stage { setup, .. } = &running.part.work {
            text.histogram(&TRANSFORM_SECONDS, &running.part.name, &setup.timing);
        }
    }
    text.about(&COMMIT_SECONDS);
    for running in parts {
        text.histogram(&COMMIT_SECONDS, &running.part.name, &running.tally.commits);
    }
}

fn lags(text: &mut Text, admin: &Admin, parts: &[&Arc<Running>]) {
    let now = SystemClock::new(Arc::default()).wall_ms();
    let mut lags = admin.lags.lock().unwrap_or_else(PoisonError::into_inner);
    // Where the log does not answer, nothing is said rather than something that is not so.
    let known: Vec<_> = parts.iter().filter_map(|running| Some((running, lags.of(running)?))).collect();
    text.about(&LAG);
    let behind = |lag: &crate::transport::log::Lag| lag.end.saturating_sub(lag.committed.unwrap_or(lag.start));
    for (running, lag) in &known {
        for ((topic, partition), lag) in lag {
            text.value(&LAG, &[&running.part.name, topic, &partition.to_string()], behind(lag));
        }
    }
    text.about(&LAG_SECONDS);
    for (running, lag) in &known {
        let waits = lag.values().any(|lag| behind(lag) > 0);
        // Before anything was done, there is nothing to tell it by.
        let age = running.tally.reached().map(|reached| (now - reached).max(0) as f64 / 1e3);
        if let Some(age) = if waits { age } else { Some(0.0) } {
            text.value(&LAG_SECONDS, &[&running.part.name], age);
        }
    }
}

fn modules(text: &mut Text, admin: &Admin, running: &[Arc<Running>]) {
    text.about(&UP);
    for running in running {
        let up = !matches!(running.state(), State::Stopped | State::Ended);
        text.value(&UP, &[&running.part.name], u8::from(up));
    }
    text.about(&MODULE);
    for running in running {
        if let Some(modules) = running.modules() {
            let (name, current) = (&running.part.name, modules.current());
            text.value(&MODULE, &[name, &current.digest, &current.name], 1);
        }
    }
    text.about(&INSTANCES);
    for running in running {
        if let Some(modules) = running.modules() {
            text.value(&INSTANCES, &[&running.part.name], modules.instances());
        }
    }
    text.about(&SWAPS);
    for (stage, desk) in admin.desks() {
        let outcomes: BTreeMap<_, _> = desk.outcomes();
        for (outcome, count) in outcomes {
            text.value(&SWAPS, &[stage, outcome], count);
        }
    }
}

/// What the system says this process has.
fn memory() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
