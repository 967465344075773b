//! Whom our users have written to, as gateways tell each other.
//!
//! A contact of a public provider that has not verified him may answer, and nothing else, while our
//! user has not added him (lync-federation 7.4). His answer may come to another gateway than the
//! one that our user's words took, when that one dies between the two. So each tells the others, in
//! what it publishes, `w`, our user and the contact. It holds there as long as here: until nobody
//! has written for the time that a chat is kept. Nothing of it is stored.

use std::collections::VecDeque;

use super::Gateway;
use super::authorisation::Standing;
use super::contacts::Begun;
use super::slots::Key;
use crate::limits;
use crate::time::Now;
use crate::xmpp::Jid;

/// What one other gateway has not been told.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Our user and the contact, the oldest in front.
    pairs: VecDeque<Box<str>>,
    /// How many of them are on their way.
    on_way: usize,
}

/// What a line about somebody written to begins with.
const BEGINS: &str = "w ";

impl Written {
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn tell(&mut self, pair: &str) {
        if self.pairs.iter().skip(self.on_way).any(|told| **told == *pair) {
            return;
        }
        if self.pairs.len() >= limits::GATEWAY_WRITTEN_MAX {
            self.pairs.pop_front();
            self.on_way = self.on_way.saturating_sub(1);
        }
        self.pairs.push_back(pair.into());
    }

    /// Appends lines to what is published, as many as fit.
    pub(super) fn write(&mut self, body: &mut String) {
        self.on_way = 0;
        for pair in &self.pairs {
            let size = BEGINS.len() + pair.len() + 1;
            if body.len() + size > limits::GATEWAY_PUBLISH_BYTES_MAX {
                return;
            }
            body.push_str(BEGINS);
            body.push_str(pair);
            body.push('\n');
            self.on_way += 1;
        }
    }

    /// The other one has what was on its way.
    pub(super) fn has_it(&mut self) {
        self.pairs.drain(..self.on_way);
        self.on_way = 0;
    }
}

/// Reads a line that [`Written::write`] has written. `None`: it is about something else.
pub(super) fn read(line: &str) -> Option<(Jid<'static>, Jid<'static>)> {
    let (ours, theirs) = line.strip_prefix(BEGINS)?.split_once(' ')?;
    let user = |text: &str| {
        let jid = Jid::parse(text).ok()?.into_owned();
        let few = text.len() <= limits::GATEWAY_ADDRESS_BYTES_MAX;
        (few && jid.is_bare() && jid.local().is_some()).then_some(jid)
    };
    user(ours).zip(user(theirs))
}

impl Gateway {
    /// One of our users has written to a contact, who may answer.
    pub(super) fn written_to(&mut self, now: Now, key: Key) {
        self.talked(now, key, |talk| talk.begun = Begun::ByUs);
        let Some(contact) = self.contacts.get(key) else { return };
        if contact.kind.may_begin() || contact.outward != Standing::None {
            return;
        }
        let pair = format!("{} {}", contact.ours, contact.theirs);
        for written in self.replicas.written_mut() {
            written.tell(&pair);
        }
    }

    /// Another gateway tells whom a user has written to.
    pub(super) fn written_elsewhere(&mut self, now: Now, ours: &Jid<'_>, theirs: &Jid<'_>) {
        let kind = self.kind_of(theirs);
        if let Some(key) = self.contact(ours, theirs, kind) {
            self.talked(now, key, |talk| talk.begun = Begun::ByUs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(written: &mut Written) -> String {
        let mut body = String::new();
        written.write(&mut body);
        body
    }

    #[test]
    fn what_is_told_is_told_once_and_again_when_it_was_lost() {
        let mut written = Written::default();
        written.tell("kim@contoso.example eve@public.example");
        written.tell("kim@contoso.example eve@public.example");
        let first = lines(&mut written);
        assert_eq!(first, "w kim@contoso.example eve@public.example\n");
        // While it is on its way he writes again, which may be long after.
        written.tell("kim@contoso.example eve@public.example");
        written.has_it();
        assert_eq!(lines(&mut written), first);
        assert_eq!(lines(&mut written), first, "nobody has had it");
        written.has_it();
        assert!(written.is_empty());
    }

    #[test]
    fn what_is_not_told_is_bounded_and_the_oldest_go() {
        let mut written = Written::default();
        for number in 0..=limits::GATEWAY_WRITTEN_MAX {
            written.tell(&format!("kim@contoso.example u{number}@public.example"));
        }
        assert_eq!(written.pairs.len(), limits::GATEWAY_WRITTEN_MAX);
        let body = lines(&mut written);
        assert!(body.starts_with("w kim@contoso.example u1@public.example\n"), "{body}");
        assert!(body.len() <= limits::GATEWAY_PUBLISH_BYTES_MAX);
        written.has_it();
        assert_eq!(written.pairs.len(), limits::GATEWAY_WRITTEN_MAX - body.lines().count());
    }

    #[test]
    fn lines_are_of_two_users() {
        let (ours, theirs) = read("w kim@contoso.example eve@public.example").expect("two users");
        assert_eq!((ours.domain(), theirs.local()), ("contoso.example", Some("eve")));
        for odd in ["w a@b", "w a@b c", "w a@b/x c@d", "2 1 o a@b c@d", "w a@b  c@d"] {
            assert!(read(odd).is_none(), "{odd}");
        }
    }
}
