//! The history itself: operations in the order in which they were recorded, and how a person reads them.
//!
//! There is no clock and no lock in it. Whoever records gives the time, and several threads share a history behind a
//! lock of their own. An operation must be recorded before its request goes out, and its answer be timed after it
//! came in: an interval that is too long hides a failure, one that is too short invents one.

use std::collections::BTreeMap;
use std::fmt;

use chordata_protocol::Key;

use super::operation::{Kind, Operation, Outcome};

/// Everything that clients did and learned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History::default()
    }

    /// An operation begins, at this time in microseconds. Until it is closed its outcome is unknown.
    /// Gives the number to close it with.
    pub fn invoke(&mut self, client: u64, key: Key, kind: Kind, at: u64) -> usize {
        let number = self.operations.len();
        let outcome = Outcome::Unknown;
        self.operations.push(Operation { number, client, key, kind, invoked: at, returned: None, outcome });
        number
    }

    /// An operation ended, or its client gave up, at this time in microseconds.
    ///
    /// # Panics
    /// When there is no such operation, or it was closed before: that is a bug of the recorder.
    pub fn close(&mut self, number: usize, at: u64, outcome: Outcome) {
        let operation = &mut self.operations[number];
        assert!(operation.returned.is_none(), "operation #{number} is closed once");
        operation.returned = Some(at);
        operation.outcome = outcome;
    }

    /// Takes in what somebody else recorded by the same clock; its operations get new numbers.
    pub fn append(&mut self, other: History) {
        for mut operation in other.operations {
            operation.number = self.operations.len();
            self.operations.push(operation);
        }
    }

    /// All operations, each at its number.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations of each key, by time of invocation.
    pub fn by_key(&self) -> BTreeMap<&Key, Vec<&Operation>> {
        let mut keys: BTreeMap<&Key, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        for operations in keys.values_mut() {
            operations.sort_by_key(|operation| (operation.invoked, operation.number));
        }
        keys
    }

    /// The lines of one key, by time; those of the `marked` numbers stand out.
    pub fn lines(&self, key: &Key, marked: &[usize]) -> String {
        let mut of_key: Vec<&Operation> =
            self.operations.iter().filter(|operation| operation.key == *key).collect();
        of_key.sort_by_key(|operation| (operation.invoked, operation.number));
        lines(&of_key, marked)
    }
}

/// The lines of some operations. Of many, only those around the marked ones.
pub(super) fn lines(operations: &[&Operation], marked: &[usize]) -> String {
    const WHOLE_MAX: usize = 100;
    const AROUND: usize = 10;
    let is_marked = |operation: &&Operation| marked.contains(&operation.number);
    let near = |at: usize| {
        let window = at.saturating_sub(AROUND)..(at + AROUND + 1).min(operations.len());
        operations[window].iter().any(is_marked)
    };
    let whole = operations.len() <= WHOLE_MAX;
    let mut text = String::new();
    let mut left_out = 0;
    let note = |left_out: &mut usize| match std::mem::take(left_out) {
        0 => String::new(),
        count => format!("    ... {count} operations more\n"),
    };
    for (at, operation) in operations.iter().enumerate() {
        if !whole && !near(at) {
            left_out += 1;
            continue;
        }
        text += &note(&mut left_out);
        let mark = if is_marked(operation) { '>' } else { ' ' };
        let returned = operation.returned.map_or_else(|| "never".to_owned(), |at| at.to_string());
        let Operation { number, client, invoked, kind, outcome, .. } = operation;
        text += &format!(
            "{mark} #{number:<5} {invoked:>10} .. {returned:>10} us  client {client}: {kind} -> {outcome}\n"
        );
    }
    text + &note(&mut left_out)
}

/// All keys, each with its lines.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, operations) in self.by_key() {
            writeln!(f, "key {key}:")?;
            f.write_str(&lines(&operations, &[]))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chordata_protocol::{Value, Version};

    use super::*;
    use crate::history::Answer;

    #[test]
    fn a_history_is_read_by_key_and_time() {
        let mut history = History::new();
        let late = history.invoke(2, Key::new("a"), Kind::Get, 50);
        let early = history.invoke(1, Key::new("a"), Kind::Put(Value::from("x")), 10);
        history.invoke(1, Key::new("b"), Kind::Delete, 20);
        history.close(early, 40, Outcome::Done(Answer::Written(Version { epoch: 1, sequence: 4 })));
        history.close(late, 60, Outcome::NotDone);
        assert_eq!(
            history.to_string(),
            "key a:\n  #1             10 ..         40 us  client 1: put \"x\" -> written 1.4\n  \
             #0             50 ..         60 us  client 2: get -> not done\n\
             key b:\n  #2             20 ..      never us  client 1: delete -> unknown\n"
        );
    }

    #[test]
    fn of_a_long_history_the_lines_around_the_marked_ones_are_shown() {
        let mut history = History::new();
        for at in 0..1000 {
            history.invoke(0, Key::new("a"), Kind::Get, at);
        }
        let lines = history.lines(&Key::new("a"), &[500]);
        assert_eq!(lines.lines().count(), 23);
        assert!(lines.starts_with("    ... 490 operations more\n"), "{lines}");
        assert!(lines.contains("\n> #500"), "{lines}");
    }

    #[test]
    fn appended_operations_get_numbers_of_their_own() {
        let mut history = History::new();
        history.invoke(0, Key::new("a"), Kind::Get, 0);
        history.append(history.clone());
        assert_eq!(history.operations().iter().map(|operation| operation.number).collect::<Vec<_>>(), [0, 1]);
    }
}
