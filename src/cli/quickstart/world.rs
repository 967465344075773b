//! What two federating organisations need around their edges: certificates, names, addresses and
//! configuration files, all made for this run and gone after it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, SOA, SRV};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UdpSocket};

use super::media::RelayAccess;
use crate::time::Clock;

/// How long the certificates are good; the run takes seconds, `--keep` perhaps a working day.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Time to live of the records, and of negative answers.
const RECORD_TTL_S: u32 = 60;
/// How long the name server waits for a question on a TCP connection.
const DNS_TCP_TIMEOUT: Duration = Duration::from_secs(5);
const DNS_TCP_RESPONSE_BYTES: usize = 4096;
/// Relayed ports, below those that the kernel chooses from for others.
const RELAYED_PORTS_FIRST: u16 = 20_000;
const RELAYED_PORTS: u16 = 64;

/// A directory of one's own, removed with everything in it when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory that only this user may enter.
    pub(super) fn create() -> anyhow::Result<Self> {
        let name = format!("entente-quickstart-{}", random_hex()?);
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        opened
            .and_then(|mut file| std::io::Write::write_all(&mut file, content.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing better can be done about a directory that somebody else has taken away.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The throw-away certificate authority that everybody in this world trusts.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Authority {
    /// Makes the authority and leaves its certificate as `ca.pem`.
    pub(super) fn create(scratch: &Scratch) -> anyhow::Result<Self> {
        let mut params = params(&[])?;
        params.distinguished_name.push(DnType::CommonName, "entente quickstart");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        scratch.write("ca.pem", &issuer.pem())?;
        Ok(Self { issuer, provider: Arc::new(rustls::crypto::ring::default_provider()) })
    }

    fn issue(&self, names: &[&str]) -> anyhow::Result<(rcgen::Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        let mut params = params(names)?;
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }

    /// Issues a certificate for an edge, as the files `<file>.pem` and `<file>.key`.
    fn issue_files(&self, scratch: &Scratch, file: &str, names: &[&str]) -> anyhow::Result<()> {
        let (certificate, key) = self.issue(names)?;
        scratch.write(&format!("{file}.pem"), &certificate.pem())?;
        scratch.write(&format!("{file}.key"), &key.serialize_pem())?;
        Ok(())
    }

    /// Issues a certificate for one of the quickstart's own servers: mutual TLS both ways.
    pub(super) fn mutual_tls(
        &self,
        fqdn: &str,
    ) -> anyhow::Result<(Arc<rustls::ClientConfig>, Arc<rustls::ServerConfig>)> {
        let (certificate, key) = self.issue(&[fqdn])?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let roots = Arc::new(roots);
        let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            roots,
            Arc::clone(&self.provider),
        );
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier.build()?)
            .with_single_cert(chain, key)?;
        Ok((Arc::new(client), Arc::new(server)))
    }
}

/// Returns certificate parameters for the names, good from an hour ago.
fn params(names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = Duration::from_secs(Clock::start().now().unix_s);
    params.not_before = (UNIX_EPOCH + now.saturating_sub(Duration::from_secs(3600))).into();
    params.not_after = (UNIX_EPOCH + now + CERTIFICATE_LIFETIME).into();
    Ok(params)
}

/// How an organisation lists its partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// The partner's edge is found by DNS SRV.
    Domain,
    /// The partner's edge is named in the configuration.
    Server,
}

/// One organisation: its names and the loopback addresses it lives on.
pub(super) struct Organisation {
    /// Its SIP domain.
    pub(super) domain: String,
    /// Its one user, without scheme.
    pub(super) user: String,
    /// Access Edge FQDN, on the outer certificate.
    pub(super) edge_fqdn: String,
    /// Internal FQDN of the edge pool.
    pub(super) internal_fqdn: String,
    /// FQDN of the server behind the edge.
    pub(super) pool_fqdn: String,
    /// Where partners reach the edge.
    pub(super) external: SocketAddr,
    /// Where the pool reaches the edge.
    pub(super) internal: SocketAddr,
    /// Where the edge reaches the pool.
    pub(super) pool: SocketAddr,
    /// Where metrics and health are.
    pub(super) management: SocketAddr,
    /// Where users inside reach the edge's relay for media.
    relay: SocketAddr,
    /// What the relay shares with those who tell users their credentials.
    relay_secret: String,
    /// Where XMPP is spoken, if it is.
    pub(super) xmpp: Option<Xmpp>,
}

