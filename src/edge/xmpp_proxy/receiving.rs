//! Streams that a partner's server opened: headers, STARTTLS, SASL EXTERNAL, features.

use super::XmppProxy;
use super::stream::{Cover, End, Going, Pair, Side, State, Stream};
use crate::dns::Domain;
use crate::edge::xmpp_link::Proof;
use crate::edge::{CloseReason, Command, Effects, Fed};
use crate::limits;
use crate::policy::{XmppPermit, XmppRefusal};
use crate::time::Now;
use crate::xmpp::dialback::Dialback;
use crate::xmpp::sasl_external::{self, Sasl, SaslFailure};
use crate::xmpp::{
    Bounds, DialbackOffer, Element, Features, Management, Offer, Offered, Read, StartTls,
    StreamError, StreamHeader, is_bidi, write,
};

impl XmppProxy {
    pub(super) fn stream_fed(
        &mut self,
        now: Now,
        stream: &mut Stream,
        input: &[u8],
        effects: &mut Effects,
    ) -> Fed {
        let read = match stream.state {
            State::Dead => return Fed::Dead,
            // What a peer says between `<proceed/>` and TLS was not encrypted, and would count as
            // if it had been.
            State::Securing => {
                let why = "the peer went on in the clear after STARTTLS";
                Err(End::abuse(StreamError::PolicyViolation, why))
            }
            _ => stream.reader.read(input).map_err(End::from),
        };
        let (going, consumed) = match read {
            Ok(Read::NeedMore(bytes)) => return Fed::NeedMore(bytes),
            Ok(Read::WhiteSpace { consumed }) => (Ok(()), consumed),
            Ok(Read::Header { header, consumed }) => {
                let going = match stream.side {
                    Side::Receiving => self.header(now, stream, &header, effects),
                    Side::Initiating(_) => self.answered(stream, &header, effects),
                };
                (going, consumed)
            }
            Ok(Read::Element { element, consumed }) => {
                let going = match stream.side {
                    Side::Receiving => self.received(now, stream, &element, effects),
                    Side::Initiating(_) => self.initiated(now, stream, &element, effects),
                };
                (going, consumed)
            }
            Ok(Read::Close { consumed }) => (self.peer_ended(stream, effects), consumed),
            Err(end) => (Err(end), 0),
        };
        stream.heard_at = now.monotonic;
        if let Err(end) = going {
            self.end_stream(stream, &end, effects);
            return Fed::Dead;
        }
        if stream.state == State::Dead { Fed::Dead } else { Fed::Consumed(consumed) }
    }

    fn peer_ended(&mut self, stream: &mut Stream, effects: &mut Effects) -> Going {
        if let State::Closing(_, reason) = stream.state {
            stream.state = State::Dead;
            effects.commands.push(Command::Close { leg: stream.leg, reason });
            return Ok(());
        }
        Err(End::ended("the peer has ended it"))
    }

