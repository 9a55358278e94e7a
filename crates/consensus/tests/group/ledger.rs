//! A machine that remembers every command in its order: whatever is lost, doubled or reordered shows.

use std::collections::BTreeMap;

use chordata_consensus::Machine;
use serde::{Deserialize, Serialize};

/// What is replicated here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Notes a number.
    Note(u64),
    /// Makes the state larger by so many bytes.
    Grow(u32),
    /// Carries so many bytes that change nothing.
    Ballast(Vec<u8>),
}

/// The numbers in the order in which they were noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) noted: Vec<u64>,
    pub(crate) bulk: Vec<u8>,
    pub(crate) last_index: u64,
}

impl Machine for Ledger {
    type Command = Command;
    type Answer = usize;

    fn apply(&mut self, index: u64, command: Command) -> usize {
        assert!(index >= self.last_index, "the index fell from {} to {index}", self.last_index);
        self.last_index = index;
        match command {
            Command::Note(number) => self.noted.push(number),
            Command::Grow(bytes) => self.bulk.extend((0..bytes).map(|byte| byte.to_le_bytes()[0])),
            Command::Ballast(_) => {}
        }
        self.noted.len()
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        *self = postcard::from_bytes(snapshot).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Ledger {
    pub(crate) fn counts(&self) -> BTreeMap<u64, u32> {
        let mut counts = BTreeMap::new();
        for number in &self.noted {
            *counts.entry(*number).or_default() += 1;
        }
        counts
    }
}
