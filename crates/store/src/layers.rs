//! Ordered maps laid over each other: what is in an upper one hides what is below.
//!
//! The disk engine lays what is not yet written over its database, and both engines lay what was overwritten since a
//! snapshot over what is there now.

use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

use crate::error::StoreError;

/// Rows by their places; none: there is no row, whatever is below.
pub(crate) type Layer<R> = BTreeMap<Box<[u8]>, Option<R>>;

type Cursor<'a, R> = Peekable<btree_map::Range<'a, Box<[u8]>, Option<R>>>;
type Bounds<'b> = (Bound<&'b [u8]>, Bound<&'b [u8]>);

/// The rows of several layers in the order of their places, of each place the uppermost.
pub(crate) struct Layers<'a, R> {
    /// The uppermost first.
    cursors: Vec<Cursor<'a, R>>,
}

impl<'a, R> Layers<'a, R> {
    /// The uppermost layer first.
    pub(crate) fn new(layers: impl Iterator<Item = &'a Layer<R>>, bounds: Bounds<'_>) -> Layers<'a, R> {
        let occupied = layers.filter(|layer| !layer.is_empty());
        Layers { cursors: occupied.map(|layer| layer.range::<[u8], _>(bounds).peekable()).collect() }
    }
}

impl<'a, R> Iterator for Layers<'a, R> {
    type Item = (&'a [u8], Option<&'a R>);

    fn next(&mut self) -> Option<Self::Item> {
        let places = self.cursors.iter_mut().filter_map(|cursor| cursor.peek().map(|(place, _)| *place));
        let place = places.min()?;
        let mut uppermost = None;
        for cursor in &mut self.cursors {
            if let Some((_, row)) = cursor.next_if(|(other, _)| *other == place) {
                uppermost.get_or_insert(row.as_ref());
            }
        }
        Some((place, uppermost.flatten()))
    }
}

/// A row below all layers.
pub(crate) trait Below {
    /// Is its place in front of this one, the same, or behind?
    fn compare(&self, place: &[u8]) -> Ordering;
}

/// One of the rows that can be seen from above.
pub(crate) enum Seen<'a, R, B> {
    Layer(&'a [u8], &'a R),
    Below(B),
}

/// Visits what can be seen of layers and of what is below them, in order, until the visitor breaks off.
pub(crate) fn merge<'a, R, B: Below>(
    layers: Layers<'a, R>,
    below: impl Iterator<Item = Result<B, StoreError>>,
    mut visit: impl FnMut(Seen<'a, R, B>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<ControlFlow<()>, StoreError> {
    let mut layers = layers.peekable();
    for row in below {
        let row = row?;
        let mut hidden = false;
        while let Some((place, above)) = layers.next_if(|(place, _)| row.compare(place) != Ordering::Less) {
            hidden = row.compare(place) == Ordering::Equal;
            if let Some(above) = above
                && visit(Seen::Layer(place, above))?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        if !hidden && visit(Seen::Below(row))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    for (place, above) in layers {
        if let Some(above) = above
            && visit(Seen::Layer(place, above))?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
