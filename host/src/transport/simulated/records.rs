//! The records of a simulation: each says in its own words what is to become of it, so that whoever looks on knows.
//!
//! A record's text is `WORD ID`; what a guest makes of it are `ID>0`, `ID>1`, and so on. The text is different for
//! each record and each output.

use super::simulation::Simulation;
use crate::{
    manifest::{OnError, Policy},
    record::{HeaderEdit, Later, Reason, Record},
    stage::guest::{Failed, Guest, InHand},
};
use fastrand::Rng;
use std::{rc::Rc, time::Duration};

/// The outputs, by their places.
pub(super) const MAIN: usize = 0;
/// The second output.
pub(super) const LARGE: usize = 1;
/// Dead letters.
pub(super) const LETTERS: usize = 2;
/// The outputs' names.
pub(super) const OUTPUTS: [&str; 3] = ["main", "large", "letters"];

/// The words, the more usual ones more than once.
const WORDS: [&str; 24] = [
    "pass", "pass", "pass", "pass", "pass", "pass", "pass", "pass", "pass", "pass", "fan", "fan", "fan", "drop",
    "slow", "slow", "reject", "fault", "limit", "stumble", "retry1", "retry3", "sour2", "poison",
];

/// A record's word, as often as they come.
pub(super) fn draw_word(rng: &mut Rng) -> &'static str {
    WORDS[rng.usize(0..WORDS.len())]
}

/// What is to come of a record: texts, each with the output that it goes to.
pub(super) fn outcomes(text: &str, on_error: &OnError) -> Vec<(usize, String)> {
    let (word, id) = split(text);
    match word.trim_end_matches(char::is_numeric) {
        "drop" | "foreign" => Vec::new(),
        // A dead letter that is not tried again.
        "left" => vec![(LETTERS, text.to_owned())],
        "fan" => vec![(MAIN, format!("{id}>0")), (LARGE, format!("{id}>1"))],
        "reject" | "sour" => given_up(text, on_error.reject),
        "fault" | "poison" => given_up(text, on_error.fault),
        "limit" => given_up(text, on_error.limit),
        "tired" => given_up(text, on_error.retry_then),
        _ => vec![(MAIN, format!("{id}>0"))],
    }
}

fn given_up(text: &str, policy: Policy) -> Vec<(usize, String)> {
    match policy {
        Policy::DeadLetter => vec![(LETTERS, text.to_owned())],
        Policy::Skip | Policy::Stop => Vec::new(),
    }
}

/// What the log never takes.
pub(super) fn is_refused(topic: usize, text: &str) -> bool {
    text.ends_with('!') || (topic == LETTERS && text.starts_with("cursed"))
}

/// The record that a text came from, and its place in that record's outcomes.
pub(super) fn origin(text: &str) -> (&str, usize) {
    let (_, id) = split(text);
    match id.split_once('>') {
        Some((id, place)) => (id, place.parse().unwrap_or(0)),
        None => (id, 0),
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or(("", text))
}

/// How good a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    /// It does what its records say.
    Good,
    /// So does it, but it falls over where an instance has done so many records well.
    FallsAfter(u32),
    /// What it writes nobody asked for, and it falls over as that one does.
    Garbles(u32),
    /// It does not start.
    Refuses,
    /// It rejects what it should let through.
    Strict,
    /// It runs into its limits.
    Endless,
    /// It is right, and takes a second and a half for it.
    Dawdles,
}

/// A module that does what its records say, as far as its manners go.
pub(super) struct Obedient {
    simulation: Rc<Simulation>,
    manners: Manners,
    /// How many records its instance has done.
    done: u32,
    /// The record over which the instance before this one fell.
    stumbled: Option<String>,
}

impl Obedient {
    pub(super) fn new(simulation: Rc<Simulation>, manners: Manners) -> Obedient {
        Obedient { simulation, manners, done: 0, stumbled: None }
    }
}

impl Guest for Obedient {
    fn transform(&mut self, in_hand: InHand<'_>) -> Result<Vec<Record>, Failed> {
        let mut records = self.obey(in_hand)?;
        let reason = |code: &str| Reason { code: Some(code.into()), message: "it says so".into() };
        match self.manners {
            Manners::FallsAfter(most) | Manners::Garbles(most) if self.done >= most => {
                self.done = 0;
                Err(Failed::Fault(reason("fell")))
            }
            Manners::Strict => Err(Failed::Reject(reason("strict"))),
            Manners::Endless => Err(Failed::Limit(reason("endless"))),
            Manners::Dawdles => {
                self.simulation.spend(Duration::from_millis(1500));
                Ok(records)
            }
            _ => {
                self.done += 1;
                if let Manners::Garbles(_) = self.manners {
                    records.iter_mut().filter_map(|record| record.value.as_mut()).for_each(|value| value.push(b'?'));
                }
                Ok(records)
            }
        }
    }
}

impl Obedient {
    fn obey(&mut self, in_hand: InHand<'_>) -> Result<Vec<Record>, Failed> {
        let text = String::from_utf8_lossy(in_hand.record.value.unwrap_or_default());
        if in_hand.batch.headers(in_hand.index).iter().any(|header| header.name.starts_with("millstream.")) {
            self.simulation.world.borrow_mut().audit.blame(format!("{text} came with what its dead letter says"));
        }
        let (word, id) = split(&text);
        self.simulation.spend(match word {
            "slow" => Duration::from_millis(80),
            _ => Duration::from_millis(1),
        });
        let reason = |code: &str| Reason { code: Some(code.into()), message: format!("{id} said so") };
        let number = word.trim_start_matches(char::is_alphabetic).parse();
        let again = in_hand.attempt <= number.unwrap_or(0);
        let main = |text: String| Record {
            key: in_hand.record.key.map(<[u8]>::to_vec),
            value: Some(text.into_bytes()),
            headers: HeaderEdit::Keep,
            output: None,
            partition: None,
            timestamp: None,
        };
        match word.trim_end_matches(char::is_numeric) {
            "drop" => Ok(Vec::new()),
            "fan" => {
                let large =
                    Record { output: Some(OUTPUTS[LARGE].into()), partition: Some(0), ..main(format!("{id}>1")) };
                Ok(vec![main(format!("{id}>0")), large])
            }
            "reject" => Err(Failed::Reject(reason("reject"))),
            "fault" => Err(Failed::Fault(reason("fault"))),
            "limit" => Err(Failed::Limit(reason("limit"))),
            "stumble" if self.stumbled.as_deref() != Some(id) => {
                self.stumbled = Some(id.to_owned());
                Err(Failed::Fault(reason("stumble")))
            }
            "retry" | "sour" if again => {
                Err(Failed::Retry(Later { after_ms: (id.len() % 2 == 0).then_some(30), reason: reason("retry") }))
            }
            "tired" => Err(Failed::Retry(Later { after_ms: Some(5_000), reason: reason("retry") })),
            "sour" => Err(Failed::Reject(reason("sour"))),
            "poison" | "cursed" => Ok(vec![main(format!("{id}>0!"))]),
            _ => {
                self.stumbled = None;
                Ok(vec![main(format!("{id}>0"))])
            }
        }
    }
}
