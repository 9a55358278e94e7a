//! The name of a store: 128 random bits, drawn when its data directory was made, and never used again.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names a store for ever. A directory that was wiped is another store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

/// Digits for people, a number on the wire.
impl Serialize for StoreId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for StoreId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StoreId, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let number = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
            let number =
                number.ok_or_else(|| D::Error::custom("a store's name has 32 hexadecimal digits"))?;
            Ok(StoreId(number))
        } else {
            u128::deserialize(deserializer).map(StoreId)
        }
    }
}

impl FromStr for StoreId {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreId, String> {
        let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
        let number =
            number.ok_or_else(|| format!("{text:?} is no store: its name has 32 hexadecimal digits"))?;
        Ok(StoreId(number))
    }
}

impl StoreId {
    /// 64 bits for stamps.
    pub fn tag(self) -> u64 {
        let [high, low] = [self.0 >> 64, self.0 & u128::from(u64::MAX)];
        (high ^ low) as u64
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_digits_for_people_and_a_number_on_the_wire() {
        let store = StoreId(0x00ff << 112 | 7);
        let text = "\"00ff0000000000000000000000000007\"";
        assert_eq!(serde_json::to_string(&store).unwrap(), text);
        assert_eq!(serde_json::from_str::<StoreId>(text).unwrap(), store);
        assert!(serde_json::from_str::<StoreId>("\"7\"").is_err());
        let bytes = postcard::to_allocvec(&store).unwrap();
        assert_eq!(bytes, postcard::to_allocvec(&store.0).unwrap());
        assert_eq!(postcard::from_bytes::<StoreId>(&bytes).unwrap(), store);
    }
}
