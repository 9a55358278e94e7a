//! `If-Match` and `If-None-Match`: the versions of a key that a request allows (RFC 9110, section 13).
//!
//! A key's entity tag is its version in quotation marks: `"3.17"`.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use chordata_protocol::Version;

use super::problem::Problem;

/// What one header lists.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Tags {
    /// `*`: any version, but there must be one.
    Any,
    /// These. Tags that are none of ours are left out: no key has them.
    These(Vec<Version>),
}

/// What a request says of the version that the key has before it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Conditions {
    must: Option<Tags>,
    must_not: Option<Tags>,
}

impl Conditions {
    /// Reads the headers.
    ///
    /// # Errors
    /// When one is written wrong.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Conditions, Problem> {
        Ok(Conditions {
            must: tags(headers, &IF_MATCH, false)?,
            must_not: tags(headers, &IF_NONE_MATCH, true)?,
        })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.must.is_none() && self.must_not.is_none()
    }

    /// Does `If-Match` allow what is there?
    pub(crate) fn matches(&self, current: Option<Version>) -> bool {
        self.must.as_ref().is_none_or(|tags| tags.have(current))
    }

    /// Does `If-None-Match` allow what is there?
    pub(crate) fn is_new(&self, current: Option<Version>) -> bool {
        !self.must_not.as_ref().is_some_and(|tags| tags.have(current))
    }

    pub(crate) fn allow(&self, current: Option<Version>) -> bool {
        self.matches(current) && self.is_new(current)
    }

    /// The only thing that they allow, if it is one: `Some(None)` is an absent key.
    pub(crate) fn only(&self) -> Option<Option<Version>> {
        match (&self.must, &self.must_not) {
            (Some(Tags::These(versions)), None) => match versions[..] {
                [version] => Some(Some(version)),
                _ => None,
            },
            (None, Some(Tags::Any)) => Some(None),
            _ => None,
        }
    }
}

impl Tags {
    fn have(&self, current: Option<Version>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::These(versions), Some(version)) => versions.contains(&version),
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName, weak_too: bool) -> Result<Option<Tags>, Problem> {
    let mut found: Option<Tags> = None;
    for value in headers.get_all(name) {
        let wrong = || {
            Problem::bad(format!(
                "{name} is * or a list of versions in quotation marks, as in {name}: \"3.17\""
            ))
        };
        let text = value.to_str().map_err(|_| wrong())?.trim();
        if text == "*" && found.is_none() {
            found = Some(Tags::Any);
            continue;
        }
        let mut versions = match found {
            None => Vec::new(),
            Some(Tags::These(versions)) => versions,
            Some(Tags::Any) => return Err(wrong()),
        };
        // A list of nothing is a list (RFC 9110, 5.6.1): no version is like one of it, every one is like none of it.
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let (strong, is_weak) = tag.strip_prefix("W/").map_or((tag, false), |tag| (tag, true));
            let inner = strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(wrong)?;
            if inner.contains('"') {
                return Err(wrong());
            }
            // Strong comparison for If-Match: a weak tag is no version. What is no version of ours no key has.
            if let (Ok(version), true) = (inner.parse(), !is_weak || weak_too) {
                versions.push(version);
            }
        }
        found = Some(Tags::These(versions));
    }
    Ok(found)
}

/// The entity tag of a version.
pub(crate) fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits, a dot and quotation marks")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Conditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        Conditions::read(&headers)
    }

    fn version(sequence: u64) -> Version {
        Version { epoch: 3, sequence }
    }

    #[test]
    fn one_version_or_none_is_a_swap_at_once() {
        assert_eq!(read(&[(IF_MATCH, "\"3.17\"")]).unwrap().only(), Some(Some(version(17))));
        assert_eq!(read(&[(IF_NONE_MATCH, "*")]).unwrap().only(), Some(None));
        for more in [
            &[(IF_MATCH, "*")][..],
            &[(IF_MATCH, "\"3.17\", \"3.18\"")],
            &[(IF_MATCH, "W/\"3.17\"")],
            &[(IF_NONE_MATCH, "\"3.17\"")],
            &[(IF_MATCH, "\"3.17\""), (IF_NONE_MATCH, "*")],
            &[],
        ] {
            assert_eq!(read(more).unwrap().only(), None, "{more:?}");
        }
    }

    #[test]
    fn what_they_allow() {
        type Headers<'a> = &'a [(HeaderName, &'a str)];
        let cases: [(Headers<'_>, [bool; 3]); 9] = [
            // Absent, 3.17, 3.18.
            (&[], [true, true, true]),
            (&[(IF_MATCH, "*")], [false, true, true]),
            (&[(IF_MATCH, "\"3.17\"")], [false, true, false]),
            (&[(IF_MATCH, "\"3.17\""), (IF_MATCH, "\"3.18\"")], [false, true, true]),
            (&[(IF_MATCH, "W/\"3.17\"")], [false, false, false]),
            (&[(IF_MATCH, "\"of another server\"")], [false, false, false]),
            (&[(IF_NONE_MATCH, "*")], [true, false, false]),
            (&[(IF_NONE_MATCH, "W/\"3.17\"")], [true, false, true]),
            (&[(IF_MATCH, "*"), (IF_NONE_MATCH, "\"3.17\"")], [false, false, true]),
        ];
        for (headers, allowed) in cases {
            let conditions = read(headers).unwrap();
            let found = [None, Some(version(17)), Some(version(18))].map(|current| conditions.allow(current));
            assert_eq!(found, allowed, "{headers:?}");
        }
        for nothing in ["", " ,"] {
            assert!(!read(&[(IF_MATCH, nothing)]).unwrap().allow(Some(version(17))));
            assert!(read(&[(IF_NONE_MATCH, nothing)]).unwrap().allow(Some(version(17))));
        }
        for wrong in ["3.17", "\"3.17", "*, \"3.17\"", "\"a\"b\""] {
            assert!(read(&[(IF_MATCH, wrong)]).is_err(), "{wrong}");
        }
        assert_eq!(etag(version(17)), "\"3.17\"");
    }
}
