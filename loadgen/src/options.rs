//! The command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::tls::Version;

/// Drives a SIP federation edge: partner edges on one side, the next hop on the other.
#[derive(Debug, Parser)]
#[command(name = "entente-loadgen", version, about)]
pub(crate) struct Options {
    /// What to do.
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// What the generator does.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// MESSAGE and its 200, the unit of federated instant messaging.
    Message(Traffic),
    /// INVITE, 180, 200, ACK, BYE, 200 along Record-Route and Contact.
    Dialog(Traffic),
    /// SUBSCRIBE and 200, then a stream of NOTIFY and 200 from the next hop.
    Presence(Traffic),
    /// Connect, full mutual handshake, close.
    Handshake(Handshakes),
    /// Open mutual-TLS connections and hold them; tells the memory of each.
    Idle(Idle),
    /// Stanzas between partners' XMPP servers and what stands behind the server under test, each
    /// one way; with `--inner none`, authenticated streams that are held.
    Xmpp(Xmpp),
    /// The same across a gateway: XMPP outside, a SIP next hop inside. Presence is an update of a
    /// standing subscription: a stanza outside, a NOTIFY inside.
    Gateway(Xmpp),
    /// Allocations on a TURN relay: flows of ChannelData, allocations that come and go, or
    /// allocations that are held.
    Media(Media),
    /// Not a load but the floor to measure relays against: a relay that answers any Allocate and
    /// ChannelBind and does nothing else.
    Forwarder(Forwarder),
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// Messages of type chat.
    Message,
    /// Presence and nothing else, as with `--presence 1`.
    Presence,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Ways {
    /// From the partners, on streams that they open.
    In,
    /// To the partners, on streams that the server under test opens.
    Out,
    /// Both ways, in turn.
    Both,
}

/// What the generator is on the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Inner {
    /// A gateway on entente's link, over mutual TLS.
    Link,
    /// A component (XEP-0114) in the clear.
    Component,
    /// A SIP next hop.
    Sip,
    /// Nothing: the streams are only held.
    None,
}

/// Options of every scenario: how it is run and measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Measured {
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Seconds before that which do not count.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warmup: f64,
    /// Units of work per second; 0 is a closed loop.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Seconds after which an answer counts as lost.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) timeout: f64,
    /// Process under test; its descendants are counted with it.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Core to run on.
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Poll without sleeping, so that the server never pays for waking the generator.
    #[arg(long)]
    pub(crate) busy: bool,
    /// Report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of every scenario that goes over mutual TLS.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// See there.
    #[command(flatten)]
    pub(crate) measured: Measured,
    /// Federation listener of the edge.
    #[arg(long, default_value = "127.0.0.1:5061")]
    pub(crate) edge: SocketAddr,
    /// Name the edge's certificate must carry, sent as SNI.
    #[arg(long, default_value = "sip.fabrikam.example")]
    pub(crate) server_name: String,
    /// Certificate chain (PEM) of the partner edges.
    #[arg(long)]
    pub(crate) cert: PathBuf,
    /// Its private key (PEM).
    #[arg(long)]
    pub(crate) key: PathBuf,
    /// Trust anchors (PEM) for every peer.
    #[arg(long)]
    pub(crate) ca: PathBuf,
    /// Further partner edges: domain:cert.pem:key.pem. Connections take turns.
    #[arg(long, value_name = "DOMAIN:CERT:KEY")]
    pub(crate) partner: Vec<String>,
    /// SIP domain of the first partner.
    #[arg(long, default_value = "contoso.example")]
    pub(crate) from_domain: String,
    /// Protocol version.
    #[arg(long, value_enum, default_value = "1.3")]
    pub(crate) tls: Version,
    /// Source addresses 127.1.0.1 and up to spread connections over.
    #[arg(long, default_value_t = 0)]
    pub(crate) sources: u16,
}

