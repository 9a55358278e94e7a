//! Arcs of the ring cut into cells: the same cut on every node, wherever the arc begins.
//!
//! A *cell* of size 2^s is all identifiers that agree in all but their last s bits. An arc is cut at the ends of its
//! cells, so that its inner parts are whole cells and, where cells are not smaller than the buckets of a
//! [`Tree`](super::Tree), whole buckets.

use crate::id::{ID_BYTES, Id, Space};
use crate::message::Range;

/// The most parts that an arc is cut into.
pub const PARTS_MAX: usize = 64;
/// 2 to this is [`PARTS_MAX`].
const PARTS_POWER: u8 = 6;

/// The last identifier of the cell of size 2^power that this one is in.
pub fn cell_end(id: Id, power: u8) -> Id {
    let mut bytes = *id.as_bytes();
    let (whole, rest) = (usize::from(power / 8), power % 8);
    bytes[ID_BYTES - whole..].fill(0xff);
    if rest > 0 {
        bytes[ID_BYTES - 1 - whole] |= (1 << rest) - 1;
    }
    Id::from_bytes(bytes)
}

/// Has the range a single identifier?
pub fn is_point(space: Space, range: Range) -> bool {
    space.next(range.low) == range.high
}

/// Are all identifiers of the arc in the range?
pub fn is_within(space: Space, arc: Range, range: Range) -> bool {
    let reach = |id: Id| offset(space, range, id);
    let whole = range.low == range.high;
    whole || range.contains(arc.high) && arc.low != arc.high && reach(space.next(arc.low)) <= reach(arc.high)
}

/// How far behind the first identifier of the range: the order in which a range is visited.
pub fn offset(space: Space, range: Range, id: Id) -> Id {
    space.distance(space.next(range.low), id)
}

/// The range at the ends of cells of size 2^power: its parts in their order, the first and the last perhaps parts of
/// cells. At most `parts_max` of them; none if there would be more.
fn cut(space: Space, range: Range, power: u8, parts_max: usize) -> Option<Vec<Range>> {
    let mut parts = Vec::with_capacity(parts_max);
    let mut low = range.low;
    while parts.len() < parts_max {
        let cell = Range { low, high: cell_end(space.next(low), power) };
        if cell.contains(range.high) {
            parts.push(Range { low, high: range.high });
            return Some(parts);
        }
        parts.push(cell);
        low = cell.high;
    }
    None
}

/// The range in at most 64 parts, as many as its cells allow (a range of one identifier is one part). Every part is
/// smaller than a range of more than one identifier.
pub fn split(space: Space, range: Range) -> Vec<Range> {
    let width =
        if range.low == range.high { Some(space.bits()) } else { space.power_below(range.low, range.high) };
    let finest = width.unwrap_or(0).saturating_sub(PARTS_POWER);
    let parts = (finest..=space.bits()).find_map(|power| cut(space, range, power, PARTS_MAX));
    parts.unwrap_or_else(|| vec![range])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Id {
        Id::from_u128(number)
    }

    fn points(space: Space, range: Range) -> Vec<Id> {
        let mut points = vec![space.next(range.low)];
        while points.last() != Some(&range.high) {
            points.push(space.next(points[points.len() - 1]));
        }
        points
    }

    #[test]
    fn parts_are_the_arc_in_order_and_smaller_than_it() {
        for bits in [3, 4, 8] {
            let space = Space::new(bits).unwrap();
            for (low, high) in (0..1 << bits).flat_map(|low| (0..1 << bits).map(move |high| (low, high))) {
                let range = Range { low: id(low), high: id(high) };
                let parts = split(space, range);
                let joined: Vec<Id> = parts.iter().flat_map(|part| points(space, *part)).collect();
                assert_eq!(joined, points(space, range), "{range:?} in {parts:?}");
                assert!(parts.len() <= PARTS_MAX);
                assert_eq!(parts.len() == 1, is_point(space, range), "{range:?}");
                assert!(parts.len() >= joined.len().min(32), "{range:?} in {} parts", parts.len());
            }
        }
    }

    #[test]
    fn an_arc_is_within_another_if_all_its_points_are() {
        let space = Space::new(3).unwrap();
        let ranges = || (0..8).flat_map(|low| (0..8).map(move |high| Range { low: id(low), high: id(high) }));
        for (arc, range) in ranges().flat_map(|arc| ranges().map(move |range| (arc, range))) {
            let all = points(space, arc).iter().all(|point| range.contains(*point));
            assert_eq!(is_within(space, arc, range), all, "{arc:?} in {range:?}");
        }
    }

    #[test]
    fn the_whole_ring_is_cut_into_sixty_four() {
        let space = Space::default();
        let all = split(space, Range { low: Id::MAX, high: Id::MAX });
        assert_eq!(all.len(), 64);
        assert_eq!(all[0].high.as_bytes()[..2], [0x03, 0xff]);
        assert!(split(space, Range { low: id(5), high: id(5) }).len() >= 32);
    }
}
