//! The file of a pool: what of it an edge that runs takes, and what commands say of it.

use entente::stun::Method;

use super::relay::{Client, Relay};
use super::*;

/// A relay of a pool, and where its file is.
struct Pool {
    world: World,
    relay: Relay,
}

impl Pool {
    fn new() -> Self {
        let world = World::new();
        let relay = Relay::configured(&world, "pool = \"pool.toml\"\n");
        let text = fs::read_to_string(world.file()).unwrap();
        let edge = "[edge]\nnode = \"edge1.contoso.example\"\npool_members = 2\n\
                    drain_timeout_s = 1\n";
        let dns = "[dns]\nservers = [\"127.0.0.1:53\"]\ntimeout_ms = 100\nattempts = 1\n";
        world.write(&format!("{}{dns}", text.replace("[edge]\n", edge)));
        Self { world, relay }
    }

    fn file(&self) -> PathBuf {
        self.world.directory.path().join("pool.toml")
    }

    /// Lists this edge, and another one that relays by 127.0.0.2.
    fn list(&self, ports: &str) {
        let text = format!(
            "[[edge]]\nname = \"edge1.contoso.example\"\nrelayed = [\"{}\"]\n\n\
             [[edge]]\nname = \"edge2.contoso.example\"\nrelayed = [\"127.0.0.2\"]\n\
             ports = \"{ports}\"\n",
            self.relay.relayed
        );
        fs::write(self.file(), text).unwrap();
    }

    /// Returns the exit code of a command and what it has said.
    fn says(&self, command: &str, words: &[&str]) -> (Option<i32>, String) {
        let output = self.world.command(command).args(words).output().unwrap();
        (output.status.code(), said(&output))
    }
}

#[test]
fn what_a_relay_of_the_pool_sends_from_is_no_client_until_the_file_says_otherwise() {
    let pool = Pool::new();
    let any = "127.0.0.2:0".parse().unwrap();
    let mut client = Client::at(any, pool.relay.udp);
    pool.list(&client.address().port().to_string());
    let edge = pool.world.run(|_| {});
    assert_eq!(client.ask(Method::ALLOCATE, 600), (Some(403), None), "a relay of the pool");
    let beside = Client::at(any, pool.relay.udp).ask(Method::ALLOCATE, 600);
    assert_eq!(beside, (None, None), "somebody at its address");

    // A file that says too much is told with its line, and the one before goes on.
    pool.list("0-1");
    signal(&edge, "HUP");
    assert!(pool.world.logs("pool.toml:8"), "{}", pool.world.logged());
    assert_eq!(client.ask(Method::ALLOCATE, 600), (Some(403), None));

    pool.list("1-1");
    signal(&edge, "HUP");
    let allowed = || client.ask(Method::ALLOCATE, 600) == (None, None);
    assert!(within(allowed), "{}", pool.world.logged());
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
}

#[test]
fn check_tells_what_the_file_of_the_pool_says_wrongly() {
    let pool = Pool::new();
    let (code, text) = pool.says("check", &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("error[config-unreadable]: cannot read "), "{text}");
    pool.list("20000-20009");
    let (code, text) = pool.says("check", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("relay-pool"), "{text}");

    let listed = fs::read_to_string(pool.file()).unwrap();
    fs::write(pool.file(), listed.replacen("]\n\n", "]\nports = \"50000-54999\"\n\n", 1)).unwrap();
    let (_, text) = pool.says("check", &[]);
    assert!(text.contains("warning[relay-pool-own-differs]: the others are told that"), "{text}");
    assert!(text.contains("pool.toml:4\n"), "{text}");
    let (_, other) = listed.split_once("\n\n").unwrap();
    fs::write(pool.file(), other).unwrap();
    let (_, text) = pool.says("check", &[]);
    let missing = "lists no edge edge1.contoso.example, so the others do not know this one's relay";
    assert!(text.contains(missing), "{text}");
    fs::write(pool.file(), listed.replace("127.0.0.2", &pool.relay.relayed.to_string())).unwrap();
    let (code, text) = pool.says("check", &[]);
    assert_eq!(code, Some(1), "{text}");
    let twice = format!("{} is a relayed address twice", pool.relay.relayed);
    assert!(text.contains(&twice), "{text}");
    assert!(text.contains("pool.toml:7:12"), "{text}");
    assert!(text.contains("each relayed address is one edge's alone"), "{text}");
}

#[test]
fn explain_names_the_edge_whose_relay_a_peer_is() {
    let pool = Pool::new();
    pool.list("20000-20009");
    let sentence = "it is a relayed address of edge2.contoso.example, another edge of the pool; \
                    its relayed ports 20000-20009 may be reached, and nothing else there";
    let (code, text) = pool.says("explain", &["relay", "127.0.0.2:20009"]);
    assert_eq!(code, Some(0), "{text}");
    let permitted = format!("127.0.0.2:20009 may be a peer of clients outside: {sentence} (");
    assert!(text.starts_with(&permitted), "{text}");
    assert!(text.trim_end().ends_with("pool.toml:7)"), "{text}");
    let (code, text) = pool.says("explain", &["relay", "127.0.0.2:3478"]);
    assert_eq!(code, Some(1), "{text}");
    let refused = format!("127.0.0.2:3478 is refused with 403 to clients outside: {sentence} (");
    assert!(text.starts_with(&refused), "{text}");
}
