//! The configuration file: read like a compiler reads, into plain typed values.
//!
//! [`load`] reads a file, [`parse`] a text; both refuse what they do not know, with file, line,
//! caret and a suggestion, as much as can be told in one go. Every key is declared once, in
//! `schema`; [`reference()`] prints that declaration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use toml::de::DeTable;

mod contradiction;
mod csv;
mod difference;
mod document;
#[cfg(test)]
pub(crate) mod fixture;
pub mod lists;
pub mod pool;
mod preset;
mod reference;
mod remarks;
mod report;
mod schema;
mod secrets;
mod section;
mod shape;
mod suggest;
mod users;

pub use difference::{Change, difference};
pub use reference::reference;
pub use remarks::Remarks;
pub use report::{Code, Paint, Problem, Report, Source};
pub use schema::{
    Addresses, Av, AvListener, Blocked, DefaultRoute, Dnd, Dns, Edge, ExternalAccessPolicy,
    Federation, FederationLimit, Gateway, GatewayEdge, Identity, Internal, Limits, Listener, Log,
    LogFormat, Management, NextHop, Partner, PartnerKind, PeerName, Plan, PlanNode, Poller,
    PoolEdge, Preset, Provider, RemoteUsers, SingleUser, SrvTarget, Tls, TlsVersion, Trust, Users,
    Verification, Xmpp, XmppPartner, header, sections,
};
pub use secrets::{AvSecrets, Secret, Secrets};
pub use section::{Key, Presence, Reload, SectionEntry};
pub use shape::{HostPort, User, read_domain, read_pattern};

use crate::dns::Domain;
use crate::edge::av::Transport;
use crate::edge::{Class, Side};
use crate::policy::Place;
use crate::policy::users::Directory;
use document::{repeated, single};
use lists::{BlockedList, PartnerList};
use pool::Pool;
use section::Context;

/// A configuration that contradicts itself nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node, its names and its threads.
    pub edge: Edge,
    /// Where connections are accepted.
    pub listeners: Vec<Listener>,
    /// Certificates with their keys.
    pub identities: Vec<Identity>,
    /// Whom TLS trusts.
    pub tls: Tls,
    /// Who may speak from the inside.
    pub internal: Internal,
    /// Servers inside.
    pub next_hops: Vec<NextHop>,
    /// Federation with partners.
    pub federation: Federation,
    /// Limits of kinds of listed partners.
    pub federation_limits: Vec<FederationLimit>,
    /// The organisation's own users outside.
    pub remote_users: RemoteUsers,
    /// What users may do beyond the organisation.
    pub access_policies: Vec<ExternalAccessPolicy>,
    /// Where users with a policy of their own are named.
    pub users: Users,
    /// Those that are named in the configuration itself.
    pub single_users: Vec<SingleUser>,
    /// Policies and users, compiled; once loaded with those of the file.
    pub directory: Arc<Directory>,
    /// Listed partners.
    pub partners: Vec<Partner>,
    /// Domains nobody talks to.
    pub blocked: Vec<Blocked>,
    /// Hosting and public IM providers.
    pub providers: Vec<Provider>,
    /// Whoever takes what nothing else names.
    pub default_route: DefaultRoute,
    /// Federation with XMPP servers.
    pub xmpp: Xmpp,
    /// Listed XMPP partners.
    pub xmpp_partners: Vec<XmppPartner>,
    /// The XMPP gateway.
    pub gateway: Gateway,
    /// Edges it connects to; empty: no gateway runs.
    pub gateway_edges: Vec<GatewayEdge>,
    /// The A/V Edge.
    pub av: Av,
    /// Where its clients come in; empty: no relay runs.
    pub av_listeners: Vec<AvListener>,
    /// Secrets of time-limited credentials for it.
    pub av_secrets: AvSecrets,
    /// The edges of the pool and what they relay by, from the file of the pool.
    pub pool: Option<Arc<Pool>>,
    /// Further partners, from a file of their own.
    pub partner_list: Option<Arc<PartnerList>>,
    /// Further blocked domains, from a file of their own.
    pub blocked_list: Option<Arc<BlockedList>>,
    /// Which addresses the edge connects to.
    pub addresses: Addresses,
    /// Name servers.
    pub dns: Dns,
    /// What the edge holds at most.
    pub limits: Limits,
    /// Where metrics and health are asked.
    pub management: Management,
    /// The log.
    pub log: Log,
    /// What is planned around this edge.
    pub plan: Plan,
    /// Edges of the pool, for the plan.
    pub plan_nodes: Vec<PlanNode>,
    /// Secrets of the pool, if there is a file of them.
    pub secrets: Option<Secrets>,
    /// Secrets that credentials of the A/V Edge are made from, where they have a file of their own.
    pub credentials_secrets: Option<Secrets>,
    /// The text it was read from, for messages that point into it.
    pub source: Arc<Source>,
}

