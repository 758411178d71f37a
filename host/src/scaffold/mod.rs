//! What `new` lays out: a folder with a stage or a source in one of the languages. It builds, tests and runs as it
//! stands, wherever it is: what it needs of Millstream travels in this binary, from the repository's `guests`.
//!
//! A project is what its language has (a [`Kit`]: the author's file, the files of its build, the SDK and the WIT, and
//! what is generated) and what every project has: manifest, cases and README, of its [`Example`].
//!
//! A language is added by a file beside this one with its `KIT`, a variant of [`Language`], and an arm of
//! [`Language::kit`]. Its texts lie in `guests/LANG` and come in by [`guest!`]; `{{name}}` and the other marks of
//! [`Project::fill`] may stand in any of them, and in paths.

/// The text of a file below `guests`.
macro_rules! guest {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/", $path))
    };
}

mod bindings;
mod c;
mod example;
mod go;
mod js;
mod python;
mod rust;
mod tools;
mod ts;

pub use example::Example;
pub use tools::{Tool, ToolError};

use anyhow::Result;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The contract with guests, as every project gets it.
pub const WIT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/stage.wit"));

/// Parts of every project have these names.
const TAKEN: [&str; 2] = ["millstream", "show"];
/// The longest that all package managers take.
const LONGEST: usize = 64;

/// A language that a stage can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Language {
    Rust,
    #[value(alias = "golang")]
    Go,
    #[value(alias = "py")]
    Python,
    #[value(alias = "javascript")]
    Js,
    #[value(alias = "typescript")]
    Ts,
    C,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Rust, Self::Go, Self::Python, Self::Js, Self::Ts, Self::C];

    /// What it lays out.
    pub fn kit(self) -> &'static Kit {
        match self {
            Language::Rust => &rust::KIT,
            Language::Go => &go::KIT,
            Language::Python => &python::KIT,
            Language::Js => &js::KIT,
            Language::Ts => &ts::KIT,
            Language::C => &c::KIT,
        }
    }
}

/// A file to lay out: its path in the project, and what stands in it. Both may have marks.
pub type Text = (&'static str, &'static str);

/// What a language lays out.
pub struct Kit {
    /// The language, as people write it.
    pub language: &'static str,
    /// What a build starts with, and must be on the machine.
    pub tools: &'static [Tool],
    /// The command that builds it, which stands in the manifest.
    pub build: &'static str,
    /// The module that the build makes.
    pub module: &'static str,
    /// Where the WIT goes.
    pub wit: &'static str,
    /// The author's files, the one to read first before the others; none when there is no such example.
    pub author: fn(Example) -> Option<&'static [Text]>,
    /// The files of the build and of the SDK.
    pub files: &'static [Text],
    /// What else there is, made on the spot, such as bindings.
    pub generate: fn(&Project) -> Result<Vec<File>>,
}

impl Kit {
    /// The examples that there are in this language.
    pub fn examples(&self) -> impl Iterator<Item = Example> {
        Example::ALL.into_iter().filter(|example| (self.author)(*example).is_some())
    }
}

/// A file of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it goes in the project's folder.
    pub path: String,
    /// What stands in it.
    pub text: String,
}

impl File {
    /// A file of this text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// A project that can be laid out.
#[derive(Clone, Debug)]
pub struct Project {
    name: String,
    language: Language,
    example: Example,
}

/// Why a project cannot be laid out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
pub enum ProjectError {
    #[error("`{name}` cannot be a project's name: {why}")]
    Name { name: String, why: String },
    #[error("there is no example `{}` in {language}: it has {}", .example.word(), .there.join(", "))]
    NoExample { example: Example, language: &'static str, there: Vec<&'static str> },
    #[error("{} is there and not empty: take another name, or remove it", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} is a file: take another name, or remove it", .0.display())]
    IsFile(PathBuf),
    #[error("there is no folder {}: make it first", .0.display())]
    NoParent(PathBuf),
    #[error("{} cannot be made: {why}", .folder.display())]
    Unwritable { folder: PathBuf, why: io::Error },
}

impl Project {
    /// A project of this name, when the language has the example.
    pub fn new(name: &str, language: Language, example: Example) -> Result<Self, ProjectError> {
        check_name(name).map_err(|why| ProjectError::Name { name: name.to_owned(), why })?;
        let kit = language.kit();
        if (kit.author)(example).is_none() {
            let there = kit.examples().map(Example::word).collect();
            return Err(ProjectError::NoExample { example, language: kit.language, there });
        }
        Ok(Self { name: name.to_owned(), language, example })
    }

