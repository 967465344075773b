//! Messages and presence of own users to XMPP partners: by way of a gateway, which is a next hop,
//! or by SIP federation where the domain is a partner there too (`xmpp_partner.prefer`).
//!
//! Of several gateways the one that the pair of domains falls to is taken, by the hash that the
//! XMPP proxy chooses by ([`crate::policy::rendezvous`]); one that cannot be reached is passed over
//! until a connection to it is open again. The gateway knows better who is linked, and hands over
//! what reached it by mistake: both ways agree even while this edge has not noticed a death.
//!
//! The edge pushes no Record-Route here: gateway and next hop are both inside and reach each other,
//! so what follows in a dialog does not come this way again, and a dialog stays on the side where
//! it began.

use super::Access;
use super::diagnostics::Fault;
use super::headers::Crossing;
use super::outlet::{GroupId, GroupKey, hop_key};
use super::screen::{Admission, Egress, Parts, Plan, Stop, domain, forms_dialog};
use super::toll::offers_media;
use super::transaction::Stamp;
use crate::dns::Domain;
use crate::edge::Effects;
use crate::policy::{PartnerKey, PartnerKind, Preferred};
use crate::sip::{HeaderName, Message, Method, Uri};
use crate::time::Now;

impl Access {
    /// Finds the way of a request out: by SIP, or by the gateway where the domain is an XMPP
    /// partner and the request something that XMPP knows.
    ///
    /// Where there are two ways, the preferred one is taken unless it leads nowhere: policy refuses
    /// it, DNS has no answer, or its last attempts to connect failed.
    pub(super) fn screen_out(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let begins = !parts.in_dialog && self.snapshot.is_own(parts.from_host);
        let preferred =
            if begins && crosses_to_xmpp(message) { self.snapshot.xmpp_way(now, to) } else { None };
        match preferred {
            None => self.by_sip(now, message, parts, to, effects),
            Some(Preferred::Xmpp) => match self.by_gateway(now, message, parts, to, effects) {
                Err(Stop::Refuse(no_gateway)) => {
                    match self.by_sip(now, message, parts, to, effects) {
                        // Why the way that was meant does not work says more.
                        Err(Stop::Refuse(_)) => Err(no_gateway.into()),
                        other => other,
                    }
                }
                other => other,
            },
            Some(Preferred::Sip) => {
                let by_sip = self.by_sip(now, message, parts, to, effects);
                let by_sip = by_sip.and_then(|plan| self.reaches(now, message, plan));
                match by_sip {
                    Err(Stop::Refuse(no_sip)) => {
                        match self.by_gateway(now, message, parts, to, effects) {
                            Err(Stop::Refuse(_)) => Err(no_sip.into()),
                            other => other,
                        }
                    }
                    other => other,
                }
            }
        }
    }

    fn by_sip(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let (admission, group) = self.admit_outbound(now, parts.from_host, to, effects)?;
        Ok(Plan {
            crossing: Crossing::InsideToPartner,
            egress: Egress::Group(group),
            admission,
            dialog_forming: forms_dialog(message, parts.in_dialog),
            by_token: parts.good(),
            places: parts.places,
            score: None,
        })
    }

    fn by_gateway(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let (ours, theirs) = (domain(parts.from_host)?, domain(to)?);
        let hops = self.snapshot.gateways_of(&ours, &theirs);
        let group = self.gateway_group(now, &hops, message.raw().len(), effects)?;
        if self.explains {
            let name = self.outlets.get(group).targets.first().map(|target| &target.fqdn);
            let name = name.map_or("", Domain::as_str);
            self.explanation = format!("XMPP partner, by way of the gateway {name}");
        }
        Ok(Plan {
            crossing: Crossing::InsideToGateway,
            egress: Egress::Group(group),
            admission: Admission {
                partner: PartnerKey::NextHop,
                kind: PartnerKind::AllowedDomain,
                audio_video: true,
                minds_revocation: false,
                stamp: Stamp::default(),
                connection: None,
                decision: 0,
            },
            dialog_forming: false,
            by_token: false,
            places: parts.places,
            score: None,
        })
    }

