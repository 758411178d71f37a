//! What is wrong with a manifest, where, and what to write instead.
//!
//! A [`Report`] can take more findings than the manifest's own text gives: whoever loads its modules adds what is
//! wrong with them, and everything is shown together.

use super::secrets;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::{
    cell::{Cell, RefCell},
    fmt,
    ops::Range,
};

/// A place in the manifest, in bytes.
pub type Span = Range<usize>;

/// The first line of what a span covers: enough to point at a mapping.
pub(super) fn first_line(source: &str, span: &Span) -> Span {
    let line = source[span.clone()].lines().next().unwrap_or("");
    span.start..span.start + line.trim_end().len()
}

/// Nobody reads more at once.
const MOST_SHOWN: usize = 200;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The manifest is refused.
    Mistake,
    /// It may run as it is.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    at: Span,
    message: String,
    help: Option<String>,
    also: Option<(Span, String)>,
    /// What is wrong is not the text, but that something around it is missing.
    is_absence: bool,
}

impl Diagnostic {
    /// Something for which the manifest is refused. The message is one line without a full stop.
    pub fn mistake(at: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Mistake,
            at,
            message: message.into(),
            help: None,
            also: None,
            is_absence: false,
        }
    }

    /// Something that is probably not meant.
    pub fn warning(at: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::mistake(at, message) }
    }

    /// The text is as it should be: a variable, or a file, is missing on this machine.
    pub(super) fn absence(at: Span, message: impl Into<String>) -> Self {
        Diagnostic { is_absence: true, ..Diagnostic::mistake(at, message) }
    }

    /// Adds the way out.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a second place that has to do with it.
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Self {
        self.also = Some((at, label.into()));
        self
    }

    fn without_passwords(mut self) -> Self {
        self.message = secrets::starred(&self.message, &[]);
        self.help = self.help.map(|help| secrets::starred(&help, &[]));
        self
    }
}

/// All that was found in one manifest, with its text.
pub struct Report {
    path: String,
    /// The text with its secrets starred, byte for byte, so that places hold.
    shown: String,
    found: Vec<Diagnostic>,
}

impl Report {
    /// Takes one more finding. The same one twice is one: an anchor that is used twice is wrong once.
    pub fn add(&mut self, finding: Diagnostic) {
        let finding = finding.without_passwords();
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// Forgets what is missing around this part of the text.
    pub(super) fn forgive_absence(&mut self, part: &Span) {
        self.found.retain(|finding| !finding.is_absence || !part.contains(&finding.at.start));
    }

    /// How many mistakes there are.
    pub fn mistakes(&self) -> usize {
        self.count(Severity::Mistake)
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// True when a mistake stands in this part of the text.
    pub(crate) fn has_mistakes_in(&self, part: &Span) -> bool {
        let stands = |finding: &&Diagnostic| part.start <= finding.at.start && finding.at.start <= part.end;
        self.found.iter().filter(stands).any(|finding| finding.severity == Severity::Mistake)
    }

    /// True when a value stands at this place as it is, and excerpts show it: then a message may as well.
    pub fn shows(&self, at: &Span, value: &str) -> bool {
        self.shown.get(at.clone()).is_some_and(|shown| shown.trim_matches(['"', '\'']) == value)
    }

    /// All the places that are pointed at.
    #[cfg(test)]
    pub(super) fn places(&self) -> impl Iterator<Item = &Span> {
        self.found.iter().flat_map(|finding| [Some(&finding.at), finding.also.as_ref().map(|(at, _)| at)]).flatten()
    }

    fn count(&self, severity: Severity) -> usize {
        self.found.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Everything as rustc would show it, in the order of the text, and a last line that counts; empty when there is
    /// nothing to say. On a terminal, which has so many columns, it has colors and is cut to fit.
    pub fn render(&self, terminal: Option<usize>) -> String {
        if self.found.is_empty() {
            return String::new();
        }
        let renderer = terminal.map_or_else(Renderer::plain, |width| Renderer::styled().term_width(width));
        let mut found: Vec<_> = self.found.iter().collect();
        found.sort_by_key(|finding| finding.at.start);
        let shown = found.iter().take(MOST_SHOWN);
        let mut text: String = shown.map(|finding| renderer.render(&[self.excerpt(finding)]) + "\n\n").collect();
        if found.len() > MOST_SHOWN {
            text += &format!("… and {} more\n\n", found.len() - MOST_SHOWN);
        }
        text += &self.summary();
        text
    }

    fn excerpt<'a>(&'a self, finding: &'a Diagnostic) -> Group<'a> {
        let level = match finding.severity {
            Severity::Mistake => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut snippet = Snippet::source(&*self.shown)
            .path(&*self.path)
            .annotation(AnnotationKind::Primary.span(finding.at.clone()));
        if let Some((at, label)) = &finding.also {
            snippet = snippet.annotation(AnnotationKind::Context.span(at.clone()).label(&**label));
        }
        let group = level.primary_title(&*finding.message).element(snippet);
        match &finding.help {
            Some(help) => group.element(Level::HELP.message(&**help)),
            None => group,
        }
    }

    fn summary(&self) -> String {
        let counted = |count, one| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {one}s")),
        };
        let counts = [counted(self.mistakes(), "mistake"), counted(self.warnings(), "warning")];
        let counts: Vec<_> = counts.into_iter().flatten().collect();
        format!("{} in {}\n", counts.join(" and "), self.path)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.render(None))
    }
}

/// The findings while the text is being read: shared by all that read it.
#[derive(Default)]
pub(super) struct Findings {
    found: RefCell<Vec<Diagnostic>>,
    incomplete: Cell<bool>,
    cut_off: Cell<bool>,
}

impl Findings {
    /// Takes one more finding.
    pub(super) fn add(&self, finding: Diagnostic) {
        self.found.borrow_mut().push(finding);
    }

    /// Takes a mistake and the way out, unless the place is that of a value which was reported before.
    pub(super) fn mistake(&self, at: &Option<Span>, describe: impl FnOnce() -> (String, String)) {
        if let Some(at) = at {
            let (message, help) = describe();
            self.add(Diagnostic::mistake(at.clone(), message).help(help));
        }
    }

    /// Notes that a part could not be read: nothing is to be said about what the whole lacks.
    pub(super) fn set_incomplete(&self) {
        self.incomplete.set(true);
    }

    /// True when a part could not be read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete.get()
    }

    /// Notes that the text was not read to its end: nothing is to be said about what anything lacks.
    pub(super) fn set_cut_off(&self) {
        self.cut_off.set(true);
        self.incomplete.set(true);
    }

    /// True when the text was not read to its end.
    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    /// The report on the text that they were found in, without what is secret.
    pub(super) fn report(self, path: &str, source: &str, hidden: &[Span]) -> Report {
        let mut report = Report { path: path.to_owned(), shown: secrets::starred(source, hidden), found: Vec::new() };
        for finding in self.found.into_inner() {
            report.add(finding);
        }
        report
    }
}
