//! `shell`.

use std::io::{BufRead, IsTerminal};

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::shell::editor::{Editor, Typed};
use crate::shell::session::{Next, Session};
use crate::state::State;

/// What `shell --help` says first.
pub(crate) const ABOUT: &str = "\
Give commands one after another, at a prompt or on standard input

insert, query, delete, setnode, listnodes, overlay, depart, and every command of chordata that reads, writes or looks \
(`help` lists them). A line is split as in input files: \"...\" and '...' hold words together, # begins a comment.

Without a terminal lines are read from standard input; a line that fails is reported with its number, and the exit \
code at the end is that of the first one that failed.";

/// `shell`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShellArguments {
    /// Without a terminal: end at the first line that fails
    #[arg(long)]
    stop_on_error: bool,
}

impl ShellArguments {
    /// Reads lines and carries them out until there are no more.
    pub(crate) async fn run(&self, context: &Context) -> Outcome {
        let mut session = Session::new(context)?;
        if std::io::stdin().is_terminal() {
            return at_prompt(&mut session).await;
        }
        let mut first = None;
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let carried_out = match line {
                Ok(line) => session.carry_out(&line).await,
                Err(error) => Err(Failure::input(error)),
            };
            match carried_out {
                Ok(Next::End) => break,
                Ok(Next::Line) => {}
                Ok(Next::History) => context.output.remark("there is no history without a terminal"),
                Err(failure) => {
                    eprint!("line {}: ", number + 1);
                    tell(&failure);
                    first.get_or_insert(failure.exit_code());
                    if self.stop_on_error {
                        break;
                    }
                }
            }
        }
        first.map_or(Ok(()), |code| Err(Failure::Told(code)))
    }
}

/// Also says that something failed which has been told already: the line's number stands before it.
fn tell(failure: &Failure) {
    match failure {
        Failure::Said | Failure::Told(_) => eprintln!("exit code {}", failure.exit_code()),
        failure => failure.tell(),
    }
}

async fn at_prompt(session: &mut Session) -> Outcome {
    let mut editor = Editor::new(&State::of_user()?.shell_history())?;
    println!("chordata shell: `help` lists the commands, Tab completes them, Ctrl-D leaves");
    loop {
        let through = session.through().map(ToString::to_string);
        let line = match editor.read(through.as_deref())? {
            Typed::Line(line) => line,
            Typed::Nothing => continue,
            Typed::End => return Ok(()),
        };
        // Ctrl-C ends the command, not the shell.
        let carried_out = tokio::select! {
            carried_out = session.carry_out(&line) => carried_out,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Err(Failure::failed("interrupted: what was sent may have been done"))
            }
        };
        match carried_out {
            Ok(Next::End) => return Ok(()),
            Ok(Next::History) => editor.show_history()?,
            Ok(Next::Line) => {}
            Err(failure) => failure.tell(),
        }
    }
}