    /// Returns the connections to the first of some gateways that is there; else to the first that
    /// may be tried again. One that was not there is tried beside, once its rest is over.
    fn gateway_group(
        &mut self,
        now: Now,
        hops: &[usize],
        bytes: usize,
        effects: &mut Effects,
    ) -> Result<GroupId, Stop> {
        let (mut fault, mut rested) = (None, None);
        for hop in hops {
            let group = match self.next_hop_group(now, *hop) {
                Ok(group) => group,
                Err(Stop::Refuse(unknown)) => {
                    fault.get_or_insert(unknown);
                    continue;
                }
                Err(stop) => return Err(stop),
            };
            if let Err(rests) = self.group_admits(now, group, bytes) {
                fault.get_or_insert(rests);
                continue;
            }
            if hops.len() == 1 || self.outlets.is_there(now, group) {
                return Ok(group);
            }
            if self.outlets.serving(group) == 0 {
                self.open_outlet(now, group, effects);
            }
            rested.get_or_insert(group);
        }
        rested.ok_or_else(|| fault.unwrap_or_else(Fault::no_next_hop).into())
    }

    /// Names the gateways that a request may go to when the one it goes to is not reached.
    pub(super) fn other_gateways(&self, message: &Message<'_>, group: GroupId) -> Box<[u64]> {
        if self.snapshot.gateway_hops().len() < 2 {
            return Box::default();
        }
        let from = message.from().ok().and_then(|from| Uri::parse(from.uri).ok());
        let to = Uri::parse(message.uri()).ok();
        let domains = from.zip(to).and_then(|(from, to)| {
            Some((Domain::parse(from.host).ok()?, Domain::parse(to.host).ok()?))
        });
        let Some((ours, theirs)) = domains else { return Box::default() };
        let taken = self.outlets.get(group).key();
        let hops = self.snapshot.gateways_of(&ours, &theirs).into_iter();
        let hops = hops.filter_map(|hop| self.snapshot.next_hops().get(hop));
        hops.map(|hop| hop_key(hop.name.as_str(), hop.port))
            .filter(|hop| Some(GroupKey::NextHop(*hop)) != taken)
            .collect()
    }

    /// Returns the connections to the next gateway that a request may go to, and forgets those
    /// before it.
    pub(super) fn another_gateway(&mut self, now: Now, index: u32) -> Option<GroupId> {
        let others = std::mem::take(&mut self.slots.get_mut(index).other_gateways);
        let places = self.snapshot.gateway_hops();
        for (at, wanted) in others.iter().enumerate() {
            let is_wanted = |place: &usize| {
                let hop = &self.snapshot.next_hops()[*place];
                hop_key(hop.name.as_str(), hop.port) == *wanted
            };
            // Whoever has to be looked for in DNS first is not waited for.
            let Some(place) = places.clone().find(is_wanted) else { continue };
            let Ok(group) = self.next_hop_group(now, place) else { continue };
            let bytes = self.slots.get(index).sent.len();
            if self.group_admits(now, group, bytes).is_ok()
                && self.outlets.get(group).available(now).is_some()
            {
                self.slots.get_mut(index).other_gateways = others[at + 1..].into();
                return Some(group);
            }
        }
        None
    }

    /// Refuses a way whose connections have failed, as forwarding would.
    fn reaches(&self, now: Now, message: &Message<'_>, plan: Plan) -> Result<Plan, Stop> {
        let admits = |group: GroupId| self.group_admits(now, group, message.raw().len());
        match plan.egress {
            Egress::Group(group) => admits(group)?,
            Egress::Flow { .. } => {}
        }
        Ok(plan)
    }
}

/// Tells whether XMPP has something like this request that begins something: a message, a session
/// of messages, or a subscription to presence.
fn crosses_to_xmpp(message: &Message<'_>) -> bool {
    match message.method() {
        Some(Method::Message) => true,
        Some(Method::Invite) => !offers_media(message),
        Some(Method::Subscribe) => message.first(HeaderName::Event).is_some_and(|event| {
            let package = event.value.split(|byte| *byte == b';').next().unwrap_or_default();
            package.trim_ascii().eq_ignore_ascii_case(b"presence")
        }),
        _ => false,
    }
}
