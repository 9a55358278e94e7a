//! How a file writes text.

use std::borrow::Cow;
use std::str::FromStr;

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// What Windows writes in Western Europe and America.
    Windows1252,
    /// ISO 8859-1.
    Latin1,
}

impl FromStr for Encoding {
    type Err = String;

    fn from_str(name: &str) -> Result<Encoding, String> {
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "utf-8" | "utf8" => Ok(Encoding::Utf8),
            "windows-1252" | "cp1252" | "windows1252" => Ok(Encoding::Windows1252),
            "latin1" | "latin-1" | "iso-8859-1" => Ok(Encoding::Latin1),
            _ => Err("utf-8, windows-1252 and latin1 are known".to_owned()),
        }
    }
}

impl Encoding {
    /// The text that these bytes are.
    ///
    /// # Errors
    /// When they are none: the place of the first byte that cannot be.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, usize> {
        match self {
            Encoding::Utf8 => {
                std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| error.valid_up_to())
            }
            Encoding::Windows1252 => Ok(encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0),
            Encoding::Latin1 => Ok(encoding_rs::mem::decode_latin1(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_reads_its_own_and_utf_8_says_where_it_cannot() {
        assert_eq!("cp1252".parse::<Encoding>().unwrap().decode(b"caf\xe9 \x80").unwrap(), "café €");
        assert_eq!("ISO-8859-1".parse::<Encoding>().unwrap().decode(b"caf\xe9 \x80").unwrap(), "café \u{80}");
        assert_eq!(Encoding::Utf8.decode("café".as_bytes()).unwrap(), "café");
        assert_eq!(Encoding::Utf8.decode(b"caf\xe9 "), Err(3));
        assert!("utf-16".parse::<Encoding>().is_err());
    }
}