/// Options of the scenarios that send messages.
#[derive(Clone, Debug, Args)]
pub(crate) struct Traffic {
    /// See there.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Where the next hop listens for the edge; further ports count up.
    #[arg(long, default_value = "127.0.0.1:6100")]
    pub(crate) listen: SocketAddr,
    /// How many ports the next hop listens on.
    #[arg(long, default_value_t = 1)]
    pub(crate) listen_ports: u16,
    /// Certificate chain of the next hop; default: the partner's.
    #[arg(long)]
    pub(crate) uas_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub(crate) uas_key: Option<PathBuf>,
    /// Where the partner listens for requests from the edge.
    #[arg(long)]
    pub(crate) partner_listen: Option<SocketAddr>,
    /// Internal listener of the edge: the next hop connects there for requests of its own.
    /// Without it they go back on the connection of the subscription.
    #[arg(long)]
    pub(crate) internal: Option<SocketAddr>,
    /// Name the edge's internal certificate must carry; default: the external one.
    #[arg(long)]
    pub(crate) internal_name: Option<String>,
    /// SIP domain behind the edge.
    #[arg(long, default_value = "fabrikam.example")]
    pub(crate) to_domain: String,
    /// Request-URI; `{user}`, `{domain}` and `{port}` (of the next hop, in turn) are filled in.
    #[arg(long, default_value = "sip:{user}@{domain}")]
    pub(crate) request_uri: String,
    /// Contact of the partner's users; `{user}` and `{domain}` are filled in.
    #[arg(long, default_value = "sip:{user}@{domain};opaque=user:epid:KkWm2x1vG1aPq3;gruu")]
    pub(crate) contact: String,
    /// Contact of the next hop's users; `{user}`, `{domain}` and `{port}` are filled in.
    #[arg(long, default_value = "sip:{user}@{domain};opaque=user:epid:Jq8c5tZr2bLw7s;gruu")]
    pub(crate) uas_contact: String,
    /// Connections of the partners to the edge.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
    /// Unfinished units of work at once; default: 256 in a closed loop, 10,000 at a rate.
    #[arg(long)]
    pub(crate) window: Option<usize>,
    /// Messages that share one TLS record.
    #[arg(long, default_value_t = 1)]
    pub(crate) pack: usize,
    /// Bytes of a MESSAGE or NOTIFY as sent.
    #[arg(long, default_value_t = 700)]
    pub(crate) bytes: usize,
    /// Users on each side; one is `alice` and `bob`, more are numbered.
    #[arg(long, default_value_t = 1)]
    pub(crate) users: u32,
    /// Subscriptions that carry the NOTIFY stream.
    #[arg(long, default_value_t = 100)]
    pub(crate) subscriptions: u32,
    /// Prints the first request and response that each side received, to standard error.
    #[arg(long)]
    pub(crate) show: bool,
}

impl Traffic {
    /// Returns how many units may be unfinished at once.
    pub(crate) fn window(&self) -> usize {
        let default = if self.common.measured.rate > 0.0 { 10_000 } else { 256 };
        self.window.unwrap_or(default).max(1)
    }
}

/// Options of `handshake`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Handshakes {
    /// See there.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Handshakes under way at once.
    #[arg(long, default_value_t = 16)]
    pub(crate) window: usize,
}

/// Options of `idle`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Idle {
    /// See there.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections to hold.
    #[arg(long, default_value_t = 2000)]
    pub(crate) legs: usize,
    /// Of those, how many are opened before the first look at the memory, so that what a server
    /// sets up once is not charged to the rest.
    #[arg(long, default_value_t = 100)]
    pub(crate) first: usize,
    /// Handshakes under way at once.
    #[arg(long, default_value_t = 32)]
    pub(crate) window: usize,
    /// Seconds to hold them before the memory is read.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) hold: f64,
}

