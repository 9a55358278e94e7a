//! Identifiers on the ring: 160-bit numbers with wrapping arithmetic and two interval tests.
//!
//! The two interval tests are the whole of Chord's correctness at this level, so they are written once, here:
//! [`between`] is Zave's strict test ("Reasoning about identifier spaces: how to make Chord correct", 2017,
//! section 3) and [`in_half_open`] is ownership, `(lo, hi]`. Both are right when the interval wraps and when
//! both ends are equal (then the interval is the whole ring, without its end for the open one).
//!
//! [`Space`] is the size of the ring. Real rings use all 160 bits of SHA-1; for teaching it may be as small as 3.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::{Digest, Sha1};

/// Bytes in an identifier.
pub const ID_BYTES: usize = 20;

/// A point on the ring: an unsigned 160-bit number, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Id([u8; ID_BYTES]);

/// `"0x2a"` for people, 20 bytes on the wire.
impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_literal())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            Space::default().parse(&text).map_err(serde::de::Error::custom)
        } else {
            <[u8; ID_BYTES]>::deserialize(deserializer).map(Id)
        }
    }
}

/// As numbers: two machine comparisons, where comparing byte by byte would be a call.
impl Ord for Id {
    fn cmp(&self, other: &Id) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Id) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is neither `0x` and hexadecimal digits nor decimal digits.
    #[error("{0:?} is not an id: write decimal digits, or 0x and at most 40 hexadecimal digits")]
    NotANumber(String),
    /// The number does not fit the ring.
    #[error("the id {id} is outside a ring of {bits} bits: it must be below 2^{bits}")]
    OutsideSpace {
        /// What was asked for.
        id: String,
        /// The ring's size.
        bits: u8,
    },
}

impl Id {
    /// The lowest identifier.
    pub const ZERO: Id = Id([0; ID_BYTES]);

    /// The highest identifier.
    pub const MAX: Id = Id([0xff; ID_BYTES]);

    /// From 20 big-endian bytes.
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Id {
        Id(bytes)
    }

    /// The 20 big-endian bytes.
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }

    /// A small number as an identifier.
    pub fn from_u128(number: u128) -> Id {
        Id::from_parts(0, number)
    }

    #[inline]
    fn parts(self) -> (u32, u128) {
        let mut high = [0; 4];
        let mut low = [0; 16];
        high.copy_from_slice(&self.0[..4]);
        low.copy_from_slice(&self.0[4..]);
        (u32::from_be_bytes(high), u128::from_be_bytes(low))
    }

    fn from_parts(high: u32, low: u128) -> Id {
        let mut bytes = [0; ID_BYTES];
        bytes[..4].copy_from_slice(&high.to_be_bytes());
        bytes[4..].copy_from_slice(&low.to_be_bytes());
        Id(bytes)
    }

    fn wrapping_add(self, other: Id) -> Id {
        let ((ah, al), (bh, bl)) = (self.parts(), other.parts());
        let (low, carry) = al.overflowing_add(bl);
        Id::from_parts(ah.wrapping_add(bh).wrapping_add(u32::from(carry)), low)
    }

    fn wrapping_sub(self, other: Id) -> Id {
        let ((ah, al), (bh, bl)) = (self.parts(), other.parts());
        let (low, borrow) = al.overflowing_sub(bl);
        Id::from_parts(ah.wrapping_sub(bh).wrapping_sub(u32::from(borrow)), low)
    }

    fn half(self) -> Id {
        let (high, low) = self.parts();
        Id::from_parts(high >> 1, (low >> 1) | (u128::from(high & 1) << 127))
    }

    fn bit_length(self) -> u32 {
        let (high, low) = self.parts();
        if high != 0 { 160 - high.leading_zeros() } else { 128 - low.leading_zeros() }
    }

    /// As a fraction of 2^160, for shares and pictures (not exact).
    fn to_f64(self) -> f64 {
        let (high, low) = self.parts();
        f64::from(high) * 2f64.powi(128) + low as f64
    }

    /// All 40 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The number without leading zeros, as `0x2a`: what [`Space::parse`] reads back.
    pub fn to_literal(self) -> String {
        let hex = self.to_hex();
        let digits = hex.trim_start_matches('0');
        format!("0x{}", if digits.is_empty() { "0" } else { digits })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_literal())
    }
}

/// Strictly between `low` and `high`, going up and around from `low`.
///
/// With equal ends the interval is the whole ring but that point.
pub fn between(low: Id, x: Id, high: Id) -> bool {
    if low < high { low < x && x < high } else { low < x || x < high }
}

/// In `(low, high]`, going up and around from `low`. With equal ends: the whole ring.
pub fn in_half_open(low: Id, x: Id, high: Id) -> bool {
    x == high || between(low, x, high)
}

/// The size of the ring: identifiers below 2^bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Space {
    bits: u8,
}

impl Default for Space {
    fn default() -> Space {
        Space { bits: Space::BITS_MAX }
    }
}

impl Space {
    /// The least size: eight identifiers.
    pub const BITS_MIN: u8 = 3;
    /// The size of SHA-1.
    pub const BITS_MAX: u8 = 160;

    /// A ring of 2^bits identifiers; none unless `bits` is from 3 to 160.
    pub fn new(bits: u8) -> Option<Space> {
        (Space::BITS_MIN..=Space::BITS_MAX).contains(&bits).then_some(Space { bits })
    }

    /// Bits in an identifier, which is also the number of fingers.
    pub fn bits(self) -> u8 {
        self.bits
    }