    /// Its name, which its stage has too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it starts from.
    pub fn example(&self) -> Example {
        self.example
    }

    /// What its language lays out.
    pub fn kit(&self) -> &'static Kit {
        self.language.kit()
    }

    /// The author's file, the first where there are more.
    pub fn author(&self) -> String {
        let authors = (self.kit().author)(self.example).unwrap_or_default();
        authors.first().map(|(path, _)| self.fill(path)).unwrap_or_default()
    }

    /// The module that its build makes.
    pub fn module(&self) -> String {
        self.fill(self.kit().module)
    }

    /// Puts in what the marks stand for: `{{name}}`; `{{crate}}`, which is the name with `_` for `-`; `{{language}}`;
    /// what its kit calls `{{build}}`, `{{module}}` and `{{author}}`; and what its example calls `{{topic}}`,
    /// `{{sample}}` and `{{try}}`.
    pub fn fill(&self, text: &str) -> String {
        let kit = self.kit();
        let author = (kit.author)(self.example).and_then(<[_]>::first).map_or("", |(path, _)| path);
        // The first three may stand in the others.
        text.replace("{{build}}", kit.build)
            .replace("{{module}}", kit.module)
            .replace("{{author}}", author)
            .replace("{{topic}}", self.example.topic())
            .replace("{{sample}}", self.example.sample())
            .replace("{{try}}", self.example.options())
            .replace("{{language}}", kit.language)
            .replace("{{crate}}", &self.name.replace('-', "_"))
            .replace("{{name}}", &self.name)
    }

    /// In the repository the cases are those of a stage that is called as its example.
    fn rename(&self, cases: &str) -> String {
        let word = self.example.word();
        cases
            .replace(&format!("\nstage: {word}\n"), &format!("\nstage: {}\n", self.name))
            .replace(&format!("`{word}`"), &format!("`{}`", self.name))
    }

    /// Every file of it, in the order in which they are worth reading.
    pub fn files(&self) -> Result<Vec<File>> {
        let kit = self.kit();
        let authors = (kit.author)(self.example).unwrap_or_default();
        let wit = (kit.wit, WIT);
        let laid = authors.iter().chain(self.example.files()).chain(kit.files).chain([&wit]);
        let mut files: Vec<_> = laid.map(|(path, text)| File::new(self.fill(path), self.fill(text))).collect();
        files.extend(self.example.cases().map(|cases| File::new(self.fill("{{name}}.test.yaml"), self.rename(cases))));
        files.extend((kit.generate)(self)?);
        Ok(files)
    }
}

/// Where a program comes from that builds start with, as the end of a sentence.
pub fn way_to_get(program: &str) -> Option<&'static str> {
    let mut tools = Language::ALL.into_iter().flat_map(|language| language.kit().tools);
    tools.find(|tool| tool.ask.first() == Some(&program)).map(|tool| tool.get)
}

/// What is wrong with a folder for a project, before anything is made.
pub fn check_folder(folder: &Path) -> Result<(), ProjectError> {
    let failed = |why| ProjectError::Unwritable { folder: folder.to_owned(), why };
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(ProjectError::NotEmpty(folder.to_owned())),
            None => Ok(()),
        },
        Err(why) => match why.kind() {
            io::ErrorKind::NotADirectory => {
                let file = folder.ancestors().find(|part| part.is_file());
                Err(ProjectError::IsFile(file.unwrap_or(folder).to_owned()))
            }
            io::ErrorKind::NotFound if !parent(folder).is_dir() => {
                Err(ProjectError::NoParent(parent(folder).to_owned()))
            }
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(failed(why)),
        },
    }
}

/// Lays files out in a folder that is missing or empty: all of them, or none.
pub fn lay_out(files: &[File], folder: &Path) -> Result<(), ProjectError> {
    check_folder(folder)?;
    let failed = |why| ProjectError::Unwritable { folder: folder.to_owned(), why };
    let write = || {
        // Beside it, so that it is moved in one step. It has the rights of any new folder.
        let beside =
            tempfile::Builder::new().prefix(".millstream-new-").permissions(new_folder()).tempdir_in(parent(folder))?;
        for File { path, text } in files {
            let path = beside.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(beside.path()))?;
            fs::write(path, text)?;
        }
        // One that is there already may be a link to the folder that is meant.
        let folder = folder.canonicalize().unwrap_or(folder.to_owned());
        fs::rename(beside.path(), folder)?;
        // There is nothing left to remove.
        let _moved = beside.keep();
        Ok(())
    };
    write().map_err(failed)
}

