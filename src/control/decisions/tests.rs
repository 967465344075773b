//! The writer: where it writes, what it does when it cannot, when it ends.

use std::path::Path;

use crossbeam::channel::{Sender, bounded};

use super::*;
use crate::config::fixture::LEAST;
use crate::config::parse;
use crate::dns::Domain;
use crate::edge::{Decided, RefusedBy, Said};
use crate::policy::{Direction, Inbound, PeerNames};
use crate::time::Now;

struct Running {
    shared: Arc<Shared>,
    to: Option<Sender<DecidedOn>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(epoch: u64, path: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        shared.put_in_force(epoch, &config(path));
        let (to, from) = bounded(16);
        let thread = spawn(from, Arc::clone(&shared), Clock::start()).unwrap();
        Self { shared, to: Some(to), thread: Some(thread) }
    }

    fn send(&self, epoch: u64) {
        self.to.as_ref().unwrap().send(told(epoch)).unwrap();
    }

    /// Waits until so many lines were written and could not be.
    fn wait_for(&self, written: u64, unwritable: u64) {
        let there = (0..400).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            self.shared.lines() == (written, unwritable)
        });
        assert!(there, "{:?}", self.shared.lines());
    }

    /// Ends the writer as the end of the last shard does.
    fn end(mut self) {
        drop(self.to.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn config(path: &Path) -> Arc<Config> {
    let blocked = "[[blocked]]\ndomain = \"litware.example\"\n";
    let log = format!("[log]\ndecisions = \"{}\"\n", path.display());
    Arc::new(parse(Path::new("e.toml"), &format!("{LEAST}{blocked}{log}")).unwrap())
}

fn told(epoch: u64) -> DecidedOn {
    let name = |text: &str| Domain::parse(text.as_bytes()).unwrap();
    let policy = crate::control::policy(&config(Path::new("x"))).unwrap();
    let (from, to) = (name("litware.example"), name("contoso.example"));
    let peer = PeerNames {
        dns_names: vec![name("sip.litware.example")],
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: crate::policy::Anchors::General,
        fingerprint: [0; 32],
        expires_unix_s: u64::MAX,
        revocation: crate::policy::RevocationState::Unknown,
        xmpp: None,
    };
    let question = Inbound { peer: &peer, from: &from, to: &to };
    let dns = crate::dns::Cache::new([1, 2]);
    let said = Said::Verdict(policy.inbound(Now::default(), &question, &dns));
    let (direction, answers) = (Direction::Inbound, Vec::new());
    let (peer, to) = (Some(Arc::new(peer)), Some(to));
    let decided = Decided { decision_id: 1, epoch, direction, peer, from, to, answers, said };
    DecidedOn { shard: 0, unix_s: 1, decided: Box::new(decided) }
}

fn lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read(path).unwrap();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Line::read(line).unwrap()).collect()
}

#[test]
fn lines_name_where_a_rule_is_written_if_that_configuration_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.log");
    let running = Running::start(3, &path);
    running.send(3);
    running.send(2);
    let shared = Arc::clone(&running.shared);
    running.end();
    assert_eq!(shared.lines(), (2, 0), "what waits is written before the end");
    let whereabouts: Vec<_> = lines(&path).into_iter().map(|line| line.whereabouts).collect();
    assert_eq!(whereabouts, [Some("e.toml:13".to_owned()), None]);
}

#[test]
fn a_reload_opens_the_file_again_or_another_one() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("a.log"), directory.path().join("moved.log"));
    let running = Running::start(1, &path);
    running.send(1);
    running.wait_for(1, 0);
    std::fs::rename(&path, &moved).unwrap();
    running.shared.put_in_force(2, &config(&path));
    running.send(2);
    running.wait_for(2, 0);
    assert_eq!((lines(&moved).len(), lines(&path).len()), (1, 1));
    let other = directory.path().join("b.log");
    running.shared.put_in_force(3, &config(&other));
    running.send(3);
    running.end();
    assert_eq!((lines(&path).len(), lines(&other).len()), (1, 1));
}

#[test]
fn a_full_disk_and_a_missing_directory_are_counted_and_end_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let running = Running::start(1, Path::new("/dev/full"));
    running.send(1);
    running.wait_for(0, 1);
    running.shared.put_in_force(2, &config(&directory.path().join("none/decisions.log")));
    running.send(2);
    running.wait_for(0, 2);
    let path = directory.path().join("decisions.log");
    running.shared.put_in_force(3, &config(&path));
    running.send(3);
    running.wait_for(1, 2);
    assert_eq!(lines(&path).len(), 1);
    running.end();
}

#[test]
fn refusals_above_their_rate_are_counted_and_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.log");
    let running = Running::start(1, &path);
    let more = 2_000;
    let template = told(1);
    for _ in 0..REFUSALS_BURST + more {
        let decided = template.decided.clone();
        running.to.as_ref().unwrap().send(DecidedOn { shard: 0, unix_s: 1, decided }).unwrap();
    }
    let shared = Arc::clone(&running.shared);
    running.end();
    let (written, _) = shared.lines();
    assert_eq!(written + shared.suppressed(), REFUSALS_BURST + more);
    assert!(shared.suppressed() > 0 && written >= REFUSALS_BURST, "{shared:?}");
}

#[test]
fn a_refusal_beyond_the_domains_is_written_too() {
    let mut told = told(1);
    let sentence = "too many".to_owned();
    told.decided.said =
        Said::Refused { by: RefusedBy::Limit, status: 480, diagnostics: 1007, sentence };
    let line = Line::of(&told.decided, 0, 1, |_| None);
    assert_eq!((line.by, line.status, line.diagnostics), (By::Limit, Some(480), Some(1007)));
    assert_eq!(line.place, None);
}
