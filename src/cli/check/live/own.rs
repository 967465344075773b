//! The edge that runs, looked at from this host: does it take connections, at its own addresses and
//! at those that the Internet is told, and does it show the certificate of the file.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cli::check::{Checker, Severity};
use crate::cli::explain::chain;
use crate::cli::handshake::{WAIT, reason};
use crate::cli::plan::deployment;
use crate::edge::av::Transport;
use crate::edge::{Class, Side};
use crate::plan::{self, Record, Role};
use crate::stun;

/// Published addresses that are tried.
const PUBLISHED_MAX: usize = 8;

impl Checker<'_> {
    /// Connects to the listeners of this edge, and to the addresses under its external name.
    pub(in crate::cli::check) fn own(&mut self) {
        for index in 0..self.config.listeners.len() {
            self.own_listener(index);
        }
        for index in 0..self.config.av_listeners.len() {
            self.own_relay(index);
        }
        self.published_addresses();
    }

    fn own_listener(&mut self, index: usize) {
        let config = self.config;
        let listener = &config.listeners[index];
        let address = at_home(listener.address);
        let key = format!("listener[{index}].address");
        let connected = || TcpStream::connect_timeout(&address, WAIT);
        let identity = &config.identities[config.listener_identity(listener)];
        let expected = CertificateDer::from_pem_file(&identity.certificate).ok();
        // One that waits for a PROXY header says nothing to anybody else.
        let Some(expected) = expected.filter(|_| listener.proxy_protocol_from.is_empty()) else {
            if let Err(error) = connected() {
                self.nobody_at(&key, address, &error);
            }
            return;
        };
        let name = match listener.class {
            class if class.is_inside() => config.internal_fqdn(),
            _ => &config.edge.external_fqdn,
        };
        match chain(name, address) {
            Ok(shown) if shown.first().is_some_and(|leaf| leaf.as_slice() == &*expected) => {}
            Ok(_) => {
                let file = identity.certificate.display();
                let sentence = format!("{address} shows another certificate than {file} has");
                let advice = "reload the edge: entente ctl reload, or SIGHUP";
                let code = "listener-certificate-differs";
                self.at(&key, Severity::Warning, code, sentence, advice);
            }
            Err(error) => match connected() {
                Err(error) => self.nobody_at(&key, address, &error),
                Ok(_) => {
                    let sentence = format!("{address} shows no certificate: {error:#}");
                    let advice = "see which process has it: ss -ltnp";
                    self.at(&key, Severity::Error, "listener-not-tls", sentence, advice);
                }
            },
        }
    }

    /// Asks the relay for our own address by datagrams, and connects to where it takes streams.
    fn own_relay(&mut self, index: usize) {
        let listener = &self.config.av_listeners[index];
        let address = at_home(listener.address);
        let answered = match listener.transport {
            Transport::Stream => TcpStream::connect_timeout(&address, WAIT).map(drop),
            Transport::Udp => binding(address),
        };
        if let Err(error) = answered {
            self.nobody_at(&format!("av_listener[{index}].address"), address, &error);
        }
    }

    fn nobody_at(&mut self, key: &str, address: SocketAddr, error: &std::io::Error) {
        let sentence = format!("nobody takes connections at {address}: {}", reason(error));
        let advice = "start the edge (its log says why it ended), or leave --running out";
        self.at(key, Severity::Error, "listener-unreachable", sentence, advice);
    }

    /// Tries the addresses that partners are told. That they are not reached from here proves
    /// nothing: many firewalls do not turn back what comes from inside.
    fn published_addresses(&mut self) {
        let plan = plan::plan(&deployment(self.config));
        let external = self.config.edge.external_fqdn.as_str();
        let mut listeners = self.config.listeners_of(Class::Federation);
        let Some(port) = listeners.next().map(|listener| listener.address.port()) else { return };
        let rows = plan.dns.iter().filter(|row| {
            row.side == Side::External && row.role == Role::Access && row.name == external
        });
        let addresses: Vec<IpAddr> = rows
            .filter_map(|row| match &row.record {
                Record::Addresses(addresses) => Some(addresses.clone()),
                Record::Srv { .. } | Record::Alias(_) => None,
            })
            .flatten()
            .take(PUBLISHED_MAX)
            .collect();
        for address in addresses {
            let address = SocketAddr::new(address, port);
            let Err(error) = TcpStream::connect_timeout(&address, WAIT) else { continue };
            self.at(
                "edge.external_fqdn",
                Severity::Note,
                "published-address-unreachable",
                format!("{address} of {external} is not reached from here: {}", reason(&error)),
                format!(
                    "try from outside: openssl s_client -connect {address}; if that fails too, let \
                     the rule of `entente plan --section firewall --side external` through"
                ),
            );
        }
    }
}

/// Sends a Binding request (RFC 8489 section 3) until it is answered, or for as long as a
/// connection may take.
fn binding(relay: SocketAddr) -> io::Result<()> {
    /// Datagrams are lost now and then, on one host too.
    const TRIES: u32 = 3;
    let any: IpAddr = match relay {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(relay)?;
    socket.set_read_timeout(Some(WAIT / TRIES))?;
    let mut request = Vec::new();
    let kind = stun::Type { method: stun::Method::BINDING, class: stun::Class::Request };
    let id = stun::TransactionId(*b"entente chec");
    stun::Builder::new(&mut request, kind, id);
    let mut result = Ok(());
    for _ in 0..TRIES {
        socket.send(&request)?;
        let mut answer = [0; 512];
        result = socket.recv(&mut answer).map(drop);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Returns where a listener is reached from the same host.
fn at_home(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