fn new_folder() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    // The process's own mask is taken off.
    fs::Permissions::from_mode(0o777)
}

fn parent(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name becomes a pipeline's and a stage's, and a package's in whatever language.
fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.chars().all(is_plain) {
        return Err("write ASCII letters, digits, `-` and `_`".into());
    }
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err("it starts with a letter".into());
    }
    if name.len() > LONGEST {
        return Err(format!("it has {} characters, and {LONGEST} are the most", name.len()));
    }
    if name.eq_ignore_ascii_case("null") {
        return Err("YAML takes it for nothing".into());
    }
    if TAKEN.contains(&name) {
        return Err("a part of every project has it".into());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Project> {
        Language::ALL.into_iter().flat_map(|language| {
            language.kit().examples().map(move |example| Project::new("hot-air", language, example).unwrap())
        })
    }

    #[test]
    fn no_mark_is_left_and_no_path_twice() {
        for project in all() {
            let files = project.files().unwrap();
            for File { path, text } in &files {
                assert!(!path.contains("{{") && !path.starts_with('/') && !path.contains(".."), "{path}");
                let marks = text.match_indices("{{").map(|(at, _)| &text[at + 2..]);
                let is_mark =
                    |text: &str| text.split_once("}}").is_some_and(|(word, _)| word.chars().all(char::is_alphabetic));
                assert!(!marks.into_iter().any(is_mark), "{project:?}: {path}");
            }
            let mut paths: Vec<_> = files.iter().map(|file| &file.path).collect();
            paths.sort();
            paths.dedup();
            assert_eq!(paths.len(), files.len(), "{project:?}");
            assert!(paths.contains(&&project.author()), "{project:?}");
        }
    }

    #[test]
    fn every_manifest_is_right_and_its_cases_are_its_stages() {
        for project in all() {
            let files = project.files().unwrap();
            let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.clone());
            let manifest = text("millstream.yaml").unwrap();
            let (manifest, report) =
                crate::manifest::read(Path::new("millstream.yaml"), &manifest, &|_| None, None).finish().unwrap();
            assert_eq!((manifest.name.as_str(), report.render(None).as_str()), ("hot-air", ""));
            let cases = text("hot-air.test.yaml");
            assert_eq!(cases.is_none(), project.example().is_source());
            assert!(cases.is_none_or(|cases| cases.contains("\nstage: hot-air\n")));
            let readme = text("README.md").unwrap();
            assert!((8..=12).contains(&readme.lines().count()), "{readme}");
        }
    }

    /// A build that takes what was half fetched for whole would fail from then on.
    #[test]
    fn a_build_whose_tools_cannot_be_fetched_fetches_them_again_the_next_time() {
        use std::{os::unix::fs::PermissionsExt, process::Command};
        let venv = "#!/bin/sh\nmkdir -p .venv/bin && cp pip .venv/bin/pip\n";
        for language in [Language::Python, Language::C] {
            let project = Project::new("hot-air", language, Example::Upper).unwrap();
            let folder = tempfile::tempdir().unwrap();
            lay_out(&project.files().unwrap(), folder.path()).unwrap();
            for (name, text) in [("python3", venv), ("pip", "#!/bin/sh\necho fetched >> asked; exit 1\n")] {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
            for times in 1..=2 {
                // As the manifest says it.
                let mut build = Command::new("sh");
                build.args(["-c", project.kit().build]).current_dir(folder.path()).env("PATH", &path);
                assert!(!build.output().unwrap().status.success());
                let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
                assert_eq!(asked, "fetched\n".repeat(times), "{language:?}");
            }
        }
    }

    #[test]
    fn names_are_those_that_every_tool_takes() {
        for (name, is_good) in [
            ("a", true),
            ("Hot_air-2", true),
            ("", false),
            ("2a", false),
            ("a.b", false),
            ("ä", false),
            ("-a", false),
            ("Null", false),
        ] {
            assert_eq!(Project::new(name, Language::Rust, Example::Upper).is_ok(), is_good, "{name}");
        }
        assert!(Project::new(&"a".repeat(64), Language::Rust, Example::Upper).is_ok());
        assert!(Project::new(&"a".repeat(65), Language::Rust, Example::Upper).is_err());
    }

    #[test]
    fn an_example_that_a_language_lacks_is_named_with_those_that_it_has() {
        let refused = Project::new("a", Language::C, Example::Numbers).unwrap_err().to_string();
        assert!(refused.starts_with("there is no example `numbers` in C: it has "), "{refused}");
    }
}
