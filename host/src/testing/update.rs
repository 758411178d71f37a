//! Writes what came into the text of the cases, and leaves the rest of it as it is.

use super::{cases::Case, form::Event, verdict::Verdict};

/// The text with the expectations of these cases replaced by what came.
pub fn update(source: &str, cases: &[(&Case, &Verdict)]) -> String {
    let mut text = source.to_owned();
    let mut cases = cases.to_vec();
    // From the end, so that what stands before keeps its place.
    cases.sort_by_key(|(case, _)| std::cmp::Reverse(case.place.whole.start));
    for (case, verdict) in cases {
        let is_flow = source[case.place.whole.clone()].starts_with('{');
        let indent = column(source, case.place.whole.start);
        let written = expectation(&verdict.came, (!is_flow).then_some(indent));
        match &case.place.expected {
            Some(at) => {
                let end = at.start + source[at.clone()].trim_end().len();
                text.replace_range(at.start..end, &written);
            }
            None => {
                let end = case.place.end;
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
