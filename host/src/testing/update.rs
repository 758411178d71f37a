//! Writes what came into the text of the cases, and leaves the rest of it as it is.

use super::{
    cases::{Case, CaseFile, CaseText},
    form::Event,
    verdict::Verdict,
};
use crate::manifest::Stage;

/// The text of a file with the expectations of those cases replaced by what came whose verdict is not good. None, when
/// that cannot be written into the text so that all else in it stays as it is.
pub fn update(file: &CaseFile, verdicts: &[&Verdict], stage: &Stage) -> Option<String> {
    let all = || file.cases.iter().zip(verdicts.iter().copied());
    let text = written(&file.source, all().filter(|(_, verdict)| !verdict.is_good()).collect());
    // Anchors, and all that YAML has beside: what was written counts for what is read of it.
    let read = CaseText::read(&file.path, text.clone()).finish(stage, false).ok()?;
    let is_as_meant = |((old, verdict), new): ((&Case, &Verdict), &Case)| {
        let expected = if verdict.is_good() { old.expected.as_deref() } else { Some(&*verdict.came) };
        let is_kept =
            (&old.name, &old.config, &old.given, &old.attempts) == (&new.name, &new.config, &new.given, &new.attempts);
        is_kept && new.expected.as_deref() == expected
    };
    (read.cases.len() == file.cases.len() && all().zip(&read.cases).all(is_as_meant)).then_some(text)
}

fn written(source: &str, mut cases: Vec<(&Case, &Verdict)>) -> String {
    let mut text = source.to_owned();
    // From the end, so that what stands before keeps its place.
    cases.sort_by_key(|(case, _)| std::cmp::Reverse(case.place.whole.start));
    for (case, verdict) in cases {
        let place = &case.place;
        let shape = &source[place.whole.clone()];
        if shape.starts_with('*') {
            // It is another one once more, and changes with that.
            continue;
        }
        let is_flow = shape.starts_with('{');
        let indent = column(source, place.whole.start);
        let written = expectation(&verdict.came, (!is_flow).then_some(indent));
        // A text of several lines ends where the next thing begins.
        let end_of = |start: usize, end: usize| start + source[start..end].trim_end().len();
        match &place.expected {
            Some(at) => text.replace_range(at.start..end_of(at.start, at.end), &written),
            None => {
                let end = end_of(place.whole.start, place.end);
                match is_flow {
                    true => text.insert_str(end, &format!(", {written}")),
                    false => {
                        // Behind what is said about the line.
                        let line = source[end..].find('\n').map_or(source.len(), |newline| end + newline);
                        text.insert_str(line, &format!("\n{}{written}", " ".repeat(indent)));
                    }
                }
            }
        }
    }
    text
}

/// How far a place stands from the beginning of its line.
fn column(source: &str, at: usize) -> usize {
    let line = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
    source[line..at].chars().count()
}

/// What came, with its key. Where it may have lines of its own, they are indented below the key's column.
fn expectation(came: &[Event], indent: Option<usize>) -> String {
    match (came, indent) {
        ([Event::Failure(failure)], _) => {
            format!("failure: {}", serde_json::to_string(failure).unwrap_or_default())
        }
        ([record], _) => format!("output: {}", record.json()),
        ([], _) => "outputs: []".to_owned(),
        (all, Some(indent)) => {
            let lines: String =
                all.iter().map(|event| format!("\n{}- {}", " ".repeat(indent + 2), event.json())).collect();
            format!("outputs:{lines}")
        }
        (all, None) => {
            let items: Vec<_> = all.iter().map(Event::json).collect();
            format!("outputs: [{}]", items.join(", "))
        }
    }
}
