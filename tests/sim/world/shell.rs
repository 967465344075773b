//! What a shell does for its core: commands run, bytes sent, mail carried, names resolved.

use std::collections::VecDeque;
use std::sync::Arc;

use entente::dns::{Answer, Failure, Question, Target};
use entente::edge::{
    Class, Command, Connect, ConnectFailure, Core, Kind, LegId, Mail, OutletId, Place,
};

use super::{Event, Faults, World};
use crate::network::End;
use crate::organisation::{DOMAINS, address, domain, edge_hosts, pool_host};

impl World {
    /// Runs what a shard's core wants, and moves what it staged.
    pub(super) fn collect(&mut self, organisation: usize, number: usize) {
        for _ in 0..1_000 {
            let commands = std::mem::take(&mut self.shard(organisation, number).effects.commands);
            if commands.is_empty() {
                return self.flush(organisation, number);
            }
            for command in commands {
                self.run_command(organisation, number, command);
            }
        }
        panic!("a core's commands beget commands without end");
    }

    fn run_command(&mut self, organisation: usize, shard: usize, command: Command) {
        match command {
            Command::Connect(connect) => {
                let delay = 1 + self.chance.below(20);
                self.agenda.after(delay, Event::Connect { organisation, shard, connect });
            }
            Command::Ask(question) => {
                let lost = self.faults == Faults::All && self.chance.percent(3);
                let delay = if lost { 6_000 } else { 1 + self.chance.below(50) };
                self.agenda.after(delay, Event::Resolve { organisation, shard, question });
            }
            Command::Close { leg, .. } => {
                self.flush(organisation, shard);
                if let Some(&(connection, side)) = self.by_leg.get(&(organisation, shard, leg)) {
                    self.deliver_rest(connection, 1 - side);
                    self.break_connection(connection);
                }
            }
            Command::Mail { shard: to, mail } => {
                self.post(organisation, shard, usize::from(to), mail)
            }
            Command::StartTls { .. } | Command::Admitted { .. } => panic!("SIP begins with TLS"),
            Command::Decided(_) => {}
            Command::Note(note) => {
                self.note(&format!("edge {organisation}.{shard}: {}", note.sentence))
            }
        }
    }

    fn flush(&mut self, organisation: usize, number: usize) {
        let mut dirty = Vec::new();
        let now_ms = self.agenda.now_ms;
        self.shard(organisation, number).effects.take_dirty(&mut dirty);
        for leg in dirty {
            let Some(&(connection, side)) = self.by_leg.get(&(organisation, number, leg)) else {
                continue;
            };
            let until = self.connections[connection].stalled_until_ms[side];
            if until > now_ms {
                // Its socket is full: the bytes stay ours, and are taken later.
                self.agenda.after(until - now_ms, Event::Flush { organisation, shard: number });
                self.restage(organisation, number, leg);
                continue;
            }
            let bytes = self.shard(organisation, number).take_staged(leg);
            self.write(connection, side, &bytes);
        }
    }

    /// Marks a leg as dirty again, so that the planned flush finds it.
    fn restage(&mut self, organisation: usize, number: usize, leg: LegId) {
        let shard = self.shard(organisation, number);
        let _ = shard.effects.stage(leg, Kind::Response, 0);
    }

    fn post(&mut self, organisation: usize, from: usize, to: usize, mail: Mail) {
        let unlucky = self.faults == Faults::All && self.chance.percent(3);
        match mail.place() {
            Place::IfRoom if unlucky => return,
            Place::Reserving if unlucky => {
                let now = self.agenda.now();
                let shard = self.shard(organisation, from);
                let to = u16::try_from(to).unwrap();
                shard.access.mail_refused(now, to, mail, &mut shard.effects);
                return;
            }
            _ => {}
        }
        self.boxes.entry((organisation, from, to)).or_default().push_back(mail);
        let delay = self.chance.below(4);
        self.agenda.after(delay, Event::Mail { organisation, from, to });
    }

    pub(super) fn mail(&mut self, organisation: usize, from: usize, to: usize) {
        let mail = self.boxes.get_mut(&(organisation, from, to)).and_then(VecDeque::pop_front);
        let Some(mail) = mail else { return };
        let now = self.agenda.now();
        let shard = self.shard(organisation, to);
        shard.access.mail(now, mail, &mut shard.effects);
        self.collect(organisation, to);
    }

    pub(super) fn connect(&mut self, organisation: usize, shard: usize, connect: &Connect) {
        let target = connect.addresses[0].ip();
        let broken = self.faults == Faults::All && self.chance.percent(8);
        let now_ms = self.agenda.now_ms;
        let (end, hosts) = match connect.class {
            Class::Internal => {
                assert_eq!(target, address(organisation, 9), "a next hop is the own pool");
                let down = self.pools[organisation].down_until_ms > now_ms;
                let end = (!down).then_some(End::Pool { organisation });
                (end, vec![pool_host(organisation)])
            }
            Class::Federation => {
                let other = 1 - organisation;
                let known = [address(other, 1), address(other, 2)].contains(&target);
                assert!(known, "an edge connects only to the partner's edge, not to {target}");
                (
                    Some(self.accept(other, Class::Federation, &edge_hosts(organisation))),
                    edge_hosts(other).to_vec(),
                )
            }
            class => panic!("an Access Edge connects to no {class:?}"),
        };
        let end = match end {
            Some(end) if !broken => end,
            refused => {
                if let Some(End::Edge { organisation, shard, leg }) = refused {
                    self.forget_leg(organisation, shard, leg, 0);
                }
                return self.connect_failed(organisation, shard, connect.outlet);
            }
        };
        let (now, outlet) = (self.agenda.now(), Some(connect.outlet));
        let leg = self.shard(organisation, shard).open(now, connect.class, &hosts, outlet);
        let ours = End::Edge { organisation, shard, leg };
        self.join([ours, end]);
        self.collect(organisation, shard);
    }

    fn connect_failed(&mut self, organisation: usize, shard: usize, outlet: OutletId) {
        let now = self.agenda.now();
        let held = self.shard(organisation, shard);
        let why = ConnectFailure::Unreachable;
        held.access.connect_failed(now, outlet, why, &mut held.effects);
        self.collect(organisation, shard);
    }

    pub(super) fn resolve(&mut self, organisation: usize, number: usize, question: Question) {
        let outcome = match &question {
            Question::Federation(name) => {
                let other = DOMAINS.iter().position(|domain| *domain == name.as_str());
                let failing = self.faults == Faults::All && self.chance.percent(5);
                match other {
                    Some(_) if failing => Err(Failure::ServerFailure),
                    Some(other) => Ok(self.targets(other)),
                    None => Err(Failure::NoSuchService),
                }
            }
            Question::Host { .. } | Question::Xmpp(_) => Err(Failure::NoAddress),
        };
        let ttl_s = if outcome.is_ok() { 5 } else { 1 };
        let now = self.agenda.now();
        let answer = Arc::new(Answer { question, outcome, ttl_s });
        let shard = self.shard(organisation, number);
        shard.access.resolved(now, answer, &mut shard.effects);
        self.collect(organisation, number);
    }

    fn targets(&self, organisation: usize) -> Vec<Target> {
        let hosts = edge_hosts(organisation);
        let target = |(place, host): (usize, &String)| Target {
            fqdn: domain(host),
            port: 5061,
            priority: u16::try_from(place).unwrap(),
            weight: 0,
            addresses: vec![address(organisation, u8::try_from(place).unwrap() + 1)],
            direct_tls: true,
        };
        hosts.iter().enumerate().map(target).collect()
    }
}
