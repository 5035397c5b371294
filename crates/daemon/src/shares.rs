//! Places for work that others ask for: so many in all, and so many for each who asks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places. Cloned freely.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    most: usize,
    each: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Shares {
    pub(crate) fn new(most: usize, each: usize) -> Self {
        Self { most, each, taken: Arc::default() }
    }

    /// A place for `who`; none when there is none left.
    pub(crate) fn take(&self, who: IpAddr) -> Option<Share> {
        let mut taken = lock(&self.taken);
        let own = taken.by.get(&who).copied().unwrap_or_default();
        if taken.all >= self.most || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by.insert(who, own + 1);
        Some(Share { of: who, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        // Who has none is forgotten: addresses come and go.
        match taken.by.get_mut(&self.of) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by.remove(&self.of)),
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_all_and_each() {
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        let shares = Shares::new(3, 2);
        let first = shares.take(one).unwrap();
        let second = shares.take(one).unwrap();
        assert!(shares.take(one).is_none(), "each");
        let third = shares.take(two).unwrap();
        assert!(shares.take(three).is_none(), "all");
        drop(first);
        let fourth = shares.take(three).unwrap();
        drop((second, third, fourth));
        assert_eq!(lock(&shares.taken).all, 0);
        assert!(lock(&shares.taken).by.is_empty());
    }
}
