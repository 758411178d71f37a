//! Where the value of a property comes from, and how it is fetched there.

use crate::manifest::{Secret, read_secret};
use anyhow::{Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    env, fmt,
    io::Read,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

/// How long a command may take: somebody may be asked for a password of theirs meanwhile, by a window or a key.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// The most that a command may print.
const LARGEST: u64 = 1 << 20;
/// How long a process is given to end that has closed its output.
const STEP: Duration = Duration::from_millis(10);

/// Where a property's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is this.
    Written(Secret),
    /// A variable of the environment.
    Environment(String),
    /// A file's text, without the newline at its end.
    File(PathBuf),
    /// What a command of the shell prints, without the newline at its end.
    Command(String),
}

/// Where it is, never what it is.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Origin::Written(_) => f.write_str("the file of clusters"),
            Origin::Environment(name) => write!(f, "the variable {name}"),
            Origin::File(path) => write!(f, "the file {}", path.display()),
            Origin::Command(words) => write!(f, "the command `{words}`"),
        }
    }
}

impl Origin {
    /// The value. An error says where it is not, and nothing of what a command has said.
    pub fn fetch(&self) -> Result<Secret> {
        match self {
            Origin::Written(value) => Ok(value.clone()),
            Origin::Environment(name) => match env::var(name) {
                Ok(value) => Ok(value.into()),
                Err(env::VarError::NotPresent) => bail!("{self} is not set"),
                Err(env::VarError::NotUnicode(_)) => bail!("{self} is not UTF-8"),
            },
            Origin::File(path) => match read_secret(path) {
                Ok(text) => Ok(text.into()),
                Err(error) => bail!("{self} cannot be read: {error}"),
            },
            Origin::Command(words) => output(words, COMMAND_WITHIN).map_err(|why| anyhow!("{self} {why}")),
        }
    }
}

/// What a command prints on its standard output. It reads nothing, and what it says elsewhere is not shown: both might
/// hold the secret.
fn output(words: &str, within: Duration) -> Result<Secret, String> {
    let begun = Instant::now();
    let mut shell = Command::new("sh");
    shell.args(["-c", words]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let (mut pipe, (said, hears)) = (child.stdout.take().expect("it was asked for"), channel());
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.by_ref().take(LARGEST + 1).read_to_end(&mut bytes);
        said.send(read.map(|_| bytes)).ok();
    });
    // What it leaves behind may keep its output open, and counts as not done.
    let bytes = hears.recv_timeout(within);
    let left = if bytes.is_ok() { within.saturating_sub(begun.elapsed()) } else { Duration::ZERO };
    let (Some(status), Ok(Ok(bytes))) = (end(&mut child, left), bytes) else {
        return Err(format!("was not done within {} s", within.as_secs()));
    };
    if bytes.len() as u64 > LARGEST {
        return Err("prints more than 1 MiB".to_owned());
    }
    if !status.success() {
        return Err(format!("fails ({status}): run it by hand to see why"));
    }
    let Ok(mut text) = String::from_utf8(bytes) else { return Err("prints what is not UTF-8".to_owned()) };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    match text.is_empty() {
        true => Err("prints nothing".to_owned()),
        false => Ok(text.into()),
    }
}

/// Waits for a command's end; without a time to wait, or when it is over, that of all that it has started is brought
/// about.
fn end(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < within {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => thread::sleep(STEP),
            Err(_) => break,
        }
    }
    // Its number is its own until it was waited for.
    kill_process_group(Pid::from_child(child), Signal::KILL).ok();
    child.wait().ok();
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_command_s_output_is_the_value_and_is_never_told() {
        let says = |words: &str| output(words, Duration::from_secs(20)).map(|value| value.reveal().to_owned());
        assert_eq!(says("printf 'a b\\n'"), Ok("a b".to_owned()));
        assert_eq!(says("printf 'a\\n\\n'"), Ok("a\n".to_owned()));
        assert_eq!(says("cat"), Err("prints nothing".to_owned()));
        assert_eq!(says("printf '\\377'"), Err("prints what is not UTF-8".to_owned()));
        let failed = says("echo swordfish; echo swordfish >&2; exit 3").unwrap_err();
        assert_eq!(failed, "fails (exit status: 3): run it by hand to see why");
        assert_eq!(says("head -c 2000000 /dev/zero"), Err("prints more than 1 MiB".to_owned()));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_with_all_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let begun = Instant::now();
        let words = format!("sleep 600 & echo $! > {}; wait", pid.display());
        assert_eq!(output(&words, Duration::from_secs(5)), Err("was not done within 5 s".to_owned()));
        assert!(begun.elapsed() < Duration::from_secs(60));
        let pid = std::fs::read_to_string(pid).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(begun.elapsed() < Duration::from_secs(60), "it still runs: {}", state());
            thread::sleep(STEP);
        }
    }
}
