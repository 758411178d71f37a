//! What does not fit a schema, and where in the value it stands.

use std::{borrow::Cow, fmt};

/// A part of a value that does not fit, or cannot be read. Its path is put together on the way out, so that a value
/// that fits pays nothing for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// From the inside out.
    steps: Vec<Step>,
    why: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
    Each,
}

impl Misfit {
    /// Of the value that is looked at.
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Misfit {
        Misfit { steps: Vec::new(), why: why.into() }
    }

    /// The same, seen from the record or the map that has it under this name.
    pub(super) fn in_field(mut self, name: &str) -> Misfit {
        self.steps.push(Step::Field(name.to_owned()));
        self
    }

    /// The same, seen from the list in which it has this place.
    pub(super) fn in_item(mut self, index: usize) -> Misfit {
        self.steps.push(Step::Item(index));
        self
    }

    /// The same, seen from the list or the map whose parts are all of this kind.
    pub(super) fn in_each(mut self) -> Misfit {
        self.steps.push(Step::Each);
        self
    }

    /// How deep it lies in the value.
    pub(super) fn depth(&self) -> usize {
        self.steps.len()
    }

    /// Where it is: `$.items[2].price`.
    pub fn path(&self) -> String {
        let is_plain = |name: &str| {
            let mut letters = name.chars();
            letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let step = |step: &Step| match step {
            Step::Field(name) if is_plain(name) => format!(".{name}"),
            Step::Field(name) => format!("[{}]", serde_json::Value::from(name.as_str())),
            Step::Item(index) => format!("[{index}]"),
            Step::Each => "[]".to_owned(),
        };
        let steps: String = self.steps.iter().rev().map(step).collect();
        format!("${steps}")
    }
}

/// `$.items[2].price: 12.345 has more than 2 digits behind the point`.
impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_the_whole_to_the_part() {
        let misfit = Misfit::new("no").in_field("price").in_item(2).in_field("items");
        assert_eq!(misfit.to_string(), "$.items[2].price: no");
        assert_eq!(Misfit::new("no").in_field("a \"b\"").path(), r#"$["a \"b\""]"#);
        assert_eq!(Misfit::new("no").in_field("price").in_each().path(), "$[].price");
        assert_eq!(Misfit::new("no").path(), "$");
    }
}
