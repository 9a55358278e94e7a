//! The finger table: entry i is the first node at or behind `me + 2^i` (Stoica et al., table 1).
//!
//! One entry per bit, stored without repeats: in a ring of n nodes only about log2 n entries differ, so a table is
//! a few runs of equal entries.

use crate::id::Id;
use crate::peer::Peer;

/// Entries `from..=to`, which all point to one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// First entry.
    pub from: u8,
    /// Last entry.
    pub to: u8,
    /// Where they point.
    pub peer: Peer,
}

/// A node's fingers. Entries that were never looked up are missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FingerTable {
    runs: Vec<Run>,
}

impl FingerTable {
    /// Without repeats, the lowest entry first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Where entry `number` points.
    pub fn get(&self, number: u8) -> Option<&Peer> {
        self.runs.iter().find(|run| (run.from..=run.to).contains(&number)).map(|run| &run.peer)
    }

    /// Points entries `from..=to` to a node; how many of them pointed elsewhere before.
    pub fn set(&mut self, from: u8, to: u8, peer: &Peer) -> u32 {
        assert!(from <= to, "a run of fingers goes up");
        let same = |run: &Run| run.peer == *peer;
        let kept: u32 = self.runs.iter().filter(|run| same(run)).map(|run| overlap(run, from, to)).sum();
        let mut runs = Vec::with_capacity(self.runs.len() + 2);
        for run in std::mem::take(&mut self.runs) {
            if run.from < from {
                runs.push(Run { to: run.to.min(from - 1), ..run.clone() });
            }
            if run.to > to {
                runs.push(Run { from: run.from.max(to + 1), ..run });
            }
        }
        runs.push(Run { from, to, peer: peer.clone() });
        runs.sort_by_key(|run| run.from);
        for run in runs {
            match self.runs.last_mut() {
                Some(last) if last.peer == run.peer && last.to + 1 == run.from => last.to = run.to,
                Some(_) | None => self.runs.push(run),
            }
        }
        u32::from(to - from) + 1 - kept
    }

    /// Points every entry of a dead node to another.
    pub fn replace(&mut self, dead: &Peer, substitute: &Peer) {
        let hit: Vec<(u8, u8)> =
            self.runs.iter().filter(|run| run.peer == *dead).map(|run| (run.from, run.to)).collect();
        for (from, to) in hit {
            self.set(from, to, substitute);
        }
    }

    /// Does an entry point to this id?
    pub fn points_to(&self, id: Id) -> bool {
        self.runs.iter().any(|run| run.peer.id == id)
    }
}

fn overlap(run: &Run, from: u8, to: u8) -> u32 {
    let (low, high) = (run.from.max(from), run.to.min(to));
    if low > high { 0 } else { u32::from(high - low) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Address;

    fn peer(number: u128) -> Peer {
        Peer::new(Id::from_u128(number), Address::new("x:1"))
    }

    #[test]
    fn runs_behave_like_one_entry_per_bit() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut table = FingerTable::default();
        let mut entries: Vec<Option<Peer>> = vec![None; 160];
        for _ in 0..2000 {
            let from = random.u8(0..160);
            let to = random.u8(from..160);
            let node = peer(random.u128(0..6));
            let mut changed = 0;
            for entry in &mut entries[usize::from(from)..=usize::from(to)] {
                changed += u32::from(entry.as_ref() != Some(&node));
                *entry = Some(node.clone());
            }
            assert_eq!(table.set(from, to, &node), changed);
            let again: Vec<Option<Peer>> = (0..160).map(|number| table.get(number).cloned()).collect();
            assert_eq!(again, entries);
            assert!(
                table
                    .runs()
                    .windows(2)
                    .all(|pair| pair[0].peer != pair[1].peer || pair[0].to + 1 < pair[1].from),
                "no repeats"
            );
        }
    }
}
