//! What a script prints: a line for each event, and below it, indented, a line for each effect.

use std::fmt::Display;

/// How much is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chatter {
    /// Every event and every effect.
    Everything,
    /// Only what matters, a line for each event, with the node's name before it: for time that passes.
    Changes,
    /// Nothing.
    Nothing,
}

/// The output of the command under way.
#[derive(Debug)]
pub(crate) struct Report {
    text: String,
    pub(crate) chatter: Chatter,
    /// Whose changes the last line tells.
    teller: Option<String>,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report { text: String::new(), chatter: Chatter::Everything, teller: None }
    }

    /// Something that the command has to say, whatever else is printed.
    pub(crate) fn say(&mut self, line: impl Display) {
        self.teller = None;
        if self.chatter != Chatter::Nothing {
            self.text.push_str(&format!("{line}\n"));
        }
    }

    /// An event of a node.
    pub(crate) fn event(&mut self, node: impl Display, what: impl Display) {
        self.teller = None;
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

    /// An effect that matters.
    pub(crate) fn change(&mut self, node: impl Display, what: impl Display) {
        match self.chatter {
            Chatter::Everything => self.text.push_str(&format!("  {what}\n")),
            Chatter::Changes => {
                let node = node.to_string();
                if self.teller.as_ref() == Some(&node) {
                    self.text.pop();
                    self.text.push_str(&format!("; {what}\n"));
                } else {
                    self.text.push_str(&format!("{node}: {what}\n"));
                    self.teller = Some(node);
                }
            }
            Chatter::Nothing => {}
        }
    }

    /// What was printed since the last time; equal lines one behind the other once, with their number.
    pub(crate) fn take(&mut self) -> String {
        self.teller = None;
        let text = std::mem::take(&mut self.text);
        let mut lines: Vec<(&str, usize)> = Vec::new();
        for line in text.lines() {
            match lines.last_mut() {
                Some((before, times)) if *before == line => *times += 1,
                _ => lines.push((line, 1)),
            }
        }
        let written = lines.into_iter().map(|(line, times)| match times {
            1 => format!("{line}\n"),
            _ => format!("{line} ({times} times)\n"),
        });
        written.collect()
    }
}
