//! The compiler and the clock that all modules of the process share.

use super::{
    apart::{self, Failed},
    batcher,
    cache::{self, Cache},
    failure::one_line,
    imports::{self, Host},
    interface::Kind,
    limits::CompileLimits,
    load::{LoadError, Module},
};
use crate::record::{SourceWorldPre, StageWorldPre};
use std::{
    io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};
use wasmtime::{
    Config,
    component::{Component, ComponentExportIndex, InstancePre, Linker},
};

/// How often a running guest is looked at.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// The stack of a guest's call.
pub(super) const STACK: usize = 512 << 10;

/// A compilation that takes longer is spoken of.
const SLOW: Duration = Duration::from_secs(1);

/// Compiles modules, and makes time pass for those that run. There is one in a process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    ticks: Ticks,
    /// The program that compiles, when this one does not.
    compiler: Option<PathBuf>,
}

/// What machine code is made for, whichever process makes it.
pub(super) fn config() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false) // its data structures cost 260 ns a call, and nothing here is asynchronous
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .wasm_backtrace_max_frames(None); // a stripped guest's frames say nothing to its author
    config
}

impl Engine {
    /// Starts the engine and its clock, which ends when the engine and all that was compiled by it are gone.
    pub fn new() -> io::Result<Self> {
        let engine = wasmtime::Engine::new(&config()).map_err(io::Error::other)?;
        let linker = imports::linker(&engine).map_err(io::Error::other)?;
        let ticks = Ticks::start(&engine)?;
        Ok(Self { engine, linker, ticks, compiler: None })
    }

    /// The same, which has a process of its own compile each module, within its limits. Only in a program that begins
    /// with [`started_to_compile`](super::started_to_compile).
    pub fn compiling_apart() -> io::Result<Self> {
        Ok(Self { compiler: Some(apart::program()?), ..Self::new()? })
    }

    /// Compiles a module, or takes what the cache kept of an earlier time. `on_slow` is called once, with the file's
    /// name, when that takes longer than a second.
    pub fn compile(
        &self,
        module: &Module,
        cache: &Cache,
        on_slow: &mut dyn FnMut(&str),
    ) -> Result<Compiled, LoadError> {
        self.compile_within(CompileLimits::default(), module, cache, on_slow)
    }

    /// The same, with these limits.
    pub fn compile_within(
        &self,
        limits: CompileLimits,
        module: &Module,
        cache: &Cache,
        on_slow: &mut dyn FnMut(&str),
    ) -> Result<Compiled, LoadError> {
        let component = match cache.find(&self.engine, module) {
            Some(component) => component,
            None => {
                let component = self.translate(limits, module, on_slow)?;
                tracing::debug!("compiled {}", module.name());
                cache.keep(&self.engine, module, &component);
                component
            }
        };
        let unfit = |error: wasmtime::Error| module.unfit(one_line(&error));
        let pre = self.linker.instantiate_pre(&component).map_err(unfit)?;
        match module.kind() {
            Kind::Stage => StageWorldPre::new(pre.clone()).map(drop),
            Kind::Source => SourceWorldPre::new(pre.clone()).map(drop),
        }
        .map_err(unfit)?;
        let open = component
            .get_export_index(None, "millstream:stage/lifecycle@0.1.0")
            .and_then(|lifecycle| component.get_export_index(Some(&lifecycle), "open"));
        let batches = component.get_export_index(None, batcher::TRANSFORM).is_some();
        Ok(Compiled(Arc::new(Parts { module: module.clone(), pre, open, batches, ticks: self.ticks.clone() })))
    }

    fn translate(
        &self,
        limits: CompileLimits,
        module: &Module,
        on_slow: &mut dyn FnMut(&str),
    ) -> Result<Component, LoadError> {
        let compile = || {
            // With a module that turns out not to take the batcher, there are plain calls alone.
            let batched = match module.kind() {
                Kind::Stage => batcher::put_into(module.component()),
                Kind::Source => None,
            };
            let compile = |component: &[u8]| self.translate_one(component, limits);
            match batched.map(|batched| compile(&batched)) {
                None | Some(Err(Failed::NotValid(_))) => compile(module.component()),
                Some(done) => done,
            }
        };
        let path = || module.path().into();
        watched(SLOW, || on_slow(&module.name()), compile).map_err(|failed| match failed {
            Failed::NotValid(why) => LoadError::Invalid { path: path(), why },
            Failed::Time => LoadError::SlowToCompile { path: path(), limit: limits.time },
            Failed::Memory => LoadError::LargeToCompile { path: path(), limit: limits.memory },
            Failed::Process(why) => LoadError::NoCompiler { path: path(), why },
        })
    }

