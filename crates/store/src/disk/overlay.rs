//! Changes that are not yet on disk, as they will lie there.

use super::record::DiskRow;
use crate::engine::Ticket;
use crate::layers::Layer;

/// Memory that a change takes beside its bytes, roughly.
const OVERHEAD_BYTES: usize = 64;

/// Changes up to some ticket; of each key and note the last.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) rows: Layer<DiskRow>,
    pub(crate) notes: Layer<Box<[u8]>>,
    /// Moments and places of rows that end by themselves.
    pub(crate) endings: Layer<()>,
    pub(crate) bytes: usize,
    pub(crate) upto: Ticket,
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.notes.is_empty() && self.endings.is_empty()
    }

    pub(crate) fn set_row(&mut self, place: Vec<u8>, row: Option<DiskRow>) {
        let size = |row: &Option<DiskRow>| row.as_ref().map_or(0, |row| row.0.len());
        let (place_bytes, row_bytes) = (place.len(), size(&row));
        let old = self.rows.insert(place.into_boxed_slice(), row);
        self.resize(place_bytes, row_bytes, old.as_ref().map(size));
    }

    pub(crate) fn set_note(&mut self, name: Vec<u8>, note: Option<Box<[u8]>>) {
        let size = |note: &Option<Box<[u8]>>| note.as_ref().map_or(0, |note| note.len());
        let (name_bytes, note_bytes) = (name.len(), size(&note));
        let old = self.notes.insert(name.into_boxed_slice(), note);
        self.resize(name_bytes, note_bytes, old.as_ref().map(size));
    }

    /// A row ends at a moment, or does not any more.
    pub(crate) fn set_ending(&mut self, ending: Vec<u8>, ends: bool) {
        let bytes = ending.len();
        let old = self.endings.insert(ending.into_boxed_slice(), ends.then_some(()));
        self.resize(bytes, 0, old.map(|_| 0));
    }

    fn resize(&mut self, name: usize, new: usize, old: Option<usize>) {
        self.bytes += new;
        match old {
            Some(old) => self.bytes -= old,
            None => self.bytes += name + OVERHEAD_BYTES,
        }
    }
}
