//! The manifest as it is written: the only types that are read by serde. Their comments are what editors show
//! beside a key.

use super::{
    checked,
    measure::{Bytes, Count, Millis},
    on_error::OnError,
    scalars::{Digest, Start},
    schemas::{SchemaRegistry, TopicSchema, Values},
    shapes::{Inputs, Many, Named, One, Outputs, Spanned, Topics},
    sinks::{Mongodb, Postgres},
    values::{Config, Property},
};
use crate::{lines::OutputFormat, swap, transport::local, wasm};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// What runs between which topics.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping with `name` and what is to run")]
pub(super) struct Manifest {
    /// The pipeline's name: ASCII letters, digits, `-` and `_`. Groups and dead letters are named after it.
    #[schemars(extend("not" = { "pattern": "^[^$]*[^A-Za-z0-9_$-]" }))]
    pub(super) name: Spanned<String>,
    /// The folder that keeps what must outlive a run, seen from the manifest's. Default: `.millstream`.
    pub(super) state: Option<Spanned<String>>,
    /// The cluster. Without one the pipeline runs on an embedded log, in its state folder.
    pub(super) kafka: Option<Spanned<Kafka>>,
    /// The registry of the topics' schemas. On the embedded log none is needed.
    pub(super) schema_registry: Option<Spanned<SchemaRegistry>>,
    /// Topics that are made when they are missing, and compared when they are there.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9._-]{1,249}$" }))]
    pub(super) topics: Named<Option<Topic>>,
    /// What the embedded log keeps its promises against.
    pub(super) durability: Option<Durability>,
    /// The sources: each asks a module for records, and writes them.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-]{1,80}$" }))]
    pub(super) sources: Named<Source>,
    /// The stages: each takes records from topics, hands them to a module, and writes what comes back.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-]{1,80}$" }))]
    pub(super) stages: Option<Spanned<Named<Stage>>>,
    /// The sinks: each takes records from topics and gives them to something that is no topic.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9_-]{1,80}$" }))]
    pub(super) sinks: Named<Sink>,
}

/// What the embedded log keeps its promises against. A Kafka has settings of its own.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Durability {
    /// What is committed outlives a loss of power: the disk is waited for.
    Fsync,
    /// What is committed outlives the end of any process; a loss of power may take the latest transactions, whole.
    Os,
}

impl From<Durability> for local::Durability {
    fn from(written: Durability) -> Self {
        match written {
            Durability::Fsync => local::Durability::Fsync,
            Durability::Os => local::Durability::Os,
        }
    }
}

impl From<LineFormat> for OutputFormat {
    fn from(written: LineFormat) -> Self {
        match written {
            LineFormat::Value => OutputFormat::Value,
            LineFormat::KeyValue => OutputFormat::KeyValue,
            LineFormat::Json => OutputFormat::Json,
            LineFormat::Hex => OutputFormat::Hex,
        }
    }
}

/// One source.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{module: …, output: …}`")]
pub(super) struct Source {
    /// The WebAssembly component, seen from the manifest's folder.
    pub(super) module: Spanned<String>,
    /// The module's SHA-256 digest: another module is refused.
    pub(super) sha256: Option<Digest>,
    /// The command that makes the module, run in the manifest's folder by `run --build`.
    pub(super) build: Option<Spanned<String>>,
    /// The topic that it writes: short for `outputs: {main: …}`.
    pub(super) output: Option<Spanned<One<Outputs>>>,
    /// The topics that it writes, by the names that the module knows. The first takes records that name none.
    pub(super) outputs: Option<Spanned<Named<Spanned<String>>>>,
    /// `json`: records of topics with a schema are made of JSON. Default: `raw`, the bytes that they are.
    pub(super) values: Option<Spanned<Values>>,
    /// The time from one poll to the next, from `1ms` to a day. Default: none, it is polled again and again.
    pub(super) every: Option<Millis<1, 86_400_000>>,
    /// How long a transaction stays open, from `1ms` to `10s`. Default: `50ms`.
    pub(super) commit_interval: Option<Millis<1, 10_000>>,
    /// librdkafka's properties for this source; they stand over the pipeline's.
    #[serde(default)]
    pub(super) properties: Named<Property>,
    /// What the module may ask for: scalars reach it as they are written, mappings and lists as JSON.
    #[serde(default)]
    pub(super) config: Named<Config>,
    /// What one poll may cost.
    pub(super) limits: Option<Limits>,
    /// What the module may reach beyond what it is handed. Default: nothing.
    pub(super) allow: Option<Allow>,
}

