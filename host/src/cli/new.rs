//! `new`: a folder with a stage or a source in it, to start from.

use super::{Exit, print, wrong};
use crate::{
    scaffold::{self, Example, Language, Project},
    text::nearest,
};
use anyhow::Result;
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// Start a stage in a folder of its own, in the language of your choice
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream new shout --lang python
  millstream new prices --lang go --example route

The examples:
  upper    the value in upper case, in three lines
  route    headers, outputs, configuration, failures: all that a stage can do
  strict   refuses a wrong configuration before the first record
  numbers  a source: brings the numbers from 0 on (Rust and Python)

The folder builds, tests and runs as it stands: its README says how.")]
pub(super) struct Arguments {
    /// Its name, and the folder's
    name: PathBuf,
    /// The language: rust, go, python, js, ts or c
    #[arg(long, value_name = "LANGUAGE", value_parser = language, env = "MILLSTREAM_LANG")]
    lang: Language,
    /// What it starts from: upper, route, strict or numbers
    #[arg(long, value_enum, default_value_t, hide_default_value = true, env = "MILLSTREAM_EXAMPLE")]
    example: Example,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let folder = &arguments.name;
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let project = Project::new(&name, arguments.lang, arguments.example).map_err(refused)?;
    // Everything that can be wrong is looked at before anything is made.
    scaffold::check_folder(folder).map_err(refused)?;
    project.kit().tools.iter().try_for_each(|tool| tool.check()).map_err(refused)?;
    scaffold::lay_out(&project.files()?, folder).map_err(refused)?;
    print(&told(&project, folder))?;
    Ok(Exit::Done)
}

fn language(text: &str) -> Result<Language, String> {
    Language::from_str(text, true).map_err(|_| {
        let known = Language::value_variants().iter().filter_map(Language::to_possible_value).collect::<Vec<_>>();
        match nearest(text, known.iter().flat_map(|language| language.get_name_and_aliases())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("it is one of {}", known.iter().map(|known| known.get_name()).collect::<Vec<_>>().join(", "))
            }
        }
    })
}

fn refused(error: impl std::error::Error) -> anyhow::Error {
    wrong(error.to_string())
}

/// What was made, and what to do with it.
fn told(project: &Project, folder: &Path) -> String {
    let (kit, example) = (project.kit(), project.example());
    let kind = if example.is_source() { "source" } else { "stage" };
    let cases = format!("{}.test.yaml", project.name());
    let mut lines = vec![(project.author(), format!("the {kind}, in {}: start here", kit.language))];
    lines.push(("millstream.yaml".into(), "what runs, and how it is built".into()));
    if !example.is_source() {
        lines.push((cases, "what is to come of records".into()));
    }
    lines.push(("README.md".into(), "the commands".into()));
    let width = lines.iter().map(|(path, _)| path.len()).max().unwrap_or_default();
    let mut text = format!("{} is there:\n", folder.display());
    for (path, what) in lines {
        text += &format!("  {path:width$}  {what}\n");
    }
    let test = if example.is_source() { "" } else { "  millstream test\n" };
    text + &format!("Go on:\n  cd {}\n  millstream build\n{test}  millstream run\n", folder.display())
}
