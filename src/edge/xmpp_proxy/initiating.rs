//! Streams that we open: STARTTLS or direct TLS, SASL EXTERNAL, dialback, until stanzas may go.

use super::XmppProxy;
use super::receiving::unknown;
use super::route::Standing;
use super::stream::{Cover, End, Going, Held, Managed, Pair, Side, State, Stream};
use crate::dns::Domain;
use crate::edge::xmpp_link::Proof;
use crate::edge::{Class, CloseReason, Command, Effects, LegId, Opened, OutletId};
use crate::policy::Methods;
use crate::time::Now;
use crate::xmpp::dialback::{self, Dialback, Says};
use crate::xmpp::sasl_external::{self, Sasl};
use crate::xmpp::{
    Bounds, DialbackOffer, Element, Features, Management, Offer, Offered, StartTls, StreamError,
    StreamHeader, write_bidi,
};

impl XmppProxy {
    /// A connection that a route asked for is up.
    pub(super) fn stream_opened(
        &mut self,
        now: Now,
        leg: LegId,
        outlet: OutletId,
        opened: Opened,
        effects: &mut Effects,
    ) {
        let mut stream = Stream::new(now.monotonic, leg, Side::Initiating(outlet.index));
        stream.cover = match opened.class {
            Class::Xmpp => Cover::Clear,
            _ => Cover::Tls,
        };
        (stream.names, stream.doubt) = (opened.peer, opened.doubt);
        let route = self.routes.get_mut(outlet.index);
        match route.filter(|route| route.standing == Standing::Connecting(outlet)) {
            Some(route) => {
                route.standing = Standing::Open(leg);
                stream.ours = Some(route.ours.clone());
                stream.theirs = Some(route.theirs.clone());
                stream.partner = Some(route.permit.partner());
                self.begin(&mut stream, effects);
            }
            // The partner went away while the connection was being made.
            None => {
                stream.state = State::Dead;
                effects.commands.push(Command::Close { leg, reason: CloseReason::NotPermitted });
            }
        }
        self.legs.put(leg, Held::Stream(Box::new(stream)));
    }

    /// Sends our header, at the beginning and after each restart.
    pub(super) fn begin(&mut self, stream: &mut Stream, effects: &mut Effects) {
        let mut out = Vec::new();
        self.write_header(stream, &mut out);
        self.stage(stream.leg, &out, effects);
    }

    /// The peer's header.
    pub(super) fn answered(
        &mut self,
        stream: &mut Stream,
        header: &StreamHeader,
        effects: &mut Effects,
    ) -> Going {
        stream.modern = header.has_features();
        stream.dialback_declared = header.declares_dialback;
        stream.id = header.id.clone().unwrap_or_default();
        if stream.modern {
            stream.state = State::Features;
            return Ok(());
        }
        // A server from before XMPP 1.0 sends no features and knows dialback alone.
        self.negotiate(stream, Features::default(), effects)
    }

    pub(super) fn initiated(
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
        if let Some(dialback) = dialback::Dialback::read(element) {
            return self.dialback_received(now, stream, dialback, effects);
        }
        if let Some(features) = Features::read(element) {
            // Features may come again; only where they are awaited do they say anything.
            if stream.state != State::Features {
                return Ok(());
            }
            return self.negotiate(stream, features, effects);
        }
        if let Some(management) = Management::read(element) {
            return self.management_answered(now, stream, management, effects);
        }
        match (stream.state, StartTls::read(element), Sasl::read(element)) {
            (State::Proceed, Some(StartTls::Proceed), _) => {
                let Some(name) = stream.theirs.clone() else { return Err(unknown(stream)) };
                stream.state = State::Securing;
                effects.commands.push(Command::StartTls { leg: stream.leg, name });
                Ok(())
            }
            (State::Proceed, Some(StartTls::Failure), _) => {
                Err(End::ended("the peer offers TLS and cannot do it"))
            }
            (State::Sasl, _, Some(sasl)) => self.sasl_answered(stream, &sasl, effects),
            _ => Err(unknown(stream)),
        }
    }

    fn methods(&self, stream: &Stream) -> Methods {
        let partner = stream.partner.and_then(|key| self.snapshot.xmpp_partner(key));
        partner.map_or(Methods::NONE, |partner| partner.methods())
    }

