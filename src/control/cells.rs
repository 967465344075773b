//! What the cores of the XMPP roles have counted, as it was at most a second ago: written by their
//! shards, read by the admin thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::authorisations::Keeper;
use crate::edge::gateway::counters::Counters as OfGateway;
use crate::edge::gateway::{Gateway, translate};
use crate::edge::xmpp_proxy::XmppProxy;
use crate::edge::xmpp_proxy::counters::Counters as OfXmppProxy;
use crate::metrics::{Exporter, Series, catalogue};

/// A row of numbers, each with its series.
struct Cells(Box<[AtomicU64]>);

impl Cells {
    fn new(many: usize) -> Self {
        Self((0..many).map(|_| AtomicU64::new(0)).collect())
    }

    fn publish(&self, values: impl IntoIterator<Item = u64>) {
        for (cell, value) in self.0.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed))
    }

    fn export(&self, series: &[Series], exporter: &mut Exporter) {
        for (series, value) in series.iter().zip(self.values()) {
            exporter.set(series, &[], value);
        }
    }
}

/// The numbers of the XMPP proxy.
pub(super) struct XmppProxyCells {
    counted: Cells,
    levels: Cells,
}

impl XmppProxyCells {
    const LEVELS: [Series; 2] = [catalogue::XMPP_STREAMS, catalogue::XMPP_QUEUED_BYTES];

    pub(super) fn new() -> Self {
        let counted = Cells::new(OfXmppProxy::NAMES.len());
        Self { counted, levels: Cells::new(Self::LEVELS.len()) }
    }

    /// Copies what the core of the calling shard has counted.
    pub(super) fn publish(&self, core: &XmppProxy) {
        self.counted.publish(core.counters().values());
        self.levels.publish([core.streams(), core.queued_bytes()].map(|level| level as u64));
    }

    pub(super) fn export(&self, exporter: &mut Exporter) {
        self.counted.export(&catalogue::xmpp_proxy(), exporter);
        self.levels.export(&Self::LEVELS, exporter);
    }
}

/// The numbers of the gateway.
pub(super) struct GatewayCells {
    counted: Cells,
    /// In the order of [`translate::Loss::ALL`].
    losses: Cells,
    links: Cells,
    /// In the order of [`Self::HELD`].
    held: Cells,
    keeper: ArcSwapOption<Keeper>,
}

impl GatewayCells {
    /// What [`Gateway::held`] tells of.
    const HELD: [&'static str; 4] = ["contacts", "watches", "subscriptions", "chats"];

    pub(super) fn new() -> Self {
        Self {
            counted: Cells::new(OfGateway::NAMES.len()),
            losses: Cells::new(translate::Loss::ALL.len()),
            links: Cells::new(1),
            held: Cells::new(Self::HELD.len()),
            keeper: ArcSwapOption::empty(),
        }
    }

    /// Says who writes to the gateway's store; `None`: nobody, and the last to let go of whoever
    /// did waits until all is written.
    pub(super) fn keep_with(&self, keeper: Option<Arc<Keeper>>) {
        self.keeper.store(keeper);
    }

    /// Copies what the core of the calling shard has counted.
    pub(super) fn publish(&self, core: &Gateway) {
        self.counted.publish(core.counters().values());
        self.losses.publish(core.losses().values().map(|(_, value)| value));
        self.links.publish([core.links() as u64]);
        self.held.publish(core.held().map(|held| held as u64));
    }

    pub(super) fn export(&self, exporter: &mut Exporter) {
        self.counted.export(&catalogue::gateway(), exporter);
        self.links.export(&[catalogue::GATEWAY_LINKS], exporter);
        let unwritten = self.keeper.load().as_ref().map_or(0, |keeper| keeper.failed());
        exporter.set(&catalogue::GATEWAY_UNWRITTEN, &[], unwritten);
        for (loss, value) in translate::Loss::ALL.iter().zip(self.losses.values()) {
            exporter.set(&catalogue::GATEWAY_LOSSES, &[loss.as_str()], value);
        }
        for (kind, value) in Self::HELD.iter().zip(self.held.values()) {
            exporter.set(&catalogue::GATEWAY_HELD, &[kind], value);
        }
    }
}
