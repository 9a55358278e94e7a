//! `If-Match`, `If-None-Match` and `If-Range`: what a request says of the thing that is there (RFC 9110, section 13).
//!
//! An entity tag is something of ours in quotation marks: a key's version, `"3.17"`; the hash of a file's content.

use std::fmt::Display;
use std::str::FromStr;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use chordata_protocol::Version;

use super::problem::Problem;

/// How the headers are written, for the document: `*`, or a list of entity tags, which may be empty.
pub(crate) const PATTERN: &str =
    r#"^[\t ]*(\*|[\t ,]*((W/)?"[\t !#-~]*"([\t ]*,[\t ,]*(W/)?"[\t !#-~]*")*[\t ]*(,[\t ,]*)?)?)[\t ]*$"#;

/// What one header lists.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Tags<T> {
    /// `*`: any, but there must be one.
    Any,
    /// These. Tags that are none of ours are left out: nothing has them.
    These(Vec<T>),
}

/// What a request says of what is there before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Conditions<T = Version> {
    must: Option<Tags<T>>,
    must_not: Option<Tags<T>>,
}

impl<T: FromStr + PartialEq + Copy> Conditions<T> {
    /// Reads the headers.
    ///
    /// # Errors
    /// When one is written wrong.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Conditions<T>, Problem> {
        Ok(Conditions {
            must: tags(headers, &IF_MATCH, false)?,
            must_not: tags(headers, &IF_NONE_MATCH, true)?,
        })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.must.is_none() && self.must_not.is_none()
    }

    /// Does `If-Match` allow what is there?
    pub(crate) fn matches(&self, current: Option<T>) -> bool {
        self.must.as_ref().is_none_or(|tags| tags.have(current))
    }

    /// Does `If-None-Match` allow what is there?
    pub(crate) fn is_new(&self, current: Option<T>) -> bool {
        !self.must_not.as_ref().is_some_and(|tags| tags.have(current))
    }

    pub(crate) fn allow(&self, current: Option<T>) -> bool {
        self.matches(current) && self.is_new(current)
    }

    /// The only thing that they allow, if it is one: `Some(None)` is that nothing is there.
    pub(crate) fn only(&self) -> Option<Option<T>> {
        match (&self.must, &self.must_not) {
            (Some(Tags::These(tags)), None) => match tags[..] {
                [tag] => Some(Some(tag)),
                _ => None,
            },
            (None, Some(Tags::Any)) => Some(None),
            _ => None,
        }
    }

    /// Is all that they want that something is there?
    pub(crate) fn want_any(&self) -> bool {
        matches!((&self.must, &self.must_not), (Some(Tags::Any), None))
    }
}

impl<T: PartialEq> Tags<T> {
    fn have(&self, current: Option<T>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::These(tags), Some(tag)) => tags.contains(&tag),
        }
    }
}

fn tags<T: FromStr>(
    headers: &HeaderMap,
    name: &HeaderName,
    weak_too: bool,
) -> Result<Option<Tags<T>>, Problem> {
    let mut found: Option<Tags<T>> = None;
    for value in headers.get_all(name) {
        let wrong = || {
            Problem::bad(format!(
                "{name} is * or a list of entity tags in quotation marks, as in {name}: \"3.17\""
            ))
        };
        let text = value.to_str().map_err(|_| wrong())?.trim();
        if text == "*" && found.is_none() {
            found = Some(Tags::Any);
            continue;
        }
        let mut tags = match found {
            None => Vec::new(),
            Some(Tags::These(tags)) => tags,
            Some(Tags::Any) => return Err(wrong()),
        };
        for (is_weak, inner) in listed(text).ok_or_else(wrong)? {
            // Strong comparison for If-Match: a weak tag is none of ours. What is no tag of ours nothing has.
            if let (Ok(tag), true) = (inner.parse(), !is_weak || weak_too) {
                tags.push(tag);
            }
        }
        // A list of nothing is a list (RFC 9110, 5.6.1): nothing is like one of it, everything is like none of it.
        found = Some(Tags::These(tags));
    }
    Ok(found)
}

/// The entity tags of a list: is it a weak one, and what stands in its quotation marks. None: that is no such list.
fn listed(text: &str) -> Option<Vec<(bool, &str)>> {
    let mut tags = Vec::new();
    let mut rest = text;
    loop {
        // Places of a list may be empty.
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(tags);
        }
        let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        // A comma in quotation marks belongs to the tag.
        let (tag, behind) = quoted.strip_prefix('"')?.split_once('"')?;
        tags.push((is_weak, tag));
        rest = behind.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

/// Is it the entity tag of what is there? For `If-Range`, where a weak tag and a date are none.
pub(crate) fn is_tag_of<T: FromStr + PartialEq>(value: &HeaderValue, current: &T) -> bool {
    let text = value.to_str().ok().map(str::trim);
    let tags = text.and_then(listed).unwrap_or_default();
    matches!(tags[..], [(false, tag)] if tag.parse().ok().as_ref() == Some(current))
}

/// An entity tag.
pub(crate) fn etag(tag: impl Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{tag}\"")).expect("digits, letters, dots and quotation marks")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(HeaderName, &str)]) -> Result<Conditions<Version>, Problem> {
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
        let cases: [(Headers<'_>, [bool; 3]); 14] = [
            // Absent, 3.17, 3.18.
            (&[], [true, true, true]),
            (&[(IF_MATCH, "*")], [false, true, true]),
            (&[(IF_MATCH, "\"3.17\"")], [false, true, false]),
            (&[(IF_MATCH, "\"3.17\""), (IF_MATCH, "\"3.18\"")], [false, true, true]),
            (&[(IF_MATCH, "W/\"3.17\"")], [false, false, false]),
            (&[(IF_MATCH, "\"of another server\"")], [false, false, false]),
            (&[(IF_MATCH, "\"a, b\"")], [false, false, false]),
            (&[(IF_MATCH, "\"a,b\",\"3.17\"")], [false, true, false]),
            (&[(IF_NONE_MATCH, "W/\",\" , ,\"3.17\" ,")], [true, false, true]),
            (&[(IF_MATCH, "\"a\", \"\", \"3.18\"")], [false, false, true]),
            (&[(IF_MATCH, "\",3.17,\"")], [false, false, false]),
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
        for wrong in ["3.17", "\"3.17", "*, \"3.17\"", "\"a\"b\"", "\"a\" \"b\"", "w/\"a\"", "a,\"3.17\""] {
            assert!(read(&[(IF_MATCH, wrong)]).is_err(), "{wrong}");
        }
        assert_eq!(etag(version(17)), "\"3.17\"");
    }

    #[test]
    fn a_range_is_of_the_thing_that_has_that_very_tag() {
        let is_of = |text: &str| is_tag_of(&HeaderValue::from_str(text).unwrap(), &version(17));
        assert!(is_of("\"3.17\""));
        for other in
            ["\"3.18\"", "W/\"3.17\"", "3.17", "\"3.17\", \"3.18\"", "Fri, 20 Nov 2026 10:00:00 GMT", ""]
        {
            assert!(!is_of(other), "{other}");
        }
    }
}