/// Options of `xmpp` and `gateway`. `--edge` is where XMPP servers connect to, `--server-name` the
/// domain that its certificate must carry.
#[derive(Clone, Debug, Args)]
pub(crate) struct Xmpp {
    /// See there.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Partners' domains, each with a stream of its own: p0, p1 ... of the next option.
    #[arg(long, default_value_t = 8)]
    pub(crate) domains: usize,
    /// What they are below of; `--cert` must carry them all.
    #[arg(long, default_value = "partners.example")]
    pub(crate) partner_domain: String,
    /// Our domain.
    #[arg(long, default_value = "contoso.example")]
    pub(crate) to_domain: String,
    /// What is sent.
    #[arg(long, value_enum, default_value = "message")]
    pub(crate) what: What,
    /// Share of the units that are presence, 0 to 1; the rest are messages.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub(crate) presence: f64,
    /// Share of the units that are the life of a subscription, from the question over its answer
    /// to its end, 0 to 1; only of `gateway`. Timed is how long it takes to be granted.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub(crate) subscriptions: f64,
    /// Users of each partner whose presence is told, and who are told ours; only of `gateway`.
    #[arg(long, default_value_t = 1)]
    pub(crate) users: usize,
    /// Which way.
    #[arg(long, value_enum, default_value = "in")]
    pub(crate) way: Ways,
    /// What the generator is on the inside; default: a gateway on the link, and of `gateway` the
    /// SIP next hop.
    #[arg(long, value_enum)]
    pub(crate) inner: Option<Inner>,
    /// Where the inside connects to: the link, the component's port, or the SIP listener.
    #[arg(long, default_value = "127.0.0.1:23456")]
    pub(crate) inner_address: SocketAddr,
    /// Name that the certificate there must carry.
    #[arg(long, default_value = "lsedge.contoso.example")]
    pub(crate) inner_name: String,
    /// Name of the gateway that the generator is.
    #[arg(long, default_value = "gw.contoso.example")]
    pub(crate) gateway_name: String,
    /// Its certificate chain; default: the partner's.
    #[arg(long)]
    pub(crate) inner_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub(crate) inner_key: Option<PathBuf>,
    /// The component's secret.
    #[arg(long, default_value = "secret")]
    pub(crate) secret: String,
    /// Where partners' XMPP servers listen.
    #[arg(long, default_value = "127.0.0.1:6269")]
    pub(crate) listen: SocketAddr,
    /// Where the SIP next hop listens.
    #[arg(long)]
    pub(crate) next_hop: Option<SocketAddr>,
    /// Unfinished units of work at once; default: 256 in a closed loop, 4,000 at a rate.
    #[arg(long)]
    pub(crate) window: Option<usize>,
    /// Bytes of a stanza or MESSAGE as sent.
    #[arg(long, default_value_t = 250)]
    pub(crate) bytes: usize,
    /// Of held streams, how many stand before the first look at the memory.
    #[arg(long, default_value_t = 50)]
    pub(crate) first: usize,
    /// Seconds to hold them before the memory is read.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) hold: f64,
    /// Prints the first of what arrived, to standard error.
    #[arg(long)]
    pub(crate) show: bool,
}

impl Xmpp {
    /// Returns what the generator is on the inside.
    pub(crate) fn inner(&self) -> Inner {
        self.inner.unwrap_or(Inner::Link)
    }

    /// Returns which share of the units is presence.
    pub(crate) fn presence(&self) -> f64 {
        if self.what == What::Presence { 1.0 } else { self.presence }
    }

    /// Returns the same options, with the inside of `gateway` where none was said.
    pub(crate) fn of_gateway(&self) -> Self {
        Self { inner: Some(self.inner.unwrap_or(Inner::Sip)), ..self.clone() }
    }

    /// Returns how many units may be unfinished at once; a link takes 4,096.
    pub(crate) fn window(&self) -> usize {
        let default = if self.common.measured.rate > 0.0 { 4_000 } else { 256 };
        self.window.unwrap_or(default).clamp(1, 4_000)
    }
}

/// Reads a share.
fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is a number from 0 to 1".into()),
    }
}

/// What is done with allocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Packets are sent through them; the unit is one packet that crosses the relay one way.
    Flows,
    /// They come and go; the unit is one life: the challenge, Allocate, ChannelBind, and Refresh
    /// with a lifetime of zero.
    Churn,
    /// They are held, each with its channel; tells the memory of one.
    Hold,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Course {
    /// From clients to peers, who sink them.
    Up,
    /// From peers to clients.
    Down,
    /// Both ways, in turn.
    Both,
    /// From clients to peers, who send another back for each.
    Echo,
}

/// What clients and relay speak over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// One datagram each.
    Udp,
    /// A connection for each client.
    Tcp,
    /// The same, inside TLS.
    Tls,
}

/// What a flow looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// 50 packets a second of 160 bytes, one at a time.
    Audio,
    /// 30 trains a second, each of 10 packets of 1,200 bytes: 2.9 Mbit/s.
    Video,
}

impl Profile {
    fn bytes(self) -> usize {
        match self {
            Self::Audio => 160,
            Self::Video => 1200,
        }
    }

    fn train(self) -> usize {
        match self {
            Self::Audio => 1,
            Self::Video => 10,
        }
    }

