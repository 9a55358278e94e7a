//! Which cluster and which node are meant, and what a line does.

use std::ffi::OsString;
use std::time::Duration;

use chordata_client::Failure as ClientFailure;
use chordata_protocol::Address;
use chordata_rpc::within;
use clap::{CommandFactory, Parser};
use serde_json::json;

use super::classic::{self, Action, WORDS};
use super::overlay::Overlay;
use crate::cli::{Cli, Command};
use crate::commands;
use crate::commands::cluster::ClusterCommand;
use crate::commands::look::resolve_node;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::suggest::did_you_mean;

/// How long a departure may take.
const DEPART_WITHIN: Duration = Duration::from_secs(60);

/// What comes after a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// The next one.
    Line,
    /// The lines of before are to be shown, then the next one.
    History,
    /// Nothing: the user leaves.
    End,
}

/// A user at a shell.
pub(crate) struct Session {
    context: Context,
    /// Requests go through this node.
    through: Option<Address>,
}

impl Session {
    /// Against the cluster that the command line says.
    ///
    /// # Errors
    /// When that is no cluster.
    pub(crate) fn new(context: &Context) -> Outcome<Session> {
        // Which one is meant, if it was not said, is remarked once.
        context.target.find(context.output)?;
        let mut context = context.clone();
        context.output.in_shell = true;
        // It says which cluster; in a line `--node` says which of its nodes.
        context.target.fallback = context.target.node.take();
        Ok(Session { context, through: None })
    }

    /// The chosen node.
    pub(crate) fn through(&self) -> Option<&Address> {
        self.through.as_ref()
    }

    /// Does what a line says.
    ///
    /// # Errors
    /// When it could not be done, or is no command.
    pub(crate) async fn carry_out(&mut self, line: &str) -> Outcome<Next> {
        let through = self.through.as_ref().map(Address::to_string);
        match classic::parse(line, through.as_deref()).map_err(Failure::input)? {
            Action::Nothing => {}
            Action::Exit => return Ok(Next::End),
            Action::History => return Ok(Next::History),
            Action::Help(command) => self.help(command.as_deref())?,
            Action::SetNode(node) => self.set_node(node).await?,
            Action::Depart(node) => self.depart(node).await?,
            Action::Overlay => {
                let connection = self.context.target.connect(self.context.output).await?;
                let view = connection.client.view().await;
                self.context.output.show(&Overlay::new(&view, connection.client.space()));
            }
            Action::Run(arguments) => self.run(arguments).await?,
        }
        Ok(Next::Line)
    }

    async fn set_node(&mut self, node: Option<String>) -> Outcome {
        match node.as_deref() {
            None => {}
            Some("-") => self.through = None,
            Some(node) => {
                let address = match self.context.target.connect(self.context.output).await {
                    Ok(connection) => resolve_node(&connection, node).await?,
                    // The first word about a cluster may be one of its nodes.
                    Err(_) if node.contains(':') => {
                        let mut target = self.context.target.clone();
                        target.fallback = Some(node.to_owned());
                        let connection = target.connect(self.context.output).await?;
                        self.context.target = target;
                        resolve_node(&connection, node).await?
                    }
                    Err(failure) => return Err(failure),
                };
                self.through = Some(address);
            }
        }
        let output = self.context.output;
        match &self.through {
            _ if output.json => output.json(&json!({ "node": self.through })),
            Some(node) => output.raw(format!("requests go through {node}\n").as_bytes()),
            None => output.raw(b"no node is set: requests go straight to the owners of keys\n"),
        }
        Ok(())
    }

    async fn depart(&mut self, node: Option<String>) -> Outcome {
        let connection = self.context.target.connect(self.context.output).await?;
        let address = match (&node, &self.through) {
            (Some(node), _) => resolve_node(&connection, node).await?,
            (None, Some(through)) => through.clone(),
            (None, None) => {
                return Err(Failure::input("which node? depart NODE, or choose one with setnode first"));
            }
        };
        // Whom to ask afterwards: the cluster may have been known by this very node.
        let view = connection.client.view().await;
        let answer = connection.client.pool().client(&address).depart(within(DEPART_WITHIN)).await;
        answer.map_err(ClientFailure::from_call)?.map_err(ClientFailure::from)?;
        if self.through.as_ref() == Some(&address) {
            self.through = None;
        }
        if self.context.target.inventory.is_none()
            && let Some(other) = view.members().iter().find(|status| status.me.address != address)
        {
            self.context.target.fallback = Some(other.me.address.to_string());
        }
        let output = self.context.output;
        if output.json {
            output.json(&json!({ "departed": address }));
        } else {
            output.raw(format!("{address} has handed its keys over and left the ring\n").as_bytes());
        }
        Ok(())
    }

