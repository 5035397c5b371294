//! What has to be the same for a VM to begin as a copy of a template. Pure.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::vm::boot::render::Parts;
use crate::vm::plan::VmPlan;

/// Format of templates: one of another is made anew.
const FORMAT: u32 = 1;

/// Renders the name of a class: a digest of everything that a guest has after its boot and that is not its
/// own. `saved_with` is what guests go on with here.
pub(super) fn render_class(plan: &VmPlan, parts: &Parts, saved_with: &str) -> String {
    let mut text = format!("{FORMAT}\n{saved_with}\n");
    let VmPlan { vcpu, memory, disk_size, disk_limits, .. } = plan;
    let _ = writeln!(text, "{vcpu} {} {}", memory.bytes(), disk_size.bytes());
    // Some VMMs save them with the guest.
    if !disk_limits.is_none() {
        let _ = writeln!(text, "{disk_limits:?}");
    }
    let Parts { kernel, initramfs, modules, base } = parts;
    let _ = writeln!(text, "{} {}", base.digest, base.path.display());
    for path in [Some(kernel), Some(initramfs), modules.as_ref()].into_iter().flatten() {
        let _ = writeln!(text, "{}", path.display());
    }
    // Its link is its own.
    let words = plan.cmdline();
    for word in words.iter().filter(|word| !word.contains(&plan.link_magic)) {
        let _ = writeln!(text, "{word}");
    }
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::DiskLimits;
    use crate::vm::state::Base;
    use crate::vm::state::tests::record;

    #[test]
    fn who_a_vm_is_makes_no_class() {
        let base = Base {
            digest: "d".into(),
            path: "/i/x.ext4".into(),
            run: Default::default(),
            kernel: None,
        };
        let parts = Parts {
            kernel: "/k/vmlinux".into(),
            initramfs: "/c/i.cpio".into(),
            modules: None,
            base,
        };
        let class = |plan: &VmPlan, parts: &Parts| render_class(plan, parts, "tcg 1");
        let plan = record("web").plan;
        let first = class(&plan, &parts);
        let mut other = record("api").plan;
        other.link_magic = "7".repeat(32);
        other.env.insert("A".into(), "b".into());
        assert_eq!(class(&other, &parts), first);
        let limits = DiskLimits { iops: Some(500), bandwidth: None };
        let different = [
            class(&VmPlan { vcpu: plan.vcpu + 1, ..plan.clone() }, &parts),
            class(&VmPlan { memory: "1G".parse().unwrap(), ..plan.clone() }, &parts),
            class(&VmPlan { disk_size: "1G".parse().unwrap(), ..plan.clone() }, &parts),
            class(&VmPlan { disk_limits: limits, ..plan.clone() }, &parts),
            class(&plan, &Parts { kernel: "/k/2".into(), ..parts.clone() }),
            class(&plan, &Parts { initramfs: "/c/2".into(), ..parts.clone() }),
            class(&plan, &Parts { modules: Some("/m".into()), ..parts.clone() }),
            class(
                &plan,
                &Parts { base: Base { digest: "e".into(), ..parts.base.clone() }, ..parts.clone() },
            ),
            render_class(&plan, &parts, "tcg 2"),
        ];
        let all: std::collections::BTreeSet<_> = different.iter().chain([&first]).collect();
        assert_eq!(all.len(), different.len() + 1);
    }
}
