//! Names: of files, of uploads, and of the keys under which the cluster has their pieces.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chordata_protocol::Key;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::Failure;
use crate::manifest::Hash;

/// Entries are under this and the file's name.
pub const FILE_PREFIX: &str = ".chordata/file/";
/// Chunks and parts are under this, the file's name and a piece's own name.
pub const CHUNK_PREFIX: &str = ".chordata/chunk/";
/// Eventual mode: uploads that can be resumed are under this and the file's name.
pub const UPLOAD_PREFIX: &str = ".chordata/upload/";
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// Digits of a hash that a key has.
const HASH_DIGITS: usize = 16;

/// The name of a file: 1 to 1024 bytes of text without control characters. It may have slashes; they mean nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct FileName(String);

/// Why something is no name of a file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadName {
    /// Nothing.
    #[error("the name of a file is empty")]
    Empty,
    /// Too long.
    #[error("the name of a file has {0} bytes: at most {NAME_BYTES_MAX} are possible")]
    TooLong(usize),
    /// It would spoil lists.
    #[error("the name of a file has a control character")]
    Control,
}

impl FileName {
    /// This name.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(text: &str) -> Result<FileName, BadName> {
        match text.len() {
            0 => Err(BadName::Empty),
            bytes if bytes > NAME_BYTES_MAX => Err(BadName::TooLong(bytes)),
            _ if text.chars().any(char::is_control) => Err(BadName::Control),
            _ => Ok(FileName(text.to_owned())),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is behind the last slash: the name that a local file gets. None: that is no name of a local file.
    pub fn last(&self) -> Option<&str> {
        let last = self.0.rsplit('/').next().unwrap_or_default();
        (!matches!(last, "" | "." | "..")).then_some(last)
    }

    /// The key of its entry.
    pub fn entry_key(&self) -> Key {
        Key::new(format!("{FILE_PREFIX}{self}"))
    }

    /// The key of its last upload, in eventual mode.
    pub(crate) fn upload_key(&self) -> Key {
        Key::new(format!("{UPLOAD_PREFIX}{self}"))
    }

    /// What the keys of all its pieces begin with (those of other files, too: `a` and `a/b`).
    pub(crate) fn piece_prefix(&self) -> Vec<u8> {
        format!("{CHUNK_PREFIX}{self}/").into_bytes()
    }

    /// The file whose entry or upload is under this key.
    pub(crate) fn behind(key: &Key, prefix: &str) -> Option<FileName> {
        let Key::Bytes(bytes) = key else { return None };
        let name = std::str::from_utf8(bytes).ok()?.strip_prefix(prefix)?;
        FileName::new(name).ok()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FileName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<FileName, BadName> {
        FileName::new(text)
    }
}

/// Names an upload for ever: 48 bits of the time at which it began, in milliseconds, and 80 random ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId([u8; 16]);

impl UploadId {
    /// One that nobody else has.
    ///
    /// # Errors
    /// When the system gives no random bits.
    pub fn new() -> Result<UploadId, Failure> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::Local(format!("the system gives no random bits: {error}")))?;
        bytes[..6].copy_from_slice(&now_ms().to_be_bytes()[2..]);
        Ok(UploadId(bytes))
    }

    /// When it began, by its client's clock.
    pub fn began(self) -> SystemTime {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.0[..6]);
        UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(ms))
    }

    /// How long ago that was, by this machine's clock.
    pub fn age(self) -> Duration {
        SystemTime::now().duration_since(self.began()).unwrap_or(Duration::ZERO)
    }
}

/// The time of day, in milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for UploadId {
    type Err = String;

    fn from_str(text: &str) -> Result<UploadId, String> {
        let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32);
        let number = number.ok_or_else(|| format!("{text:?} is no upload: it has 32 hexadecimal digits"))?;
        Ok(UploadId(number.to_be_bytes()))
    }
}

impl Serialize for UploadId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UploadId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which kind of piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Some of the content.
    Chunk,
    /// Some of the list of chunk hashes.
    Part,
}