/// One sink: it goes to one of `stdout`, `postgres` and `mongodb`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{input: …, stdout: {}}`")]
pub(super) struct Sink {
    /// The topic that it reads.
    pub(super) input: Option<Spanned<One<Inputs>>>,
    /// The topics that it reads.
    pub(super) inputs: Option<Spanned<Topics>>,
    /// `json`: records of topics with a schema come as JSON. Default: `raw`, the bytes that they are.
    pub(super) values: Option<Spanned<Values>>,
    /// The consumer group. Default: the pipeline's name, a dot, the sink's name.
    pub(super) group: Option<Spanned<String>>,
    /// librdkafka's properties for this sink; they stand over the pipeline's.
    #[serde(default)]
    pub(super) properties: Named<Property>,
    /// Where it starts when its group has no offset: `earliest` (the default), `latest`, `none` (refuse), milliseconds
    /// since 1970, or a time such as `2026-01-01T00:00:00Z`.
    pub(super) from: Option<Start>,
    /// What to do when the offset that it had is gone: `stop` (the default), or go on with the `earliest` or the
    /// `latest` there is.
    pub(super) on_lost_offset: Option<OnLostOffset>,
    /// How many workers take part in the group from this process. Default: 1. Not for `stdout`.
    pub(super) workers: Option<Spanned<Count<1, 64>>>,
    /// How long records are collected, from `1ms` to `10s`. Default: `50ms`. Not for `stdout`.
    pub(super) commit_interval: Option<Spanned<Millis<1, 10_000>>>,
    /// What becomes of a record that does not fit: one word for all of them, or a mapping. Default: dead-letter. Not for
    /// `stdout`.
    pub(super) on_error: Option<Spanned<OnError>>,
    /// The topic of dead letters. Default: the pipeline's name, the sink's name and `dead-letter`, with dots between. Not
    /// for `stdout`.
    pub(super) dead_letter: Option<Spanned<String>>,
    /// Each record is a line on the standard output.
    pub(super) stdout: Option<Spanned<Stdout>>,
    /// Each record is a row of a table, exactly once.
    pub(super) postgres: Option<Spanned<Postgres>>,
    /// Each record is a document of a collection; a repeat changes nothing.
    pub(super) mongodb: Option<Spanned<Mongodb>>,
}

/// How records are shown on the standard output.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{format: value}`")]
pub(super) struct Stdout {
    /// What is shown of a record. Default: value.
    pub(super) format: Option<LineFormat>,
}

/// What a line shows of a record.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LineFormat {
    /// Its value.
    Value,
    /// Its key, a tab, its value.
    KeyValue,
    /// All of it, as JSON.
    Json,
    /// Its place; key, value and headers as hexadecimal digits.
    Hex,
}

/// How the cluster is reached.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{brokers: localhost:9092}`")]
pub(super) struct Kafka {
    /// Where it is reached: `HOST:PORT`, a list of them, or several with commas between. `--kafka` stands over it.
    pub(super) brokers: Option<Spanned<Many<Spanned<String>>>>,
    /// Any of librdkafka's properties that the host does not set itself. A secret may lie in a file: `{file: PATH}`.
    #[serde(default)]
    pub(super) properties: Named<Property>,
}

/// What a topic is made with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{partitions: 4}`")]
pub(super) struct Topic {
    /// How many partitions.
    pub(super) partitions: Option<Count<1, 100_000>>,
    /// How many replicas. Default: the broker's.
    pub(super) replication: Option<Count<1, 1_000>>,
    /// The topic's own configuration, such as `retention.ms`.
    #[serde(default)]
    pub(super) config: Named<String>,
    /// The schema of its values.
    pub(super) value: Option<Spanned<TopicSchema>>,
    /// The schema of its keys.
    pub(super) key: Option<Spanned<TopicSchema>>,
}

