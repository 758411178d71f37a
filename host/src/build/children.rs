//! The commands that run: what they say is kept, and none of them outlives this process when a signal ends it.

use super::End;
use crate::supervisor;
use anyhow::Result;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use std::{
    env,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, Once},
    thread,
    time::Duration,
};

/// More than a compiler has to say, the end of it.
const OUTPUT_BYTES: u64 = 1 << 20;
/// How long the commands have to end in order.
const PATIENCE: Duration = Duration::from_millis(300);

/// Those that run, and whether another may start.
static RUNNING: Mutex<(Vec<Pid>, bool)> = Mutex::new((Vec::new(), true));

/// From here on a signal ends them first, until a host takes signals over.
pub(super) fn end_with_this_process() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| result = supervisor::until_host_listens(end_all));
    result
}

fn end_all() {
    for signal in [Signal::TERM, Signal::KILL] {
        let running = {
            let mut running = RUNNING.lock().expect("nobody panics with it");
            running.1 = false;
            for pid in &running.0 {
                // One that has just ended needs no signal.
                kill_process_group(*pid, signal).ok();
            }
            running.0.len()
        };
        if running > 0 && signal == Signal::TERM {
            thread::sleep(PATIENCE);
        }
    }
}

/// Runs a command of the shell in a folder, to its end.
pub(super) fn run(command: &str, folder: &Path) -> End {
    // A file holds what a process says that the command leaves behind, where a pipe would wait for its end.
    let mut output = match tempfile::tempfile() {
        Ok(file) => file,
        Err(error) => return End { status: Err(error), output: String::new() },
    };
    let status = wait(command, folder, &output);
    // Nothing is to be said of those that a signal ended. It ends this process too.
    while !RUNNING.lock().expect("nobody panics with it").1 {
        thread::park();
    }
    End { status, output: read(&mut output).unwrap_or_default() }
}

fn wait(command: &str, folder: &Path, output: &File) -> io::Result<ExitStatus> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(folder)
        // A folder that was set for another build would hold the module instead.
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0);
    // A build of many steps may want this very program, which need not be on the search path.
    if let Ok(program) = env::current_exe() {
        shell.env("MILLSTREAM", program);
    }
    let mut child = {
        let mut running = RUNNING.lock().expect("nobody panics with it");
        if !running.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = shell.spawn()?;
        running.0.push(Pid::from_child(&child));
        child
    };
    let pid = Pid::from_child(&child);
    // It is struck off before its number may be another's.
    let ended = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    while ended().is_err_and(|error| error == Errno::INTR) {}
    RUNNING.lock().expect("nobody panics with it").0.retain(|running| *running != pid);
    child.wait()
}

fn read(output: &mut File) -> io::Result<String> {
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES)))?;
    let mut bytes = Vec::new();
    output.take(OUTPUT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
