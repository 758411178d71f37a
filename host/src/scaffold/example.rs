//! What a project starts from: the same in every language, with the manifest, the cases and the README that go with it.

use super::Text;
use clap::ValueEnum;

/// What a project starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Example {
    /// The value in upper case, in three lines
    #[default]
    Upper,
    /// Headers, outputs, configuration, failures: all a stage can do
    Route,
    /// Refuses a wrong configuration before the first record
    Strict,
    /// A source: brings the numbers from 0 on
    Numbers,
}

impl Example {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Upper, Self::Route, Self::Strict, Self::Numbers];

    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Upper => "upper",
            Self::Route => "route",
            Self::Strict => "strict",
            Self::Numbers => "numbers",
        }
    }

    /// Whether it brings records, rather than changing those that come.
    pub fn is_source(self) -> bool {
        self == Self::Numbers
    }

    /// What its project has in every language.
    pub(super) fn files(self) -> &'static [Text] {
        match self {
            Self::Upper | Self::Route | Self::Strict => &[
                ("millstream.yaml", guest!("cases/upper.yaml")),
                ("{{name}}.test.yaml", guest!("cases/upper.test.yaml")),
                ("README.md", guest!("cases/upper.md")),
            ],
            Self::Numbers => {
                &[("millstream.yaml", guest!("cases/numbers.yaml")), ("README.md", guest!("cases/numbers.md"))]
            }
        }
    }
}
