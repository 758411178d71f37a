//! Every command of the page prints what the page shows.

use crate::folder::Example;
use std::{fs, path::Path};

#[test]
fn each_command_prints_what_its_page_shows() {
    let example = Example::new("console");
    let host = Path::new(crate::command::MILLSTREAM).parent().unwrap();
    let path = format!("{}:{}", host.display(), std::env::var("PATH").unwrap());
    let page = fs::read_to_string(example.path("README.md")).unwrap();
    let mut commands = 0;
    for block in page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for shown in block.split("$ ").skip(1) {
            let (line, expected) = shown.split_once('\n').unwrap();
            let mut shell = example.program("bash");
            let output = shell.env("PATH", &path).args(["-c", &format!("({line}) 2>&1")]).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && said == expected, "$ {line}\n{said}");
            commands += 1;
        }
    }
    assert!(commands >= 12, "{commands} commands");
}
