//! Both arms' figures, and how one stands to the other.

use super::{
    lab::{Arm, Delivery},
    run::Run,
};
use std::fmt;

/// A column: its head, and what it shows of a run.
pub(super) type Column = (&'static str, fn(&Run) -> f64, fn(&Spread) -> String);

pub(super) const RATE: Column = ("records/s", |run| run.records_per_s, Spread::whole);
pub(super) const CPU: Column = ("CPU s/million", |run| run.cpu_s_per_million, Spread::fine);
pub(super) const PEAK: Column = ("peak MiB", |run| run.peak_mib, Spread::fine);
pub(super) const TOGETHER: Column = ("a transaction", |run| run.records_per_commit, Spread::whole);
pub(super) const FIRST: Column = ("first ms", |run| run.first_ms, Spread::whole);

/// The line above a table.
pub(super) fn head(title: &str, columns: &[Column]) -> String {
    columns.iter().fold(format!("{title:14}"), |line, (head, ..)| line + &format!("{head:>18}"))
}

/// A line for each of two arms, and one for what the first is by the second.
pub(super) fn pair(columns: &[Column], [one, other]: [(&str, &[Run]); 2]) -> String {
    let line = |name: &str, cell: &dyn Fn(&Column) -> String| {
        columns.iter().fold(format!("\n  {name:12}"), |line, column| line + &format!("{:>18}", cell(column)))
    };
    let of = |runs: &[Run], figure: fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<_>>();
    let arm = |(name, runs): (&str, &[Run])| line(name, &|(_, figure, shown)| shown(&Spread::of(&of(runs, *figure))));
    let by = |(_, figure, _): &Column| Spread::of(&ratios(&of(one.1, *figure), &of(other.1, *figure))).fine();
    arm(one) + &arm(other) + &line(&format!("{}/{}", one.0, other.0), &by)
}

/// All runs of one shape, in the order that they were made in.
#[derive(Default)]
pub(super) struct Figures(Vec<(Delivery, Arm, Run)>);

impl Figures {
    pub(super) fn add(&mut self, delivery: Delivery, arm: Arm, run: Run) {
        self.0.push((delivery, arm, run));
    }

    fn of(&self, delivery: Delivery, arm: Arm) -> Vec<Run> {
        self.0.iter().filter(|(d, a, _)| (*d, *a) == (delivery, arm)).map(|(_, _, run)| *run).collect()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [RATE, CPU, PEAK, FIRST];
        write!(f, "{}", head("", &columns))?;
        for delivery in Delivery::ALL {
            let [host, native] = Arm::ALL.map(|arm| self.of(delivery, arm));
            write!(f, "\n{delivery}{}", pair(&columns, [("host", &host), ("native", &native)]))?;
        }
        write!(f, "\nexactly-once / at-least-once:")?;
        for arm in Arm::ALL {
            let of = |delivery| self.of(delivery, arm).iter().map(|run| run.records_per_s).collect::<Vec<_>>();
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
    fn two_arms_stand_above_what_one_is_by_the_other() {
        let run = |records_per_s, first_ms| Run {
            records_per_s,
            cpu_s_per_million: 0.0,
            peak_mib: 0.0,
            first_ms,
            records_per_commit: 0.0,
        };
        let columns = [RATE, FIRST];
        let shown = pair(&columns, [("host", &[run(50.0, 3.0)]), ("plain", &[run(100.0, 2.0)])]);
        let due = "
pass                   records/s          first ms
  host                  50 50–50             3 3–3
  plain              100 100–100             2 2–2
  host/plain      0.50 0.50–0.50    1.50 1.50–1.50";
        assert_eq!(format!("\n{}{shown}", head("pass", &columns)), due);
    }

    #[test]
    fn pairs_are_compared_within_their_round() {
        assert_eq!(ratios(&[50.0, 10.0], &[100.0, 20.0]), [0.5, 0.5]);
    }
}