    fn wrap(self, id: Id) -> Id {
        let spare = usize::from(Space::BITS_MAX - self.bits);
        let mut bytes = id.0;
        bytes[..spare / 8].fill(0);
        if spare % 8 != 0 {
            bytes[spare / 8] &= 0xff >> (spare % 8);
        }
        Id(bytes)
    }

    /// Is it a point of this ring?
    pub fn contains(self, id: Id) -> bool {
        self.wrap(id) == id
    }

    /// SHA-1 of the bytes, modulo 2^bits.
    pub fn hash(self, bytes: &[u8]) -> Id {
        let digest: [u8; ID_BYTES] = Sha1::digest(bytes).into();
        self.wrap(Id(digest))
    }

    /// The next point: `id + 1`.
    pub fn next(self, id: Id) -> Id {
        self.wrap(id.wrapping_add(Id::from_u128(1)))
    }

    /// `id + 2^power`: where finger number `power` starts (Stoica et al., table 1, counted from 0).
    pub fn finger_start(self, id: Id, power: u8) -> Id {
        assert!(power < self.bits, "a ring of {} bits has no finger {power}", self.bits);
        let mut step = [0; ID_BYTES];
        step[ID_BYTES - 1 - usize::from(power / 8)] = 1 << (power % 8);
        self.wrap(id.wrapping_add(Id(step)))
    }

    /// How far up and around from `from` to `to`; 0 when they are equal.
    pub fn distance(self, from: Id, to: Id) -> Id {
        self.wrap(to.wrapping_sub(from))
    }

    /// The largest `power` such that `from + 2^power` is not beyond `to`; none when they are equal.
    pub fn power_below(self, from: Id, to: Id) -> Option<u8> {
        let length = self.distance(from, to).bit_length();
        u8::try_from(length).ok()?.checked_sub(1)
    }

    /// The middle of `(low, high]`, rounded down; with equal ends the point opposite. Never `low` itself unless
    /// the arc has a single point, which is `high`.
    pub fn middle(self, low: Id, high: Id) -> Id {
        let width = self.distance(low, high);
        let half = if width == Id::ZERO {
            self.finger_start(Id::ZERO, self.bits - 1)
        } else if width == Id::from_u128(1) {
            width
        } else {
            width.half()
        };
        self.wrap(low.wrapping_add(half))
    }

    /// The arc `(low, high]` as a share of the ring, from 0 to 1; 1 when the ends are equal.
    pub fn share(self, low: Id, high: Id) -> f64 {
        if low == high {
            return 1.0;
        }
        self.distance(low, high).to_f64() / 2f64.powi(i32::from(self.bits))
    }

    /// Reads decimal digits, or `0x` and hexadecimal digits.
    ///
    /// # Errors
    /// When the text is no number, or the number does not fit the ring.
    pub fn parse(self, text: &str) -> Result<Id, IdError> {
        let bad = || IdError::NotANumber(text.to_owned());
        let id = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => parse_hex(digits).ok_or_else(bad)?,
            None => Id::from_u128(text.parse().map_err(|_| bad())?),
        };
        if self.contains(id) {
            Ok(id)
        } else {
            Err(IdError::OutsideSpace { id: text.to_owned(), bits: self.bits })
        }
    }
}

fn parse_hex(digits: &str) -> Option<Id> {
    if digits.is_empty() || digits.len() > 2 * ID_BYTES || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let padded = format!("{digits:0>40}");
    let mut bytes = [0; ID_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(padded.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Id(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Id {
        Id::from_u128(number)
    }

    #[test]
    fn the_hash_of_a_known_text_is_the_published_one() {
        assert_eq!(Space::default().hash(b"abc").to_hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let small = Space::new(8).unwrap();
        assert_eq!(small.hash(b"abc"), id(0x9d), "a smaller ring takes it modulo its size");
    }

    #[test]
    fn intervals_wrap_and_equal_ends_are_the_whole_ring() {
        assert!(between(id(2), id(3), id(5)));
        assert!(!between(id(2), id(2), id(5)) && !between(id(2), id(5), id(5)));
        assert!(between(id(5), id(7), id(2)) && between(id(5), id(0), id(2)));
        assert!(!between(id(5), id(3), id(2)));
        assert!(between(id(4), id(5), id(4)) && !between(id(4), id(4), id(4)));
        assert!(in_half_open(id(4), id(4), id(4)) && in_half_open(id(4), id(9), id(4)));
        assert!(in_half_open(id(2), id(5), id(5)) && !in_half_open(id(2), id(2), id(5)));
    }

    #[test]
    fn fingers_of_a_small_ring_are_the_papers() {
        let space = Space::new(6).unwrap();
        let starts: Vec<Id> = (0..6).map(|power| space.finger_start(id(8), power)).collect();
        assert_eq!(starts, [9, 10, 12, 16, 24, 40].map(id), "figure 4 of the paper, node 8");
        assert_eq!(space.finger_start(id(42), 5), id(10), "wraps");
    }

    #[test]
    fn literals_are_read_back_and_strangers_refused() {
        let space = Space::default();
        for number in [0u128, 1, 42, u128::MAX] {
            assert_eq!(space.parse(&id(number).to_literal()), Ok(id(number)));
            assert_eq!(space.parse(&number.to_string()), Ok(id(number)));
        }
        for text in ["", "0x", "abc", "-1", "0xg", "1.5", &"0x1".repeat(30)] {
            assert!(space.parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Space::new(3).unwrap().parse("8").unwrap_err().to_string(),
            "the id 8 is outside a ring of 3 bits: it must be below 2^3"
        );
    }
}
