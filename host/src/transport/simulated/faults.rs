//! What goes wrong, where, and how often: drawn from the seed, or as a test's script says.

use fastrand::Rng;
use std::time::Duration;

/// The places in a link's calls where something may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Take,
    Rebalance,
    Hold,
    Release,
    Begin,
    Send,
    /// In a commit, before what was sent is acknowledged.
    Flush,
    /// In a commit, before the progress is written.
    Offsets,
    /// In a commit, before its request goes out.
    End,
    /// In a commit, before its answer comes.
    Answer,
    /// In a recovery, before the old writer aborts.
    Settle,
    /// In a recovery, before the new writer is let in.
    Init,
    /// Before the group's offsets are read.
    Starts,
}

/// How many moments there are.
const MOMENTS: usize = Moment::Starts as usize + 1;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    /// kill -9.
    Kill,
    /// kill -9 for every worker of this host.
    KillHost,
    /// The process stands still, and the world goes on without it.
    Stall(Duration),
    /// The call takes its time: the other workers go on meanwhile.
    Meanwhile,
    /// The call's own fault.
    Fail,
    /// The request arrives when its sender has given it up.
    Late,
}

/// How often what happens, in ten thousand moments.
#[derive(Clone, Debug, Default)]
pub(super) struct Odds {
    kill: u32,
    kill_host: u32,
    stall: u32,
    meanwhile: u32,
    fail: [u32; MOMENTS],
    late: u32,
}

impl Odds {
    /// A schedule's own mixture: most kinds are rare in it, some are absent, one or the other is frequent.
    pub(super) fn draw(rng: &mut Rng) -> Odds {
        let mut often = |usual: u32| match rng.u32(0..10) {
            0..4 => 0,
            4..9 => usual,
            _ => usual * 5,
        };
        let mut odds = Odds {
            kill: often(50),
            kill_host: often(20),
            stall: often(50),
            meanwhile: often(1500),
            fail: [0; MOMENTS],
            late: often(300),
        };
        for fail in &mut odds.fail {
            *fail = often(100);
        }
        // Once a transaction, where other moments come once a record: and the most delicate ones.
        for moment in [Moment::Offsets, Moment::End, Moment::Answer] {
            odds.fail[moment as usize] *= 4;
        }
        odds
    }

    /// What happens at a moment, if anything does.
    pub(super) fn strike(&self, moment: Moment, rng: &mut Rng) -> Option<Strike> {
        let late = match moment {
            Moment::End => self.late,
            _ => 0,
        };
        let strikes = [
            (self.kill, Strike::Kill),
            (self.kill_host, Strike::KillHost),
            (self.stall, Strike::Stall(Duration::ZERO)),
            (self.meanwhile, Strike::Meanwhile),
            (self.fail[moment as usize], Strike::Fail),
            (late, Strike::Late),
        ];
        let mut dice = rng.u32(0..10_000);
        for (odds, strike) in strikes {
            if dice < odds {
                return Some(match strike {
                    // Within the session, past it, past the transaction's time, or past everything.
                    Strike::Stall(_) => {
                        let most = [500, 7_000, 12_000, 40_000][rng.usize(0..4)];
                        Strike::Stall(Duration::from_millis(rng.u64(1..=most)))
                    }
                    other => other,
                });
            }
            dice -= odds;
        }
        None
    }
}

/// Something that a simulation is worth nothing without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Committed,
    Aborted,
    CommittedLate,
    TransactionExpired,
    Killed,
    HostKilled,
    Stalled,
    Meanwhile,
    Doubled,
    Fenced,
    Replaced,
    SessionLost,
    JoinTimeout,
    Generation,
    Grown,
    OldGeneration,
    UnknownLost,
    UnknownCommitted,
    UnknownLate,
    SendFailed,
    FlushFailed,
    TooLarge,
    ToldLate,
    /// A record was put off for ever, and what is behind it.
    WaitsForEver,
    /// A module looked on, and was compared as it should be.
    LookedOn,
    OffsetsRefused,
    RecordRefused,
    BeginFailed,
    TakeFailed,
    RebalanceFailed,
    HoldFailed,
    ReleaseFailed,
    AbortLost,
    InitFailed,
    StartsFailed,
    Unstable,
    BrokerAway,
    Held,
    Released,
    EndPassed,
    AskedToEnd,
    /// Another module was offered.
    Swapped,
    LetterWritten,
}

impl Event {
    /// Every kind.
    pub(super) const ALL: [Event; 43] = [
        Event::Committed,
        Event::Aborted,
        Event::CommittedLate,
        Event::TransactionExpired,
        Event::Killed,
        Event::HostKilled,
        Event::Stalled,
        Event::Meanwhile,
        Event::Doubled,
        Event::Fenced,
        Event::Replaced,
        Event::SessionLost,
        Event::JoinTimeout,
        Event::Generation,
        Event::Grown,
        Event::OldGeneration,
        Event::UnknownLost,
        Event::UnknownCommitted,
        Event::UnknownLate,
        Event::SendFailed,
        Event::FlushFailed,
        Event::TooLarge,
        Event::ToldLate,
        Event::WaitsForEver,
        Event::LookedOn,
        Event::OffsetsRefused,
        Event::RecordRefused,
        Event::BeginFailed,
        Event::TakeFailed,
        Event::RebalanceFailed,
        Event::HoldFailed,
        Event::ReleaseFailed,
        Event::AbortLost,
        Event::InitFailed,
        Event::StartsFailed,
        Event::Unstable,
        Event::BrokerAway,
        Event::Held,
        Event::Released,
        Event::EndPassed,
        Event::AskedToEnd,
        Event::Swapped,
        Event::LetterWritten,
    ];
}

/// How often what happened.
#[derive(Clone, Debug)]
pub(crate) struct Counts([u64; Event::ALL.len()]);

impl Default for Counts {
    fn default() -> Counts {
        Counts([0; Event::ALL.len()])
    }
}

impl Counts {
    pub(super) fn add(&mut self, event: Event) {
        self.0[event as usize] += 1;
    }

    /// How often it happened.
    pub(super) fn get(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// Adds another schedule's.
    pub(super) fn merge(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    /// Each kind with its count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Event, u64)> {
        Event::ALL.into_iter().zip(self.0)
    }
}