/// A gateway as it is reached with SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySip {
    /// The name that its certificate carries, and that it links with edges under.
    pub name: Domain,
    /// Its port.
    pub port: u16,
    /// Its addresses, in order of preference; empty: asked of DNS.
    pub addresses: Vec<IpAddr>,
}

impl Config {
    /// Returns this node's own FQDN.
    #[must_use]
    pub fn node(&self) -> &Domain {
        self.edge.node.as_ref().unwrap_or(&self.edge.external_fqdn)
    }

    /// Returns the FQDN of the pool as the inside knows it.
    #[must_use]
    pub fn internal_fqdn(&self) -> &Domain {
        self.edge.internal_fqdn.as_ref().unwrap_or(&self.edge.external_fqdn)
    }

    /// Returns the names of which an inner server's certificate must carry one.
    #[must_use]
    pub fn internal_names(&self) -> Vec<Domain> {
        if self.internal.names.is_empty() {
            let mut names: Vec<Domain> =
                self.next_hops.iter().map(|hop| hop.name.clone()).collect();
            let gateways = self.xmpp.gateway_sip.iter().map(|gateway| gateway.host.clone());
            names.extend(gateways.chain(self.runs_gateway().then(|| self.internal_fqdn().clone())));
            names
        } else {
            self.internal.names.clone()
        }
    }

    /// Returns the names of which the certificate of a server must carry one that asks for
    /// credentials of the A/V Edge.
    #[must_use]
    pub fn credentials_names(&self) -> Vec<Domain> {
        match self.av.credentials_names.as_slice() {
            [] => self.internal_names(),
            stated => stated.to_vec(),
        }
    }

    /// Returns the secrets that credentials of the A/V Edge are made from, the newest first.
    pub fn media_secrets(&self) -> impl Iterator<Item = &Secret> {
        self.credentials_secrets
            .as_ref()
            .or(self.secrets.as_ref())
            .into_iter()
            .flat_map(|all| &all.0)
    }

    /// Returns the first place where clients of the A/V Edge come in by `transport` on a side.
    #[must_use]
    pub fn av_listener(&self, side: Side, transport: Transport) -> Option<&AvListener> {
        // One that takes what a balancer passes on is what the pool is told by.
        let of = |l: &&AvListener| l.side == side && l.transport == transport;
        let mut listeners = self.av_listeners.iter().filter(of);
        let first = listeners.clone().next();
        listeners.find(|listener| listener.vip.is_some()).or(first)
    }

    /// Returns the ports that clients of the A/V Edge are given, the lowest first.
    #[must_use]
    pub fn relayed_ports(&self) -> Vec<RangeInclusive<u16>> {
        let av = &self.av;
        if av.shared_ports.is_empty() {
            let last = u32::from(av.ports_first) + u32::from(av.ports_count) - 1;
            return vec![av.ports_first..=u16::try_from(last).unwrap_or(u16::MAX)];
        }
        let mut shared = av.shared_ports.clone();
        shared.sort_unstable();
        pool::runs(shared.into_iter().map(|port| port..=port))
    }

    /// Tells whether clients of the A/V Edge may be given ports of TCP (RFC 6062), which they ask
    /// for by streams.
    #[must_use]
    pub fn relays_tcp(&self) -> bool {
        let streams = |listener: &AvListener| listener.transport == Transport::Stream;
        self.av.tcp_allocations > 0 && self.av_listeners.iter().any(streams)
    }

    /// Returns the addresses that clients of the A/V Edge are given, as the Internet sees them.
    #[must_use]
    pub fn relayed_public(&self) -> &[IpAddr] {
        let av = &self.av;
        if av.relayed_public.is_empty() { &av.relayed } else { &av.relayed_public }
    }

    /// Returns the identity that a listener shows by default, as its index.
    #[must_use]
    pub fn listener_identity(&self, listener: &Listener) -> usize {
        let named = listener.identity.as_ref();
        let index = named.and_then(|name| self.identities.iter().position(|i| i.name == *name));
        // A name without an identity is a contradiction, so here it is the absent name.
        index.unwrap_or(0)
    }

