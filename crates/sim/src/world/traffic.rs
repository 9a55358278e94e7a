//! What clients of the simulated world do: look a key's owner up, carry a request there, and judge the answer.

use std::time::Duration;

use chordata_protocol::procedure::lookup::Lookup;
use chordata_protocol::ring::Admit as Admission;
use chordata_protocol::{Address, Operation, Outcome, Policy, Record};
use chordata_store::{Change as Write, Engine};

use super::{DataAnswer, Item, MEMORY, PARKED_MAX, World};
use crate::client::{Doing, PATIENCE};
use crate::jobs::Walk;

impl World {
    pub(super) fn client_begins(&mut self, client: usize) {
        if self.clients_idle {
            return;
        }
        let now = self.now;
        if let Some(one) = self.clients.get_mut(client) {
            one.choose(&mut self.random, now);
        }
        self.look_up(client);
    }

    pub(super) fn look_up(&mut self, client: usize) {
        let (Some(entry), Some(one)) = (self.any_member(), self.clients.get(client)) else { return };
        let target = one.key.id(self.settings.space);
        let Some(node) = self.nodes.get(&entry) else { return };
        let start = [node.ring.me().clone()];
        let lookup =
            Lookup::new(self.settings.space, target, Policy::Finger, self.settings.hop_limit, &start);
        let job = self.start_job(Address::new("client"), Walk::Lookup(lookup));
        self.lookups.insert(job, client);
    }

    pub(super) fn data_asked(&mut self, client: usize, to: &Address) {
        let Some(one) = self.clients.get(client) else { return };
        let (key, id) = (one.key.clone(), one.key.id(self.settings.space));
        let Some(node) = self.nodes.get_mut(to) else {
            return self.answer_data(client, DataAnswer::Elsewhere);
        };
        match node.ring.admit(id) {
            Admission::Serve => {
                let answer = match &one.doing {
                    Doing::Get => node.store.get(id, &key).expect(MEMORY),
                    Doing::Put(value) => {
                        let operation = Operation::put(value.clone());
                        let current = node.store.version(id, &key).expect(MEMORY);
                        let outcome = node.ring.decide(&key, &operation, current);
                        let Outcome::Written(version) = outcome else { unreachable!("a put is written") };
                        let record = Record { version, value: value.clone(), expires: None };
                        node.store.apply(vec![Write::Put(id, key, record)]).expect(MEMORY);
                        None
                    }
                };
                self.answer_data(client, DataAnswer::Done(answer));
            }
            Admission::Wait => {
                self.counters.count("request waited");
                node.parked.push((client, self.now));
            }
            Admission::Elsewhere(_) | Admission::NotMember => {
                self.answer_data(client, DataAnswer::Elsewhere);
            }
        }
    }

    pub(super) fn wake_parked(&mut self, address: &Address) {
        let Some(node) = self.nodes.get_mut(address) else { return };
        for (client, since) in std::mem::take(&mut node.parked) {
            if self.now.since(since) < PARKED_MAX {
                self.push(Duration::ZERO, Item::Data { client, to: address.clone() });
            } else {
                self.push(Duration::ZERO, Item::DataAnswer { client, answer: DataAnswer::Elsewhere });
            }
        }
    }

    pub(super) fn answer_data(&mut self, client: usize, answer: DataAnswer) {
        let lost = self.network.loss > 0.0 && self.random.f64() < self.network.loss;
        let answer = if lost { DataAnswer::Silence } else { answer };
        self.push(self.network.delay_max, Item::DataAnswer { client, answer });
    }

    pub(super) fn data_answered(&mut self, client: usize, answer: DataAnswer) {
        let pause = Duration::from_millis(self.random.u64(20..200));
        let (now, check_reads) = (self.now, self.check_reads);
        let Some(one) = self.clients.get_mut(client) else { return };
        match answer {
            DataAnswer::Elsewhere if now.since(one.since) < PATIENCE => {
                self.look_up(client);
                return;
            }
            DataAnswer::Elsewhere => {
                self.counters.count("operation given up");
                if check_reads {
                    self.failures.push(format!("{}: nobody served it for {PATIENCE:?}", one.key));
                }
            }
            DataAnswer::Silence => one.unknown(),
            DataAnswer::Done(found) => {
                self.counters.count("operation done");
                match one.doing {
                    Doing::Put(_) => one.written(),
                    Doing::Get if check_reads => {
                        if let Err(wrong) = one.read(found.map(|record| record.value)) {
                            self.failures.push(wrong);
                        }
                    }
                    Doing::Get => {}
                }
            }
        }
        self.push(pause, Item::Client(client));
    }
}
