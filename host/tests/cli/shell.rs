//! What a shell does to commands: `… | head -1`.

use crate::support::Folder;
use std::{io, process::Stdio};

/// The writing end of a pipe that nobody reads any more.
fn closed_pipe() -> io::PipeWriter {
    io::pipe().unwrap().1
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    for arguments in [&["schema"][..], &["completions", "bash"], &["--help"], &["run", "--help"]] {
        let output = Folder::new().command(arguments).stdout(closed_pipe()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn a_mistake_that_nobody_reads_ends_as_it_would() {
    let folder = Folder::with("name: x\nkafka: {brokers: localhost:1}\nstages: {a: {input: i}}\n");
    for arguments in [&["check", "pipeline.yaml"][..], &["run", "pipeline.yaml"], &["check", "nowhere.yaml"], &["frob"]]
    {
        let status = folder.command(arguments).stderr(closed_pipe()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}