    fn translate_one(&self, component: &[u8], limits: CompileLimits) -> Result<Component, Failed> {
        let Some(program) = &self.compiler else {
            return Component::new(&self.engine, component).map_err(|error| Failed::NotValid(one_line(&error)));
        };
        let compiled = apart::compile(program, component, limits)?;
        cache::deserialize(&self.engine, &compiled)
            .ok_or_else(|| Failed::Process(io::Error::other("what it makes is of no use to this program")))
    }
}

/// Works on another thread, so that this one can say when it takes long.
fn watched<T: Send>(long: Duration, say: impl FnOnce(), work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let (done, wait) = mpsc::channel::<()>();
        let worker = scope.spawn(move || {
            let _done = done; // the other end learns of the drop, however the work ends
            work()
        });
        if wait.recv_timeout(long) == Err(RecvTimeoutError::Timeout) {
            say();
        }
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// A module that is ready to be made an instance of, on any thread.
#[derive(Clone)]
pub struct Compiled(Arc<Parts>);

struct Parts {
    module: Module,
    pre: InstancePre<Host>,
    open: Option<ComponentExportIndex>,
    batches: bool,
    ticks: Ticks,
}

impl Compiled {
    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.0.module.kind()
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        self.0.module.path()
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        self.0.module.name()
    }

    /// The file's SHA-256 in hexadecimal.
    pub fn digest(&self) -> &str {
        self.0.module.digest()
    }

    /// The names of what it imports.
    pub fn imports(&self) -> &[String] {
        self.0.module.imports()
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        self.0.module.exports()
    }

    pub(super) fn pre(&self) -> &InstancePre<Host> {
        &self.0.pre
    }

    /// The optional function `open` of the module's lifecycle.
    pub(super) fn open(&self) -> Option<&ComponentExportIndex> {
        self.0.open.as_ref()
    }

    /// Whether it can be called with several records at once.
    pub(super) fn batches(&self) -> bool {
        self.0.batches
    }

    /// Whether it asks for what depends on the record in hand. One that only writes to its log, mostly does so when it
    /// fails.
    pub(super) fn asks(&self) -> bool {
        let same_for_all = ["types@", "config@", "log@"].map(|interface| format!("millstream:stage/{interface}"));
        self.imports().iter().any(|import| !same_for_all.iter().any(|name| import.starts_with(name)))
    }

    pub(super) fn ticks(&self) -> &Ticks {
        &self.0.ticks
    }
}

/// The engine's clock: how many ticks the process has run for. It stands still while the process is stopped, so that
/// no guest is blamed for a pause of the machine.
#[derive(Clone)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    fn start(engine: &wasmtime::Engine) -> io::Result<Self> {
        let ticks = Self(Arc::default());
        let (engine, count) = (engine.weak(), ticks.clone());
        thread::Builder::new().name("epoch".into()).spawn(move || {
            while let Some(engine) = engine.upgrade() {
                count.0.fetch_add(1, Ordering::Relaxed);
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })?;
        Ok(ticks)
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_long_is_spoken_of() {
        let mut said = Vec::new();
        assert_eq!(watched(Duration::from_secs(60), || said.push("quick"), || 1), 1);
        let (hold, held) = mpsc::channel::<()>();
        let say = || {
            said.push("long");
            drop(hold);
        };
        assert!(watched(Duration::ZERO, say, move || held.recv().is_err()), "the work ends after what is said");
        assert_eq!(said, ["long"]);
    }

    #[test]
    fn what_is_compiled_goes_to_other_threads() {
        fn goes<T: Clone + Send + Sync + 'static>() {}
        goes::<Compiled>();
    }

    #[test]
    fn the_clock_ends_with_the_last_that_needs_it() {
        let mut config = Config::new();
        let engine = wasmtime::Engine::new(config.epoch_interruption(true)).unwrap();
        let ticks = Ticks::start(&engine).unwrap();
        drop(engine);
        while Arc::strong_count(&ticks.0) > 1 {
            thread::yield_now();
        }
    }
}
