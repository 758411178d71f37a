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

    /// Its cases, which are the same in every language. Sources have none.
    pub(super) fn cases(self) -> Option<&'static str> {
        match self {
            Self::Upper => Some(guest!("cases/upper.test.yaml")),
            Self::Route => Some(guest!("cases/route.test.yaml")),
            Self::Strict => Some(guest!("cases/strict.test.yaml")),
            Self::Numbers => None,
        }
    }

    /// What else its project has in every language.
    pub(super) fn files(self) -> &'static [Text] {
        const STAGE: Text = ("README.md", guest!("cases/stage.md"));
        match self {
            Self::Upper => &[("millstream.yaml", guest!("cases/upper.yaml")), STAGE],
            Self::Route => &[("millstream.yaml", guest!("cases/route.yaml")), STAGE],
            Self::Strict => &[("millstream.yaml", guest!("cases/strict.yaml")), STAGE],
            Self::Numbers => {
                &[("millstream.yaml", guest!("cases/numbers.yaml")), ("README.md", guest!("cases/source.md"))]
            }
        }
    }

    /// The topic that it reads; a source's is the one that it writes.
    pub(super) fn topic(self) -> &'static str {
        match self {
            Self::Upper => "words",
            Self::Route => "web-orders",
            Self::Strict => "amounts",
            Self::Numbers => "numbers",
        }
    }

    /// A record to try it with.
    pub(super) fn sample(self) -> &'static str {
        match self {
            Self::Upper => "hello",
            Self::Route => "250000",
            Self::Strict => "5",
            Self::Numbers => "",
        }
    }

    /// What `try` is told beside the module.
    pub(super) fn options(self) -> &'static str {
        match self {
            Self::Route => " --output-format json",
            Self::Strict => " --config currency=EUR",
            Self::Upper | Self::Numbers => "",
        }
    }
}
