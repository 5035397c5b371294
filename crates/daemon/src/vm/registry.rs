//! Which VMs there are, and which of them a user means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use banger_proto::{Code, Problem, VmId, VmName};

use super::desk::VmHandle;
use crate::kernel::InUse;

/// Most names that a failed look-up suggests.
const MAX_SUGGESTIONS: usize = 3;

/// The VMs of this daemon: every VM that is recorded has its driver here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    vms: Arc<Mutex<BTreeMap<VmId, VmHandle>>>,
}

impl Registry {
    /// Adds a VM.
    pub(crate) fn insert(&self, vm: VmId, handle: VmHandle) {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner).insert(vm, handle);
    }

    /// Takes a VM out; whoever has its handle is answered by what is left of its driver.
    pub(crate) fn remove(&self, vm: &VmId) {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner).remove(vm);
    }

    /// Takes all VMs out: their drivers end when they have nothing under way.
    pub(crate) fn clear(&self) {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All handles, oldest VM first.
    pub(crate) fn handles(&self) -> Vec<VmHandle> {
        let vms = self.vms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handles: Vec<_> = vms.values().cloned().collect();
        drop(vms);
        handles.sort_by_cached_key(|handle| {
            let shown = handle.shown.borrow();
            (shown.record.created_at, shown.record.id().clone())
        });
        handles
    }

    /// The ids of all VMs.
    pub(crate) fn ids(&self) -> Vec<VmId> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The kernels that VMs need.
    pub(crate) fn kernels_in_use(&self) -> InUse {
        let mut in_use = InUse::default();
        for handle in self.handles() {
            let shown = handle.shown.borrow();
            match shown.record.base.as_ref().and_then(|base| base.kernel.clone()) {
                Some(directory) => drop(in_use.directories.insert(directory)),
                None => drop(in_use.names.insert(shown.record.plan.kernel.clone())),
            }
        }
        in_use
    }

    /// The VM that `reference` means.
    ///
    /// # Errors
    /// See [`resolve`].
    pub(crate) fn find(&self, reference: &str) -> Result<VmHandle, Problem> {
        let vms = self.vms.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = vms
            .iter()
            .map(|(id, handle)| (id.clone(), handle.shown.borrow().record.plan.name.clone()))
            .collect();
        let id = resolve(reference, &known)?;
        vms.get(&id).cloned().ok_or_else(|| unknown(reference, &known))
    }
}

/// The VM that a name, an id or an unambiguous prefix of an id means. A name wins over an id
/// that looks the same.
///
/// # Errors
/// When there is none (`not_found`, with near names), or the prefix fits several
/// (`bad_request`, with those).
pub fn resolve(reference: &str, known: &[(VmId, VmName)]) -> Result<VmId, Problem> {
    if let Some((id, _)) = known.iter().find(|(_, name)| name.as_str() == reference) {
        return Ok(id.clone());
    }
    let fits =
        |(id, _): &&(VmId, VmName)| !reference.is_empty() && id.as_str().starts_with(reference);
    let mut fitting = known.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some((id, _)), None) => Ok(id.clone()),
        (None, _) => Err(unknown(reference, known)),
        (Some(_), Some(_)) => {
            let all = known.iter().filter(fits);
            let all: Vec<_> = all.map(|(id, name)| format!("{id} ({name})")).collect();
            let message = format!("`{reference}` fits several VMs: {}", all.join(", "));
            Err(Problem::new(Code::BadRequest, message).hint("write more of the id, or the name"))
        }
    }
}

fn unknown(reference: &str, known: &[(VmId, VmName)]) -> Problem {
    // At most a third of the characters may differ, else the suggestion is noise.
    let near = |name: &VmName| {
        let distance = strsim::damerau_levenshtein(name.as_str(), reference);
        (distance * 3 <= name.as_str().len().max(3)).then_some(distance)
    };
    let mut near: Vec<_> =
        known.iter().filter_map(|(_, name)| Some((near(name)?, name.as_str()))).collect();
    near.sort_unstable();
    near.truncate(MAX_SUGGESTIONS);
    let problem = Problem::new(Code::NotFound, format!("there is no VM `{reference}`"));
    if near.is_empty() {
        return problem.hint("banger vm list");
    }
    let names: Vec<_> = near.iter().map(|(_, name)| format!("`{name}`")).collect();
    problem.hint(format!("did you mean {}?", names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<(VmId, VmName)> {
        [("00aa00000000", "web"), ("00ab00000000", "web-2"), ("ffff00000000", "00aa")]
            .map(|(id, name)| (id.parse().unwrap(), name.parse().unwrap()))
            .to_vec()
    }

    fn ask(reference: &str) -> Result<String, String> {
        resolve(reference, &known())
            .map(|id| id.to_string())
            .map_err(|problem| format!("{problem}; {}", problem.hints.join("; ")))
    }

    #[test]
    fn names_ids_and_prefixes() {
        assert_eq!(ask("web").unwrap(), "00aa00000000");
        assert_eq!(ask("ff").unwrap(), "ffff00000000");
        assert_eq!(ask("00ab00000000").unwrap(), "00ab00000000");
        // The name, not the prefix.
        assert_eq!(ask("00aa").unwrap(), "ffff00000000");
    }

    #[test]
    fn says_what_is_near_and_what_is_ambiguous() {
        assert_eq!(ask("wbe").unwrap_err(), "there is no VM `wbe`; did you mean `web`?");
        assert_eq!(ask("nothing").unwrap_err(), "there is no VM `nothing`; banger vm list");
        assert_eq!(ask("").unwrap_err(), "there is no VM ``; banger vm list");
        assert_eq!(
            ask("00a").unwrap_err(),
            "`00a` fits several VMs: 00aa00000000 (web), 00ab00000000 (web-2); \
             write more of the id, or the name"
        );
    }
}
