//! Requests from inside: what is for the gateway itself, what begins something, and what belongs
//! to a dialog.

use super::dialog::Turn;
use super::judge::Refused;
use super::{DialogOf, Gateway};
use crate::edge::{Effects, LegId};
use crate::sip::{HeaderName, Message, Method};
use crate::time::Now;

/// What is answered otherwise than with 405 or 501.
pub(super) const ALLOW: &str =
    "Allow: INVITE, ACK, CANCEL, BYE, MESSAGE, INFO, SUBSCRIBE, NOTIFY, OPTIONS\r\n";

impl Gateway {
    pub(super) fn request(
        &mut self,
        now: Now,
        leg: LegId,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let method = message.method().unwrap_or(Method::Other);
        let silent = matches!(method, Method::Ack | Method::Benotify);
        let seen = match message.check() {
            Ok(seen) => seen,
            Err(fault) => {
                self.counters.malformed += 1;
                if !silent {
                    self.reply(leg, message, fault.status(), fault.reason(), "", effects);
                }
                return;
            }
        };
        if method == Method::Negotiate {
            // Its Max-Forwards is 0, so this comes first.
            return self.reply(leg, message, 488, "Not Acceptable Here", "", effects);
        }
        let has_user = seen.request_uri.is_some_and(|uri| uri.user.is_some());
        if method == Method::Options && (!has_user || seen.max_forwards == Some(0)) {
            return self.options(leg, message, effects);
        }
        if seen.max_forwards == Some(0) {
            self.counters.refused_loop += 1;
            if !silent {
                self.reply(leg, message, 483, "Too Many Hops", "", effects);
            }
            return;
        }
        let demands = matches!(method, Method::Invite | Method::Subscribe | Method::Message)
            && message.present(HeaderName::Require);
        if demands {
            return self.bad_extension(leg, message, effects);
        }
        match (method, seen.to.tag()) {
            (Method::Cancel, _) => self.cancelled(leg, message, effects),
            (Method::Ack, Some(tag)) => self.acknowledged(now, tag, message),
            (Method::Ack, None) => {}
            (_, Some(tag)) => self.in_dialog(now, leg, tag, method, message, effects),
            (_, None) => self.out_of_dialog(now, leg, method, message, effects),
        }
    }

    fn out_of_dialog(
        &mut self,
        now: Now,
        leg: LegId,
        method: Method,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        if !self.hand_over_request(now, leg, method, message, effects) {
            self.begins(now, leg, method, message, effects);
        }
    }

    /// Serves what begins something.
    pub(super) fn begins(
        &mut self,
        now: Now,
        leg: LegId,
        method: Method,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        match method {
            Method::Message => self.page_from_sip(now, leg, message, effects),
            Method::Invite => self.invited(now, leg, message, effects),
            Method::Subscribe => self.subscribed_by_sip(now, leg, message, effects),
            Method::Options => self.options(leg, message, effects),
            Method::Bye | Method::Info | Method::Notify | Method::Update | Method::Prack => {
                self.no_dialog(leg, message, effects);
            }
            Method::Benotify => self.counters.dropped += 1,
            Method::Publish if Self::is_publication(message) => {
                self.published(now, leg, message, effects);
            }
            Method::Register | Method::Refer | Method::Publish | Method::Service => {
                self.counters.refused_method += 1;
                self.reply(leg, message, 405, "Method Not Allowed", ALLOW, effects);
            }
            _ => {
                self.counters.refused_method += 1;
                self.reply(leg, message, 501, "Not Implemented", ALLOW, effects);
            }
        }
    }

    fn in_dialog(
        &mut self,
        now: Now,
        leg: LegId,
        tag: &[u8],
        method: Method,
        message: &Message<'_>,
        effects: &mut Effects,
    ) {
        let of = std::str::from_utf8(tag).ok().and_then(|tag| self.dialogs.get(tag)).copied();
        let dialog = match of {
            Some(DialogOf::Chat(key)) => self.chats.get_mut(key).map(|chat| &mut chat.dialog),
            Some(DialogOf::Watch(key)) => self.watches.get_mut(key).map(|watch| &mut watch.dialog),
            Some(DialogOf::Subscription(key)) => {
                self.subscriptions.get_mut(key).map(|subscription| &mut subscription.dialog)
            }
            None => None,
        };
        let (Some(of), Some(dialog)) = (of, dialog.filter(|dialog| dialog.is_of(message))) else {
            if method != Method::Benotify {
                self.no_dialog(leg, message, effects);
            }
            return;
        };
        if dialog.heard(message) == Turn::Old {
            self.counters.repeated += 1;
            if method != Method::Benotify {
                self.reply(leg, message, 500, "CSeq Out Of Order", "", effects);
            }
            return;
        }
        match (of, method) {
            (DialogOf::Chat(key), Method::Message) => {
                self.message_in_session(now, leg, key, message, effects);
            }
            (DialogOf::Chat(key), Method::Info) => {
                self.info_in_session(now, leg, key, message, effects);
            }
            (DialogOf::Chat(key), Method::Bye) => self.bye(now, leg, key, message, effects),
            (DialogOf::Chat(key), Method::Invite | Method::Update) => {
                self.invited_again(leg, key, message, effects);
            }
            (DialogOf::Watch(key), Method::Subscribe) => {
                self.watch_refreshed(now, leg, key, message, effects);
            }
            (DialogOf::Subscription(key), Method::Notify | Method::Benotify) => {
                self.notified(now, leg, key, message, effects);
            }
            (_, Method::Options) => self.options(leg, message, effects),
            _ => {
                self.counters.refused_method += 1;
                self.reply(leg, message, 405, "Method Not Allowed", ALLOW, effects);
            }
        }
    }

    pub(super) fn no_dialog(&mut self, leg: LegId, message: &Message<'_>, effects: &mut Effects) {
        let reason = "Call/Transaction Does Not Exist";
        self.reply(leg, message, 481, reason, "", effects);
    }

    fn options(&mut self, leg: LegId, message: &Message<'_>, effects: &mut Effects) {
        if self.is_draining() {
            let lines = "Retry-After: 30\r\n";
            return self.reply(leg, message, 503, "Service Unavailable", lines, effects);
        }
        let accept = super::translate::content::ACCEPTED;
        let lines =
            format!("{ALLOW}Accept: application/sdp, {accept}\r\nAllow-Events: presence\r\n");
        self.reply(leg, message, 200, "OK", &lines, effects);
    }

    /// No extension is demanded of others, and none is understood that could be demanded.
    fn bad_extension(&mut self, leg: LegId, message: &Message<'_>, effects: &mut Effects) {
        let tags = message.all(HeaderName::Require).filter_map(|f| super::dialog::text(f.value));
        let tags: Vec<String> = tags.collect();
        let lines = format!("Unsupported: {}\r\n", tags.join(", "));
        let refused = Refused::new(420, "Bad Extension", "Require asks for what is not there");
        self.counters.refused_method += 1;
        self.refuse(leg, message, &refused, &lines, effects);
    }

    /// INVITEs are accepted at once, so there is never one to cancel.
    fn cancelled(&mut self, leg: LegId, message: &Message<'_>, effects: &mut Effects) {
        self.no_dialog(leg, message, effects);
    }
}
