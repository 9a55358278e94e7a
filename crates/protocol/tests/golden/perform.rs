//! What the commands of scripts do.

use std::error::Error;
use std::time::Duration;

use chordata_protocol::ring::{Event, RingSettings, Timer};
use chordata_protocol::{Address, CallError, Id, Peer, Placement, Space, Value};
use goldenscript::Context;

use crate::client::Wish;
use crate::commands::{Command, KeyName, Name, Span, TimerName, Wanted};
use crate::report::Chatter;
use crate::words;
use crate::world::{Call, Message, Phase, World, id_of};

impl goldenscript::Runner for World {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        self.perform(command)?;
        Ok(self.report.take())
    }
}

impl World {
    fn perform(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Settings { bits, successors, chunk } => {
                let mut settings: RingSettings = self.settings.clone();
                settings.successors = successors.unwrap_or(settings.successors);
                settings.chunk_bytes = chunk.unwrap_or(settings.chunk_bytes);
                let bits = bits.unwrap_or(settings.space.bits());
                settings.space = Space::new(bits).ok_or("no such ring")?;
                self.settings = settings;
            }
            Command::Ring(names) => self.build(names)?,
            Command::Start(Name(node)) => {
                self.create(self.peer(node));
                self.event(node, Event::StartAlone, "starts alone");
            }
            Command::Join { node: Name(node), via } => self.join(node, via.as_ref())?,
            Command::Place { node: Name(node), via: Name(via), at } => {
                self.place(node, via, at.map_or(Placement::Bisect, |Wanted(placement)| placement));
            }
            Command::Depart(Name(node)) => {
                if let Some(one) = self.nodes.get_mut(node).filter(|one| one.phase == Phase::Member) {
                    one.phase = Phase::Leaving;
                }
                self.event(node, Event::Depart, "is to leave");
            }
            Command::Crash(names) => names.iter().for_each(|Name(node)| self.crash(node)),
            Command::Timer(node, TimerName(timer)) => self.time(node, *timer)?,
            Command::Stabilize(names) => {
                for node in names {
                    self.time(node, Timer::Stabilize)?;
                }
            }
            Command::Silent(Name(node), Name(of)) => {
                let of = self.peer(of);
                self.event(node, Event::Silent(of.clone()), &format!("told that {} is silent", of.address));
            }
            Command::Round => self.with_chatter(Chatter::Changes, World::round),
            Command::Run(Span(time)) => self.with_chatter(Chatter::Changes, |world| world.run(*time)),
            Command::Wait(Span(time)) => self.now = self.now + *time,
            Command::Split(names) => self.far_side = names.iter().map(|Name(node)| node.clone()).collect(),
            Command::Heal => self.far_side.clear(),
            Command::Settle
            | Command::Deliver(..)
            | Command::Drop(..)
            | Command::Delay(..)
            | Command::Arrive
            | Command::Timeout(..)
            | Command::Flight => self.move_messages(command)?,
            Command::Put(Name(node), KeyName(key), value) => {
                self.wish(node, Wish::Put(key.clone(), Value::from(value.as_str())));
            }
            Command::Delete(Name(node), KeyName(key)) => self.wish(node, Wish::Delete(key.clone())),
            Command::Get(Name(node), KeyName(key)) => self.wish(node, Wish::Get(key.clone())),
            Command::Lookup { node: Name(node), target, policy } => {
                self.look_up(node, Id::from_u128(u128::from(*target)), policy.unwrap_or_default());
            }
            Command::RefreshAll(Name(node)) => self.refresh_all(node),
            Command::State(_)
            | Command::Fingers(_)
            | Command::Keys(_)
            | Command::Check
            | Command::Walk(_) => self.show(command),
        }
        Ok(())
    }

    /// Messages in flight: which are delivered, which are lost.
    fn move_messages(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        match command {
            Command::Settle => self.settle(),
            Command::Deliver(None, _) => {
                let message = self.flight.pop_front().ok_or("nothing is in flight")?;
                self.deliver(message);
            }
            Command::Deliver(Some(a), b) => {
                let (from, to) = match b {
                    Some(Name(to)) => (Some(&a.0), to),
                    None => (None, &a.0),
                };
                let chosen = self.take_messages(from, to)?;
                chosen.into_iter().for_each(|message| self.deliver(message));
            }
            Command::Drop(Name(from), Name(to)) => {
                for message in self.take_messages(Some(from), to)? {
                    self.report.say(format!("lost: {message}"));
                }
            }
            Command::Delay(Name(from), Name(to)) => {
                let late = self.take_messages(Some(from), to)?;
                self.delayed.extend(late);
            }
            Command::Arrive => {
                std::mem::take(&mut self.delayed).into_iter().for_each(|message| self.deliver(message));
            }
            Command::Timeout(from, to) => {
                let mut late = self.lost_calls();
                if let Some(Name(from)) = from {
                    let to = to.as_ref().map(|Name(to)| to);
                    let asked = |call: &Call| to.is_none_or(|to| call.to.address == *to);
                    let calls = self.calls.iter().filter(|(id, call)| id.from == *from && asked(call));
                    late = calls.map(|(id, _)| id.clone()).collect();
                }
                if late.is_empty() {
                    return Err("no question is out".into());
                }
                late.iter().for_each(|call| self.come_back(call, Err(CallError::TimedOut)));
            }
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
        from: Option<&Address>,
        to: &Address,
    ) -> Result<Vec<Message>, Box<dyn Error>> {
        let flight = std::mem::take(&mut self.flight);
        let chosen = |message: &Message| message.to == *to && from.is_none_or(|from| message.from == *from);
        let (taken, left): (Vec<_>, Vec<_>) = flight.into_iter().partition(chosen);
        self.flight = left.into();
        if taken.is_empty() { Err("no such message is in flight".into()) } else { Ok(taken) }
    }

    fn show(&mut self, command: &Command) {
        let text = match command {
            Command::State(names) => {
                let chosen: Vec<Address> = names.iter().map(|Name(node)| node.clone()).collect();
                self.table(&chosen)
            }
            Command::Fingers(Name(node)) => self.fingers(node),
            Command::Keys(Name(node)) => self.keys(node),
            Command::Walk(Name(node)) => {
                let walked = self.walk(node);
                let whole = if walked.is_whole() { "whole" } else { "not whole" };
                let silent: String =
                    walked.silent.iter().map(|peer| format!(", {} is silent", words::peer(peer))).collect();
                let count = walked.nodes.len();
                format!("{count} nodes, {whole}{silent}\n{}", walked.problems().join("\n"))
            }
            _ => self.check(),
        };
        self.report.say(text.trim_end());
    }

    fn time(&mut self, Name(node): &Name, timer: Timer) -> Result<(), Box<dyn Error>> {
        let is_set = self.node(node).is_some_and(|node| node.timers.contains_key(&timer));
        if !is_set {
            return Err(format!("{node} has not set that timer").into());
        }
        self.fire(node, timer);
        Ok(())
    }

    fn join(&mut self, node: &Address, via: Option<&Name>) -> Result<(), Box<dyn Error>> {
        let predecessor = match via {
            Some(Name(via)) => {
                self.create(self.peer(node));
                self.peer(via)
            }
            None => self.granted.remove(node).ok_or("no place was granted")?,
        };
        self.begin_join(node, predecessor);
        Ok(())
    }

    fn begin_join(&mut self, node: &Address, predecessor: Peer) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.phase = Phase::Joining;
        }
        self.event(node, Event::StartJoin(predecessor), "joins");
    }

    /// One by one, each when the ring is at rest.
    fn build(&mut self, names: &[Name]) -> Result<(), Box<dyn Error>> {
        for Name(node) in names {
            let predecessor = self.predecessor_of(id_of(node));
            self.with_chatter(Chatter::Nothing, |world| {
                world.create(world.peer(node));
                match predecessor {
                    None => {
                        world.event(node, Event::StartAlone, "");
                    }
                    Some(predecessor) => world.begin_join(node, predecessor),
                }
                let at_rest = |world: &World| world.problems().is_empty() && world.is_well_known();
                for _ in 0..240 {
                    world.run(Duration::from_millis(250));
                    if at_rest(world) {
                        return Ok(());
                    }
                }
                Err(format!("no ring within a minute: {}", world.check()))
            })?;
        }
        // Until nobody says any more to whom keys were handed lately.
        self.with_chatter(Chatter::Nothing, |world| world.run(Duration::from_secs(5)));
        Ok(())
    }
}