    /// Returns the identity that the gateway shows, as its index.
    #[must_use]
    pub fn gateway_identity(&self) -> usize {
        let named = self.gateway.identity.as_ref();
        named.and_then(|name| self.identities.iter().position(|i| i.name == *name)).unwrap_or(0)
    }

    /// Tells whether the XMPP gateway runs in this process.
    #[must_use]
    pub const fn runs_gateway(&self) -> bool {
        !self.gateway_edges.is_empty()
    }

    /// Returns where the gateway of this process takes SIP; empty if none runs.
    #[must_use]
    pub fn gateway_listeners(&self) -> &[SocketAddr] {
        if self.runs_gateway() { &self.gateway.listen } else { &[] }
    }

    /// Tells whether the XMPP proxy runs in this process.
    #[must_use]
    pub fn runs_xmpp_proxy(&self) -> bool {
        let classes = [Class::Xmpp, Class::XmppDirectTls, Class::XmppLink];
        self.listeners.iter().any(|listener| classes.contains(&listener.class))
    }

    /// Tells whether SIP listeners, of an Access Edge, are served by this process.
    #[must_use]
    pub fn runs_access_edge(&self) -> bool {
        let classes = [Class::Federation, Class::RemoteUsers, Class::Internal, Class::Credentials];
        self.listeners.iter().any(|listener| classes.contains(&listener.class))
    }

    /// Tells whether the A/V Edge runs in this process, and nothing else.
    #[must_use]
    pub fn runs_relay_alone(&self) -> bool {
        !self.av_listeners.is_empty() && self.listeners.is_empty() && !self.runs_gateway()
    }

    /// Returns where the Access Edge, and each of the gateways, finds the gateways for what own
    /// users send to XMPP partners; those stated, or that of this process.
    #[must_use]
    pub fn gateways_sip(&self) -> Vec<GatewaySip> {
        let stated = &self.xmpp.gateway_sip;
        let addresses = &self.xmpp.gateway_addresses;
        let named = stated.iter().enumerate().map(|(at, HostPort { host, port })| GatewaySip {
            name: host.clone(),
            port: *port,
            addresses: match stated.len() {
                1 => addresses.clone(),
                _ => addresses.get(at).copied().into_iter().collect(),
            },
        });
        if stated.is_empty() { self.own_gateway().into_iter().collect() } else { named.collect() }
    }

    fn own_gateway(&self) -> Option<GatewaySip> {
        let listen = self.gateway_listeners().first()?;
        let loopback = if listen.is_ipv6() {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        };
        let address = if listen.ip().is_unspecified() { loopback } else { listen.ip() };
        let (name, port) = (self.internal_fqdn().clone(), listen.port());
        Some(GatewaySip { name, port, addresses: vec![address] })
    }

    /// Returns the trust anchors of the inside.
    #[must_use]
    pub fn internal_trust(&self) -> &Trust {
        self.tls.internal_trust.as_ref().unwrap_or(&self.tls.trust)
    }

    /// Returns `file:line` of what decided.
    ///
    /// Entries of a list in a file of its own are numbered on from those of the configuration.
    #[must_use]
    pub fn whereabouts(&self, place: Place) -> String {
        let row = match place {
            Place::Partner(index) => {
                let row = (index as usize).checked_sub(self.partners.len());
                self.partner_list.as_ref().zip(row).and_then(|(list, row)| list.whereabouts(row))
            }
            Place::Blocked(index) => {
                let row = (index as usize).checked_sub(self.blocked.len());
                self.blocked_list.as_ref().zip(row).and_then(|(list, row)| list.whereabouts(row))
            }
            Place::Provider(_) | Place::DefaultRoute | Place::XmppPartner(_) | Place::Key(_) => {
                None
            }
        };
        row.unwrap_or_else(|| self.source.whereabouts(&place.to_string()))
    }

    /// Returns `file:line` of where an own user is named; `None` for one whom nothing names.
    ///
    /// Reads the list of users again, as far as the user's line.
    #[must_use]
    pub fn whereabouts_of_user(&self, user: &str, domain: &Domain) -> Option<String> {
        users::whereabouts(self, user, domain)
    }

    /// Returns the listeners of `class`.
    pub fn listeners_of(&self, class: Class) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(move |listener| listener.class == class)
    }
}

/// Reads the configuration at `path`, and the secrets, lists and users it names.
///
/// # Errors
/// [`Report`]: everything that is wrong with it, as far as one reading shows.
pub fn load(path: &Path) -> Result<Config, Report> {
    let text = std::fs::read_to_string(path).map_err(|why| Report::unreadable(path, &why))?;
    load_text(path, &text)
}