/// Where an edge speaks XMPP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xmpp {
    /// Where partners open streams.
    pub(super) proxy: SocketAddr,
    /// Where the gateway links with the proxy.
    link: SocketAddr,
    /// Where the gateway takes SIP.
    pub(super) gateway: SocketAddr,
}

/// A partner that speaks XMPP alone.
pub(super) struct XmppPartner {
    /// Its domain.
    pub(super) domain: String,
    /// Its one user.
    pub(super) user: String,
    /// Where its server is.
    pub(super) server: SocketAddr,
}

impl XmppPartner {
    /// Gives `user@domain` the address 127.0.`network`.1.
    pub(super) fn found(user: &str, domain: &str, network: u8) -> anyhow::Result<Self> {
        Ok(Self {
            domain: domain.to_owned(),
            user: format!("{user}@{domain}"),
            server: free_address(Ipv4Addr::new(127, 0, network, 1), 5269)?,
        })
    }
}

impl Organisation {
    /// Gives `user@domain` the addresses 127.0.`network`.x, on usual ports where those are free.
    pub(super) fn found(user: &str, domain: &str, network: u8) -> anyhow::Result<Self> {
        let at = |host, port| free_address(Ipv4Addr::new(127, 0, network, host), port);
        Ok(Self {
            domain: domain.to_owned(),
            user: format!("{user}@{domain}"),
            edge_fqdn: format!("sip.{domain}"),
            internal_fqdn: format!("lsedge.{domain}"),
            pool_fqdn: format!("pool.{domain}"),
            external: at(1, 5061)?,
            internal: at(2, 5061)?,
            pool: at(3, 5061)?,
            management: at(1, 9464)?,
            relay: free_datagram_address(Ipv4Addr::new(127, 0, network, 2), 3478)?,
            relay_secret: random_hex()?,
            xmpp: None,
        })
    }

    /// Lets the organisation's edge speak XMPP too.
    pub(super) fn with_xmpp(self, network: u8) -> anyhow::Result<Self> {
        let at = |host, port| free_address(Ipv4Addr::new(127, 0, network, host), port);
        let (proxy, link, gateway) = (at(1, 5269)?, at(2, 23_456)?, at(4, 5061)?);
        Ok(Self { xmpp: Some(Xmpp { proxy, link, gateway }), ..self })
    }

    /// Returns how the organisation's user reaches the relay.
    pub(super) fn relay_access(&self) -> RelayAccess {
        let (user, secret) = (self.pool.ip(), self.relay_secret.clone());
        RelayAccess { user, relay: self.relay, secret }
    }

    fn zone(&self) -> anyhow::Result<Zone> {
        let mut hosts =
            vec![("sip", self.external), ("lsedge", self.internal), ("pool", self.pool)];
        let mut services = vec![("_sipfederationtls._tcp", "sip", self.external)];
        if let Some(xmpp) = self.xmpp {
            hosts.push(("xmpp", xmpp.proxy));
            services.push((XMPP_SERVICE, "xmpp", xmpp.proxy));
        }
        zone(&self.domain, &services, &hosts)
    }
}

/// The service of an XMPP server for others.
const XMPP_SERVICE: &str = "_xmpp-server._tcp";

type Zone = (Name, InMemoryZoneHandler<TokioRuntimeProvider>);

