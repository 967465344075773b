//! Everything TLS needs of one epoch of the configuration, loaded and checked as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, TrustAnchor};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, KeyLog, NoKeyLog, ServerConfig, SupportedProtocolVersion};

use super::fault::Fault;
use super::identity::{Asked, Chooser, Identity, Presenter};
use super::key_log::KeyLogTo;
use super::load::{self, LoadError};
use super::plan::{self, AnchorPlan, Plan, TrustSource};
use super::revocation::Revocation;
use super::suites;
use super::ticket;
use super::trust::{PartnerSet, Parts, Trust, Whose};
use super::verify::{Demand, Verifier};
use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::{AnchorSet, ExpectedNames};

static TLS12_AND_TLS13: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];

/// What TLS from the first byte calls a connection between XMPP servers (XEP-0368 section 5).
const XMPP_ALPN: &[u8] = b"xmpp-server";

/// Identities, anchors and library configurations of one epoch; immutable.
#[derive(Debug)]
pub struct Material {
    epoch: u64,
    /// Which of the epoch's fetched lists these are.
    lists: u32,
    /// Names of the identities with the ends of their certificates.
    certificate_ends: Arc<[(String, u64)]>,
    trust: Arc<Trust>,
    servers: Vec<Arc<Server>>,
    common: Common,
    federation_client: Option<Arc<Presenter>>,
    internal_client: Option<Arc<Presenter>>,
    xmpp_client: Option<Arc<Presenter>>,
    link_client: Option<Arc<Presenter>>,
}

/// What every connection of an epoch shares.
#[derive(Clone, Debug)]
struct Common {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    key_log: Arc<dyn KeyLog>,
}

/// How one listener accepts.
#[derive(Debug)]
pub struct Server {
    class: Class,
    kind: ServerKind,
}

#[derive(Debug)]
enum ServerKind {
    /// No certificate is asked, so one configuration does for all.
    Anonymous(Arc<ServerConfig>),
    /// Each connection has its own verifier, which keeps what it found.
    Mutual {
        whose: Whose,
        demand: Demand,
        trust: Arc<Trust>,
        chooser: Arc<Chooser>,
        common: Common,
    },
}

/// How one connection is made.
#[derive(Debug)]
pub struct Client {
    pub(super) config: Arc<ClientConfig>,
    pub(super) verifier: Arc<Verifier>,
}

impl Material {
    /// Loads and checks everything `plan` names; nothing is kept if anything is wrong.
    ///
    /// Reads files; takes milliseconds. For the control thread.
    /// # Errors
    /// The first thing that is wrong, as a sentence for the operator.
    pub fn build(plan: &Plan) -> Result<Self, LoadError> {
        let common = Common {
            provider: Arc::new(suites::provider()),
            versions: if plan.min_tls13 { ONLY_TLS13 } else { TLS12_AND_TLS13 },
            key_log: match &plan.key_log {
                Some(path) => Arc::new(KeyLogTo::open(path)?),
                None => Arc::new(NoKeyLog),
            },
        };
        let identities = load_identities(plan, &common.provider)?;
        let trust = Arc::new(load_trust(plan, &common.provider)?);
        let mut servers = Vec::with_capacity(plan.listeners.len());
        for listener in &plan.listeners {
            let candidates = plan::candidates(plan, listener, &identities)?;
            let server = Server::build(listener.class, candidates, &trust, &common)?;
            servers.push(Arc::new(server));
        }
        let presenter = |class| {
            let identity = plan::client_identity(plan, class, &identities)?;
            Ok::<_, LoadError>(identity.map(|identity| Arc::new(Presenter(identity))))
        };
        // Where a class has no listener its legs show what SIP's show on that side of the border.
        let of_xmpp = |classes: &[Class], class, otherwise: &Option<Arc<Presenter>>| {
            let listens = plan.listeners.iter().any(|listener| classes.contains(&listener.class));
            if listens { presenter(class) } else { Ok(otherwise.clone()) }
        };
        let federation_client = presenter(Class::Federation)?;
        let internal_client = presenter(Class::Internal)?;
        let outside = [Class::Xmpp, Class::XmppDirectTls];
        let xmpp_client = of_xmpp(&outside, Class::Xmpp, &federation_client)?;
        let link_client = of_xmpp(&[Class::XmppLink], Class::XmppLink, &internal_client)?;
        let ends = |held: &Arc<Identity>| (held.name.clone(), held.not_after_unix_s);
        Ok(Self {
            epoch: plan.epoch,
            lists: 0,
            trust,
            servers,
            common,
            federation_client,
            internal_client,
            xmpp_client,
            link_client,
            certificate_ends: identities.iter().map(ends).collect(),
        })
    }

