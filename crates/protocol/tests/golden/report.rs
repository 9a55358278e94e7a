//! What a script prints: a line for each event, and below it, indented, a line for each effect.

use std::fmt::Display;

/// How much is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chatter {
    /// Every event and every effect.
    Everything,
    /// Only what changed in a node, with its name before it: for whole rounds and for time that passes.
    Changes,
    /// Nothing.
    Nothing,
}

/// The output of the command under way.
#[derive(Debug)]
pub(crate) struct Report {
    text: String,
    pub(crate) chatter: Chatter,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report { text: String::new(), chatter: Chatter::Everything }
    }

    /// Something that the command has to say, whatever else is printed.
    pub(crate) fn say(&mut self, line: impl Display) {
        if self.chatter != Chatter::Nothing {
            self.text.push_str(&format!("{line}\n"));
        }
    }

    /// An event of a node.
    pub(crate) fn event(&mut self, node: impl Display, what: impl Display) {
        if self.chatter == Chatter::Everything {
            self.text.push_str(&format!("{node}: {what}\n"));
        }
    }

    /// An effect of the event above.
    pub(crate) fn effect(&mut self, what: impl Display) {
        if self.chatter == Chatter::Everything {
            self.text.push_str(&format!("  {what}\n"));
        }
    }

    /// A change in a node.
    pub(crate) fn change(&mut self, node: impl Display, what: impl Display) {
        match self.chatter {
            Chatter::Everything => self.text.push_str(&format!("  {what}\n")),
            Chatter::Changes => self.text.push_str(&format!("{node}: {what}\n")),
            Chatter::Nothing => {}
        }
    }

    /// What was printed since the last time.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}
