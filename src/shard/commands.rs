//! What a core wants done outside itself, and what comes to it from other threads.
//!
//! Running a command never calls the core: what fails at once is told in the next turn, so that a
//! core which tries again cannot keep its shard from everybody else.

use std::sync::Arc;

use super::Shard;
use super::close::Why;
use super::counters::Count;
use super::fabric::Neighbour;
use super::legs::State;
use super::network::Network;
use crate::dns::{Answer, Domain, Failure, Question, SharedAnswer};
use crate::edge::{Command, ConnectFailure, Core, LegId, Mail, OutletId, Place};
use crate::limits;
use crate::poll::Poller;
use crate::time::Now;

/// Something to tell the core in the next turn.
pub(super) enum Deferred {
    ConnectFailed(OutletId, ConnectFailure),
    MailRefused(u16, Mail),
    /// Mail of this shard to itself.
    Mail(Mail),
    Resolved(SharedAnswer),
}

impl<P: Poller, N: Network, C: Core> Shard<P, N, C> {
    /// Runs the commands that the core has left.
    #[inline]
    pub(super) fn run_commands(&mut self, now: Now) {
        if !self.effects.commands.is_empty() {
            self.run_left_commands(now);
        }
        while let Some(leg) = self.effects.named.pop() {
            self.want_lists(now, leg);
        }
        if !self.effects.authorisations.is_empty() {
            if let Some(remember) = &mut self.links.remember {
                remember(&mut self.effects.authorisations);
            }
            self.effects.authorisations.clear();
        }
    }

    fn run_left_commands(&mut self, now: Now) {
        let mut commands = std::mem::take(&mut self.effects.commands);
        self.counters.add(Count::Commands, commands.len());
        for command in commands.drain(..) {
            match command {
                Command::Connect(connect) => self.dial(now, connect),
                Command::Close { leg, reason } => self.end(leg, Why::Core(reason)),
                Command::StartTls { leg, name } => self.want_tls(leg, name),
                Command::Admitted { leg } => self.give_half_open(leg),
                Command::Ask(question) => self.ask(question),
                Command::Mail { shard, mail } => self.post(now, shard, mail),
                Command::Note(note) => self.send_note(note),
                Command::Decided(decided) => self.send_decided(now, decided),
            }
        }
        assert!(self.effects.commands.is_empty(), "running commands does not call the core");
        self.effects.commands = commands;
    }

    /// Remembers that a leg is to begin TLS when what is staged has been written, at the end of
    /// the turn.
    fn want_tls(&mut self, id: LegId, name: Domain) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let State::Established(established) = &mut leg.state else { return };
        if let Some(clear) = &mut established.clear
            && established.ending.is_none()
        {
            clear.begins = Some(name);
            self.dirty.push(id);
        }
    }

    /// Tells the core what was put off in the turn before.
    pub(super) fn deliver_deferred(&mut self, now: Now) {
        for _ in 0..self.deferred.len() {
            let Some(deferred) = self.deferred.pop_front() else { return };
            let effects = &mut self.effects;
            match deferred {
                Deferred::ConnectFailed(outlet, why) => {
                    self.core.connect_failed(now, outlet, why, effects);
                }
                Deferred::MailRefused(shard, mail) => {
                    self.core.mail_refused(now, shard, mail, effects);
                }
                Deferred::Mail(mail) => self.core.mail(now, mail, effects),
                Deferred::Resolved(answer) => self.core.resolved(now, answer, effects),
            }
            self.run_commands(now);
        }
    }

    /// Puts a question to the resolver; too many outstanding count as its failure.
    ///
    /// One that is outstanding already is not put again: its answer serves both.
    fn ask(&mut self, question: Question) {
        if self.outstanding.contains(&question) {
            return;
        }
        self.counters.add(Count::Questions, 1);
        let room = self.outstanding.len() < limits::QUESTIONS_MAX;
        let own = self.settings.shard;
        if room && self.links.questions.try_send((own, question.clone())).is_ok() {
            self.outstanding.insert(question);
            return;
        }
        self.counters.add(Count::QuestionsRefused, 1);
        let failure = Answer { question, outcome: Err(Failure::ServerFailure), ttl_s: 1 };
        self.deferred.push_back(Deferred::Resolved(Arc::new(failure)));
    }

    /// Posts mail to another shard.
    fn post(&mut self, now: Now, shard: u16, mail: Mail) {
        let own = self.settings.shard;
        if shard == own {
            self.deferred.push_back(Deferred::Mail(mail));
            return;
        }
        let fabric = Arc::clone(&self.links.fabric);
        let to = fabric.neighbour(shard).and_then(|n| n.boxes.get(usize::from(own)));
        let reservations = self.reservations.get_mut(usize::from(shard));
        let (Some(to), Some(reservations)) = (to, reservations) else {
            self.deferred.push_back(Deferred::MailRefused(shard, mail));
            return;
        };
        let posted = match (mail.place(), &mail) {
            (Place::Reserving, Mail::Request { origin, .. }) => {
                let origin = *origin;
                if reservations.reserve(now.monotonic, origin) {
                    to.post(mail).inspect_err(|_| reservations.release(origin))
                } else {
                    Err(mail)
                }
            }
            (Place::Reserved, _) => to.post_reserved(mail),
            (Place::Reserving | Place::IfRoom, _) => to.post(mail),
        };
        match posted {
            Ok(()) => {
                self.counters.add(Count::MailsSent, 1);
                self.post_to(shard);
            }
            Err(mail) => {
                self.counters.add(Count::MailsRefused, 1);
                // A provisional response may be lost, and nobody does anything about it.
                if !matches!(mail, Mail::Provisional { .. }) {
                    self.deferred.push_back(Deferred::MailRefused(shard, mail));
                }
            }
        }
    }

    /// Remembers to wake a shard at the end of the turn.
    pub(super) fn post_to(&mut self, shard: u16) {
        if !self.posted.contains(&shard) {
            self.posted.push(shard);
        }
    }

    /// Wakes the shards that were posted something, each once.
    pub(super) fn wake_posted(&mut self) {
        for shard in self.posted.drain(..) {
            self.links.fabric.wake(shard);
        }
    }

    /// Takes mail from the others, from each its share of the turn.
    pub(super) fn take_mail(&mut self, now: Now, own: &Neighbour<N::Stream>) {
        let share = limits::MAILS_PER_TURN_MAX.div_ceil(own.boxes.len());
        self.more_mail = false;
        for (sender, from) in own.boxes.iter().enumerate() {
            let mut taken = 0;
            while taken < share
                && let Some(mail) = from.take()
            {
                taken += 1;
                if let Mail::Final { slot, .. } | Mail::NotDelivered { slot, .. } = &mail
                    && let Some(reservations) = self.reservations.get_mut(sender)
                {
                    reservations.release(*slot);
                }
                self.core.mail(now, mail, &mut self.effects);
                self.run_commands(now);
            }
            self.counters.add(Count::MailsTaken, taken);
            self.more_mail |= taken == share;
        }
    }
}
