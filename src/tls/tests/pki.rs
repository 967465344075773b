//! Certificate authorities and files for the tests.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, OtherNameValue, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use crate::dns::Domain;
use crate::edge::Class;
use crate::policy::AnchorSet;
use crate::tls::{AnchorPlan, IdentityPlan, ListenerPlan, Material, Plan, TrustSource};

/// 2026-09-21, inside the validity of everything made here.
pub(super) const NOW_UNIX_S: u64 = 1_790_000_000;

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).unwrap()
}

/// id-on-xmppAddr (RFC 6120 section 13.7.1.4).
const XMPP_ADDRESS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 5];
/// id-on-dnsSRV (RFC 4985).
const DNS_SRV: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 7];

/// A certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
    /// This authority's certificate and those above it, without the root.
    above: String,
}

/// What a test wants different in a leaf.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    pub(super) names: Vec<&'static str>,
    pub(super) uris: Vec<&'static str>,
    pub(super) common_name: Option<&'static str>,
    pub(super) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(super) serial: u64,
    /// Years of notBefore and notAfter.
    pub(super) years: Option<(i32, i32)>,
    pub(super) rsa: bool,
    /// Where the list of its issuer is.
    pub(super) points: Vec<&'static str>,
    /// Domains as id-on-xmppAddr.
    pub(super) xmpp_addresses: Vec<&'static str>,
    /// Services as id-on-dnsSRV.
    pub(super) services: Vec<&'static str>,
}

impl Leaf {
    pub(super) fn named(name: &'static str) -> Self {
        Self { names: vec![name], ..Self::default() }
    }
}

/// A certificate chain and its key, as PEM text.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn root(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, above: String::new() }
    }

    pub(super) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let above = format!("{pem}{}", self.above);
        Self { issuer: Issuer::new(params, key), pem, above }
    }

    pub(super) fn leaf(&self, leaf: &Leaf) -> Pair {
        let key = match leaf.rsa {
            true => KeyPair::from_pem(include_str!("rsa2048.key")).unwrap(),
            false => KeyPair::generate().unwrap(),
        };
        let names: Vec<String> = leaf.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let uris = leaf.uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let xmpp = leaf.xmpp_addresses.iter().map(|address| {
            let value = OtherNameValue::Utf8String((*address).to_owned());
            SanType::OtherName((XMPP_ADDRESS.to_vec(), value))
        });
        params.subject_alt_names.extend(xmpp);
        let services = leaf.services.iter().map(|service| {
            let value = OtherNameValue::Utf8String((*service).to_owned());
            SanType::OtherName((DNS_SRV.to_vec(), value))
        });
        params.subject_alt_names.extend(services);
        let common_name = leaf.common_name.unwrap_or("A peer");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages.clone_from(&leaf.purposes);
        params.crl_distribution_points = distribution_points(&leaf.points);
        params.serial_number = (leaf.serial > 0).then(|| SerialNumber::from(leaf.serial));
        if let Some((from, to)) = leaf.years {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = format!("{}{}", certificate.pem(), self.above);
        Pair { chain, key: key.serialize_pem() }
    }

    /// The root's own certificate and key, as if it were a peer's.
    pub(super) fn own(&self) -> Pair {
        Pair { chain: self.pem.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// An authority below this one, with a serial number and a distribution point.
    pub(super) fn numbered_intermediate(&self, name: &str, serial: u64, point: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.crl_distribution_points = distribution_points(&[point]);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let above = format!("{pem}{}", self.above);
        Self { issuer: Issuer::new(params, key), pem, above }
    }

    pub(super) fn revoke(&self, serials: &[u64]) -> String {
        self.list(&List { serials: serials.to_vec(), ..List::default() })
    }

    /// A list of this authority.
    pub(super) fn list(&self, of: &List) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(of.this_update.0, of.this_update.1, 1),
            next_update: date_time_ymd(of.next_update.0, of.next_update.1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: of.scope.map(|(url, scope)| {
                let uris = vec![url.to_owned()];
                let distribution_point = CrlDistributionPoint { uris };
                CrlIssuingDistributionPoint { distribution_point, scope }
            }),
            revoked_certs: of.serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// What a test wants of a revocation list.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) serials: Vec<u64>,
    /// Year and month.
    pub(super) this_update: (i32, u8),
    pub(super) next_update: (i32, u8),
    /// The distribution point it is for, and for which certificates.
    pub(super) scope: Option<(&'static str, Option<CrlScope>)>,
}

impl Default for List {
    /// Past its end.
    fn default() -> Self {
        let (this_update, next_update) = ((2026, 1), (2026, 2));
        Self { serials: Vec::new(), this_update, next_update, scope: None }
    }
}

impl List {
    /// In force until the end of 2999.
    pub(super) fn current(serials: &[u64]) -> Self {
        let (this_update, next_update) = ((2026, 1), (3000, 1));
        Self { serials: serials.to_vec(), this_update, next_update, scope: None }
    }
}

fn distribution_points(urls: &[&str]) -> Vec<CrlDistributionPoint> {
    let one = |url: &&str| CrlDistributionPoint { uris: vec![(*url).to_owned()] };
    urls.iter().map(one).collect()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A directory of files and the plan that names them.
pub(super) struct Site {
    directory: TempDir,
    pub(super) plan: Plan,
}

impl Site {
    /// An edge that presents `pair` on a listener of each class and trusts `roots` for everything.
    pub(super) fn new(pair: &Pair, roots: &[&Authority]) -> Self {
        let mut site = Self { directory: TempDir::new().unwrap(), plan: Plan::default() };
        site.plan.now_unix_s = NOW_UNIX_S;
        site.identity("access", pair, &[]);
        for class in [Class::Federation, Class::RemoteUsers, Class::Internal] {
            site.plan.listeners.push(ListenerPlan { class, identity: "access".to_owned() });
        }
        for (i, root) in roots.iter().enumerate() {
            let path = site.file(&format!("root{i}.pem"), &root.pem);
            site.plan.trust.push(TrustSource::File(path));
        }
        site
    }

    /// The same with a listener of each class of XMPP, and `gateway` as who may use the link.
    pub(super) fn with_xmpp(mut self, gateway: &str) -> Self {
        for class in [Class::Xmpp, Class::XmppDirectTls, Class::XmppLink] {
            self.plan.listeners.push(ListenerPlan { class, identity: "access".to_owned() });
        }
        self.plan.gateway_names = vec![domain(gateway)];
        self
    }

    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Gives the partners' sets in the plan these names, each with one file.
    pub(super) fn partner_trust(&mut self, sets: &[(AnchorSet, &PathBuf)]) {
        let set = |(name, file): &(AnchorSet, &PathBuf)| AnchorPlan {
            name: *name,
            files: vec![(*file).clone()],
        };
        self.plan.partner_trust = sets.iter().map(set).collect();
    }

    pub(super) fn identity(&mut self, name: &str, pair: &Pair, sip_domains: &[&str]) {
        let certificate = self.file(&format!("{name}.pem"), &pair.chain);
        let key = self.file(&format!("{name}.key"), &pair.key);
        self.plan.identities.push(IdentityPlan {
            name: name.to_owned(),
            certificate,
            key,
            client: false,
            sip_domains: sip_domains.iter().map(|name| domain(name)).collect(),
        });
    }

    pub(super) fn build(&self) -> Material {
        Material::build(&self.plan).unwrap()
    }

    pub(super) fn refusal(&self) -> String {
        let sentence = Material::build(&self.plan).unwrap_err().to_string();
        sentence.replace(&format!("{}/", self.directory.path().display()), "")
    }
}
