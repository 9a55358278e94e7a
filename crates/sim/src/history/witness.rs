//! Who wrote which version of one key: what the answers say, put together.
//!
//! Value and version are one to one: a version belongs to one write, and a value, which only one operation may write,
//! is seen under one version. An unknown write whose value was seen took effect at the version under which it was
//! seen. A version may be known without its write (a failed compare-and-swap names a version and no value); then some
//! unknown write must have made it, and [`super::unknown`] finds out whether one can have.

use std::collections::BTreeMap;

use chordata_protocol::{Value, Version};

use super::failure::Wrong;
use super::operation::{Kind, Operation, Outcome, Role, shown};

/// What happened to the key at one version.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect<'a> {
    /// This operation stored its value.
    Write(&'a Operation),
    /// This operation removed the value.
    Delete(&'a Operation),
    /// Somebody stored a value: this operation depends on it.
    Somebody(&'a Operation),
}

/// The effects on one key, by version.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness<'a> {
    pub(super) effects: BTreeMap<Version, Effect<'a>>,
    /// Which operation writes a value.
    writers: BTreeMap<&'a Value, &'a Operation>,
    /// At which version an operation took effect, by its number.
    placed: BTreeMap<usize, Version>,
}

impl<'a> Witness<'a> {
    /// Puts together what these operations of one key say.
    ///
    /// # Errors
    /// When an answer contradicts itself, two operations write one value, two effects have one version, a value has
    /// two versions, or a value was never written or certainly not.
    pub(super) fn of(operations: &[&'a Operation]) -> Result<Witness<'a>, Wrong> {
        let mut witness = Witness::default();
        for operation in operations {
            operation.check().map_err(|sentence| Wrong::new(sentence, &[operation]))?;
            witness.add_writer(operation)?;
        }
        for operation in operations {
            match operation.role() {
                Some(Role::Writes(version)) => {
                    witness.place(version, Effect::Write(operation), operation)?;
                }
                Some(Role::Deletes(version)) => {
                    witness.place(version, Effect::Delete(operation), operation)?;
                }
                Some(Role::Sees(..) | Role::Misses(_)) | None => {}
            }
        }
        for operation in operations {
            if let Some(Role::Sees(version, Some(value))) = operation.role() {
                witness.see(version, value, Some(operation))?;
            }
        }
        for operation in operations {
            if let Some(Role::Sees(version, None)) = operation.role() {
                witness.depend(version, operation)?;
            }
            if witness.is_placed(operation)
                && let Kind::CompareAndSwap { expected: Some(version), .. } = operation.kind
            {
                witness.depend(version, operation)?;
            }
        }
        Ok(witness)
    }

    /// Did the operation take effect at a known version?
    pub(super) fn is_placed(&self, operation: &Operation) -> bool {
        self.placed.contains_key(&operation.number)
    }

    /// The unknown writes among these operations of whose effect nothing was seen.
    pub(super) fn unplaced(&self, operations: &[&'a Operation]) -> Vec<&'a Operation> {
        let unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown);
        let writes = unknown.filter(|operation| operation.kind != Kind::Get);
        writes.filter(|operation| !self.is_placed(operation)).copied().collect()
    }

    fn add_writer(&mut self, operation: &'a Operation) -> Result<(), Wrong> {
        let Some(value) = operation.value() else { return Ok(()) };
        match self.writers.insert(value, operation) {
            None => Ok(()),
            Some(other) => Err(Wrong::new(
                format!("{other} and {operation} write the same value: such a history cannot be checked"),
                &[other, operation],
            )),
        }
    }

    fn place(&mut self, version: Version, effect: Effect<'a>, by: &'a Operation) -> Result<(), Wrong> {
        if let Some(Effect::Write(other) | Effect::Delete(other)) = self.effects.insert(version, effect) {
            let sentence = format!("one version, two writes: {other} and {by} both took effect at {version}");
            return Err(Wrong::new(sentence, &[other, by]));
        }
        self.placed.insert(by.number, version);
        Ok(())
    }

    /// The value was seen under this version, by an operation (none: in the final state).
    ///
    /// # Errors
    /// As [`Witness::of`].
    pub(super) fn see(
        &mut self,
        version: Version,
        value: &Value,
        by: Option<&'a Operation>,
    ) -> Result<(), Wrong> {
        let (who, value_shown) = (who(by), shown(value));
        let wrong = |sentence: String, other: Option<&Operation>| {
            let about: Vec<&Operation> = by.into_iter().chain(other).collect();
            Err(Wrong::new(sentence, &about))
        };
        let Some(&writer) = self.writers.get(value) else {
            return wrong(format!("{who} holds the value {value_shown}, which nobody wrote"), None);
        };
        if writer.outcome == Outcome::NotDone
            || matches!(writer.role(), Some(Role::Sees(..) | Role::Misses(_)))
        {
            return wrong(format!("{who} holds the value of {writer}, which had no effect"), Some(writer));
        }
        match self.placed.get(&writer.number) {
            Some(placed) if *placed == version => return Ok(()),
            Some(placed) => {
                let sentence = format!(
                    "effect twice: the value of {writer} is known under {placed}, and {who} holds it under {version}"
                );
                return wrong(sentence, Some(writer));
            }
            None => {}
        }
        match self.effects.get(&version) {
            Some(Effect::Write(other) | Effect::Delete(other)) => {
                let sentence =
                    format!("one version, two writes: {who} holds {version}, which is that of {other}");
                wrong(sentence, Some(other))
            }
            Some(Effect::Somebody(_)) | None => {
                self.effects.insert(version, Effect::Write(writer));
                self.placed.insert(writer.number, version);
                Ok(())
            }
        }
    }

    /// The operation depends on a value of this version having been there.
    fn depend(&mut self, version: Version, by: &'a Operation) -> Result<(), Wrong> {
        match self.effects.entry(version).or_insert(Effect::Somebody(by)) {
            Effect::Write(_) | Effect::Somebody(_) => Ok(()),
            Effect::Delete(other) => {
                let sentence = format!(
                    "{by} takes {version} for a value, but {other} removed the value at that version"
                );
                Err(Wrong::new(sentence, &[by, other]))
            }
        }
    }
}

/// How a sentence names who holds a value.
fn who(by: Option<&Operation>) -> String {
    by.map_or_else(|| "the final state".to_owned(), ToString::to_string)
}
