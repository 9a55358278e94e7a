//! Showing results: every command makes a typed report, and here it becomes a table for people or JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// What a command found or did.
pub(crate) trait Report: Serialize {
    /// For people: some lines, each ended.
    fn text(&self) -> String;
}

/// Where and how results are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// As JSON?
    pub(crate) json: bool,
    /// Does the next command's output follow? Then a value that is printed ends its line.
    pub(crate) in_shell: bool,
}

impl Output {
    /// Shows a report on standard output.
    pub(crate) fn show<R: Report>(self, report: &R) {
        if self.json { self.json(report) } else { self.raw(report.text().as_bytes()) }
    }

    /// One JSON value on a line of its own.
    pub(crate) fn json<T: Serialize>(self, value: &T) {
        match serde_json::to_string(value) {
            Ok(line) => self.raw(format!("{line}\n").as_bytes()),
            Err(error) => eprintln!("error: the result cannot be written as JSON: {error}"),
        }
    }

    /// Bytes as they are.
    pub(crate) fn raw(self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // Who reads may have had enough (a pipe into `head`): that is no failure of ours.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// A remark for people, on standard error, and none with `--json`.
    pub(crate) fn remark(self, line: &str) {
        if !self.json {
            eprintln!("{line}");
        }
    }

    /// Which cluster is meant, where nobody said it. The shell has said it once.
    pub(crate) fn remark_choice(self, line: &str) {
        if !self.in_shell {
            self.remark(line);
        }
    }

    /// Is somebody watching a terminal?
    pub(crate) fn is_watched(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }
}

/// A table without lines: columns under their headings, two blanks apart.
pub(crate) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A duration as people say it: 850 us, 3.2 ms, 1.5 s.
pub(crate) fn duration(duration: std::time::Duration) -> String {
    let micros = duration.as_micros();
    if micros < 1000 {
        format!("{micros} us")
    } else if micros < 1_000_000 {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// A long id, cut in the middle: the first eight digits tell nodes apart.
pub(crate) fn short_id(id: chordata_protocol::Id, space: chordata_protocol::Space) -> String {
    if space.bits() <= 32 {
        return id.to_literal();
    }
    let digits = usize::from(space.bits()).div_ceil(4);
    let hex = id.to_hex();
    format!("{}…", &hex[40 - digits..40 - digits + 8])
}

/// `3 hosts`, `1 host`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