/// Returns a zone with an SRV record for each service and an address record for each host.
fn zone(
    domain: &str,
    services: &[(&str, &str, SocketAddr)],
    hosts: &[(&str, SocketAddr)],
) -> anyhow::Result<Zone> {
    let origin = Name::from_ascii(format!("{domain}."))?;
    let under = |label: &str| Name::from_ascii(format!("{label}.{domain}."));
    let mut zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    let mut add = |name: Name, data: RData| {
        zone.upsert_mut(Record::from_rdata(name, RECORD_TTL_S, data), 1);
    };
    let day = 86_400;
    let soa = SOA::new(under("ns")?, under("hostmaster")?, 1, day, 7200, day, RECORD_TTL_S);
    add(origin.clone(), RData::SOA(soa));
    for (service, host, address) in services {
        add(under(service)?, RData::SRV(SRV::new(10, 10, address.port(), under(host)?)));
    }
    for (label, address) in hosts {
        if let IpAddr::V4(v4) = address.ip() {
            add(under(label)?, RData::A(A(v4)));
        }
    }
    Ok((origin, zone))
}

/// What the configuration files of all edges share.
pub(super) struct Files<'a> {
    /// Where they go.
    pub(super) scratch: &'a Scratch,
    /// Who issues the certificates.
    pub(super) authority: &'a Authority,
    /// The domain that nobody talks to.
    pub(super) blocked: &'a str,
    /// The domain that contoso talks to by XMPP.
    pub(super) xmpp_partner: &'a str,
    /// The name server.
    pub(super) dns: SocketAddr,
    /// How the edges wait.
    pub(super) poller: &'a str,
}

impl Files<'_> {
    /// Issues the certificates of `own`'s edge and writes its configuration; returns the latter's
    /// path.
    pub(super) fn configure(
        &self,
        own: &Organisation,
        partner: &Organisation,
        listing: Listing,
    ) -> anyhow::Result<PathBuf> {
        let Self { scratch, authority, blocked, dns, poller, .. } = self;
        let Organisation { domain, edge_fqdn, internal_fqdn, pool_fqdn, .. } = own;
        let Organisation { external, internal, pool, management, .. } = own;
        let node = format!("edge1.{domain}");
        authority.issue_files(scratch, edge_fqdn, &[edge_fqdn])?;
        authority.issue_files(scratch, internal_fqdn, &[internal_fqdn, &node])?;
        let listed = match listing {
            Listing::Domain => "kind = \"allowed_domain\"".to_owned(),
            Listing::Server => format!(
                "kind = \"allowed_server\"\nedge = \"{}\"\nport = {}",
                partner.edge_fqdn,
                partner.external.port()
            ),
        };
        let text = format!(
            r#"[edge]
node = "{node}"
external_fqdn = "{edge_fqdn}"
internal_fqdn = "{internal_fqdn}"
domains = ["{domain}"]
shards = 1
poller = "{poller}"
drain_notice_s = 0
drain_timeout_s = 1

[[listener]]
address = "{external}"
class = "federation"
identity = "external"

[[listener]]
address = "{internal}"
class = "internal"
identity = "internal"

[[identity]]
name = "external"
certificate = "{edge_fqdn}.pem"
key = "{edge_fqdn}.key"

[[identity]]
name = "internal"
certificate = "{internal_fqdn}.pem"
key = "{internal_fqdn}.key"

[tls]
trust = ["ca.pem"]

[internal]
names = ["{pool_fqdn}", "{internal_fqdn}"]

[[next_hop]]
name = "{pool_fqdn}"
port = {pool_port}
addresses = ["{pool_address}"]

[federation]
enabled = true

[[partner]]
domain = "{partner_domain}"
{listed}

[[blocked]]
domain = "{blocked}"

[addresses]
allow_networks = ["127.0.0.0/8"]

[dns]
servers = ["{dns}"]

[limits]
connections = 256
half_open = 64
transactions = 4096

[management]
listen = ["{management}"]
allow = ["127.0.0.1/32"]
"#,
            pool_port = pool.port(),
            pool_address = pool.ip(),
            partner_domain = partner.domain,
        );
        let text = text + &self.relay(own)? + &self.xmpp(own)?;
        scratch.write(&format!("{domain}.toml"), &text)
    }
}

