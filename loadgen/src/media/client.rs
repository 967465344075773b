//! One client of the relay and its allocation, as a state machine over whole messages.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::stun::{Class, Key, Message, Method, TransactionId, Writer, attribute};
use crate::clock::unix_s;
use crate::options::{self, Transport};

/// The channel that every client binds; each has one peer.
pub(crate) const CHANNEL: u16 = 0x4000;
/// REQUESTED-TRANSPORT: UDP (RFC 8656 section 18.8).
const TRANSPORT_UDP: [u8; 4] = [17, 0, 0, 0];
/// Time-limited accounts end so long after the start.
const TIME_LIMITED_S: u64 = 86_400;
/// Challenges, stale nonces and other servers that a client follows for one question, so that none
/// keeps it busy.
const DETOURS_MAX: u32 = 4;

/// How long a client waits for an answer.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// The first time; doubled each time after.
    wait_ns: u64,
    /// Requests sent before there is no hope.
    sends_max: u32,
}

impl Patience {
    /// RFC 8489 sections 6.2.1 and 6.2.2: a stream loses nothing.
    fn over(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self { wait_ns: 500_000_000, sends_max: 7 },
            Transport::Tcp | Transport::Tls => Self { wait_ns: 39_500_000_000, sends_max: 1 },
        }
    }
}

/// Somebody the relay knows.
pub(crate) struct Account {
    /// Name.
    pub(crate) username: String,
    /// Password.
    pub(crate) password: String,
    /// Key in the realm that was last heard of.
    key: Option<(Vec<u8>, Key)>,
}

impl Account {
    /// Returns account `number` of the command line.
    pub(crate) fn of(options: &options::Media, number: usize) -> Self {
        let name = match options.users {
            0 | 1 => options.user.clone(),
            _ => format!("{}{number}", options.user),
        };
        let Some(secret) = &options.secret else {
            return Self::new(name, options.password.clone());
        };
        let name = format!("{}:{name}", unix_s() + TIME_LIMITED_S);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let password = STANDARD.encode(hmac::sign(&key, name.as_bytes()));
        Self::new(name, password)
    }

    /// Returns an account that no realm is known of.
    fn new(username: String, password: String) -> Self {
        Self { username, password, key: None }
    }

    fn key(&mut self, realm: &[u8]) -> &Key {
        if self.key.as_ref().is_none_or(|(known, _)| known != realm) {
            let (name, password) = (self.username.as_bytes(), self.password.as_bytes());
            self.key = Some((realm.to_vec(), Key::long_term(name, realm, password)));
        }
        &self.key.as_ref().expect("made above").1
    }
}

/// What a client asks for, or has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// An allocation.
    Allocating,
    /// Its channel.
    Binding,
    /// Nothing: it has both.
    Ready,
    /// Its channel again, before the permission ends.
    Rebinding,
    /// More time.
    Refreshing,
    /// Its end.
    Releasing,
}

/// What comes after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: the answer was to no question of ours.
    Nothing,
    /// The next request.
    Request,
    /// The allocation and its channel stand for the first time.
    Ready,
    /// They stand for longer.
    Renewed,
    /// The allocation is no more.
    Released,
    /// It will not be.
    Failed(String),
}

/// A client.
pub(crate) struct Client {
    /// What it does.
    pub(crate) stage: Stage,
    /// Which account it uses.
    pub(crate) account: usize,
    /// Where it sends to.
    pub(crate) server: SocketAddr,
    /// Where its peer is.
    pub(crate) peer: SocketAddr,
    /// Where the peer sends to, once there is an allocation.
    pub(crate) relayed: Option<SocketAddr>,
    /// When it was due to begin.
    pub(crate) due_ns: u64,
    /// When its request is sent again, if one is under way.
    pub(crate) again_ns: Option<u64>,
    patience: Patience,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    serial: u32,
    sends: u32,
    detours: u32,
}

impl Client {
    /// Returns a client that asks for an allocation; [`Client::request`] makes the question.
    pub(crate) fn new(
        options: &options::Media,
        account: usize,
        peer: SocketAddr,
        due_ns: u64,
    ) -> Self {
        Self {
            stage: Stage::Allocating,
            account,
            server: options.relay,
            peer,
            relayed: None,
            due_ns,
            again_ns: None,
            patience: Patience::over(options.transport),
            realm: Vec::new(),
            nonce: Vec::new(),
            serial: 0,
            sends: 0,
            detours: 0,
        }
    }