    fn packets_per_s(self) -> f64 {
        match self {
            Self::Audio => 50.0,
            Self::Video => 300.0,
        }
    }
}

/// Options of `media`. `--rate` is packets a second over all flows, or lives.
#[derive(Clone, Debug, Args)]
pub(crate) struct Media {
    /// See there.
    #[command(flatten)]
    pub(crate) measured: Measured,
    /// The relay's listener.
    #[arg(long, default_value = "127.0.0.1:3478")]
    pub(crate) relay: SocketAddr,
    /// What clients speak over.
    #[arg(long, value_enum, default_value = "udp")]
    pub(crate) transport: Transport,
    /// Trust anchors (PEM) for the relay; of `tls`.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
    /// Name the relay's certificate must carry; of `tls`.
    #[arg(long, default_value = "av.contoso.example")]
    pub(crate) server_name: String,
    /// Protocol version; of `tls`.
    #[arg(long, value_enum, default_value = "1.3")]
    pub(crate) tls: Version,
    /// What is done.
    #[arg(long, value_enum, default_value = "flows")]
    pub(crate) work: Work,
    /// Which way packets go.
    #[arg(long, value_enum, default_value = "up")]
    pub(crate) way: Course,
    /// What a flow looks like.
    #[arg(long, value_enum, default_value = "audio")]
    pub(crate) profile: Profile,
    /// Bytes of a packet as the peer sees it; default: the profile's.
    #[arg(long)]
    pub(crate) bytes: Option<usize>,
    /// Packets that are sent at once, by one call where the kernel can; default: the profile's.
    #[arg(long)]
    pub(crate) train: Option<usize>,
    /// Allocations; default: as many as the rate takes at the profile's pace, or 128.
    #[arg(long)]
    pub(crate) allocations: Option<usize>,
    /// Name of the account, and how those of `--users` begin.
    #[arg(long, default_value = "load")]
    pub(crate) user: String,
    /// Password of the account.
    #[arg(long, default_value = "load", conflicts_with = "secret")]
    pub(crate) password: String,
    /// Secret shared with the relay, from which time-limited accounts are made instead.
    #[arg(long)]
    pub(crate) secret: Option<String>,
    /// Accounts that take turns; more than one are numbered.
    #[arg(long, default_value_t = 1)]
    pub(crate) users: usize,
    /// Clients come from the addresses that follow this one.
    #[arg(long, default_value = "127.32.0.0")]
    pub(crate) clients: Ipv4Addr,
    /// The peer of each allocation has one of the addresses that follow this one.
    #[arg(long, default_value = "127.128.0.0")]
    pub(crate) peers: Ipv4Addr,
    /// Unfinished packets or lives at once; default: 128 in a closed loop, unlimited at a rate.
    #[arg(long)]
    pub(crate) window: Option<usize>,
    /// Of held allocations, how many stand before the first look at the memory.
    #[arg(long, default_value_t = 100)]
    pub(crate) first: usize,
    /// Seconds to hold them before the memory is read.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) hold: f64,
}

impl Media {
    /// Returns the bytes of a packet.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.unwrap_or(self.profile.bytes())
    }

    /// Returns the packets of a train.
    pub(crate) fn train(&self) -> usize {
        self.train.unwrap_or(self.profile.train()).max(1)
    }

    /// Returns how many allocations there are.
    pub(crate) fn allocations(&self) -> usize {
        let rate = self.measured.rate;
        let default = match self.work {
            Work::Flows if rate > 0.0 => (rate / self.profile.packets_per_s()).ceil() as usize,
            _ => 128,
        };
        self.allocations.unwrap_or(default).max(1)
    }

    /// Returns how many packets or lives may be unfinished at once.
    pub(crate) fn window(&self) -> usize {
        let default = match self.work {
            Work::Flows if self.measured.rate > 0.0 => usize::MAX,
            _ => 128,
        };
        self.window.unwrap_or(default).max(1)
    }
}

/// Options of `forwarder`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Forwarder {
    /// Where clients send to.
    #[arg(long, default_value = "127.0.0.1:3478")]
    pub(crate) listen: SocketAddr,
    /// Microseconds to wait for company before what has come is read.
    #[arg(long, default_value_t = 0)]
    pub(crate) wait: u64,
    /// Takes trains as trains and sends them on as trains, where the kernel can.
    #[arg(long)]
    pub(crate) trains: bool,
}