/// One stage.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a mapping such as `{module: …, input: …, output: …}`"
)]
pub(super) struct Stage {
    /// The WebAssembly component, seen from the manifest's folder.
    pub(super) module: Spanned<String>,
    /// The module's SHA-256 digest: another module is refused.
    pub(super) sha256: Option<Digest>,
    /// The command that makes the module, run in the manifest's folder by `run --build`.
    pub(super) build: Option<Spanned<String>>,
    /// The topic that it reads.
    pub(super) input: Option<Spanned<One<Inputs>>>,
    /// The topics that it reads: a list, or a mapping from the names that the module knows to topics.
    pub(super) inputs: Option<Spanned<Topics>>,
    /// The topic that it writes: short for `outputs: {main: …}`.
    pub(super) output: Option<Spanned<One<Outputs>>>,
    /// The topics that it writes, by the names that the module knows. The first takes records that name none.
    pub(super) outputs: Option<Spanned<Named<Spanned<String>>>>,
    /// `json`: records of topics with a schema come and go as JSON. Default: `raw`, the bytes that they are.
    pub(super) values: Option<Spanned<Values>>,
    /// The consumer group. Default: the pipeline's name, a dot, the stage's name.
    pub(super) group: Option<Spanned<String>>,
    /// How many workers take part in the group from this process. Default: 1.
    pub(super) workers: Option<Count<1, 64>>,
    /// What is promised of its records. Default: exactly-once.
    pub(super) delivery: Option<Delivery>,
    /// How long a transaction stays open, from `1ms` to `10s`. Default: `50ms`.
    pub(super) commit_interval: Option<Millis<1, 10_000>>,
    /// librdkafka's properties for this stage; they stand over the pipeline's.
    #[serde(default)]
    pub(super) properties: Named<Property>,
    /// Where it starts when its group has no offset: `earliest` (the default), `latest`, `none` (refuse), milliseconds
    /// since 1970, or a time such as `2026-01-01T00:00:00Z`.
    pub(super) from: Option<Start>,
    /// What to do when the offset that it had is gone: `stop` (the default), or go on with the `earliest` or the
    /// `latest` there is.
    pub(super) on_lost_offset: Option<OnLostOffset>,
    /// What the module may ask for: scalars reach it as they are written, mappings and lists as JSON.
    #[serde(default)]
    pub(super) config: Named<Config>,
    /// What one record may cost.
    pub(super) limits: Option<Limits>,
    /// What the module may reach beyond what it is handed. Default: nothing.
    pub(super) allow: Option<Allow>,
    /// What becomes of a record that fails: one word for all of them, or a mapping. Default: dead-letter.
    pub(super) on_error: Option<Spanned<OnError>>,
    /// The topic of dead letters. Default: the pipeline's name, the stage's name and `dead-letter`, with dots between.
    pub(super) dead_letter: Option<Spanned<String>>,
    /// How long a module that replaces another has to prove itself, while the host runs.
    pub(super) probation: Option<Probation>,
    /// True: each of its records says in headers where it came from, and by which module. Default: false.
    pub(super) provenance: Option<bool>,
    /// Must be `allowed` for a stage that reads what it writes.
    pub(super) r#loop: Option<Spanned<Loop>>,
}

/// How long a module that replaces another has to prove itself: whatever comes first.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{records: 1000, time: 2s}`")]
pub(super) struct Probation {
    /// For so many records. Default: 1000.
    records: Option<Count<1, 1_000_000>>,
    /// For so long, from `1ms` to `1h`, and at least one record. Default: `2s`.
    time: Option<Millis<1, 3_600_000>>,
}

impl Probation {
    /// With the defaults for what is not written.
    pub(super) fn checked(self) -> swap::Probation {
        let default = swap::Probation::default();
        swap::Probation {
            records: self.records.map_or(default.records, Count::get),
            time: self.time.map_or(default.time, Duration::from),
        }
    }
}

/// What a module may reach by way of WASI.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{dirs: {data: read}}`")]
pub(super) struct Allow {
    /// The variables of its environment, and nothing of the host's.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[^=]+$" }))]
    pub(super) env: Named<String>,
    /// The folders that it may use, seen from the manifest's. It sees them under the names that are written here.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "minLength": 1 }))]
    pub(super) dirs: Named<Access>,
    /// The hosts that it may send HTTP requests to: `api.example.com` for the ports 80 and 443, `api.example.com:8443`,
    /// or `*.example.com` for all names that end so.
    #[serde(default)]
    #[schemars(extend("items" = { "type": "string", "pattern": "^[^/@ ]+$" }))]
    pub(super) http: Vec<Spanned<String>>,
}

