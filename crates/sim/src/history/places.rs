//! The operations of one key in the order of their versions: effect, those who saw it, next effect, those who saw that.
//!
//! A *place* is an effect with everything that saw the key as that effect left it. An answer "absent as of v" belongs
//! behind the last effect up to v. Where the answers cannot all be true unless something happened that nobody reported,
//! a [`Need`] stands in the order: an unknown operation must have done it ([`super::unknown`] looks for one).
//! The first place has no effect: the key is absent before its first write.

use std::collections::BTreeMap;

use chordata_protocol::Version;

use super::failure::Wrong;
use super::operation::{Kind, Operation, Role};
use super::witness::{Effect, Witness};

/// An effect, and who saw what it left.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) start: Start<'a>,
    pub(super) readers: Vec<&'a Operation>,
}

/// How a place begins.
#[derive(Clone, Debug)]
pub(super) enum Start<'a> {
    /// Nothing was ever written.
    Nothing,
    /// The effect of this operation.
    Known(&'a Operation),
    /// Some unknown operation did this.
    Needed(Need<'a>),
}

/// Something that must have happened, by an unknown operation.
#[derive(Clone, Debug)]
pub(super) struct Need<'a> {
    /// Was the value removed (or was one stored)?
    pub(super) removal: bool,
    /// It has a version above this one.
    pub(super) above: Option<Version>,
    /// It has at most this version; it has exactly this one if it stored a value that somebody knows of.
    pub(super) up_to: Version,
    /// The version that it found (none: the key was absent).
    pub(super) found: Option<Version>,
    /// What cannot be true without it.
    pub(super) because: &'a Operation,
    /// Who wrote the value that it found, where that is known.
    pub(super) before: Option<&'a Operation>,
}

/// The key, while the order is walked.
struct Walk<'a> {
    places: Vec<Place<'a>>,
    /// The version that is there.
    present: Option<Version>,
    /// Nothing happened between the last effect and this version.
    quiet_until: Option<Version>,
    /// Who wrote what is there.
    writer: Option<&'a Operation>,
}

/// Puts the operations in order.
///
/// # Errors
/// When a compare-and-swap did not find what it expected, or an absence or presence is impossible at its version.
pub(super) fn places<'a>(
    witness: &Witness<'a>,
    operations: &[&'a Operation],
) -> Result<Vec<Place<'a>>, Wrong> {
    let mut seen: BTreeMap<Version, (Vec<&'a Operation>, Vec<&'a Operation>)> = BTreeMap::new();
    for operation in operations {
        match operation.role() {
            Some(Role::Sees(version, _)) => seen.entry(version).or_default().0.push(operation),
            Some(Role::Misses(version)) => seen.entry(version).or_default().1.push(operation),
            Some(Role::Writes(_) | Role::Deletes(_)) | None => {}
        }
    }
    for version in witness.effects.keys() {
        seen.entry(*version).or_default();
    }
    let first = Place { start: Start::Nothing, readers: Vec::new() };
    let mut walk = Walk { places: vec![first], present: None, quiet_until: None, writer: None };
    for (version, (found, missed)) in seen {
        match witness.effects.get(&version) {
            Some(Effect::Write(operation)) => walk.write(version, operation)?,
            Some(Effect::Delete(operation)) => walk.delete(version, operation)?,
            Some(Effect::Somebody(because)) => walk.somebody(version, because),
            None => {}
        }
        walk.last().readers.extend(found);
        for operation in missed {
            walk.miss(version, operation)?;
        }
    }
    Ok(walk.places)
}

impl<'a> Walk<'a> {
    /// The place that the walk has come to.
    fn last(&mut self) -> &mut Place<'a> {
        self.places.last_mut().expect("the first place is there from the beginning")
    }

    fn begin(&mut self, start: Start<'a>, version: Version, present: bool, writer: Option<&'a Operation>) {
        self.places.push(Place { start, readers: Vec::new() });
        self.present = present.then_some(version);
        self.quiet_until = Some(version);
        self.writer = writer;
    }

    fn write(&mut self, version: Version, operation: &'a Operation) -> Result<(), Wrong> {
        if let Kind::CompareAndSwap { expected, .. } = operation.kind {
            self.expect(expected, version, operation)?;
        }
        self.begin(Start::Known(operation), version, true, Some(operation));
        Ok(())
    }

    fn delete(&mut self, version: Version, operation: &'a Operation) -> Result<(), Wrong> {
        if let Kind::CompareAndSwap { expected, .. } = operation.kind {
            self.expect(expected, version, operation)?;
        } else if self.present.is_none() {
            if !has_room(self.quiet_until, version) {
                let sentence =
                    format!("{operation} removed something, but the key was absent immediately before");
                return Err(Wrong::new(sentence, &[operation]));
            }
            let need = Need { up_to: before(version), ..self.need(false, version, operation) };
            self.begin(Start::Needed(need), version, true, None);
        }
        self.begin(Start::Known(operation), version, false, None);
        Ok(())
    }

    fn somebody(&mut self, version: Version, because: &'a Operation) {
        let need = self.need(false, version, because);
        self.begin(Start::Needed(need), version, true, None);
    }

    /// The operation, which took effect at this version, expected to find that.
    fn expect(
        &mut self,
        expected: Option<Version>,
        version: Version,
        operation: &'a Operation,
    ) -> Result<(), Wrong> {
        if expected == self.present && expected.is_some() {
            return Ok(());
        }
        match (expected, self.present) {
            (None, None) => Ok(()),
            (None, Some(present)) if has_room(Some(present), version) => {
                let need = Need { up_to: before(version), ..self.need(true, version, operation) };
                self.begin(Start::Needed(need), before(version), false, None);
                Ok(())
            }
            (_, Some(present)) => {
                let other: Vec<&Operation> = self.writer.into_iter().collect();
                let by = other.first().map_or_else(String::new, |writer| format!(", written by {writer}"));
                let sentence = format!(
                    "{operation} took effect at {version}, but what was there then was {present}{by}"
                );
                Err(Wrong::new(sentence, &[&[operation], &other[..]].concat()))
            }
            (Some(_), None) => Err(Wrong::new(
                format!("{operation} took effect at {version}, but the key was absent then"),
                &[operation],
            )),
        }
    }

    /// The operation found nothing, as of this version.
    fn miss(&mut self, version: Version, operation: &'a Operation) -> Result<(), Wrong> {
        if let Some(present) = self.present {
            if present == version {
                let writer: Vec<&Operation> = self.writer.into_iter().collect();
                let sentence = format!("{operation}, but what was written at {version} was a value");
                return Err(Wrong::new(sentence, &[&[operation], &writer[..]].concat()));
            }
            let need = self.need(true, version, operation);
            self.begin(Start::Needed(need), version, false, None);
        }
        self.quiet_until = Some(version);
        self.last().readers.push(operation);
        Ok(())
    }

    fn need(&self, removal: bool, up_to: Version, because: &'a Operation) -> Need<'a> {
        let (above, found, before) = (self.quiet_until, self.present, self.writer);
        Need { removal, above, up_to, found, because, before }
    }
}

/// Is there a version between these two?
fn has_room(above: Option<Version>, below: Version) -> bool {
    let Some(above) = above else { return below > Version::default() };
    above < below && above < before(below)
}

/// The version immediately below; of the first of an epoch the last of the epoch before.
fn before(version: Version) -> Version {
    match version.sequence.checked_sub(1) {
        Some(sequence) => Version { sequence, ..version },
        None => Version { epoch: version.epoch.saturating_sub(1), sequence: u64::MAX },
    }
}