impl Files<'_> {
    /// Writes the secret of `own`'s relay, and returns what its configuration says of media: users
    /// inside come in on the inner address, and their peers on the outer one.
    fn relay(&self, own: &Organisation) -> anyhow::Result<String> {
        let Organisation { domain, external, relay, relay_secret, .. } = own;
        let secrets = format!("{domain}-turn-secrets.txt");
        self.scratch.write(&secrets, &format!("{relay_secret}\n"))?;
        Ok(format!(
            r#"
[av]
relayed = ["{relayed}"]
ports_first = {RELAYED_PORTS_FIRST}
ports_count = {RELAYED_PORTS}
secrets = "{secrets}"
poller = "{poller}"

[[av_listener]]
address = "{relay}"
side = "internal"
"#,
            relayed = external.ip(),
            poller = self.poller,
        ))
    }

    /// Issues the certificate for `own`'s XMPP domain, and returns what its configuration says of
    /// XMPP: proxy and gateway run beside the Access Edge, in its process.
    fn xmpp(&self, own: &Organisation) -> anyhow::Result<String> {
        let Some(Xmpp { proxy, link, gateway }) = own.xmpp else { return Ok(String::new()) };
        let Organisation { domain, internal_fqdn, .. } = own;
        self.authority.issue_files(self.scratch, domain, &[domain])?;
        Ok(format!(
            r#"
[[listener]]
address = "{proxy}"
class = "xmpp"
identity = "xmpp"

[[listener]]
address = "{link}"
class = "xmpp_link"
identity = "internal"

[[identity]]
name = "xmpp"
certificate = "{domain}.pem"
key = "{domain}.key"

[xmpp]
gateways = ["{internal_fqdn}"]

[[xmpp_partner]]
domain = "{partner}"
kind = "federated"
dialback = false

[gateway]
listen = ["{gateway}"]
identity = "internal"
store = "gateway.redb"

[[gateway_edge]]
name = "{internal_fqdn}"
port = {link_port}
addresses = ["{link_address}"]
"#,
            partner = self.xmpp_partner,
            link_port = link.port(),
            link_address = link.ip(),
        ))
    }
}

/// Answers for the organisations' zones, and those of XMPP partners, on a loopback port of its own.
pub(super) async fn serve_names(
    organisations: &[&Organisation],
    partners: &[&XmppPartner],
) -> anyhow::Result<SocketAddr> {
    let mut catalog = Catalog::new();
    let of_organisations = organisations.iter().map(|organisation| organisation.zone());
    let of_partners = partners.iter().map(|partner| {
        let services = [(XMPP_SERVICE, "xmpp", partner.server)];
        zone(&partner.domain, &services, &[("xmpp", partner.server)])
    });
    for made in of_organisations.chain(of_partners) {
        let (origin, zone) = made?;
        catalog.upsert(origin.into(), vec![Arc::new(zone)]);
    }
    let mut server = Server::new(catalog);
    // The same port for both transports: whoever is free on TCP may be taken on UDP, so TCP asks.
    let tcp = TcpListener::bind((Ipv4Addr::new(127, 0, 53, 1), 0)).await?;
    let address = tcp.local_addr()?;
    server.register_socket(UdpSocket::bind(address).await?);
    server.register_listener(tcp, DNS_TCP_TIMEOUT, DNS_TCP_RESPONSE_BYTES);
    tokio::spawn(async move { server.block_until_done().await });
    Ok(address)
}

/// Finds a free TCP port of `ip`, the preferred one if it is free.
///
/// It may be taken by the time it is used; then the one who uses it says so.
fn free_address(ip: Ipv4Addr, preferred: u16) -> anyhow::Result<SocketAddr> {
    std::net::TcpListener::bind((ip, preferred))
        .or_else(|_| std::net::TcpListener::bind((ip, 0)))
        .and_then(|listener| listener.local_addr())
        .with_context(|| format!("no port is free on {ip}"))
}

