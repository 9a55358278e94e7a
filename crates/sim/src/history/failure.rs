//! What a checker says when a history is wrong: a sentence, the operations that contradict each other, the key's
//! history.

use std::fmt;

use chordata_protocol::Key;

use super::operation::Operation;
use super::record::lines;

/// A history that no correct store can have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Which checker found it.
    pub checker: &'static str,
    /// On which key.
    pub key: Key,
    /// What is wrong.
    pub sentence: String,
    /// The numbers of the operations that contradict each other.
    pub operations: Vec<usize>,
    /// The key's history, those operations marked.
    pub history: String,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: key {}: {}\n{}", self.checker, self.key, self.sentence, self.history)
    }
}

/// A sentence with the operations that it is about, before it is known which checker says it.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) sentence: String,
    pub(super) operations: Vec<usize>,
}

impl Wrong {
    pub(super) fn new(sentence: impl Into<String>, operations: &[&Operation]) -> Wrong {
        let mut numbers = Vec::new();
        for operation in operations {
            if !numbers.contains(&operation.number) {
                numbers.push(operation.number);
            }
        }
        Wrong { sentence: sentence.into(), operations: numbers }
    }

    /// The whole failure, of this checker and about this key, whose operations are these.
    pub(super) fn of(self, checker: &'static str, key: &Key, all: &[&Operation]) -> Failure {
        let history = lines(all, &self.operations);
        Failure { checker, key: key.clone(), sentence: self.sentence, operations: self.operations, history }
    }
}