    /// Takes the next step that the peer offers and the partner's entry allows.
    fn negotiate(
        &mut self,
        stream: &mut Stream,
        features: Features,
        effects: &mut Effects,
    ) -> Going {
        stream.features = features;
        if !stream.outbound.is_empty() {
            return self.enable(stream, effects);
        }
        let methods = self.methods(stream);
        let mut out = Vec::new();
        if stream.cover == Cover::Clear && methods.over_tls() && features.starttls != Offer::Absent
        {
            StartTls::StartTls.write(&mut out);
            self.stage(stream.leg, &out, effects);
            stream.state = State::Proceed;
            return Ok(());
        }
        if stream.cover == Cover::Clear && !methods.dialback_clear {
            return Err(End::ended("the peer offers no TLS, which its entry demands"));
        }
        if stream.cover == Cover::Tls {
            let external = methods.external && features.external == Offered::Yes;
            if (external || methods.dialback_tls) && features.bidi == Offered::Yes {
                write_bidi(&mut out);
                stream.bidi = Offered::Yes;
            }
            self.check_server(stream, methods)?;
            if external {
                let ours = stream.ours.as_ref().map(Domain::as_str);
                sasl_external::write_auth(ours, &mut out);
                self.stage(stream.leg, &out, effects);
                stream.state = State::Sasl;
                return Ok(());
            }
        }
        self.stage(stream.leg, &out, effects);
        self.prove_by_dialback(stream, methods, effects)
    }

    /// Where only certificates count, the server's own has to prove the domain: what is sent goes
    /// to whoever answered at an address that DNS gave.
    fn check_server(&self, stream: &Stream, methods: Methods) -> Going {
        let partner = stream.partner.and_then(|key| self.snapshot.xmpp_partner(key));
        let (Some(partner), Some(theirs)) = (partner, &stream.theirs) else {
            return Err(unknown(stream));
        };
        if methods.dialback_tls || stream.proves(partner, theirs) {
            return Ok(());
        }
        let why = match &stream.doubt {
            Some(doubt) => format!("the certificate of the server proves nothing: {doubt}"),
            None => format!("the certificate of the server does not carry {theirs}"),
        };
        Err(End::refused(StreamError::NotAuthorized, why))
    }

    fn prove_by_dialback(
        &mut self,
        stream: &mut Stream,
        methods: Methods,
        effects: &mut Effects,
    ) -> Going {
        let (allowed, known) = match stream.cover {
            Cover::Clear => (methods.dialback_clear, stream.dialback_declared),
            Cover::Tls => (methods.dialback_tls, stream.dialback_declared),
        };
        let offered = stream.features.dialback != DialbackOffer::Absent || known;
        let (Some(ours), Some(theirs)) = (&stream.ours, &stream.theirs) else {
            return Err(unknown(stream));
        };
        if !allowed || !offered || stream.id.is_empty() {
            return Err(End::ended(
                "the peer offers no way to prove our domain that its entry allows",
            ));
        }
        let Side::Initiating(at) = stream.side else { return Err(unknown(stream)) };
        let route = self.routes.get(at);
        // A stream that is there to ask about a claim proves nothing of us.
        stream.state = State::Asking;
        if route.is_some_and(|route| !route.queue.is_empty()) {
            stream.state = State::Result;
            let key = self.setup.secrets.key(theirs.as_str(), ours.as_str(), &stream.id);
            let mut out = Vec::new();
            dialback::write_result_key(ours.as_str(), theirs.as_str(), &key, &mut out);
            self.stage(stream.leg, &out, effects);
        }
        self.ask_claims(stream, effects);
        Ok(())
    }

    /// A stream that only asked about claims is wanted for stanzas as well.
    pub(super) fn prove_late(&mut self, stream: &mut Stream, effects: &mut Effects) {
        if stream.state == State::Asking {
            let methods = self.methods(stream);
            if let Err(end) = self.prove_by_dialback(stream, methods, effects) {
                self.end_stream(stream, &end, effects);
            }
        }
    }

