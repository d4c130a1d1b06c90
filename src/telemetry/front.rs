//! Which layer served each request: gate `front-metrics`.
//!
//! Every allocation that succeeds is served once, by the layer that had its block. `realloc` counts
//! where it allocates; growing in place is no request to a layer.

use super::cache::traced;
use super::gates::{Counters, LayerFrees, LayerHits, Served};
use super::ring::Event;
use super::tally::Handle;

/// The layers behind the magazines. (What these served is counted by class, as hits.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Server {
    /// A refill found the block free in its slab.
    LocalBitmap,
    /// A refill found it among what other threads had given back.
    RemoteDrain,
    /// A refill carved it from a slab that was there.
    Bump,
    /// A refill carved it from a slab that was made for it.
    NewSlab,
    /// The thread's slots for large blocks.
    LargeSlots,
    /// The shards of BigCache that all threads share.
    BigCache,
    /// A fresh run of the arena.
    Arena,
    /// A fresh mapping of its own.
    Mapping,
}

/// Front-end layers that can be told apart, by rank.
pub(crate) const MOST_LAYERS: usize = 32;

/// Number of [`Server`]s.
pub(crate) const SERVERS: usize = 8;

/// A server on its way to be counted; no bytes when nobody counts.
#[derive(Clone, Copy)]
pub(crate) struct Origin([Server; Served::ON as usize]);

impl Origin {
    #[inline(always)]
    pub(crate) fn of(server: Server) -> Self {
        Origin([server; Served::ON as usize])
    }
}

impl Handle {
    /// The layer of this rank, in front of the magazine of `class`, served an allocation.
    #[inline(always)]
    pub(crate) fn layer_hit(self, rank: usize, class: usize, block: *const u8) {
        self.count::<LayerHits>(rank);
        self.record(Event::Hit, class, || block.addr());
    }

    /// A layer in front of the magazine of `class` took a freed block.
    #[inline(always)]
    pub(crate) fn layer_freed(self, class: usize, block: *const u8) {
        self.count::<LayerFrees>(class);
        self.record(Event::Free, class, || block.addr());
        traced(class, block);
    }

    /// `server` had the block of a request.
    #[inline(always)]
    pub(crate) fn served(self, server: Server) {
        self.served_from(Origin::of(server));
    }

    /// As `served`.
    #[inline(always)]
    pub(crate) fn served_from(self, origin: Origin) {
        if let Some(&server) = origin.0.first() {
            self.count::<Served>(server as usize);
        }
    }

    /// The first block of a refill, which is the one handed out, came from a bitmap (`found`) or was
    /// carved; the slab had been drained (`drained`) or made (`made`) for it.
    #[inline(always)]
    pub(crate) fn refill_served(self, found: bool, drained: bool, made: bool) {
        if Served::ON {
            self.served(match (found, drained, made) {
                (true, false, _) => Server::LocalBitmap,
                (true, true, _) => Server::RemoteDrain,
                (false, _, false) => Server::Bump,
                (false, _, true) => Server::NewSlab,
            });
        }
    }
}