    /// Returns the number of the configuration this was loaded for.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns what changes whenever open legs have to be judged again: the configuration's number
    /// with that of the fetched lists.
    #[must_use]
    pub const fn edition(&self) -> u64 {
        self.epoch << 32 | self.lists as u64
    }

    /// Tells whether this edition differs from `other` in its fetched lists alone, if at all.
    #[must_use]
    pub const fn has_anchors_of(&self, other: u64) -> bool {
        other >> 32 == self.epoch
    }

    /// Returns the same material with other fetched lists, which are the `lists`th of its epoch.
    ///
    /// Takes microseconds; no file is read.
    #[must_use]
    pub fn with_revocation(&self, lists: u32, revocation: Arc<Revocation>) -> Self {
        let trust = Arc::new(self.trust.with_revocation(revocation));
        let servers = self.servers.iter().map(|server| server.trusting(&trust)).collect();
        Self {
            epoch: self.epoch,
            lists,
            certificate_ends: Arc::clone(&self.certificate_ends),
            trust,
            servers,
            common: self.common.clone(),
            federation_client: self.federation_client.clone(),
            internal_client: self.internal_client.clone(),
            xmpp_client: self.xmpp_client.clone(),
            link_client: self.link_client.clone(),
        }
    }

    /// Returns the name of each identity with the end of its certificate as it is presented, in
    /// Unix seconds; the file may hold another one by now.
    pub fn certificate_ends(&self) -> impl Iterator<Item = (&str, u64)> {
        self.certificate_ends.iter().map(|(identity, ends)| (identity.as_str(), *ends))
    }

    /// Returns which chains count in this edition, to judge open legs again.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Returns how the listener at `listener` in the plan accepts.
    ///
    /// # Panics
    /// If there is no such listener, or it is of another class: the shell then serves a plan that
    /// this material was not made for.
    #[must_use]
    pub fn server(&self, class: Class, listener: usize) -> &Arc<Server> {
        let server = &self.servers[listener];
        assert_eq!(server.class, class, "material and listeners are of one plan");
        server
    }

    /// Returns how to make a connection of `class`, and the name to send as SNI.
    ///
    /// `anchors`: the partner's own set, else the general one; without meaning for internal legs.
    /// `expected`: what the certificate must carry; without meaning for XMPP servers, whose
    /// certificate may say what it likes.
    /// Cost: about a microsecond and 2 KiB that live as long as the connection.
    /// # Errors
    /// [`Fault::NotConfigured`] without an identity to present or without anchors.
    pub fn client(
        &self,
        class: Class,
        anchors: Option<AnchorSet>,
        server_name: &Domain,
        expected: &ExpectedNames,
    ) -> Result<(Arc<Client>, ServerName<'static>), Fault> {
        const NO_IDENTITY: Fault = Fault::NotConfigured { what: "an identity to present" };
        let (presenter, demand) = match class {
            Class::Internal | Class::Credentials => (&self.internal_client, Demand::Proof),
            Class::XmppLink => (&self.link_client, Demand::Proof),
            Class::Xmpp | Class::XmppDirectTls => (&self.xmpp_client, Demand::Whatever),
            Class::Federation | Class::RemoteUsers => (&self.federation_client, Demand::Proof),
        };
        let whose = match (class, anchors) {
            (class, _) if class.is_inside() => Whose::Internal,
            (_, None) => Whose::General,
            (_, Some(set)) => Whose::Partner(set),
        };
        let presenter = presenter.as_ref().ok_or(NO_IDENTITY)?;
        let name = ServerName::try_from(server_name.as_str().to_owned())
            .map_err(|error| Fault::Internal { what: error.to_string().into() })?;
        let verifier = Arc::new(Verifier::new(
            Arc::clone(&self.trust),
            whose,
            demand,
            (demand == Demand::Proof).then(|| Arc::new(expected.clone())),
        ));
        let mut config = self.common.client(&verifier, presenter).map_err(Fault::internal)?;
        config.alpn_protocols = alpn(class);
        Ok((Arc::new(Client { config: Arc::new(config), verifier }), name))
    }
}

