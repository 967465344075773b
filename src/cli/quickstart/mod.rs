//! `entente quickstart`: two organisations federate on this machine, and every message is shown
//! with what each edge decided about it and why.
//!
//! Everything is made for the run and lives on loopback addresses: a certificate authority, a name
//! server, two edges as [`crate::control`] starts them from configuration files, each with a relay
//! for media, a small SIP server behind each, a third organisation that both have blocked, and an
//! XMPP server that one of the two talks to, through the XMPP proxy and the gateway beside its
//! Access Edge.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config;
use crate::control::{self, Options, Running};
use crate::edge::Severity;
use crate::edge::av::Traffic;
use crate::relay::Listed;
use crate::time::{Clock, Monotonic};

mod act;
mod call;
mod chat;
mod dialog;
mod event;
mod ladder;
mod media;
mod message;
mod next_hop;
mod report;
mod story;
mod world;
mod xmpp_server;

use act::{ACTS, ADATUM, ALICE, Act, BOB, CONTOSO_EDGE, FABRIKAM_EDGE, LITWARE, TAILSPIN};
use event::Event;
use ladder::Paint;
use next_hop::{NextHop, Party};
use report::{Format, Progress, Reporter};
use story::{Decision, Side, Story, WithCarol};
use world::{Authority, Listing, Organisation, Scratch, XmppPartner};
use xmpp_server::{XmppParty, XmppServer};

/// The run without what `--keep` adds.
const RUN_TIMEOUT: Duration = Duration::from_secs(25);
/// How long the edges may take to stop; they have nothing left to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long gateway and proxy may take to find each other.
const LINK_TIMEOUT: Duration = Duration::from_secs(5);
const LINK_POLL: Duration = Duration::from_millis(5);
/// Explanations of one edge that may wait to be read; a step makes a handful.
const NOTES_QUEUE: usize = 4096;

/// Lets two organisations federate on this machine, in one command.
///
/// Makes a throw-away CA, a name server and two complete edges on loopback addresses, sends real
/// traffic through both, and prints who sent what and what each edge decided. Ends 0 only if every
/// step did what it should.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Go on serving afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Print one JSON object a line, for machines.
    #[arg(long)]
    json: bool,
    /// Wait with epoll instead of `io_uring`.
    #[arg(long)]
    epoll: bool,
}

/// Runs the quickstart.
///
/// # Errors
/// What kept it from starting. A step that went wrong is reported and ends in exit code 1.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(perform(args));
    // A server's task that still waits for its peer is not worth waiting for.
    runtime.shutdown_background();
    outcome
}

