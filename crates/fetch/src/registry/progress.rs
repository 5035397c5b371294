//! How far a pull is, over all layers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::manifest::Part;

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of layers that are here.
    pub done: u64,
    /// Bytes of all layers.
    pub total: u64,
    /// How many of `done` were here when the pull began: they say nothing about its speed.
    pub reused: u64,
}

/// Adds up the layers.
pub(super) struct Tally<'a> {
    layers: Vec<AtomicU64>,
    total: u64,
    reused: u64,
    observe: &'a (dyn Fn(Progress) + Send + Sync),
}

impl<'a> Tally<'a> {
    /// For `layers`, of each of which `present` says how many bytes are here already.
    pub(super) fn new(
        layers: &[Part],
        present: impl Fn(&Part) -> u64,
        observe: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> Self {
        let present: Vec<u64> = layers.iter().map(present).collect();
        Self {
            // Sizes are at most 2³⁸ bytes each and there are 2¹⁰ at most.
            total: layers.iter().map(|layer| layer.size).sum(),
            reused: present.iter().sum(),
            layers: present.into_iter().map(AtomicU64::new).collect(),
            observe,
        }
    }

    /// Of the layer of this number `done` bytes are here.
    pub(super) fn update(&self, number: usize, done: u64) {
        if let Some(layer) = self.layers.get(number)
            && layer.swap(done, Ordering::Relaxed) != done
        {
            self.report();
        }
    }

    /// Tells how far it is.
    pub(super) fn report(&self) {
        let done = self.layers.iter().map(|layer| layer.load(Ordering::Relaxed)).sum();
        (self.observe)(Progress { done, total: self.total, reused: self.reused });
    }
}
