//! How each database quotes the names of tables and columns.

use crate::SourceError;

/// A kind of database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// Microsoft SQL Server.
    SqlServer,
}

impl Dialect {
    /// A name that stands for itself, whatever is in it.
    ///
    /// # Errors
    /// When no database can have such a name.
    pub fn quote(self, name: &str) -> Result<String, SourceError> {
        if name.is_empty() || name.contains('\0') {
            return Err(SourceError::input(format!("{name:?} cannot be the name of a table or a column")));
        }
        Ok(match self {
            Dialect::Sqlite | Dialect::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
            Dialect::MySql => format!("`{}`", name.replace('`', "``")),
            Dialect::SqlServer => format!("[{}]", name.replace(']', "]]")),
        })
    }

    /// A table by the parts of its name.
    ///
    /// # Errors
    /// When no database can have such a name.
    pub fn table(self, parts: &[String]) -> Result<String, SourceError> {
        let parts = parts.iter().map(|part| self.quote(part)).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_its_quotes() {
        let evil = "a\"; DROP TABLE b; -- `]";
        let quoted = |dialect: Dialect| dialect.quote(evil).unwrap();
        assert_eq!(quoted(Dialect::Postgres), "\"a\"\"; DROP TABLE b; -- `]\"");
        assert_eq!(quoted(Dialect::Sqlite), quoted(Dialect::Postgres));
        assert_eq!(quoted(Dialect::MySql), "`a\"; DROP TABLE b; -- ``]`");
        assert_eq!(quoted(Dialect::SqlServer), "[a\"; DROP TABLE b; -- `]]]");
        assert!(Dialect::Postgres.quote("a\0b").is_err() && Dialect::MySql.quote("").is_err());
        let table = Dialect::SqlServer.table(&["dbo".to_owned(), "my table".to_owned()]);
        assert_eq!(table.unwrap(), "[dbo].[my table]");
    }
}
