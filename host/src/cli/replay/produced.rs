//! What a stage has really produced of a range's records, by what its outputs and its dead letters say of where they came
//! from; and how that is put beside what a module makes of them now.

use super::range::Range;
use crate::{
    cli::{
        say,
        scan::{LOOK, last, scan, whole},
        wrong,
    },
    manifest::{Manifest, Policy, Port, Stage},
    record::Header,
    stage::{Letter, Lost, Made, Outcome, Provenance},
    text::count,
    transport::{
        Batch,
        log::{Log, TopicFacts},
    },
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

/// How much of what was produced is held.
const MOST_BYTES: usize = 256 << 20;
/// What a place takes beside what is known of it.
const OF_PLACE: usize = 128;
/// How long a broker may take to end the transaction of somebody who was killed.
const LEFT_OPEN: Duration = Duration::from_secs(30);

/// The code of a fault that is not the module's: what the log refused nobody finds out without writing.
const REFUSED: &str = "refused";

/// An input, a partition and an offset.
pub(super) type Place = (usize, u32, u64);

/// What was produced, by the places of the records that it came of.
pub(super) struct Produced {
    came: BTreeMap<Place, Outcome>,
    bytes: usize,
    most: usize,
    /// Topics in which records have the broker's time.
    timeless: BTreeSet<String>,
}

impl Produced {
    /// Reads what came of these ranges. They end where the stage has not done more, and begin with the first record that
    /// something produced came of: of what lies before nothing tells whether it was done with `provenance: true`.
    pub(super) fn read(
        log: &Log,
        manifest: &Manifest,
        stage: &Stage,
        facts: &BTreeMap<String, TopicFacts>,
        ranges: &mut [Range],
    ) -> Result<Produced> {
        let mut produced = Produced::empty(log_appended(stage, facts));
        if ranges.iter().all(|range| range.most() == 0) {
            return Ok(produced);
        }
        // First how far it is: what it has done by now lies in its outputs by now.
        let done = done(log, stage)?;
        let nearer: u64 = ranges.iter_mut().map(|range| range.end_at(&done)).sum();
        let most: u64 = ranges.iter().map(Range::most).sum();
        if most == 0 {
            return Err(wrong(format!(
                "{} has done nothing of that range yet: run it first, or compare two modules, by --against",
                stage.name
            )));
        }
        if nearer > 0 {
            say(&format!("what {} has not done yet is left out, in {}\n", stage.name, count(nearer, "partition")));
        }
        let find = |topic: &str, partition, offset| {
            let range = ranges.iter().find(|range| range.topic == topic && range.contains(partition, offset))?;
            Some((range.input, partition, offset))
        };
        let (mut firsts, mut others) = (BTreeMap::new(), 0_u64);
        let mut seen = BTreeSet::new();
        for port in stage.outputs.iter().filter(|port| facts.contains_key(&port.topic)) {
            if !seen.insert(&port.topic) {
                continue;
            }
            each(log, &port.topic, &mut |batch, index, mut headers| {
                let origin = Provenance::read(&headers);
                let is_ours = |topic: &str| stage.inputs.iter().any(|input| input.topic == topic);
                let Some((origin, own)) = origin.filter(|(origin, _)| is_ours(&origin.topic)) else {
                    others += 1;
                    return Ok(());
                };
                let first = firsts.entry((origin.topic.clone(), origin.partition)).or_insert(origin.offset);
                *first = origin.offset.min(*first);
                let Some(place) = find(&origin.topic, origin.partition, origin.offset) else { return Ok(()) };
                headers.drain(own);
                let record = batch.get(index);
                let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                produced.add(
                    place,
                    Made {
                        output: port.name.clone(),
                        topic: port.topic.clone(),
                        partition: Some(record.partition.number),
                        timestamp: record.timestamp,
                        key: bytes(record.key),
                        value: bytes(record.value),
                        headers,
                    },
                )
            })?;
        }
        if stage.on_error.has_dead_letters() && facts.contains_key(&stage.dead_letter) {
            each(log, &stage.dead_letter, &mut |_, _, headers| {
                let Some((letter, _)) = Letter::read(&headers) else { return Ok(()) };
                if letter.pipeline != manifest.name || letter.stage != stage.name {
                    return Ok(());
                }
                let place = find(&letter.topic, letter.partition, letter.offset);
                let Some((place, lost)) = place.zip(Lost::of(&letter)) else { return Ok(()) };
                produced.lose(place, lost)
            })?;
        }
        let names = |ports: &[Port]| ports.iter().map(|port| port.topic.as_str()).collect::<Vec<_>>().join(", ");
        let (outputs, inputs) = (names(&stage.outputs), names(&stage.inputs));
        if firsts.is_empty() && others > 0 {
            return Err(wrong(format!(
                "no record of {outputs} says that it came of {inputs}: those that were written before `provenance: true` do \
                 not. Run the stage with it first, or compare two modules, by --against"
            )));
        }
        let fewer: u64 = ranges.iter_mut().map(|range| range.begin_at(&firsts)).sum();
        let left: u64 = ranges.iter().map(Range::most).sum();
        if left == 0 {
            return Err(wrong(format!(
                "{} has done up to {} of that range, and no record of {outputs} says that it came of those, or of earlier ones: \
                 nothing tells whether `provenance: true` was set by then. Ask for later ones, by --from, or compare two \
                 modules, by --against",
                stage.name,
                count(most, "record")
            )));
        }
        if fewer > 0 {
            say(&format!(
                "up to {} in {} left out: nothing produced says that it came of those, or of earlier ones\n",
                count(most - left, "record"),
                count(fewer, "partition")
            ));
        }
        Ok(produced)
    }

    fn empty(timeless: BTreeSet<String>) -> Produced {
        Produced { came: BTreeMap::new(), bytes: 0, most: MOST_BYTES, timeless }
    }

    fn add(&mut self, place: Place, made: Made) -> Result<()> {
        self.hold(made.bytes())?;
        self.came.entry(place).or_default().made.push(made);
        Ok(())
    }

    /// Of several letters of one record the last one counts.
    fn lose(&mut self, place: Place, lost: Lost) -> Result<()> {
        self.hold(lost.message.len())?;
        self.came.entry(place).or_default().lost = Some(lost);
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes + OF_PLACE;
        match self.bytes > self.most {
            true => Err(wrong(format!(
                "what was produced of that range takes more than {} MiB: narrow it by --from, --to, --topic or --partition",
                self.most >> 20
            ))),
            false => Ok(()),
        }
    }

    /// What was produced of the record at this place, beside what a module makes of it now: each without what cannot be
    /// known of the other, and in one order. `None` where nothing can be known, as the log refused what was made.
    pub(super) fn beside(
        &mut self,
        place: Place,
        stage: &Stage,
        time: Option<i64>,
        after: Outcome,
    ) -> Option<(Outcome, Outcome)> {
        let mut before = self.came.remove(&place).unwrap_or_default();
        if was_refused(&before) {
            return None;
        }
        // It was a dead letter, and went through at a later try.
        if !before.made.is_empty() {
            before.lost = None;
        }
        let mut after = after;
        // Of what is skipped nothing is left to be seen.
        if after.lost.as_ref().is_some_and(|lost| policy(stage, lost) == Policy::Skip) {
            after.lost = None;
        }
        self.level(&mut before, &mut after, time.is_some_and(|time| time > 0));
        Some((before, after))
    }

    fn level(&self, before: &mut Outcome, after: &mut Outcome, has_time: bool) {
        for made in before.made.iter_mut().chain(&mut after.made) {
            // Who gets no time from its origin gets that of its writing; and so does who is given none of 1970.
            if !has_time || self.timeless.contains(&made.topic) {
                made.timestamp = None;
            }
        }
        let places: BTreeSet<_> =
            after.made.iter().filter(|made| made.partition.is_some()).map(|made| made.topic.clone()).collect();
        before.made.sort_by(order);
        after.made.sort_by(order);
        let is_same_length = before.made.len() == after.made.len();
        for (at, made) in before.made.iter_mut().enumerate() {
            let is_open = |other: &Made| other.topic == made.topic && other.partition.is_none();
            if !places.contains(&made.topic) || (is_same_length && is_open(&after.made[at])) {
                made.partition = None;
            }
            // Two outputs may be one topic, and nothing tells from which of them it came.
            if is_same_length && after.made[at].topic == made.topic {
                made.output.clone_from(&after.made[at].output);
            }
        }
    }
}

/// Those of its outputs in which records have the broker's time.
fn log_appended(stage: &Stage, facts: &BTreeMap<String, TopicFacts>) -> BTreeSet<String> {
    let is_timeless = |topic: &&String| {
        let facts = facts.get(*topic);
        facts
            .is_some_and(|facts| facts.config.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime"))
    };
    stage.outputs.iter().map(|port| &port.topic).filter(is_timeless).cloned().collect()
}

/// Records of one topic and one key have an order of their own; others have none that could be read off the topics.
fn order(one: &Made, other: &Made) -> std::cmp::Ordering {
    let content = |made: &Made| {
        let headers: Vec<_> = made.headers.iter().map(|h: &Header| (h.name.clone(), h.value.clone())).collect();
        (made.value.clone(), headers)
    };
    let by_key = (&one.topic, &one.key).cmp(&(&other.topic, &other.key));
    by_key
        .then_with(|| match one.key {
            Some(_) => std::cmp::Ordering::Equal,
            None => content(one).cmp(&content(other)),
        })
        .then_with(|| one.partition.cmp(&other.partition))
}

/// True when the log's word about what came of a record is the last one.
fn was_refused(before: &Outcome) -> bool {
    let is_refusal = |lost: &Lost| lost.kind == "fault" && lost.code.as_deref() == Some(REFUSED);
    before.made.is_empty() && before.lost.as_ref().is_some_and(is_refusal)
}

fn policy(stage: &Stage, lost: &Lost) -> Policy {
    match lost.kind {
        "reject" => stage.on_error.reject,
        "limit" => stage.on_error.limit,
        "decode" => stage.on_error.decode,
        "encode" => stage.on_error.encode,
        "retry" => stage.on_error.retry_then,
        _ => stage.on_error.fault,
    }
}

/// Takes a record in its batch, and its headers.
type See<'a> = &'a mut dyn FnMut(&dyn Batch, usize, Vec<Header>) -> Result<()>;

/// Shows each record that is committed in a topic by now.
fn each(log: &Log, topic: &str, see: See<'_>) -> Result<()> {
    let to = last(log, topic)?;
    scan(log, &whole(topic), Some(&to), &mut |batch, ends| {
        for index in 0..batch.len() {
            let record = batch.get(index);
            if ends.get(record.partition).is_some_and(|end| record.offset.next() <= end) {
                see(&*batch, index, batch.headers(index))?;
            }
        }
        Ok(true)
    })
}

/// How far the stage has done its inputs. A transaction that somebody left open hides that until its time is over.
fn done(log: &Log, stage: &Stage) -> Result<BTreeMap<(String, u32), u64>> {
    let topics: Vec<_> = stage.inputs.iter().map(|port| port.topic.clone()).collect();
    let offsets = log.offsets(&stage.group, &topics)?;
    let since = Instant::now();
    loop {
        match offsets.ask() {
            Ok(lags) => return Ok(lags.into_iter().filter_map(|(place, lag)| Some((place, lag.committed?))).collect()),
            Err(error) if since.elapsed() > LEFT_OPEN => return Err(error.context(format!("group {}", stage.group))),
            Err(_) => thread::sleep(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(key: Option<&str>, value: &str, partition: Option<u32>) -> Made {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Made {
            output: "main".into(),
            topic: "out".into(),
            partition,
            timestamp: Some(5),
            key: key.map(bytes),
            value: Some(bytes(value)),
            headers: Vec::new(),
        }
    }

    fn outcome(made: &[Made]) -> Outcome {
        Outcome { made: made.to_vec(), ..Outcome::default() }
    }

    fn empty() -> Produced {
        Produced { most: 1 << 20, ..Produced::empty(BTreeSet::new()) }
    }

    /// Whether the two are the same, as far as that can be known.
    fn is_alike(before: &[Made], after: &[Made]) -> bool {
        let (mut before, mut after) = (outcome(before), outcome(after));
        empty().level(&mut before, &mut after, true);
        before == after
    }

    #[test]
    fn what_is_left_to_the_topic_is_not_compared() {
        let (a, b) = (Some("a"), Some("b"));
        let at = |key, value, partition| made(key, value, Some(partition));
        // Topics have no order over their partitions, but keys have theirs.
        assert!(is_alike(
            &[at(b, "1", 0), at(a, "1", 1), at(a, "2", 1)],
            &[made(a, "1", None), made(b, "1", None), made(a, "2", None)]
        ));
        assert!(!is_alike(&[at(a, "2", 1), at(a, "1", 1)], &[made(a, "1", None), made(a, "2", None)]));
        // Without a key there is none.
        assert!(is_alike(&[at(None, "2", 0), at(None, "1", 1)], &[made(None, "1", None), made(None, "2", None)]));
        assert!(!is_alike(&[at(a, "1", 0)], &[made(a, "1", Some(1))]), "who names a partition means it");
        assert!(!is_alike(&[at(a, "1", 0)], &[made(a, "1", None), made(a, "1", None)]));
        let later = Made { timestamp: Some(6), ..at(a, "1", 0) };
        assert!(!is_alike(std::slice::from_ref(&later), &[made(a, "1", None)]));
        let (mut before, mut after) = (outcome(&[later]), outcome(&[made(a, "1", None)]));
        let timeless = Produced { timeless: ["out".to_owned()].into(), ..empty() };
        timeless.level(&mut before, &mut after, true);
        assert_eq!(before, after);
    }

    #[test]
    fn what_the_log_refused_is_known_of_nobody() {
        let was_refused = |kind, code: &str, made: &[Made]| {
            let lost = Lost { kind, code: Some(code.into()), message: String::new(), after_ms: None };
            was_refused(&Outcome { lost: Some(lost), ..outcome(made) })
        };
        assert!(was_refused("fault", "refused", &[]));
        assert!(!was_refused("reject", "refused", &[]) && !was_refused("fault", "trap", &[]));
        assert!(!was_refused("fault", "refused", &[made(None, "v", None)]), "it went through later");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut produced = Produced { most: 10_000, ..empty() };
        let added = (0..1000).map(|offset| produced.add((0, 0, offset), made(None, "value", Some(0))));
        let results: Vec<_> = added.collect();
        let first = results.iter().position(Result::is_err).expect("it has an end");
        assert!((10..100).contains(&first), "{first}");
        assert!(results[first].as_ref().is_err_and(|error| error.to_string().contains("narrow it by --from")));
    }
}
