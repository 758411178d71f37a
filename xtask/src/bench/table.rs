//! Both arms' figures, and how one stands to the other.

use super::{
    Run,
    lab::{Arm, Delivery},
};
use std::fmt;

/// All runs of one shape, in the order that they were made in.
#[derive(Default)]
pub(super) struct Figures(Vec<(Delivery, Arm, Run)>);

/// A column: its head, its width, and what it shows of a run.
type Column = (&'static str, usize, fn(&Run) -> f64, fn(&Spread) -> String);

const COLUMNS: [Column; 4] = [
    ("records/s", 17, |run| run.records_per_s, Spread::whole),
    ("CPU s/million", 16, |run| run.cpu_s_per_million, Spread::fine),
    ("peak MiB", 16, |run| run.peak_mib, Spread::fine),
    ("first ms", 16, |run| run.first_ms, Spread::whole),
];

impl Figures {
    pub(super) fn add(&mut self, delivery: Delivery, arm: Arm, run: Run) {
        self.0.push((delivery, arm, run));
    }

    fn of(&self, delivery: Delivery, arm: Arm, figure: fn(&Run) -> f64) -> Vec<f64> {
        self.0.iter().filter(|(d, a, _)| (*d, *a) == (delivery, arm)).map(|(_, _, run)| figure(run)).collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:14}", "")?;
        for (head, width, ..) in COLUMNS {
            write!(f, "{head:>width$}")?;
        }
        for delivery in Delivery::ALL {
            write!(f, "\n{delivery}")?;
            for arm in Arm::ALL {
                write!(f, "\n  {:12}", arm.to_string())?;
                for (_, width, figure, shown) in COLUMNS {
                    write!(f, "{:>width$}", shown(&Spread::of(&self.of(delivery, arm, figure))))?;
                }
            }
            write!(f, "\n  {:12}", "host/native")?;
            for (_, width, figure, _) in COLUMNS {
                let ratios = ratios(&self.of(delivery, Arm::Host, figure), &self.of(delivery, Arm::Native, figure));
                write!(f, "{:>width$}", Spread::of(&ratios).fine())?;
            }
        }
        write!(f, "\nexactly-once / at-least-once:")?;
        for arm in Arm::ALL {
            let of = |delivery| self.of(delivery, arm, |run| run.records_per_s);
            let ratios = ratios(&of(Delivery::ExactlyOnce), &of(Delivery::AtLeastOnce));
            write!(f, " {arm} {}", Spread::of(&ratios).fine())?;
        }
        writeln!(f)
    }
}

/// One by the other, round by round: what slows the machine down slows both of a pair down.
pub(super) fn ratios(these: &[f64], those: &[f64]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| this / that).collect()
}

/// The median of some figures, the lowest and the highest.
pub(super) struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    pub(super) fn of(figures: &[f64]) -> Spread {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (count, last) = (sorted.len(), sorted.len().saturating_sub(1));
        // The two in the middle, which are one and the same of an odd number.
        let median = (at(last / 2) + at(count / 2)) / 2.0;
        Spread { median, lowest: at(0), highest: at(last) }
    }

    /// For numbers of some size; thousands where they are large.
    pub(super) fn whole(&self) -> String {
        let (unit, by) = if self.highest >= 10_000.0 { ("k", 1000.0) } else { ("", 1.0) };
        let [median, lowest, highest] = [self.median, self.lowest, self.highest].map(|figure| figure / by);
        format!("{median:.0}{unit} {lowest:.0}–{highest:.0}")
    }

    /// For small ones.
    pub(super) fn fine(&self) -> String {
        let digits = if self.highest >= 10.0 { 0 } else { 2 };
        format!("{:.digits$} {:.digits$}–{:.digits$}", self.median, self.lowest, self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(figures: &[f64]) -> (String, String) {
        let spread = Spread::of(figures);
        (spread.whole(), spread.fine())
    }

    #[test]
    fn figures_are_shown_by_their_median_and_their_ends() {
        assert_eq!(shown(&[3.0, 1.0, 2.0]), ("2 1–3".into(), "2.00 1.00–3.00".into()));
        assert_eq!(shown(&[1.0, 2.0]), ("2 1–2".into(), "1.50 1.00–2.00".into()));
        assert_eq!(shown(&[301_400.0, 298_600.0]).0, "300k 299–301");
        assert_eq!(shown(&[42.4]).1, "42 42–42");
    }

    #[test]
    fn pairs_are_compared_within_their_round() {
        assert_eq!(ratios(&[50.0, 10.0], &[100.0, 20.0]), [0.5, 0.5]);
    }
}
