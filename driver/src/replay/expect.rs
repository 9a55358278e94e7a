//! What a get must answer: an oracle in which a write with unknown outcome may or may not have happened.

use std::collections::HashMap;

use chordata_protocol::{Key, Value};

use crate::input::InputOperation;
use crate::replay::Verdict;

/// What may be read of each key that was written.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    possible: HashMap<Key, Vec<Option<Value>>>,
}

impl Oracle {
    /// A write was acknowledged.
    pub(crate) fn done(&mut self, operation: &InputOperation) {
        if let Some((key, value)) = written(operation) {
            self.possible.insert(key, vec![value]);
        }
    }

    /// It is not known whether a write was done.
    pub(crate) fn unknown(&mut self, operation: &InputOperation) {
        if let Some((key, value)) = written(operation) {
            // Of a key that was never written, what was there before is possible as well, and not known.
            if let Some(possible) = self.possible.get_mut(&key) {
                possible.push(value);
            }
        }
    }

    /// Is this the right answer?
    pub(crate) fn judge(&mut self, key: &Key, found: Option<Value>) -> Verdict {
        match self.possible.get_mut(key) {
            None => Verdict::Unjudged { found },
            Some(possible) if possible.contains(&found) => {
                // From now on it is known which of them it was.
                *possible = vec![found.clone()];
                Verdict::Right { found }
            }
            Some(possible) => Verdict::Wrong { expected: possible.clone(), found },
        }
    }
}

fn written(operation: &InputOperation) -> Option<(Key, Option<Value>)> {
    match operation {
        InputOperation::Put { key, value } => Some((key.clone(), Some(value.clone()))),
        InputOperation::Delete { key } => Some((key.clone(), None)),
        InputOperation::Get { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &str) -> InputOperation {
        InputOperation::Put { key: Key::new("k"), value: value.into() }
    }

    #[test]
    fn acknowledged_writes_bind_unknown_ones_do_not() {
        let (key, mut oracle) = (Key::new("k"), Oracle::default());
        assert!(matches!(oracle.judge(&key, None), Verdict::Unjudged { .. }));
        oracle.done(&put("1"));
        assert!(matches!(oracle.judge(&key, Some("1".into())), Verdict::Right { .. }));
        assert!(matches!(oracle.judge(&key, None), Verdict::Wrong { .. }));
        oracle.unknown(&put("2"));
        assert!(matches!(oracle.judge(&key, Some("2".into())), Verdict::Right { .. }));
        assert!(
            matches!(oracle.judge(&key, Some("1".into())), Verdict::Wrong { .. }),
            "2 was seen: it happened"
        );
        oracle.done(&InputOperation::Delete { key: key.clone() });
        assert!(matches!(oracle.judge(&key, None), Verdict::Right { .. }));
    }
}