impl Server {
    fn build(
        class: Class,
        candidates: Vec<Arc<Identity>>,
        trust: &Arc<Trust>,
        common: &Common,
    ) -> Result<Self, LoadError> {
        let chooser = Arc::new(Chooser::new(candidates));
        let (whose, demand) = match class {
            Class::RemoteUsers => {
                let mut config = common.server(None, chooser)?;
                // A phone knows better than we do which suite its processor does in hardware.
                config.ignore_client_order = false;
                config.ticketer = ticket::tickets()?;
                config.send_tls13_tickets = 1;
                return Ok(Self { class, kind: ServerKind::Anonymous(Arc::new(config)) });
            }
            Class::Federation => (Whose::AnyPartner, Demand::Proof),
            Class::Internal => (Whose::Internal, Demand::Proof),
            Class::XmppLink => (Whose::Gateway, Demand::Proof),
            Class::Credentials => (Whose::CredentialsAsker, Demand::Proof),
            Class::Xmpp | Class::XmppDirectTls => (Whose::AnyPartner, Demand::Whatever),
        };
        if demand == Demand::Proof && !trust.has_anchors(whose) {
            return Err(LoadError::NoAnchors { class });
        }
        let (trust, common) = (Arc::clone(trust), common.clone());
        let server =
            Self { class, kind: ServerKind::Mutual { whose, demand, trust, chooser, common } };
        // Made once here so that what the library does not like is found while loading.
        server.config(None)?;
        Ok(server)
    }

    /// Returns the same server under other trust.
    fn trusting(self: &Arc<Self>, trust: &Arc<Trust>) -> Arc<Self> {
        match &self.kind {
            // Its tickets go on: no certificate was asked for.
            ServerKind::Anonymous(_) => Arc::clone(self),
            ServerKind::Mutual { whose, demand, chooser, common, .. } => {
                let (trust, chooser) = (Arc::clone(trust), Arc::clone(chooser));
                let (whose, demand, common) = (*whose, *demand, common.clone());
                let kind = ServerKind::Mutual { whose, demand, trust, chooser, common };
                Arc::new(Self { class: self.class, kind })
            }
        }
    }

    /// Returns the configuration for one connection, and the verifier that will have its verdict.
    ///
    /// `asked`: whom the peer asked for before TLS; chooses the identity if it sends no SNI.
    pub(super) fn config(
        &self,
        asked: Option<Domain>,
    ) -> Result<(Arc<ServerConfig>, Option<Arc<Verifier>>), rustls::Error> {
        match &self.kind {
            ServerKind::Anonymous(config) => Ok((Arc::clone(config), None)),
            ServerKind::Mutual { whose, demand, trust, chooser, common } => {
                let verifier = Arc::new(Verifier::new(Arc::clone(trust), *whose, *demand, None));
                let chooser = Arc::clone(chooser);
                let resolver: Arc<dyn ResolvesServerCert> = match asked {
                    Some(name) => Arc::new(Asked { chooser, name }),
                    None => chooser,
                };
                let mut config = common.server(Some(&verifier), resolver)?;
                config.alpn_protocols = alpn(self.class);
                Ok((Arc::new(config), Some(verifier)))
            }
        }
    }
}