    async fn run(&self, arguments: Vec<OsString>) -> Outcome {
        let name = arguments[0].to_string_lossy().into_owned();
        let words = std::iter::once(OsString::from("chordata")).chain(arguments);
        let cli = match Cli::try_parse_from(words) {
            Ok(cli) => cli,
            Err(error) if !error.use_stderr() => {
                // `--help`: it is what was asked for.
                self.context.output.raw(error.render().to_string().as_bytes());
                return Ok(());
            }
            Err(error) => {
                let mut text = error.render().to_string();
                if error.kind() == clap::error::ErrorKind::InvalidSubcommand {
                    let hint = did_you_mean(&name, commands_here().iter().map(String::as_str));
                    text = format!("error: there is no command {name}{hint}. `help` lists all\n");
                }
                eprint!("{}", text.replace("chordata [OPTIONS] ", "").replace("chordata ", ""));
                return Err(Failure::Told(2));
            }
        };
        if let Some(reason) = elsewhere(&cli.command) {
            return Err(Failure::input(format!("{name} is not for the shell: {reason}")));
        }
        let mut context = self.context.clone();
        context.output.json |= cli.json;
        context.yes |= cli.yes;
        let is_number = cli.target.node.as_ref().is_some_and(|node| node.bytes().all(|b| b.is_ascii_digit()));
        if cli.target.inventory.is_some() || cli.target.node.is_some() {
            // A number says which node of the shell's cluster, not which cluster.
            if is_number {
                context.target.node = cli.target.node;
            } else {
                context.target = cli.target;
            }
        }
        Box::pin(commands::run(cli.command, &context)).await
    }

    fn help(&self, command: Option<&str>) -> Outcome {
        let output = self.context.output;
        let Some(name) = command else {
            let mut text = String::from("In this shell:\n");
            for (word, usage, about) in WORDS {
                text += &format!("  {:<22}{about}\n", format!("{word} {usage}"));
            }
            text += "\nCommands of chordata (COMMAND --help explains one):\n";
            let cli = Cli::command();
            for name in commands_here() {
                let about = cli.find_subcommand(&name).and_then(clap::Command::get_about);
                text += &format!("  {name:<22}{}\n", about.map(ToString::to_string).unwrap_or_default());
            }
            output.raw(text.as_bytes());
            return Ok(());
        };
        if let Some((word, usage, about)) = WORDS.iter().find(|(word, ..)| *word == name) {
            output.raw(format!("{word} {usage}\n{about}\n").as_bytes());
            return Ok(());
        }
        let mut cli = Cli::command();
        cli.build();
        match cli.find_subcommand_mut(name) {
            Some(command) => {
                output.raw(command.render_help().to_string().as_bytes());
                Ok(())
            }
            None => {
                let hint = did_you_mean(name, commands_here().iter().map(String::as_str));
                Err(Failure::input(format!("there is no command {name}{hint}")))
            }
        }
    }
}

/// Why a command is given outside of the shell; none: it may be given here.
fn elsewhere(command: &Command) -> Option<&'static str> {
    match command {
        Command::Serve(_) | Command::Manager(_) | Command::Agent { .. } | Command::Demo(_) => {
            Some("it starts servers")
        }
        Command::Shell(_) => Some("this is one"),
        Command::Completions(_) => Some("it is for the shell of your system"),
        Command::Cluster(ClusterCommand::Depart(_)) | Command::Cluster(ClusterCommand::Join(_)) => None,
        Command::Cluster(_) => Some("it works on hosts"),
        Command::Experiment(_) => Some("it starts servers, or loads this one to its limits"),
        Command::Plot(_) => Some("it works on files"),
        _ => None,
    }
}

/// The driver's commands that may be given here, by name.
pub(crate) fn commands_here() -> Vec<String> {
    const ELSEWHERE: &[&str] = &[
        "demo",
        "up",
        "down",
        "destroy",
        "check",
        "deploy",
        "start",
        "stop",
        "restart",
        "logs",
        "exec",
        "kill",
        "pause",
        "resume",
        "inventory",
        "serve",
        "agent",
        "shell",
        "completions",
        "manager",
        "experiment",
        "plot",
        "help",
    ];
    let cli = Cli::command();
    let names = cli.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    names.filter(|name| !ELSEWHERE.contains(name)).map(str::to_owned).collect()
}