/// Reads `text` as what [`load`] would find at `path`, and the secrets it names: a file that is
/// about to be written.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: &str) -> Result<Config, Report> {
    let mut config = parse(path, text)?;
    let source = Arc::clone(&config.source);
    let by = |key: &'static str| {
        let place = source.whereabouts(key);
        move |report: Report| report.named_by(key, &place)
    };
    if let Some(secrets) = &config.edge.secrets {
        config.secrets = Some(Secrets::load(secrets).map_err(by("edge.secrets"))?);
    }
    if let Some(path) = &config.av.credentials_secrets {
        let secrets = Secrets::load(path).map_err(by("av.credentials_secrets"))?;
        config.credentials_secrets = Some(secrets);
    }
    if let Some(path) = &config.av.secrets {
        config.av_secrets = AvSecrets::load(path).map_err(by("av.secrets"))?;
    }
    if let Some(path) = &config.av.pool {
        config.pool = Some(Arc::new(Pool::load(path, &config).map_err(by("av.pool"))?));
    }
    if let Some(path) = &config.federation.partners_csv {
        let list = PartnerList::load(path).map_err(by("federation.partners_csv"))?;
        config.partner_list = Some(Arc::new(list));
    }
    if let Some(path) = &config.federation.blocked_csv {
        let list = BlockedList::load(path).map_err(by("federation.blocked_csv"))?;
        config.blocked_list = Some(Arc::new(list));
    }
    if let Some(file) = &config.users.file {
        let directory = users::with_file(&config, file).map_err(by("users.file"))?;
        config.directory = Arc::new(directory);
    }
    Ok(config)
}

/// Reads a configuration from `text`; `path` is named in messages, and files are relative to its
/// directory. No file is opened.
///
/// # Errors
/// [`Report`]: everything that is wrong with it, as far as one reading shows.
pub fn parse(path: &Path, text: &str) -> Result<Config, Report> {
    let (mut config, source) = document::read(path, text, &sections(), read_document)?;
    config.source = Arc::new(source);
    let mut problems = contradiction::find(&config);
    let (directory, of_users) = users::of_configuration(&config);
    config.directory = Arc::new(directory);
    problems.extend(of_users);
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(Report::new(config.source.as_ref().clone(), problems))
    }
}

fn read_document(context: &mut Context, root: &DeTable<'_>) -> Option<Config> {
    let edge = single(context, root);
    let listeners = repeated(context, root);
    let identities = repeated(context, root);
    let tls = single(context, root);
    let internal = single(context, root);
    let next_hops = repeated(context, root);
    let federation = single(context, root);
    let federation_limits = repeated(context, root);
    let remote_users = single(context, root);
    let access_policies = repeated(context, root);
    let users = single(context, root);
    let single_users = repeated(context, root);
    let partners = repeated(context, root);
    let blocked = repeated(context, root);
    let providers = repeated(context, root);
    let default_route = single(context, root);
    let xmpp = single(context, root);
    let xmpp_partners = repeated(context, root);
    let gateway = single(context, root);
    let gateway_edges = repeated(context, root);
    let av = single(context, root);
    let av_listeners = repeated(context, root);
    let addresses = single(context, root);
    let dns = single(context, root);
    let limits = single(context, root);
    let management = single(context, root);
    let log = single(context, root);
    let plan = single(context, root);
    let plan_nodes = repeated(context, root);
    Some(Config {
        edge: edge?,
        listeners: listeners?,
        identities: identities?,
        tls: tls?,
        internal: internal?,
        next_hops: next_hops?,
        federation: federation?,
        federation_limits: federation_limits?,
        remote_users: remote_users?,
        access_policies: access_policies?,
        users: users?,
        single_users: single_users?,
        directory: Arc::default(),
        partners: partners?,
        blocked: blocked?,
        providers: providers?,
        default_route: default_route?,
        xmpp: xmpp?,
        xmpp_partners: xmpp_partners?,
        gateway: gateway?,
        gateway_edges: gateway_edges?,
        av: av?,
        av_listeners: av_listeners?,
        av_secrets: AvSecrets::default(),
        pool: None,
        partner_list: None,
        blocked_list: None,
        addresses: addresses?,
        dns: dns?,
        limits: limits?,
        management: management?,
        log: log?,
        plan: plan?,
        plan_nodes: plan_nodes?,
        secrets: None,
        credentials_secrets: None,
        source: Arc::default(),
    })
}

#[cfg(test)]
mod tests;
