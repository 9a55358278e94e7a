//! Which character is between two fields: the one that cuts the first rows into the same number of fields.

use csv_core::{ReadRecordResult, ReaderBuilder};

/// In the order in which they are preferred.
const CANDIDATES: [u8; 4] = [b',', b'\t', b';', b'|'];
/// Rows that are looked at.
const ROWS: usize = 50;
/// Bytes that are looked at.
pub(super) const BYTES: usize = 64 * 1024;

/// Looks at the beginning of a file.
pub(super) fn delimiter(beginning: &[u8], is_all: bool) -> u8 {
    let sample = &beginning[..beginning.len().min(BYTES)];
    let is_all = is_all && sample.len() == beginning.len();
    let mut best = (CANDIDATES[0], (0, 0));
    for candidate in CANDIDATES {
        let counts = fields(sample, is_all, candidate);
        let Some(first) = counts.first().copied().filter(|count| *count > 1) else { continue };
        let same = counts.iter().filter(|count| **count == first).count();
        let score = (same * 1000 / counts.len(), first);
        if score > best.1 {
            best = (candidate, score);
        }
    }
    best.0
}

/// How many fields each of the first rows has, if this is between them.
fn fields(sample: &[u8], is_all: bool, delimiter: u8) -> Vec<usize> {
    let mut core = ReaderBuilder::new().delimiter(delimiter).build();
    let (mut output, mut ends) = (vec![0; 4096], vec![0; 256]);
    let (mut counts, mut count, mut start) = (Vec::new(), 0, 0);
    while counts.len() < ROWS {
        // What the fields are does not matter.
        let (result, read, _, more) = core.read_record(&sample[start..], &mut output, &mut ends);
        start += read;
        count += more;
        match result {
            ReadRecordResult::InputEmpty if start == sample.len() && !is_all => break,
            ReadRecordResult::InputEmpty
            | ReadRecordResult::OutputFull
            | ReadRecordResult::OutputEndsFull => {}
            ReadRecordResult::Record => counts.push(std::mem::take(&mut count)),
            ReadRecordResult::End => break,
        }
    }
    counts
}
