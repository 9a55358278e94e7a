//! Which columns of a table are key and value.

use crate::cell::{Cell, object};
use crate::{Item, Pair, PairKey, Position, SourceError};

/// What is stored under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueChoice {
    /// A column; none: the only one beside the key.
    Column(Option<String>),
    /// The whole row, as a JSON object.
    Row,
}

/// Which columns are key and value. The default: the first and the second of exactly two, whatever their names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The column of keys.
    pub key: Option<String>,
    /// What is stored under them.
    pub value: ValueChoice,
}

impl Default for Choice {
    fn default() -> Choice {
        Choice { key: None, value: ValueChoice::Column(None) }
    }
}

/// Where key and value are among the columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub(crate) key: usize,
    /// None: the whole row.
    pub(crate) value: Option<usize>,
}

fn list(columns: &[impl AsRef<str>]) -> String {
    if columns.is_empty() {
        return "there are none".to_owned();
    }
    let names: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();
    format!("there {} {}", if names.len() == 1 { "is" } else { "are" }, names.join(", "))
}

fn find(columns: &[impl AsRef<str>], name: &str) -> Result<usize, SourceError> {
    let mut found = columns.iter().enumerate().filter(|(_, column)| column.as_ref() == name);
    match (found.next(), found.next()) {
        (Some((place, _)), None) => Ok(place),
        (Some(_), Some(_)) => {
            Err(SourceError::input(format!("several columns are called {name}: rename them in the source")))
        }
        (None, _) => Err(SourceError::input(format!("there is no column {name}; {}", list(columns)))),
    }
}

impl Choice {
    /// Nothing was chosen?
    pub(crate) fn is_default(&self) -> bool {
        *self == Choice::default()
    }

    /// Finds the columns. `index` is the column of keys of a table that says so itself.
    pub(crate) fn places(
        &self,
        columns: &[impl AsRef<str>],
        index: Option<usize>,
    ) -> Result<Places, SourceError> {
        let key = self.key.as_deref().map(|name| find(columns, name)).transpose()?.or(index);
        let value = match &self.value {
            ValueChoice::Column(value) => value.as_deref().map(|name| find(columns, name)).transpose()?,
            ValueChoice::Row => {
                let missing = || {
                    let text = format!("which column has the keys? Say --key COLUMN; {}", list(columns));
                    SourceError::input(text)
                };
                return Ok(Places { key: key.ok_or_else(missing)?, value: None });
            }
        };
        let other = |one: usize| if one == 0 { 1 } else { 0 };
        match (key, value, columns.len()) {
            (Some(key), Some(value), _) if key == value => {
                Err(SourceError::input("--key and --value are the same column"))
            }
            (Some(key), Some(value), _) => Ok(Places { key, value: Some(value) }),
            (Some(key), None, 2) => Ok(Places { key, value: Some(other(key)) }),
            (None, Some(value), 2) => Ok(Places { key: other(value), value: Some(value) }),
            (None, None, 2) => Ok(Places { key: 0, value: Some(1) }),
            (Some(_), None, _) => Err(SourceError::input(format!(
                "what is the value? Say --value COLUMN, or --value-json for the whole row; {}",
                list(columns)
            ))),
            (None, _, _) => Err(SourceError::input(format!(
                "without --key COLUMN and --value COLUMN (or --value-json) a table has exactly two columns; {}",
                list(columns)
            ))),
        }
    }
}

impl Places {
    /// Makes a pair of a row.
    pub(crate) fn pair<'c>(
        self,
        columns: &'c [impl AsRef<str>],
        mut cells: Vec<Cell<'c>>,
        position: Position,
    ) -> Item {
        let null = |what: &str, cells: Vec<Cell<'c>>| {
            let fields = columns.iter().map(AsRef::as_ref).zip(cells);
            Item::reject(position, format!("the {what} is null"), &object(fields))
        };
        if cells[self.key] == Cell::Null {
            return null("key", cells);
        }
        let value = match self.value {
            Some(place) if cells[place] == Cell::Null => return null("value", cells),
            Some(place) => std::mem::replace(&mut cells[place], Cell::Null).into_bytes(),
            None => Some(object(columns.iter().map(AsRef::as_ref).zip(cells.iter().cloned())).into_bytes()),
        };
        let key = std::mem::replace(&mut cells[self.key], Cell::Null).into_bytes();
        // Neither is null.
        let (key, value) = (PairKey::Bytes(key.unwrap_or_default()), value.unwrap_or_default());
        Item::Pair(Pair { key, value, expires_at_ms: None, position })
    }
}

/// A row that is stored as an object cannot have two fields of one name.
///
/// # Errors
/// When it would.
pub(crate) fn check_names(columns: &[impl AsRef<str>], places: Places) -> Result<(), SourceError> {
    if places.value.is_some() {
        return Ok(());
    }
    columns.iter().try_for_each(|column| find(columns, column.as_ref()).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(key: Option<&str>, value: Option<&str>) -> Choice {
        Choice { key: key.map(str::to_owned), value: ValueChoice::Column(value.map(str::to_owned)) }
    }

    #[test]
    fn two_columns_need_no_names_and_more_do() {
        let two = ["k", "v"];
        let places = |key, value| Ok(Places { key, value: Some(value) });
        let found =
            |choice: Choice, columns: &[&str]| choice.places(columns, None).map_err(|e| e.to_string());
        assert_eq!(found(choice(None, None), &two), places(0, 1));
        assert_eq!(found(choice(Some("v"), None), &two), places(1, 0));
        assert_eq!(found(choice(None, Some("k")), &two), places(1, 0));
        assert_eq!(found(choice(Some("c"), Some("a")), &["a", "b", "c"]), places(2, 0));
        assert_eq!(Choice::default().places(&two, Some(1)).unwrap(), Places { key: 1, value: Some(0) });
        let told = |choice: Choice, columns: &[&str], text: &str| {
            let error = found(choice, columns).unwrap_err();
            assert!(error.contains(text), "{error}");
        };
        told(choice(None, None), &["a", "b", "c"], "exactly two columns; there are a, b, c");
        told(choice(None, None), &["a"], "exactly two columns; there is a");
        told(choice(Some("x"), None), &two, "no column x; there are k, v");
        told(choice(Some("a"), None), &["a", "b", "c"], "--value-json");
        told(choice(Some("a"), Some("b")), &["a", "b", "b"], "several columns are called b");
        told(choice(Some("a"), Some("a")), &two[..1], "no column a");
        told(Choice { key: None, value: ValueChoice::Row }, &two, "--key");
    }
}