    /// Asks for something else; [`Client::request`] makes the question.
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.detours = 0;
        self.ask(stage);
    }

    fn ask(&mut self, stage: Stage) {
        self.stage = stage;
        self.serial += 1;
        self.sends = 0;
    }

    /// Returns the request of the stage, the same whenever it is asked for again, or `None` if it
    /// was sent often enough. `id`: what tells this client from the others.
    pub(crate) fn request(
        &mut self,
        id: [u8; 8],
        account: &mut Account,
        now_ns: u64,
    ) -> Option<Vec<u8>> {
        if self.sends == self.patience.sends_max {
            self.again_ns = None;
            return None;
        }
        self.again_ns = Some(now_ns + (self.patience.wait_ns << self.sends));
        self.sends += 1;
        let method = self.method()?;
        let mut writer = Writer::new(method, Class::Request, &self.transaction(id));
        match self.stage {
            Stage::Allocating => {
                writer.attribute(attribute::REQUESTED_TRANSPORT, &TRANSPORT_UDP);
            }
            Stage::Binding | Stage::Rebinding => {
                let [high, low] = CHANNEL.to_be_bytes();
                writer.attribute(attribute::CHANNEL_NUMBER, &[high, low, 0, 0]);
                writer.address(attribute::XOR_PEER_ADDRESS, self.peer);
            }
            Stage::Releasing => {
                writer.attribute(attribute::LIFETIME, &[0; 4]);
            }
            Stage::Refreshing | Stage::Ready => {}
        }
        if !self.nonce.is_empty() {
            writer.attribute(attribute::USERNAME, account.username.as_bytes());
            writer.attribute(attribute::REALM, &self.realm);
            writer.attribute(attribute::NONCE, &self.nonce);
            writer.integrity(account.key(&self.realm));
        }
        Some(writer.finish())
    }

    fn method(&self) -> Option<Method> {
        match self.stage {
            Stage::Allocating => Some(Method::Allocate),
            Stage::Binding | Stage::Rebinding => Some(Method::ChannelBind),
            Stage::Refreshing | Stage::Releasing => Some(Method::Refresh),
            Stage::Ready => None,
        }
    }

    fn transaction(&self, id: [u8; 8]) -> TransactionId {
        let mut transaction = TransactionId::default();
        transaction[..8].copy_from_slice(&id);
        transaction[8..].copy_from_slice(&self.serial.to_be_bytes());
        transaction
    }

    /// Takes an answer and goes on to the next stage.
    pub(crate) fn answer(
        &mut self,
        id: [u8; 8],
        account: &mut Account,
        message: Message<'_>,
    ) -> Then {
        if message.transaction() != self.transaction(id) || self.method() != Some(message.method) {
            return Then::Nothing;
        }
        match message.class {
            Class::Request => Then::Nothing,
            Class::Error => {
                self.again_ns = None;
                self.refused(message)
            }
            // Who cannot prove that it knows the key did not say it (RFC 8489 section 9.2.5).
            Class::Success
                if !self.nonce.is_empty() && !message.proven(account.key(&self.realm)) =>
            {
                Then::Failed("an answer without integrity".into())
            }
            Class::Success => {
                self.again_ns = None;
                self.granted(message)
            }
        }
    }

    fn granted(&mut self, message: Message<'_>) -> Then {
        match self.stage {
            Stage::Allocating => {
                self.relayed = message.hidden_address(attribute::XOR_RELAYED_ADDRESS);
                if self.relayed.is_none() {
                    return Then::Failed("an allocation without an address".into());
                }
                self.enter(Stage::Binding);
                Then::Request
            }
            Stage::Binding => {
                self.stage = Stage::Ready;
                Then::Ready
            }
            Stage::Rebinding => {
                self.enter(Stage::Refreshing);
                Then::Request
            }
            Stage::Refreshing => {
                self.stage = Stage::Ready;
                Then::Renewed
            }
            Stage::Releasing => Then::Released,
            Stage::Ready => Then::Nothing,
        }
    }

    fn refused(&mut self, message: Message<'_>) -> Then {
        let number = message.error().unwrap_or(0);
        let failed = Then::Failed(format!("{:?}: {number}", message.method));
        let challenged = number == 438 || (number == 401 && self.nonce.is_empty());
        let detour = match (number, message.attribute(attribute::NONCE)) {
            (300, _) => {
                let Some(server) = message.alternate_server() else { return failed };
                self.server = server;
                true
            }
            (_, Some(nonce)) if challenged => {
                self.nonce = nonce.to_vec();
                if let Some(realm) = message.attribute(attribute::REALM) {
                    self.realm = realm.to_vec();
                }
                true
            }
            _ => false,
        };
        if !detour || self.detours == DETOURS_MAX {
            return failed;
        }
        self.detours += 1;
        self.ask(self.stage);
        Then::Request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 8] = [1; 8];

    fn options(more: &str) -> options::Media {
        let command = format!("entente-loadgen media --relay 192.0.2.1:3478 {more}");
        let words = command.split_ascii_whitespace();
        let options = <options::Options as clap::Parser>::parse_from(words);
        let options::Scenario::Media(options) = options.scenario else { panic!("another") };
        options
    }

    fn client() -> (Client, Account) {
        let options = options("--user alice --password secret");
        let client = Client::new(&options, 0, "192.0.2.9:9".parse().unwrap(), 0);
        (client, Account::of(&options, 0))
    }

    #[test]
    fn time_limited_accounts_are_those_of_the_convention() {
        let account = Account::of(&options("--secret north --user bob"), 0);
        assert!(account.username.ends_with(":bob"), "{}", account.username);
        let expiry: u64 = account.username.split(':').next().unwrap().parse().unwrap();
        assert!(expiry > unix_s());
        // 20 bytes of HMAC-SHA1 in base64.
        assert_eq!(account.password.len(), 28);
        assert_eq!(Account::of(&options("--users 2 --user bob"), 1).username, "bob1");
    }

    fn answer(
        client: &mut Client,
        account: &mut Account,
        class: Class,
        write: impl FnOnce(&mut Writer),
    ) -> Then {
        let method = client.method().unwrap();
        let mut writer = Writer::new(method, class, &client.transaction(ID));
        write(&mut writer);
        let wire = writer.finish();
        client.answer(ID, account, Message::read(&wire).unwrap())
    }

    fn error(number: u16) -> impl FnOnce(&mut Writer) {
        move |writer| {
            let value = [0, 0, (number / 100) as u8, (number % 100) as u8];
            writer.attribute(attribute::ERROR_CODE, &value);
            writer.attribute(attribute::REALM, b"realm").attribute(attribute::NONCE, b"nonce");
        }
    }

    fn proven(writer: &mut Writer) {
        writer.address(attribute::XOR_RELAYED_ADDRESS, "192.0.2.7:50000".parse().unwrap());
        writer.integrity(&Key::long_term(b"alice", b"realm", b"secret"));
    }

    #[test]
    fn a_life_is_challenge_allocation_channel_and_end() {
        let (mut client, mut account) = client();
        let first = client.request(ID, &mut account, 0).unwrap();
        assert!(Message::read(&first).unwrap().attribute(attribute::USERNAME).is_none());
        assert_eq!(answer(&mut client, &mut account, Class::Error, error(401)), Then::Request);
        let second = client.request(ID, &mut account, 0).unwrap();
        let second = Message::read(&second).unwrap();
        assert!(second.proven(&Key::long_term(b"alice", b"realm", b"secret")));
        assert_eq!(answer(&mut client, &mut account, Class::Success, proven), Then::Request);
        assert_eq!(client.relayed, Some("192.0.2.7:50000".parse().unwrap()));
        assert_eq!(answer(&mut client, &mut account, Class::Success, proven), Then::Ready);
        client.enter(Stage::Releasing);
        assert_eq!(answer(&mut client, &mut account, Class::Success, proven), Then::Released);
    }

    #[test]
    fn a_renewal_is_of_the_channel_and_of_the_allocation() {
        let (mut client, mut account) = client();
        answer(&mut client, &mut account, Class::Error, error(401));
        answer(&mut client, &mut account, Class::Success, proven);
        answer(&mut client, &mut account, Class::Success, proven);
        client.enter(Stage::Rebinding);
        // The nonce has become stale in the meantime.
        assert_eq!(answer(&mut client, &mut account, Class::Error, error(438)), Then::Request);
        assert_eq!(answer(&mut client, &mut account, Class::Success, proven), Then::Request);
        assert_eq!(client.stage, Stage::Refreshing);
        assert_eq!(answer(&mut client, &mut account, Class::Success, proven), Then::Renewed);
        assert_eq!((client.stage, client.again_ns), (Stage::Ready, None));
    }

    #[test]
    fn an_answer_of_somebody_else_is_none() {
        let (mut client, mut account) = client();
        answer(&mut client, &mut account, Class::Error, error(401));
        let then = answer(&mut client, &mut account, Class::Success, |writer| {
            writer.integrity(&Key::long_term(b"alice", b"realm", b"guessed"));
        });
        assert!(matches!(then, Then::Failed(_)), "{then:?}");
        let other = Writer::new(Method::Allocate, Class::Success, &[9; 12]).finish();
        let message = Message::read(&other).unwrap();
        assert_eq!(client.answer(ID, &mut account, message), Then::Nothing);
    }

    #[test]
    fn no_server_keeps_a_client_going_round() {
        for number in [300, 401, 438] {
            let (mut client, mut account) = client();
            let mut detours = 0;
            loop {
                let then = answer(&mut client, &mut account, Class::Error, |writer| {
                    error(number)(writer);
                    writer.attribute(attribute::ALTERNATE_SERVER, &[0, 1, 1, 1, 192, 0, 2, 5]);
                });
                if then != Then::Request {
                    assert_eq!(then, Then::Failed(format!("Allocate: {number}")));
                    break;
                }
                detours += 1;
                assert!(detours <= DETOURS_MAX);
            }
        }
    }

    #[test]
    fn a_request_is_sent_again_as_it_was_and_not_for_ever() {
        let (mut client, mut account) = client();
        let first = client.request(ID, &mut account, 0).unwrap();
        for _ in 1..7 {
            assert_eq!(client.request(ID, &mut account, 0).as_ref(), Some(&first));
        }
        assert_eq!(client.again_ns, Some(32_000_000_000), "RFC 8489 section 6.2.1");
        assert_eq!(client.request(ID, &mut account, 0), None);
    }
}
