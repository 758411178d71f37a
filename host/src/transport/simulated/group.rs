//! The group coordinator: who is a member, in which generation, with which partitions, and how far the group is.

use crate::transport::{NextOffset, Partition};
use fastrand::Rng;
use std::{collections::BTreeMap, time::Duration};

/// What the coordinator has to say to a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    Nothing,
    /// Another process has the member's name.
    Replaced,
    /// It is not a member any more.
    Lost,
    /// Everybody is to give up their partitions and join again.
    Revoke,
    /// These are yours, in this generation.
    Assign(Vec<Partition>, u32),
}

#[derive(Debug)]
struct Member {
    id: u64,
    process: usize,
    joined: bool,
    assigned: Vec<Partition>,
}

/// A group of static members, with eager rebalances.
#[derive(Debug, Default)]
pub(super) struct Group {
    generation: u32,
    members: BTreeMap<String, Member>,
    /// Since when it waits for its members to join.
    preparing: Option<Duration>,
    ids: u64,
    pub(super) committed: BTreeMap<Partition, NextOffset>,
}

impl Group {
    /// A process joins under a name, and gets its id. One that comes back gets its partitions back, without a
    /// rebalance.
    pub(super) fn join(&mut self, name: &str, process: usize, now: Duration) -> u64 {
        self.ids += 1;
        let id = self.ids;
        match self.members.get_mut(name) {
            Some(member) => {
                member.id = id;
                member.process = process;
                member.joined = true;
            }
            None => {
                self.rebalance(now);
                let member = Member { id, process, joined: true, assigned: Vec::new() };
                self.members.insert(name.to_owned(), member);
            }
        }
        id
    }

    /// A member has given up its partitions, and waits for new ones.
    pub(super) fn join_again(&mut self, name: &str) {
        if let Some(member) = self.members.get_mut(name) {
            member.joined = true;
        }
    }

    /// Asks everybody to join again.
    pub(super) fn rebalance(&mut self, now: Duration) {
        if self.preparing.is_none() {
            self.preparing = Some(now);
            for member in self.members.values_mut() {
                member.joined = false;
            }
        }
    }

    /// When everybody has joined, a generation begins; true when it did.
    pub(super) fn complete(&mut self, mut partitions: Vec<Partition>, rng: &mut Rng) -> bool {
        if self.preparing.is_none() || !self.members.values().all(|member| member.joined) {
            return false;
        }
        self.preparing = None;
        self.generation += 1;
        rng.shuffle(&mut partitions);
        let count = self.members.len().max(1);
        for (place, member) in self.members.values_mut().enumerate() {
            member.assigned = partitions.iter().skip(place).step_by(count).copied().collect();
        }
        true
    }

    /// What a member of this id and generation would hear.
    pub(super) fn word(&self, name: &str, id: u64, generation: Option<u32>) -> Word {
        match self.members.get(name) {
            None => Word::Lost,
            Some(member) if member.id != id => Word::Replaced,
            Some(member) if self.preparing.is_some() => match member.joined {
                true => Word::Nothing,
                false => Word::Revoke,
            },
            Some(_) if generation == Some(self.generation) => Word::Nothing,
            Some(member) => Word::Assign(member.assigned.clone(), self.generation),
        }
    }

    /// Whether progress is taken from a member of this id and generation.
    pub(super) fn accepts(&self, name: &str, id: u64, generation: Option<u32>) -> Result<(), Word> {
        match self.members.get(name) {
            None => Err(Word::Lost),
            Some(member) if member.id != id => Err(Word::Replaced),
            Some(_) if generation != Some(self.generation) => Err(Word::Revoke),
            Some(_) => Ok(()),
        }
    }

    /// Removes members whose process has been silent for too long; true when one was.
    pub(super) fn expire(&mut self, now: Duration, gone: impl Fn(usize) -> bool) -> bool {
        let before = self.members.len();
        self.members.retain(|_, member| !gone(member.process));
        let lost = self.members.len() < before;
        if lost {
            self.rebalance(now);
        }
        lost
    }

    /// Removes members that do not join in the time given; true when one was.
    pub(super) fn hurry(&mut self, now: Duration, patience: Duration) -> bool {
        let before = self.members.len();
        if self.preparing.is_some_and(|since| now - since > patience) {
            self.members.retain(|_, member| member.joined);
        }
        self.members.len() < before
    }
}