    /// The header of a stream that the peer opened, or opens anew.
    fn header(
        &mut self,
        now: Now,
        stream: &mut Stream,
        header: &StreamHeader,
        effects: &mut Effects,
    ) -> Going {
        let before = (stream.ours.take(), stream.theirs.take());
        let domain = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            crate::xmpp::Jid::new(None, text, None).ok().map(|jid| jid.to_domain())
        };
        let (ours, theirs) = (domain(&header.to), domain(&header.from));
        stream.theirs.clone_from(&theirs);
        if header.default_namespace != crate::xmpp::ns::SERVER {
            let why = "the stream is not one between servers";
            return Err(End::refused(StreamError::InvalidNamespace, why));
        }
        let Some(ours) = ours else {
            let (error, why) = match header.to {
                None => (StreamError::ImproperAddressing, "the header does not say to whom"),
                Some(_) => (StreamError::HostUnknown, "the header is for no domain"),
            };
            return Err(End::refused(error, why));
        };
        if !self.snapshot.is_own(ours.as_str().as_bytes()) {
            self.counters.refused_by_policy += 1;
            return Err(End::refused(
                StreamError::HostUnknown,
                format!("the header is for {ours}, which is none of ours"),
            ));
        }
        stream.ours = Some(ours.clone());
        let Some(theirs) = theirs else {
            let why = "the header does not say from whom";
            return Err(End::refused(StreamError::ImproperAddressing, why));
        };
        if before.0.is_some_and(|was| was != ours) || before.1.is_some_and(|was| was != theirs) {
            let why = "the domains of the header have changed with the restart";
            return Err(End::refused(StreamError::InvalidFrom, why));
        }
        let permit = self.permit(now, &ours, &theirs)?;
        self.room_for(stream, permit)?;
        stream.partner = Some(permit.partner());
        stream.modern = header.has_features();
        self.open(stream, effects);
        Ok(())
    }

    /// Decides whether two domains may talk.
    pub(super) fn permit(
        &mut self,
        now: Now,
        ours: &Domain,
        theirs: &Domain,
    ) -> Result<XmppPermit, End> {
        self.snapshot.xmpp(now, ours, theirs).map_err(|refusal| {
            self.counters.refused_by_policy += 1;
            let error = match refusal {
                XmppRefusal::NotOurs => StreamError::HostUnknown,
                _ => StreamError::PolicyViolation,
            };
            End::refused(error, format!("{theirs} may not talk to {ours}: {refusal}"))
        })
    }

    fn room_for(&mut self, stream: &Stream, permit: XmppPermit) -> Going {
        let limits = self.snapshot.xmpp_limits();
        let partner = self.snapshot.xmpp_partner(permit.partner());
        let limit = partner.and_then(|partner| partner.connection_limit);
        let limit = usize::from(limit.unwrap_or(limits.partner_connections));
        if stream.partner.is_none() && self.partner_streams(permit.partner()) >= limit {
            self.counters.refused_by_limit += 1;
            let why = format!("the partner has {limit} streams already");
            return Err(End::refused(StreamError::ResourceConstraint, why));
        }
        Ok(())
    }

    /// Answers a header with ours and the features.
    fn open(&mut self, stream: &mut Stream, effects: &mut Effects) {
        let mut out = Vec::with_capacity(512);
        self.write_header(stream, &mut out);
        if stream.modern {
            let features = self.offers(stream);
            features.write(&mut out);
            stream.features = features;
        }
        stream.state = State::Open;
        self.stage(stream.leg, &out, effects);
        for pair in &stream.outbound {
            self.due.extend(self.routes.find(pair.ours.as_str(), pair.theirs.as_str()));
        }
    }

    /// Returns what the stream's partner may use at this point (lync-federation 7.3).
    fn offers(&self, stream: &Stream) -> Features {
        let mut features = Features::default();
        let partner = stream.partner.and_then(|key| self.snapshot.xmpp_partner(key));
        let (Some(partner), Some(theirs)) = (partner, &stream.theirs) else { return features };
        let methods = partner.methods();
        match stream.cover {
            Cover::Clear => {
                features.starttls = match (methods.over_tls(), methods.dialback_clear) {
                    (true, false) => Offer::Required,
                    (true, true) => Offer::Optional,
                    (false, _) => Offer::Absent,
                };
                if methods.dialback_clear {
                    features.dialback = DialbackOffer::WithErrors;
                }
            }
            Cover::Tls => {
                let authenticated = !stream.inbound.is_empty();
                if !authenticated && methods.external && stream.proves(partner, theirs) {
                    features.external = Offered::Yes;
                }
                if methods.dialback_tls {
                    features.dialback = DialbackOffer::WithErrors;
                }
                if !authenticated {
                    features.bidi = Offered::Yes;
                }
            }
        }
        if !stream.inbound.is_empty() {
            features.management = Offered::Yes;
        }
        features
    }

    /// An element on a stream that the peer opened.
    fn received(
        &mut self,
        now: Now,
        stream: &mut Stream,
        element: &Element<'_>,
        effects: &mut Effects,
    ) -> Going {
        if let Some(kind) = element.stanza() {
            return self.stanza_in(now, stream, element, kind, effects);
        }
        self.told_error(element)?;
        if let Some(dialback) = Dialback::read(element) {
            return self.dialback_received(now, stream, dialback, effects);
        }
        if let Some(management) = Management::read(element) {
            return self.managed(now, stream, management, effects);
        }
        if let Some(step) = StartTls::read(element) {
            return self.starttls(stream, step, effects);
        }
        if let Some(sasl) = Sasl::read(element) {
            return self.sasl(now, stream, sasl, effects);
        }
        if is_bidi(element) && stream.cover == Cover::Tls && !stream.is_authenticated() {
            stream.bidi = Offered::Yes;
            return Ok(());
        }
        Err(unknown(stream))
    }

    /// Takes note of a stream error, which ends the stream.
    pub(super) fn told_error(&mut self, element: &Element<'_>) -> Going {
        match StreamError::read(element) {
            Some(error) => {
                self.counters.stream_errors_received += 1;
                Err(End::ended(format!("the peer says {}", error.condition.as_str())))
            }
            None => Ok(()),
        }
    }

    fn starttls(&mut self, stream: &mut Stream, step: StartTls, effects: &mut Effects) -> Going {
        let offered = stream.cover == Cover::Clear
            && stream.state == State::Open
            && stream.features.starttls != Offer::Absent
            && !stream.is_authenticated();
        let Some(name) = stream.ours.clone().filter(|_| offered && step == StartTls::StartTls)
        else {
            let mut out = Vec::new();
            StartTls::Failure.write(&mut out);
            out.extend_from_slice(write::STREAM_END);
            self.stage(stream.leg, &out, effects);
            stream.header_sent = true;
            return Err(End {
                error: None,
                reason: CloseReason::NotPermitted,
                sentence: "the peer asked for TLS where it was not offered".to_owned(),
            });
        };
        let mut out = Vec::new();
        StartTls::Proceed.write(&mut out);
        self.stage(stream.leg, &out, effects);
        stream.state = State::Securing;
        effects.commands.push(Command::StartTls { leg: stream.leg, name });
        Ok(())
    }

    fn sasl(&mut self, now: Now, stream: &mut Stream, sasl: Sasl, effects: &mut Effects) -> Going {
        if stream.state != State::Open {
            return Err(unknown(stream));
        }
        let name = match sasl {
            Sasl::Auth(name) => name,
            Sasl::Refused(failure) => return self.sasl_refused(stream, failure, effects),
            Sasl::Abort => return self.sasl_refused(stream, SaslFailure::Aborted, effects),
            _ => return Err(unknown(stream)),
        };
        let (Some(ours), Some(theirs)) = (stream.ours.clone(), stream.theirs.clone()) else {
            return Err(unknown(stream));
        };
        if stream.features.external == Offered::No {
            // Whether TLS or the certificate is missing decides what the peer can do about it.
            let failure = match stream.cover {
                Cover::Clear => SaslFailure::EncryptionRequired,
                Cover::Tls => SaslFailure::NotAuthorized,
            };
            return self.sasl_refused(stream, failure, effects);
        }
        if let Some(name) = name {
            let named = crate::xmpp::Jid::parse(&name).ok();
            let same = named.is_some_and(|jid| {
                jid.local().is_none() && jid.is_bare() && jid.domain() == theirs.as_str()
            });
            if !same {
                return self.sasl_refused(stream, SaslFailure::InvalidAuthzid, effects);
            }
        }
        let permit = self.permit(now, &ours, &theirs)?;
        let mut out = Vec::new();
        sasl_external::write_success(&mut out);
        self.stage(stream.leg, &out, effects);
        self.counters.authenticated_external += 1;
        let pair = Pair { ours, theirs, proof: Proof::External, permit };
        self.authenticated(stream, pair, effects);
        stream.restart();
        Ok(())
    }

    fn sasl_refused(
        &mut self,
        stream: &mut Stream,
        failure: SaslFailure,
        effects: &mut Effects,
    ) -> Going {
        self.counters.sasl_refused += 1;
        let mut out = Vec::new();
        sasl_external::write_failure(failure, &mut out);
        self.stage(stream.leg, &out, effects);
        stream.sasl_failures += 1;
        if stream.sasl_failures >= limits::XMPP_SASL_FAILURES_MAX {
            let why = format!("SASL failed too often, last for {}", failure.as_str());
            return Err(End::abuse(StreamError::PolicyViolation, why));
        }
        Ok(())
    }

    /// From here on the peer may send stanzas for `pair`; it is reachable, so what waits for it is
    /// tried at once.
    pub(super) fn authenticated(&mut self, stream: &mut Stream, pair: Pair, effects: &mut Effects) {
        self.explain_proof(stream.leg, &pair, effects);
        let stanza_bytes = self.snapshot.xmpp_limits().stanza_bytes;
        stream.reader.set_bounds(Bounds::authenticated(stanza_bytes));
        stream.partner = Some(pair.permit.partner());
        self.contacted(&pair.theirs);
        let both_ways = stream.side == Side::Receiving && stream.bidi == Offered::Yes;
        if both_ways
            && let Some(at) = self.routes.reach(&pair.ours, &pair.theirs, pair.permit)
            && let Some(route) = self.routes.get_mut(at)
        {
            route.bidi = Some(stream.leg);
            self.due.push(at);
            stream.outbound.push(pair.clone());
        }
        stream.inbound.push(pair);
    }

    /// Stream management on any stream.
    pub(super) fn managed(
        &mut self,
        now: Now,
        stream: &mut Stream,
        management: Result<Management, crate::xmpp::ManagementFault>,
        effects: &mut Effects,
    ) -> Going {
        let Ok(management) = management else {
            return Err(End::abuse(StreamError::BadFormat, "a malformed element of XEP-0198"));
        };
        let mut out = Vec::new();
        match (management, stream.handled) {
            (Management::Enable, None) if !stream.inbound.is_empty() => {
                stream.handled = Some(0);
                Management::Enabled.write(&mut out);
                // What the other direction carries is counted from here on as well.
                if !stream.outbound.is_empty() && stream.on_way.is_empty() {
                    stream.managed = stream.managed.or(Some(super::stream::Managed::default()));
                }
            }
            (Management::Enable | Management::Resume, _) => Management::Failed.write(&mut out),
            (Management::Request, Some(handled)) => {
                Management::Answer { handled }.write(&mut out);
            }
            (Management::Answer { handled }, _) => {
                return self.acknowledged(now, stream, handled, effects);
            }
            _ => return Err(unknown(stream)),
        }
        self.stage(stream.leg, &out, effects);
        Ok(())
    }
}

/// An element that has no place where it came.
pub(super) fn unknown(stream: &Stream) -> End {
    if stream.is_authenticated() {
        let why = "an element that is neither stanza nor negotiation";
        return End::abuse(StreamError::UnsupportedStanzaType, why);
    }
    End::abuse(StreamError::NotAuthorized, "an element that has no place before authentication")
}
