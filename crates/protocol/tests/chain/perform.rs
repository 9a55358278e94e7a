//! What the commands of scripts do.

use std::error::Error;

use chordata_protocol::chain::event::Occasion;
use chordata_protocol::chain::{self, Event, Incarnation, View, WriteId};
use chordata_protocol::{Address, Id, Key, Operation, Placement, Ttl, Value, Version};
use goldenscript::Context;

use crate::commands::{Command, Expected, KeyName, Name, Sent, Span};
use crate::report::Chatter;
use crate::world::{CallId, Message, World};

impl goldenscript::Runner for World {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        self.perform(command)?;
        Ok(self.report.take())
    }
}

fn time_to_live(Span(time): Span) -> Ttl {
    Ttl::new(time).expect("scripts have possible ones")
}

fn addresses(names: &[Name]) -> Vec<Address> {
    names.iter().map(|Name(address)| address.clone()).collect()
}

impl World {
    fn perform(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Settings { .. } => self.set(command),
            Command::Watch(id) => self.watched = Some(Id::from_u128(u128::from(*id))),
            Command::Cluster(names) => {
                self.with_chatter(Chatter::Nothing, |world| world.build(&addresses(names)))?;
            }
            Command::Voters(names) => {
                let names = addresses(names);
                let voters = names.iter().filter_map(|address| self.nodes.get(address));
                self.group.voters = voters.map(|node| node.store).collect();
                if let Some(leader) = self.group.leader.clone() {
                    let voters = self.group.voters.clone();
                    self.occasion(&leader, Occasion::Voters(voters), "learns who votes");
                }
            }
            Command::Join(names) => addresses(names).iter().for_each(|address| self.join(address)),
            Command::Depart(Name(node)) => self.propose(chain::Command::Leave(self.nodes[node].store)),
            Command::Forget(Name(node)) => self.propose(chain::Command::Forget(self.nodes[node].store)),
            Command::AcceptLoss => {
                let leader = self.group.leader.clone().ok_or("nobody leads")?;
                self.occasion(&leader, Occasion::AcceptLoss, "told that losses are accepted");
            }
            Command::Crash(names) => addresses(names).iter().for_each(|address| self.crash(address)),
            Command::Restart(names) => self.restart(&addresses(names))?,
            Command::Wipe(Name(node)) => {
                self.crash(node);
                self.join(node);
            }
            Command::Pause(names) => self.pause(&addresses(names), true)?,
            Command::Resume(names) => self.pause(&addresses(names), false)?,
            Command::Elect(Name(node)) => {
                if !self.is_running(node) {
                    return Err(format!("{node} does not run").into());
                }
                self.elect(node);
            }
            Command::NoLeader => self.no_leader(),
            Command::Proposals(what) => {
                self.group.waits = match what.as_str() {
                    "wait" => true,
                    "go" => false,
                    _ => return Err("proposals wait, or go".into()),
                };
            }
            Command::Agree(how) => {
                if !self.agree(how.is_none()) {
                    return Err("nothing is proposed".into());
                }
            }
            Command::Lose => {
                if !self.lose() {
                    return Err("nothing is proposed".into());
                }
            }
            Command::Settle => self.with_chatter(Chatter::Changes, World::settle),
            Command::Run(Span(time)) => self.with_chatter(Chatter::Changes, |world| world.run_for(*time)),
            Command::Ahead(Name(node), Span(time)) => {
                self.ahead.insert(node.clone(), *time);
            }
            Command::Wait(Span(time)) => self.pass(*time),
            Command::Drain => self.drain(),
            Command::Beat(names) => addresses(names).iter().for_each(|address| self.beat(address)),
            Command::Tick => self.tick(),
            Command::Confirm(Name(node)) => while self.confirm(node) {},
            Command::Deliver(..)
            | Command::Drop(..)
            | Command::Hold(..)
            | Command::Release(..)
            | Command::Timeout(..)
            | Command::Flight
            | Command::Cut(..)
            | Command::Heal => self.move_messages(command)?,
            Command::Slow(names) => {
                for Name(address) in names {
                    self.nodes.get_mut(address).ok_or("no such node")?.slow = true;
                }
            }
            Command::Persist(names) => addresses(names).iter().for_each(|address| self.persist(address)),
            Command::Damage(Name(node), KeyName(key)) => {
                let space = self.settings.space;
                self.life_mut(node).ok_or("it is down")?.engine.damage(space, key);
                self.event(
                    node,
                    Event::Damaged(vec![(key.id(space), key.clone())]),
                    "finds a damaged record",
                );
            }
            Command::Put { .. }
            | Command::Delete(..)
            | Command::Cas { .. }
            | Command::Get(..)
            | Command::Mark(..) => {
                self.ask_as_client(command);
            }
            Command::State(_) | Command::View | Command::Keys(_) | Command::Disk(_) | Command::Check => {
                self.show(command);
            }
        }
        Ok(())
    }

    fn set(&mut self, command: &Command) {
        let Command::Settings { copies, durability, clean_reads, page, log, uncommitted, results, frame } =
            command
        else {
            return;
        };
        let settings = &mut self.settings;
        let replication = &mut settings.replication;
        replication.factor = copies.unwrap_or(replication.factor);
        replication.durability = durability.unwrap_or(replication.durability);
        replication.clean_reads = clean_reads.unwrap_or(replication.clean_reads);
        settings.log_max = log.unwrap_or(settings.log_max);
        settings.uncommitted_max = uncommitted.unwrap_or(settings.uncommitted_max);
        settings.results_kept = results.map_or(settings.results_kept, |Span(time)| time);
        settings.frame_bytes = frame.unwrap_or(settings.frame_bytes);
        self.page = page.unwrap_or(self.page);
    }

    // Nodes.

    /// The first node, then the others; until all chains are full.
    fn build(&mut self, addresses: &[Address]) -> Result<(), Box<dyn Error>> {
        let (first, others) = addresses.split_first().ok_or("who?")?;
        self.create(first);
        let (space, replication) = (self.settings.space, self.settings.replication);
        if let Some(node) = self.nodes.get_mut(first) {
            let view = View::first(space, replication, node.store, Incarnation(1), &node.me);
            node.disk.view = Some(view.clone().into());
            self.group.view = Some(view.into());
        }
        self.note_ranges();
        self.start(first, Vec::new());
        self.elect(first);
        self.run_until_quiet();
        for address in others {
            self.join(address);
            self.run_until_quiet();
        }
        Ok(())
    }

    /// A new store asks to be a member; its process starts when it is one.
    fn join(&mut self, address: &Address) {
        self.create(address);
        let node = &self.nodes[address];
        self.propose(chain::Command::Admit {
            store: node.store,
            incarnation: Incarnation(1),
            address: address.clone(),
            placement: Placement::Fixed(node.me.id),
        });
    }

    fn restart(&mut self, addresses: &[Address]) -> Result<(), Box<dyn Error>> {
        for address in addresses {
            if !self.nodes.contains_key(address) || self.life(address).is_some() {
                return Err(format!("{address} is not down").into());
            }
            self.start(address, Vec::new());
        }
        Ok(())
    }

    fn pause(&mut self, addresses: &[Address], paused: bool) -> Result<(), Box<dyn Error>> {
        for address in addresses {
            self.life_mut(address).ok_or_else(|| format!("{address} is down"))?.paused = paused;
        }
        Ok(())
    }

    fn pass(&mut self, time: std::time::Duration) {
        self.now = self.now + time;
        let all: Vec<Address> = self.nodes.keys().cloned().collect();
        all.iter().for_each(|address| self.observe(address));
    }

    // Messages.

    fn move_messages(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Deliver(Name(from), Name(to), kind) => {
                let chosen = self.take_messages(from, to, kind.as_deref())?;
                if self.life(to).is_some_and(|life| life.paused) {
                    return Err(format!("{to} stands still").into());
                }
                chosen.into_iter().for_each(|message| self.deliver(message));
            }
            Command::Drop(Name(from), Name(to), kind) => {
                for message in self.take_messages(from, to, kind.as_deref())? {
                    self.report.say(format!("lost: {message}"));
                }
            }
            Command::Hold(Name(from), Name(to), kind) => {
                self.held.push((from.clone(), to.clone(), kind.clone()));
            }
            Command::Release(Name(a), Name(b)) => self.held.retain(|(from, to, _)| (from, to) != (a, b)),
            Command::Timeout(Name(from), Name(to)) => {
                let asked = self.calls.iter().filter(|(id, call)| id.from == *from && call.to.address == *to);
                let late: Vec<CallId> = asked.map(|(id, _)| id.clone()).collect();
                if late.is_empty() {
                    return Err("no such question is out".into());
                }
                late.iter().for_each(|call| self.time_out(call));
            }
            Command::Cut(Name(a), Name(b)) => {
                self.cuts.insert((a.clone(), b.clone()));
            }
            Command::Heal => self.cuts.clear(),
            _ => {
                for message in &self.flight {
                    self.report.say(message);
                }
            }
        }
        Ok(())
    }

    fn take_messages(
        &mut self,
        a: &Address,
        b: &Address,
        kind: Option<&str>,
    ) -> Result<Vec<Message>, Box<dyn Error>> {
        let chosen = |message: &Message| {
            message.from == *a && message.to == *b && kind.is_none_or(|kind| message.name == kind)
        };
        let (taken, left): (Vec<Message>, Vec<Message>) =
            std::mem::take(&mut self.flight).into_iter().partition(chosen);
        self.flight = left.into();
        if taken.is_empty() { Err("no such message is in flight".into()) } else { Ok(taken) }
    }

    // Clients.

    fn ask_as_client(&mut self, command: &Command) {
        match command {
            Command::Put { node: Name(node), key: KeyName(key), value, by, done, ttl } => {
                let by = by.map(|by| self.write_id(by, *done));
                let (value, ttl) = (Value::from(value.as_str()), ttl.map(time_to_live));
                self.write(node, key, Operation::Put { value, ttl }, by);
            }
            Command::Delete(Name(node), KeyName(key)) => self.write(node, key, Operation::Delete, None),
            Command::Cas {
                node: Name(node),
                key: KeyName(key),
                expected: Expected(expected),
                value,
                by,
                ttl,
            } => {
                let ttl = ttl.map(time_to_live);
                let by = by.map(|by| self.write_id(by, None));
                let value = Some(Value::from(value.as_str()));
                let found = self.agreed().and_then(|view| view.range_of(key.id(self.settings.space)));
                let epoch = found.map_or(0, |(epoch, _)| epoch.0);
                let expected = expected.map(|sequence| Version { epoch, sequence });
                self.write(node, key, Operation::CompareAndSwap { expected, value, ttl }, by);
            }
            Command::Get(Name(node), KeyName(key)) => {
                let key: Key = key.clone();
                self.get(node, &key);
            }
            Command::Mark(Name(node), KeyName(key)) => self.mark(node, key),
            _ => {}
        }
    }

    /// The name of a write; it says which view the client knew when it sent it first.
    fn write_id(&mut self, by: Sent, done: Option<u64>) -> WriteId {
        let client = u128::from(u32::from(by.client));
        let now = self.agreed().map_or(0, |view| view.index);
        let first_sent = *self.oracle.first_sent.entry((client, by.sequence)).or_insert(now);
        WriteId { client, sequence: by.sequence, done_below: done.unwrap_or(0), first_sent }
    }

    // Output.

    fn show(&mut self, command: &Command) {
        let lines = |names: &[Name], show: &dyn Fn(&Address) -> String| {
            addresses(names).iter().map(show).collect::<Vec<_>>().join("\n")
        };
        let text = match command {
            Command::State(names) => self.state(&addresses(names)),
            Command::View => self.show_view(),
            Command::Keys(names) => lines(names, &|address| self.show_keys(address)),
            Command::Disk(names) => lines(names, &|address| self.show_disk(address)),
            _ => self.check(),
        };
        self.report.say(text);
    }
}
