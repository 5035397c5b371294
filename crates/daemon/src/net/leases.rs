//! Which VM has which address. Pure.
//!
//! A VM gets the address again that it had, as long as nobody else needs it: names of hosts are kept
//! in many places. There can be more VMs than addresses, as most of them are down.

use std::collections::BTreeMap;

use banger_proto::VmId;

/// Who has what, and who had it last.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    held: BTreeMap<u32, Lease>,
}

#[derive(Debug, Clone)]
struct Lease {
    vm: VmId,
    /// Whether the VM is on the network now.
    in_use: bool,
}

impl Leases {
    /// Notes what a VM that is down had, unless somebody else has it.
    pub(super) fn remember(&mut self, vm: &VmId, lease: u32) {
        self.held.entry(lease).or_insert_with(|| Lease { vm: vm.clone(), in_use: false });
    }

    /// Notes what a VM has that is on the network.
    pub(super) fn occupy(&mut self, vm: &VmId, lease: u32) {
        self.held.retain(|_, held| held.vm != *vm);
        self.held.insert(lease, Lease { vm: vm.clone(), in_use: true });
    }

    /// Gives `vm` a lease below `limit`: that which it had, else one that nobody had, else one of a
    /// VM that is down. None when all are in use.
    pub(super) fn take(&mut self, vm: &VmId, limit: u32) -> Option<u32> {
        let of = |wanted: &dyn Fn(&Lease) -> bool| {
            self.held.iter().find(|(lease, held)| **lease < limit && wanted(held)).map(|(l, _)| *l)
        };
        let unused = || (0..limit).find(|lease| !self.held.contains_key(lease));
        let lease =
            of(&|held| held.vm == *vm).or_else(unused).or_else(|| of(&|held| !held.in_use))?;
        self.occupy(vm, lease);
        Some(lease)
    }

    /// The VM is not on the network any more; it has its lease again as long as nobody needs it.
    pub(super) fn release(&mut self, vm: &VmId) {
        self.held.values_mut().filter(|held| held.vm == *vm).for_each(|held| held.in_use = false);
    }

    /// The VM is not there any more.
    pub(super) fn forget(&mut self, vm: &VmId) {
        self.held.retain(|_, held| held.vm != *vm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(number: u8) -> VmId {
        VmId::from_random([number, 0, 0, 0, 0, 0])
    }

    #[test]
    fn a_vm_has_its_address_again_as_long_as_nobody_needs_it() {
        let mut leases = Leases::default();
        assert_eq!(leases.take(&vm(1), 2), Some(0));
        assert_eq!(leases.take(&vm(2), 2), Some(1));
        assert_eq!(leases.take(&vm(3), 2), None, "both are in use");
        leases.release(&vm(1));
        assert_eq!(leases.take(&vm(1), 2), Some(0));
        leases.release(&vm(2));
        assert_eq!(leases.take(&vm(3), 2), Some(1));
        assert_eq!(leases.take(&vm(2), 2), None);
        leases.release(&vm(1));
        assert_eq!(leases.take(&vm(2), 2), Some(0));
        leases.forget(&vm(3));
        assert_eq!(leases.take(&vm(4), 2), Some(1));
    }

    #[test]
    fn what_is_remembered_gives_way_to_what_is_in_use() {
        let mut leases = Leases::default();
        leases.occupy(&vm(1), 7);
        leases.remember(&vm(2), 7);
        leases.remember(&vm(3), 5);
        assert_eq!(leases.take(&vm(2), 8), Some(0));
        assert_eq!(leases.take(&vm(3), 8), Some(5));
        // A smaller network does not have it any more.
        leases.release(&vm(1));
        assert_eq!(leases.take(&vm(1), 3), Some(1));
    }
}
