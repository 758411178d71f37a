//! Compiling in a process of its own. What a module costs a compiler has no bound: a function of a few hundred KiB may
//! take minutes and gigabytes. So the system bounds that process, and nothing but the compilation ends at it.
//!
//! The process is this very program under a command that no user sees: it reads a component, and writes its machine code.

use super::{engine, failure::one_line, limits::CompileLimits};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, setrlimit};
use std::{
    env,
    ffi::OsStr,
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

/// What the program is asked to be, as its first argument.
const COMMAND: &str = "compile-apart";
/// It says that the component is not valid, and why.
const NOT_VALID: u8 = 2;
/// What a program of Rust's ends with when it panics.
const PANIC: i32 = 101;
/// Without this much more until it is killed, it would not be told that its time is over.
const AFTER: u64 = 2;

/// How far it stands back behind other work.
const NICE: i32 = 10;

/// Why nothing was compiled.
pub(super) enum Failed {
    /// The component is not valid.
    NotValid(String),
    /// It took more CPU time than it may.
    Time,
    /// It needed more memory than it may.
    Memory,
    /// The process could not be started, or spoken to.
    Process(io::Error),
}

/// The program that runs, to be started once more; also when its file was replaced meanwhile.
pub(super) fn program() -> io::Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() { Ok(link.into()) } else { env::current_exe() }
}

/// The machine code of a component, made in a process of its own.
pub(super) fn compile(program: &Path, component: &[u8], limits: CompileLimits) -> Result<Vec<u8>, Failed> {
    let mut child = Command::new(program)
        .arg(COMMAND)
        .args([limits.time.as_millis().div_ceil(1000), limits.memory.into()].map(|limit| limit.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Failed::Process)?;
    let output = thread::scope(|scope| {
        let mut stdin = child.stdin.take();
        // Its answer is read meanwhile. One that ends before it has read everything says so by how it ends.
        scope.spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(component)));
        child.wait_with_output()
    });
    let output = output.map_err(Failed::Process)?;
    match output.status.code() {
        Some(0) => Ok(output.stdout),
        Some(code) if code == i32::from(NOT_VALID) => {
            Err(Failed::NotValid(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
        None if output.status.signal() == Some(Signal::XCPU.as_raw()) => Err(Failed::Time),
        // An allocation that fails ends a process, by a signal or by a panic.
        None | Some(PANIC) => Err(Failed::Memory),
        Some(_) => Err(Failed::Process(io::Error::other(output.status.to_string()))),
    }
}

/// Whether this process was started to compile, and how it did.
pub fn started_to_compile() -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    if words.next().as_deref() != Some(OsStr::new(COMMAND)) {
        return None;
    }
    let mut number = || words.next()?.to_str()?.parse().ok();
    let (Some(seconds), Some(memory)) = (number(), number()) else { return Some(ExitCode::FAILURE) };
    let limits = CompileLimits { time: Duration::from_secs(seconds), memory };
    Some(match bound(limits).and_then(|()| translate()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(why)) => {
            eprint!("{why}");
            ExitCode::from(NOT_VALID)
        }
        Err(_) => ExitCode::FAILURE,
    })
}

/// From here on this process has so much.
fn bound(limits: CompileLimits) -> io::Result<()> {
    let seconds = limits.time.as_secs();
    lower(Resource::Cpu, seconds, seconds + AFTER)?;
    lower(Resource::As, limits.memory, limits.memory)?;
    // Stages may be at work beside it, when one of their modules is replaced.
    nice(NICE).ok();
    // That it ends is expected: nobody wants its memory on a disk.
    lower(Resource::Core, 0, 0)
}

/// Where the user has set less already, that holds.
fn lower(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    Ok(setrlimit(resource, Rlimit { current: Some(current.min(most)), maximum: Some(maximum.min(most)) })?)
}

fn translate() -> io::Result<Result<(), String>> {
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    let engine = wasmtime::Engine::new(&engine::config()).map_err(io::Error::other)?;
    let compiled = match engine.precompile_component(&component) {
        Ok(compiled) => compiled,
        Err(error) => return Ok(Err(one_line(&error))),
    };
    let mut out = io::stdout().lock();
    out.write_all(&compiled).and_then(|()| out.flush()).map(Ok)
}