impl Common {
    /// Server side without resumption: a peer that was revoked must not resume.
    fn server(
        &self,
        verifier: Option<&Arc<Verifier>>,
        chooser: Arc<dyn ResolvesServerCert>,
    ) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(chooser);
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.key_log = Arc::clone(&self.key_log);
        Ok(config)
    }

    fn client(
        &self,
        verifier: &Arc<Verifier>,
        presenter: &Arc<Presenter>,
    ) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(verifier) as _)
            .with_client_cert_resolver(Arc::clone(presenter) as _);
        config.resumption = Resumption::disabled();
        config.key_log = Arc::clone(&self.key_log);
        Ok(config)
    }
}

/// Returns what is offered and accepted; who names nothing is taken all the same.
fn alpn(class: Class) -> Vec<Vec<u8>> {
    if class == Class::XmppDirectTls { vec![XMPP_ALPN.to_vec()] } else { Vec::new() }
}

fn load_identities(
    plan: &Plan,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<Identity>>, LoadError> {
    let mut identities: Vec<Arc<Identity>> = Vec::with_capacity(plan.identities.len());
    for identity in &plan.identities {
        if identities.iter().any(|other| other.name == identity.name) {
            return Err(LoadError::DuplicateIdentity { name: identity.name.clone() });
        }
        identities.push(Arc::new(Identity::load(identity, provider, plan.now_unix_s)?));
    }
    Ok(identities)
}

fn load_trust(plan: &Plan, provider: &CryptoProvider) -> Result<Trust, LoadError> {
    let general = load_sources(&plan.trust)?;
    let internal = match plan.internal_trust.as_slice() {
        [] => general.clone(),
        sources => load_sources(sources)?,
    };
    let mut revocation_lists = Vec::new();
    for path in &plan.crl {
        revocation_lists.extend(load::revocation_lists(path)?);
    }
    Ok(Trust::new(Parts {
        general,
        internal,
        partners: load_partner_sets(&plan.partner_trust)?,
        internal_names: plan.internal_names.clone(),
        gateway_names: plan.gateway_names.clone(),
        credentials_names: plan.credentials_names.clone(),
        revocation_lists,
        algorithms: provider.signature_verification_algorithms,
    }))
}

fn load_sources(sources: &[TrustSource]) -> Result<Vec<TrustAnchor<'static>>, LoadError> {
    let mut anchors = Vec::new();
    for source in sources {
        anchors.extend(match source {
            TrustSource::System => load::system_anchors()?,
            TrustSource::File(path) => load::anchors(path)?,
        });
    }
    Ok(anchors)
}

/// Loads the partners' sets and refuses an authority that is in two of them.
fn load_partner_sets(plans: &[AnchorPlan]) -> Result<Vec<PartnerSet>, LoadError> {
    let mut sets = Vec::with_capacity(plans.len());
    // By key and subject: what webpki tells anchors apart by.
    let mut seen = BTreeMap::new();
    for AnchorPlan { name, files } in plans {
        assert!(sets.iter().all(|set: &PartnerSet| set.name != *name), "names tell sets apart");
        let mut anchors = Vec::new();
        for path in files {
            for anchor in load::anchors(path)? {
                let mark =
                    (anchor.subject_public_key_info.to_vec(), anchor.subject.as_ref().to_vec());
                let (first, other) = seen.entry(mark).or_insert_with(|| (*name, path.clone()));
                if first != name {
                    let (path, other) = (path.clone(), other.clone());
                    let subject = load::anchor_name(&path, &anchor);
                    return Err(LoadError::SharedAnchor { path, other, subject });
                }
                anchors.push(anchor);
            }
        }
        sets.push(PartnerSet { name: *name, anchors });
    }
    Ok(sets)
}