/// The same for datagrams.
fn free_datagram_address(ip: Ipv4Addr, preferred: u16) -> anyhow::Result<SocketAddr> {
    std::net::UdpSocket::bind((ip, preferred))
        .or_else(|_| std::net::UdpSocket::bind((ip, 0)))
        .and_then(|socket| socket.local_addr())
        .with_context(|| format!("no port for datagrams is free on {ip}"))
}

/// Returns random bytes as text, for a name or a secret.
fn random_hex() -> anyhow::Result<String> {
    let mut random = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| anyhow::anyhow!("the kernel gives no random bytes"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_name_server_gives_the_edge_of_an_organisation() {
        use hickory_resolver::Resolver;
        use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};

        let contoso = Organisation::found("alice", "contoso.example", 10).unwrap();
        let litware = Organisation::found("mallory", "litware.example", 30).unwrap();
        let adatum = XmppPartner::found("carol", "adatum.example", 40).unwrap();
        let dns = serve_names(&[&contoso, &litware], &[&adatum]).await.unwrap();
        let mut udp = ConnectionConfig::udp();
        udp.port = dns.port();
        let mut server = NameServerConfig::udp(dns.ip());
        server.connections = vec![udp];
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = resolver.build().unwrap();
        let srv = resolver.srv_lookup("_sipfederationtls._tcp.contoso.example.").await.unwrap();
        let data: Vec<_> = srv.answers().iter().map(|record| record.data.to_string()).collect();
        let port = contoso.external.port();
        assert_eq!(data, [format!("10 10 {port} sip.contoso.example.")]);
        let srv = resolver.srv_lookup("_xmpp-server._tcp.adatum.example.").await.unwrap();
        assert_eq!(srv.answers().len(), 1);
        let a = resolver.ipv4_lookup("sip.litware.example.").await.unwrap();
        assert_eq!(a.answers()[0].data.to_string(), "127.0.30.1");
        assert!(resolver.ipv4_lookup("sip.fabrikam.example.").await.is_err());
    }

    #[test]
    fn the_configuration_files_are_accepted_and_name_each_other() {
        let scratch = Scratch::create().unwrap();
        let authority = Authority::create(&scratch).unwrap();
        let contoso = Organisation::found("alice", "contoso.example", 10).unwrap();
        let contoso = contoso.with_xmpp(10).unwrap();
        let fabrikam = Organisation::found("bob", "fabrikam.example", 20).unwrap();
        let dns = SocketAddr::from(([127, 0, 53, 1], 5353));
        let blocked = "litware.example";
        let files = Files {
            scratch: &scratch,
            authority: &authority,
            blocked,
            xmpp_partner: "adatum.example",
            dns,
            poller: "epoll",
        };
        for (own, partner, listing, listeners) in
            [(&contoso, &fabrikam, Listing::Domain, 4), (&fabrikam, &contoso, Listing::Server, 2)]
        {
            let file = files.configure(own, partner, listing).unwrap();
            let config = crate::config::load(&file).unwrap();
            assert_eq!(config.partners[0].domain.to_string(), partner.domain);
            assert_eq!(config.blocked[0].domain.to_string(), blocked);
            assert_eq!(config.listeners.len(), listeners);
            assert_eq!(config.av_listeners.len(), 1);
            assert_eq!(config.runs_gateway(), own.xmpp.is_some());
        }
    }

    #[test]
    fn nothing_of_the_scratch_directory_stays() {
        use std::os::unix::fs::PermissionsExt;

        let scratch = Scratch::create().unwrap();
        Authority::create(&scratch)
            .unwrap()
            .issue_files(&scratch, "sip", &["sip.x.example"])
            .unwrap();
        let path = scratch.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join("sip.key")).unwrap().permissions().mode() & 0o777, 0o600);
        drop(scratch);
        assert!(!path.exists());
    }
}
