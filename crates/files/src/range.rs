//! Which bytes of a file are in which of its chunks.

use std::ops::Range;

/// How many chunks a file has.
pub fn chunks(size: u64, chunk_bytes: usize) -> u64 {
    size.div_ceil(chunk_bytes.max(1) as u64)
}

/// Bytes of one of its chunks; 0 behind the last.
pub fn chunk_len(size: u64, chunk_bytes: usize, index: u64) -> usize {
    let left = size.saturating_sub(index.saturating_mul(chunk_bytes as u64));
    usize::try_from(left).unwrap_or(usize::MAX).min(chunk_bytes)
}

/// Some of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Which chunk.
    pub index: u32,
    /// Which of its bytes.
    pub bytes: Range<usize>,
}

/// The chunks that have some of these bytes of a file, in their order; what is behind the file's end is left out.
pub fn slices(size: u64, chunk_bytes: usize, wanted: Range<u64>) -> impl Iterator<Item = Slice> {
    let wanted = wanted.start..wanted.end.min(size);
    let step = chunk_bytes.max(1) as u64;
    let first = wanted.start / step;
    let end = if wanted.is_empty() { first } else { wanted.end.div_ceil(step) };
    (first..end).filter_map(move |index| {
        let start = index * step;
        let from = wanted.start.saturating_sub(start);
        let to = (wanted.end - start).min(step);
        let bytes = usize::try_from(from).ok()?..usize::try_from(to).ok()?;
        Some(Slice { index: u32::try_from(index).ok()?, bytes })
    })
}

/// What a `Range` header of HTTP asks for (RFC 9110, section 14).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requested {
    /// Everything: also where the header is none that is understood here, as of several ranges at once.
    Whole,
    /// These bytes, of which there are some.
    Part(Range<u64>),
    /// Bytes that the file does not have.
    Unsatisfiable,
}

/// Reads a `Range` header, for a file of this size.
pub fn requested(header: &str, size: u64) -> Requested {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that is too large is behind every end.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let set = header.split_once('=').filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = set.and_then(|(_, set)| set.trim().split_once('-')) else {
        return Requested::Whole;
    };
    let bytes = match (number(first), number(last)) {
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        (Some(first), None) if last.is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        _ => return Requested::Whole,
    };
    if bytes.is_empty() { Requested::Unsatisfiable } else { Requested::Part(bytes) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_are_counted_around_multiples() {
        let mib = 1 << 20;
        let counts = [0, 1, mib - 1, mib, mib + 1, 2 * mib].map(|size| chunks(size, 1 << 20));
        assert_eq!(counts, [0, 1, 1, 1, 2, 2]);
        assert_eq!(chunk_len(mib + 1, 1 << 20, 0), 1 << 20);
        assert_eq!(chunk_len(mib + 1, 1 << 20, 1), 1);
        assert_eq!(chunk_len(mib + 1, 1 << 20, 2), 0);
    }

    #[test]
    fn headers_ask_for_one_range_or_for_everything() {
        use Requested::{Part, Unsatisfiable, Whole};
        let asked = |header| requested(header, 100);
        assert_eq!(asked("bytes=0-0"), Part(0..1));
        assert_eq!(asked("Bytes = 10-19"), Part(10..20));
        assert_eq!(asked("bytes=90-"), Part(90..100));
        assert_eq!(asked("bytes=90-99999999999999999999999"), Part(90..100));
        assert_eq!(asked("bytes=-5"), Part(95..100));
        assert_eq!(asked("bytes=-500"), Part(0..100));
        for header in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(asked(header), Unsatisfiable, "{header}");
        }
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=0-1,5-6",
            "lines=1-2",
            "bytes=+1-2",
        ] {
            assert_eq!(asked(header), Whole, "{header}");
        }
        assert_eq!(requested("bytes=0-", 0), Unsatisfiable);
        assert_eq!(requested("bytes=-1", 0), Unsatisfiable);
    }

    proptest! {
        #[test]
        fn the_slices_of_a_range_are_its_bytes(
            size in 0usize..200, chunk_bytes in 1usize..40, start in 0usize..220, length in 0usize..220,
        ) {
            let content: Vec<u8> = (0..size).map(|place| u8::try_from(place % 251).unwrap()).collect();
            let chunks: Vec<&[u8]> = content.chunks(chunk_bytes).collect();
            let wanted = start as u64..(start + length) as u64;
            let got: Vec<u8> = slices(size as u64, chunk_bytes, wanted)
                .flat_map(|slice| chunks[slice.index as usize][slice.bytes].to_vec())
                .collect();
            let end = (start + length).min(size);
            prop_assert_eq!(&got, &content[start.min(end)..end]);
        }

        #[test]
        fn the_lengths_of_chunks_add_up(size in 0u64..10_000, chunk_bytes in 1usize..100) {
            let count = chunks(size, chunk_bytes);
            let sum: u64 = (0..count).map(|index| chunk_len(size, chunk_bytes, index) as u64).sum();
            prop_assert_eq!(sum, size);
            prop_assert!((0..count).all(|index| chunk_len(size, chunk_bytes, index) > 0));
        }
    }
}