/// A piece of an upload, as its key names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PieceName {
    /// Of which file.
    pub file: FileName,
    /// Of which upload.
    pub upload: UploadId,
    /// What it is.
    pub kind: Kind,
    /// Which one, from 0.
    pub index: u32,
    /// The first digits of its hash.
    digits: String,
}

impl PieceName {
    /// The piece with that content.
    pub fn new(file: &FileName, upload: UploadId, kind: Kind, index: u32, hash: &Hash) -> PieceName {
        let digits = hash.to_string()[..HASH_DIGITS].to_owned();
        PieceName { file: file.clone(), upload, kind, index, digits }
    }

    /// May it have this content?
    pub fn is_of(&self, hash: &Hash) -> bool {
        hash.to_string().starts_with(&self.digits)
    }

    /// Its key.
    pub fn key(&self) -> Key {
        let PieceName { file, upload, kind, index, digits } = self;
        let letter = match kind {
            Kind::Chunk => 'c',
            Kind::Part => 'p',
        };
        Key::new(format!("{CHUNK_PREFIX}{file}/{upload}.{letter}{index:08x}.{digits}"))
    }

    /// The piece that has this key.
    pub fn of_key(key: &Key) -> Option<PieceName> {
        let Key::Bytes(bytes) = key else { return None };
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(CHUNK_PREFIX)?;
        let (file, piece) = rest.rsplit_once('/')?;
        let mut words = piece.split('.');
        let (upload, index, digits) = (words.next()?, words.next()?, words.next()?);
        let (kind, index) = match index.split_at_checked(1)? {
            ("c", index) => (Kind::Chunk, index),
            ("p", index) => (Kind::Part, index),
            _ => return None,
        };
        let found = PieceName {
            file: FileName::new(file).ok()?,
            upload: upload.parse().ok()?,
            kind,
            index: u32::from_str_radix(index, 16).ok()?,
            digits: digits.to_owned(),
        };
        // Written in any other way it is somebody else's key.
        (digits.len() == HASH_DIGITS && found.key() == *key).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_text_of_bounded_length() {
        assert_eq!(FileName::new(""), Err(BadName::Empty));
        assert_eq!(FileName::new("a\nb"), Err(BadName::Control));
        assert_eq!(FileName::new(&"x".repeat(1025)), Err(BadName::TooLong(1025)));
        assert!(FileName::new("Bericht über alles/2026.pdf").is_ok());
    }

    #[test]
    fn the_local_name_never_leads_elsewhere() {
        let last = |text| FileName::new(text).unwrap().last().map(str::to_owned);
        assert_eq!(last("a/b/c.txt"), Some("c.txt".to_owned()));
        assert_eq!(last("../.."), None);
        assert_eq!(last("a/"), None);
        assert_eq!(last("/etc/passwd"), Some("passwd".to_owned()));
    }

    #[test]
    fn an_upload_knows_when_it_began() {
        let upload = UploadId::new().unwrap();
        assert!(upload.age() < Duration::from_secs(60));
        assert_eq!(upload.to_string().parse(), Ok(upload));
        assert_ne!(upload, UploadId::new().unwrap());
    }

    proptest! {
        #[test]
        fn pieces_are_found_again_by_their_keys(
            name in "[a-z/. ]{1,20}", index: u32, is_part: bool, content: Vec<u8>,
        ) {
            let file = FileName::new(&name).unwrap();
            let kind = if is_part { Kind::Part } else { Kind::Chunk };
            let hash = Hash::of(&content);
            let piece = PieceName::new(&file, UploadId::new().unwrap(), kind, index, &hash);
            prop_assert!(piece.is_of(&hash));
            prop_assert_eq!(PieceName::of_key(&piece.key()), Some(piece));
        }

        #[test]
        fn other_keys_are_no_pieces(text in ".{0,60}") {
            prop_assert_eq!(PieceName::of_key(&Key::new(format!("{CHUNK_PREFIX}{text}"))), None);
        }
    }
}
