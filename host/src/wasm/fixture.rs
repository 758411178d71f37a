//! What tests need of modules: the real guests, small ones in text, records to hand them, and a notation for what
//! comes back.

use super::{Cache, Compiled, Engine, Input, Instance, Kind, LoadError, Module, OpenError, Setup};
use crate::{
    record::{Header, HeaderEdit, Reason, Record},
    stage::guest::{Failed, Guest, InHand},
    transport::{Batch, Incoming, NextOffset, Offset, Partition},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, LazyLock, Mutex},
};
use tracing_subscriber::fmt::MakeWriter;
use wit_component::StringEncoding;
use wit_parser::Resolve;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("an engine"));

/// A guest of `guests/rust`, which are built once for all tests.
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: LazyLock<PathBuf> = LazyLock::new(|| xtask::guests::build().unwrap());
    BUILT.join(format!("{name}.wasm"))
}

/// A guest, ready to be started.
pub(crate) fn compiled(name: &str) -> Compiled {
    let module = Module::load(&guest(name), Kind::Stage).unwrap();
    ENGINE.compile(&module, &Cache::none(), &mut |_| {}).unwrap()
}

/// A stage whose core module is written in text, in a file of its own.
pub(crate) fn written(folder: &Path, wat: &str) -> Result<Compiled, LoadError> {
    loaded(folder, &stage(wat))
}

/// A stage of these bytes, in a file of its own.
pub(crate) fn loaded(folder: &Path, bytes: &[u8]) -> Result<Compiled, LoadError> {
    let path = folder.join("written.wasm");
    fs::write(&path, bytes).unwrap();
    ENGINE.compile(&Module::load(&path, Kind::Stage)?, &Cache::none(), &mut |_| {})
}

/// A core module in text, marked as a stage.
pub(crate) fn stage(wat: &str) -> Vec<u8> {
    marked(wat, "stage")
}

/// A core module in text, marked as of this world.
pub(crate) fn marked(wat: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap();
    // As tools make it that know no more of `wasi:config` than what they call.
    resolve
        .push_str(
            "wasi-config.wit",
            "package wasi:config@0.2.0-rc.1;
             interface store {
               variant error { upstream(string), io(string) }
               get: func(key: string) -> result<option<string>, error>;
             }",
        )
        .unwrap();
    let all =
        "package test:stage; world all { include millstream:stage/stage@0.1.0; import wasi:config/store@0.2.0-rc.1; }";
    let test = resolve.push_str("test.wit", all).unwrap();
    let (package, world) = match wat.contains("wasi:config") {
        true => (test, "all"),
        false => (package, world),
    };
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut core = wat::parse_str(wat).unwrap();
    wit_component::embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8).unwrap();
    core
}

/// What instances are told in tests.
pub(crate) fn setup() -> Setup {
    let input = |topic: &str, name: &str| Input { topic: topic.into(), name: name.into() };
    Setup {
        stage: "trial".into(),
        inputs: vec![input("orders-prod", "orders"), input("returns-prod", "returns")],
        config: vec![("rate".into(), "2".into()), ("currency".into(), "EUR".into())],
        ..Setup::default()
    }
}

/// A guest at work, and what it says to a value.
pub(crate) struct Stage(pub(crate) Instance);

impl Stage {
    /// `trial` with nothing out of the ordinary.
    pub(crate) fn trial() -> Self {
        Self::with(setup()).unwrap()
    }

    /// `trial` with this setup.
    pub(crate) fn with(setup: Setup) -> Result<Self, OpenError> {
        static TRIAL: LazyLock<Compiled> = LazyLock::new(|| compiled("trial"));
        Instance::new(&TRIAL, setup).map(Self)
    }

    /// What comes of a record with the key `k` and this value.
    pub(crate) fn says(&mut self, value: &str) -> String {
        self.takes(One::of(value))
    }

    /// What comes of this record.
    pub(crate) fn takes(&mut self, record: One) -> String {
        show(&record.hand_to(&mut self.0))
    }
}

/// What was logged on this thread meanwhile, from `DEBUG` on, each line as `LEVEL message field=value`.
pub(crate) fn lines<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_target(false)
        .with_level(true)
        .without_time()
        .with_writer(Writer(log.clone()))
        .finish();
    let result = tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    (result, text.lines().map(|line| line.trim_start().replace('"', "")).collect())
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A batch of one record.
#[derive(Clone)]
pub(crate) struct One {
    pub(crate) partition: Partition,
    pub(crate) offset: u64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
    pub(crate) attempt: u32,
}

impl One {
    /// A record with the key `k`, at `orders/3@42`.
    pub(crate) fn of(value: &str) -> Self {
        Self {
            partition: Partition { input: 0, number: 3 },
            offset: 42,
            timestamp: Some(1_700_000_000_000),
            key: Some(b"k".into()),
            value: Some(value.into()),
            headers: Vec::new(),
            attempt: 1,
        }
    }

    /// Hands it to a guest.
    pub(crate) fn hand_to(self, guest: &mut impl Guest) -> Result<Vec<Record>, Failed> {
        let attempt = self.attempt;
        let batch = Rc::new(self);
        guest.transform(InHand { record: batch.get(0), batch: batch.clone(), index: 0, attempt })
    }
}

impl Batch for One {
    fn len(&self) -> usize {
        1
    }

    fn get(&self, _: usize) -> Incoming<'_> {
        Incoming {
            partition: self.partition,
            offset: Offset(self.offset),
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
        }
    }

    fn headers(&self, _: usize) -> Vec<Header> {
        self.headers.clone()
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &[]
    }
}

/// `k=v +[name=value] ->output p3 @5`, one record after the other; a failure by its name, its code and its words.
pub(crate) fn show(result: &Result<Vec<Record>, Failed>) -> String {
    let because = |reason: &Reason| match &reason.code {
        Some(code) => format!("({code}) {}", reason.message),
        None => format!(" {}", reason.message),
    };
    match result {
        Ok(records) if records.is_empty() => "nothing".into(),
        Ok(records) => records.iter().map(show_record).collect::<Vec<_>>().join(" | "),
        Err(Failed::Reject(reason)) => format!("reject{}", because(reason)),
        Err(Failed::Fault(reason)) => format!("fault{}", because(reason)),
        Err(Failed::Limit(reason)) => format!("limit{}", because(reason)),
        Err(failed @ (Failed::Decode(reason) | Failed::Encode(reason))) => {
            format!("{}{}", failed.kind(), because(reason))
        }
        Err(Failed::Retry(later)) => match later.after_ms {
            Some(after_ms) => format!("retry in {after_ms} ms{}", because(&later.reason)),
            None => format!("retry{}", because(&later.reason)),
        },
    }
}

fn show_record(record: &Record) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "none".into(),
    };
    let list = |headers: &[Header]| {
        headers.iter().map(|header| format!("{}={}", header.name, text(&header.value))).collect::<Vec<_>>().join(" ")
    };
    let mut shown = format!("{}={}", text(&record.key), text(&record.value));
    match &record.headers {
        HeaderEdit::Keep => {}
        HeaderEdit::Add(headers) => shown += &format!(" +[{}]", list(headers)),
        HeaderEdit::Replace(headers) => shown += &format!(" =[{}]", list(headers)),
    }
    shown += &record.output.as_ref().map(|output| format!(" ->{output}")).unwrap_or_default();
    shown += &record.partition.map(|partition| format!(" p{partition}")).unwrap_or_default();
    shown += &record.timestamp.map(|timestamp| format!(" @{timestamp}")).unwrap_or_default();
    shown
}