/// What may be done in a folder.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Access {
    /// Files may be read.
    Read,
    /// Files may be read, written, made and removed.
    Write,
}

/// What one record may cost, and the making of the module.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{memory: 64MiB, time: 250ms}`")]
pub(super) struct Limits {
    /// Memory of an instance, from `1MiB` to `4GiB`. Default: `64MiB`.
    pub(super) memory: Option<Bytes<MIB, { 4 << 30 }>>,
    /// CPU time, from `1ms` to `30s`; ten times that in wall time. Default: `250ms`.
    pub(super) time: Option<Millis<1, 30_000>>,
    /// How many records may come of one. Default: 1000.
    pub(super) outputs: Option<Count<1, 1_000_000>>,
    /// How large they may be together, from `1KiB` to `1GiB`. Default: `8MiB`.
    pub(super) output_bytes: Option<Bytes<1024, { 1 << 30 }>>,
    /// What the module may ask of the host for one record, such as a value of its configuration, a line for the log or
    /// anything of WASI. Default: 100000.
    pub(super) host_calls: Option<Count<1, 100_000_000>>,
    /// Lines that it may write to the log for one record, from 0 to 1000; in a second ten times that. What is over is
    /// counted. Default: 20.
    pub(super) log_lines: Option<Count<0, 1000>>,
    /// How large the module's file may be, from `1KiB` to `1GiB`. Default: `128MiB`.
    pub(super) module_size: Option<Bytes<1024, { wasm::MODULE_SIZE }>>,
    /// CPU time that compiling the module may take, from `1s` to `1h`. Default: `5m`.
    pub(super) compile_time: Option<Millis<1000, 3_600_000>>,
    /// Memory that compiling the module may take, from `512MiB` to `64GiB`. Default: `2GiB`.
    pub(super) compile_memory: Option<Bytes<{ 512 * MIB }, { 64 << 30 }>>,
}

const MIB: u64 = 1 << 20;

impl Limits {
    /// With the defaults for what is not written.
    pub(super) fn checked(&self) -> wasm::Limits {
        let default = wasm::Limits::default();
        wasm::Limits {
            memory: self.memory.map_or(default.memory, |size| size.0),
            time: self.time.map_or(default.time, Duration::from),
            outputs: self.outputs.map_or(default.outputs, Count::get),
            output_bytes: self.output_bytes.map_or(default.output_bytes, |size| size.0),
            host_calls: self.host_calls.map_or(default.host_calls, Count::get),
            log_lines: self.log_lines.map_or(default.log_lines, Count::get),
            module_size: self.module_size.map_or(default.module_size, |size| size.0),
            compile: wasm::CompileLimits {
                time: self.compile_time.map_or(default.compile.time, Duration::from),
                memory: self.compile_memory.map_or(default.compile.memory, |size| size.0),
            },
        }
    }
}

/// What is promised of a stage's records.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Delivery {
    /// Nothing lost, nothing doubled, for readers of committed records.
    ExactlyOnce,
    /// Nothing lost; repeats after a failure.
    AtLeastOnce,
}

impl From<Delivery> for checked::Delivery {
    fn from(written: Delivery) -> Self {
        match written {
            Delivery::ExactlyOnce => checked::Delivery::ExactlyOnce,
            Delivery::AtLeastOnce => checked::Delivery::AtLeastOnce,
        }
    }
}

/// What to do when the offset that a stage had is gone.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnLostOffset {
    /// Stop.
    Stop,
    /// Go on with the oldest record there is.
    Earliest,
    /// Go on with the next record that comes.
    Latest,
}

impl From<OnLostOffset> for checked::OnLostOffset {
    fn from(written: OnLostOffset) -> Self {
        match written {
            OnLostOffset::Stop => checked::OnLostOffset::Stop,
            OnLostOffset::Earliest => checked::OnLostOffset::Earliest,
            OnLostOffset::Latest => checked::OnLostOffset::Latest,
        }
    }
}

/// A stage that reads what it writes says so.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Loop {
    /// It is meant.
    Allowed,
}