async fn perform(args: &Args) -> anyhow::Result<ExitCode> {
    let clock = Clock::start();
    let progress = if std::io::stderr().is_terminal() { Progress::Shown } else { Progress::None };
    let mut reporter = Reporter::new(format_for(args), progress);
    let scratch = Scratch::create()?;
    let told = async {
        let mut world = World::start(args, &scratch, &mut reporter).await?;
        let failed = world.tell(&mut reporter).await?;
        anyhow::Ok((world, failed))
    };
    let (world, failed) = tokio::select! {
        told = tokio::time::timeout(RUN_TIMEOUT, told) => {
            told.map_err(|_| anyhow!("not done after {RUN_TIMEOUT:?}"))??
        }
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    reporter.summary(&failed, clock.now().monotonic.ms_since(Monotonic::default()))?;
    if args.keep {
        reporter.serving(&world.metrics(), scratch.path())?;
        tokio::signal::ctrl_c().await?;
    }
    reporter.progress("stopping");
    world.stop().await?;
    reporter.progress_done();
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Chooses how to print. The environment is read here because a command line is outermost.
fn format_for(args: &Args) -> Format {
    if args.json {
        return Format::Json;
    }
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = std::io::stdout().is_terminal() && !no_colour;
    Format::Text(if colour { Paint::Colour } else { Paint::Plain })
}

/// Everything that runs.
struct World {
    story: Story,
    edges: Vec<Running>,
}

impl World {
    async fn start(
        args: &Args,
        scratch: &Scratch,
        reporter: &mut Reporter,
    ) -> anyhow::Result<Self> {
        reporter.progress("making certificates and names");
        let contoso = Organisation::found("alice", "contoso.example", 10)?.with_xmpp(10)?;
        let fabrikam = Organisation::found("bob", "fabrikam.example", 20)?;
        let litware = Organisation::found("mallory", "litware.example", 30)?;
        let adatum = XmppPartner::found("carol", "adatum.example", 40)?;
        let authority = Authority::create(scratch)?;
        let dns = world::serve_names(&[&contoso, &fabrikam, &litware], &[&adatum]).await?;
        reporter.progress("starting two edges");
        let poller = if args.epoll { "epoll" } else { "auto" };
        let blocked = litware.domain.as_str();
        let xmpp_partner = adatum.domain.as_str();
        let authority = &authority;
        let files = world::Files { scratch, authority, blocked, xmpp_partner, dns, poller };
        let file = files.configure(&contoso, &fabrikam, Listing::Domain)?;
        let (contoso_side, contoso_edge) = start_edge(CONTOSO_EDGE, &contoso, file).await?;
        let file = files.configure(&fabrikam, &contoso, Listing::Server)?;
        let (mut fabrikam_side, fabrikam_edge) = start_edge(FABRIKAM_EDGE, &fabrikam, file).await?;
        fabrikam_side.source_type = "DirectPartner";
        reporter.progress("connecting the servers behind them");
        let (events, received) = mpsc::unbounded_channel();
        let pool = |place, own: &Organisation| {
            let party = party(authority, place, &own.pool_fqdn, &own.user, own.pool)?;
            anyhow::Ok((party, own.pool, own.internal, own.internal_fqdn.clone(), events.clone()))
        };
        let litware_to = |edge: &Organisation| {
            // Both connections of litware come from its one address; only one of them listens.
            let own = SocketAddr::new(litware.external.ip(), 0);
            let party = party(authority, LITWARE, &litware.edge_fqdn, &litware.user, own)?;
            anyhow::Ok((party, own, edge.external, edge.edge_fqdn.clone(), events.clone()))
        };
        let mut alice = connect(pool(ALICE, &contoso)?).await?;
        let xmpp = contoso.xmpp.context("contoso speaks XMPP")?;
        alice.connect_beside(xmpp.gateway, &contoso.internal_fqdn).await?;
        let speaker = |place, partner: &XmppPartner| {
            xmpp_party(authority, place, partner, (&contoso.domain, xmpp.proxy), events.clone())
        };
        let tailspin = XmppPartner::found("mallory", "tailspin.example", 50)?;
        let listener = TcpListener::bind(adatum.server).await;
        let listener = listener.with_context(|| format!("listening on {}", adatum.server))?;
        await_link(&contoso_side).await?;
        let story = Story {
            alice,
            bob: connect(pool(BOB, &fabrikam)?).await?,
            litware_to_contoso: connect(litware_to(&contoso)?).await?,
            litware_to_fabrikam: connect(litware_to(&fabrikam)?).await?,
            sides: [contoso_side, fabrikam_side],
            events: received,
            clock: Clock::start(),
            seen: Vec::new(),
            subscription: None,
            session: None,
            relays: [contoso.relay_access(), fabrikam.relay_access()],
            media: None,
            voices: None,
            adatum: XmppServer::start(speaker(ADATUM, &adatum)?, listener),
            tailspin: speaker(TAILSPIN, &tailspin)?,
            with_carol: WithCarol::default(),
        };
        Ok(Self { story, edges: vec![contoso_edge, fabrikam_edge] })
    }

    /// Performs every act and returns the numbers of those that went wrong.
    async fn tell(&mut self, reporter: &mut Reporter) -> anyhow::Result<Vec<usize>> {
        let mut failed = Vec::new();
        for (number, act) in ACTS.into_iter().enumerate() {
            reporter.progress(&format!("{}/{}: {}", number + 1, ACTS.len(), act.title()));
            let mut step = self.story.perform(act).await;
            if act == Act::Voice {
                step.decisions.extend(self.relayed());
            }
            failed.extend(step.outcome.is_err().then_some(number + 1));
            reporter.step(number + 1, &step)?;
        }
        Ok(failed)
    }

    /// Returns what each relay has carried, as it tells an operator.
    fn relayed(&self) -> Vec<Decision> {
        let edges = self.edges.iter().zip([CONTOSO_EDGE, FABRIKAM_EDGE]);
        let told = edges.flat_map(|(running, edge)| {
            running.allocations().into_iter().map(move |listed| {
                let Listed { client, ports, traffic, .. } = listed;
                let port = ports.first().map_or(0, |port| port.port);
                let Traffic { to_peers, to_client, .. } = traffic;
                let sentence = format!(
                    "port {port} of {}: relayed {to_peers} packets to the peer, {to_client} to the \
                     user",
                    client.remote
                );
                Decision { edge, sentence, severity: Severity::Debug, decision_id: 0 }
            })
        });
        told.collect()
    }

    fn metrics(&self) -> Vec<String> {
        let addresses = self.edges.iter().flat_map(Running::management);
        addresses.map(|address| format!("http://{address}/metrics")).collect()
    }

    async fn stop(self) -> anyhow::Result<()> {
        drop(self.story);
        let stopping = self
            .edges
            .into_iter()
            .map(|edge| tokio::task::spawn_blocking(move || edge.drain_and_wait()));
        // Both are told before either is waited for.
        let stopping: Vec<_> = stopping.collect();
        let all = async {
            for edge in stopping {
                edge.await??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STOP_TIMEOUT, all)
            .await
            .map_err(|_| anyhow!("an edge did not stop in {STOP_TIMEOUT:?}"))?
    }
}

/// Starts an edge from its configuration file, as `entente run` does.
async fn start_edge(
    title: &'static str,
    organisation: &Organisation,
    file: PathBuf,
) -> anyhow::Result<(Side, Running)> {
    let (sender, notes) = crossbeam::channel::bounded(NOTES_QUEUE);
    let starting = tokio::task::spawn_blocking(move || {
        let config = config::load(&file)?;
        control::start(config, Options { notes: Some(sender), explain: true, ..Options::default() })
    });
    let running = starting.await?.with_context(|| format!("the {title} does not start"))?;
    let side = Side {
        edge: title,
        node: format!("edge1.{}", organisation.domain),
        edge_fqdn: organisation.edge_fqdn.clone(),
        internal_fqdn: organisation.internal_fqdn.clone(),
        source_type: "AutoFederation",
        notes,
    };
    Ok((side, running))
}

fn party(
    authority: &Authority,
    place: usize,
    fqdn: &str,
    user: &str,
    own: SocketAddr,
) -> anyhow::Result<Party> {
    let (client, server) = authority.mutual_tls(fqdn)?;
    let (fqdn, user, address) = (fqdn.to_owned(), user.to_owned(), own.ip());
    Ok(Party { place, fqdn, user, address, client, server })
}

fn xmpp_party(
    authority: &Authority,
    place: usize,
    partner: &XmppPartner,
    (peer, edge): (&str, SocketAddr),
    events: mpsc::UnboundedSender<Event>,
) -> anyhow::Result<XmppParty> {
    let (client, server) = authority.mutual_tls(&partner.domain)?;
    let (domain, user) = (partner.domain.clone(), partner.user.clone());
    let (address, peer) = (partner.server.ip(), peer.to_owned());
    Ok(XmppParty { place, domain, user, address, peer, edge, client, server, events })
}

/// Waits until the gateway and the proxy of an edge have found each other, which both tell.
async fn await_link(side: &Side) -> anyhow::Result<()> {
    let linked = async {
        while !side.notes.try_iter().any(|(_, note)| note.sentence.ends_with("is linked")) {
            tokio::time::sleep(LINK_POLL).await;
        }
    };
    let linked = tokio::time::timeout(LINK_TIMEOUT, linked).await;
    linked.map_err(|_| anyhow!("gateway and XMPP proxy are not linked in {LINK_TIMEOUT:?}"))
}

/// Lets a server listen and connect to its edge.
async fn connect(
    (party, own, edge, edge_fqdn, events): (
        Party,
        SocketAddr,
        SocketAddr,
        String,
        mpsc::UnboundedSender<Event>,
    ),
) -> anyhow::Result<NextHop> {
    let listener = TcpListener::bind(own).await.with_context(|| format!("listening on {own}"))?;
    NextHop::start(party, listener, edge, &edge_fqdn, events).await
}