    fn sasl_answered(&mut self, stream: &mut Stream, sasl: &Sasl, effects: &mut Effects) -> Going {
        match sasl {
            Sasl::Success => {
                self.counters.proved_external += 1;
                self.take_as_proved(stream, Proof::External);
                stream.restart();
                self.begin(stream, effects);
                Ok(())
            }
            Sasl::Challenge => {
                let mut out = Vec::new();
                let ours = stream.ours.as_ref().map(Domain::as_str);
                sasl_external::write_response(ours, &mut out);
                self.stage(stream.leg, &out, effects);
                Ok(())
            }
            Sasl::Failure(failure) => {
                self.counters.sasl_failed += 1;
                let methods = self.methods(stream);
                if !methods.dialback_tls {
                    let why = format!("the peer refuses our certificate: {}", failure.as_str());
                    return Err(End::ended(why));
                }
                self.prove_by_dialback(stream, methods, effects)
            }
            _ => Err(unknown(stream)),
        }
    }

    /// The peer has answered our dialback key.
    pub(super) fn proved(
        &mut self,
        _: Now,
        stream: &mut Stream,
        dialback: &Dialback,
        effects: &mut Effects,
    ) -> Going {
        if stream.state != State::Result {
            return Err(unknown(stream));
        }
        match &dialback.says {
            Says::Valid => {
                self.counters.proved_dialback += 1;
                let proof = stream.dialback_proof();
                self.take_as_proved(stream, proof);
                self.enable(stream, effects)
            }
            Says::Error(error) => Err(End::ended(format!(
                "the peer could not verify our domain: {}",
                error.condition.as_str()
            ))),
            Says::Invalid | Says::Key(_) => Err(End::ended("the peer denies our dialback key")),
        }
    }

    /// The peer has taken our domain; with XEP-0288 its own counts as proved by what brought us
    /// here: its certificate, else DNS.
    fn take_as_proved(&mut self, stream: &mut Stream, proof: Proof) {
        let Side::Initiating(at) = stream.side else { return };
        let Some(route) = self.routes.get(at) else { return };
        let (ours, theirs, permit) = (route.ours.clone(), route.theirs.clone(), route.permit);
        let partner = self.snapshot.xmpp_partner(permit.partner());
        let certified = partner.is_some_and(|partner| stream.proves(partner, &theirs));
        let theirs_by = match (certified, stream.cover) {
            (true, _) => Proof::External,
            (false, _) => stream.dialback_proof(),
        };
        let pair = Pair { ours, theirs, proof, permit };
        if stream.bidi == Offered::Yes && self.permits_proof(permit, theirs_by) {
            stream.inbound.push(Pair { proof: theirs_by, ..pair.clone() });
        }
        stream.outbound.push(pair);
        let stanza_bytes = self.snapshot.xmpp_limits().stanza_bytes;
        stream.reader.set_bounds(Bounds::authenticated(stanza_bytes));
    }

    /// Asks for stream management where it is offered, else begins to send.
    fn enable(&mut self, stream: &mut Stream, effects: &mut Effects) -> Going {
        if stream.features.management == Offered::Yes {
            let mut out = Vec::new();
            Management::Enable.write(&mut out);
            self.stage(stream.leg, &out, effects);
            stream.state = State::Enabling;
            return Ok(());
        }
        self.ready(stream, effects);
        Ok(())
    }

    fn ready(&mut self, stream: &mut Stream, effects: &mut Effects) {
        stream.state = State::Ready;
        let Side::Initiating(at) = stream.side else { return };
        if let Some(route) = self.routes.get_mut(at) {
            route.succeeded();
        }
        self.ask_claims(stream, effects);
        self.due.push(at);
    }

    fn management_answered(
        &mut self,
        now: Now,
        stream: &mut Stream,
        management: Result<Management, crate::xmpp::ManagementFault>,
        effects: &mut Effects,
    ) -> Going {
        match (stream.state, management) {
            (State::Enabling, Ok(Management::Enabled)) => {
                stream.managed = Some(Managed::default());
                stream.handled = Some(0);
                self.ready(stream, effects);
                Ok(())
            }
            (State::Enabling, Ok(Management::Failed)) => {
                self.ready(stream, effects);
                Ok(())
            }
            (_, management) => self.managed(now, stream, management, effects),
        }
    }
}
