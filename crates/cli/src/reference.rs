//! VMs as people name them: by name, id or unambiguous prefix of an id.
//!
//! A command with one VM lets the daemon resolve it; a command with several resolves all of
//! them from one listing, here.

use std::fmt;
use std::str::FromStr;

use banger_proto::api::VmView;
use banger_proto::name::ParseNameError;
use banger_proto::{Code, Problem, VmId, VmName};

use crate::errors::CliError;

/// How many near names are suggested.
const SUGGESTIONS: usize = 3;

/// A reference to a VM. Names and prefixes of ids are made of the same characters, so anything
/// else is refused before it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VmRef(VmName);

impl FromStr for VmRef {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for VmRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A VM as ssh names it, `NAME.vm`, or as everything else does.
pub(crate) fn parse_host(text: &str) -> Result<VmRef, ParseNameError> {
    text.strip_suffix(".vm").unwrap_or(text).parse()
}

/// The interface's path of the VM `reference` (a name or an id), with `rest` after it.
pub(crate) fn vm_path(reference: &impl fmt::Display, rest: &str) -> String {
    format!("/v1/vms/{reference}{rest}")
}

/// The interface's path of the image `name`, with `rest` after it. What a name has that a path
/// has not is written as `%` and two digits (RFC 3986 §2.1).
pub(crate) fn image_path(name: &str, rest: &str) -> String {
    let mut path = "/v1/images/".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(byte.into()),
            // A name of dots alone would be a step in the path.
            b'.' if name.bytes().any(|byte| byte != b'.') => path.push('.'),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path + rest
}

/// Resolves every reference, in order; a VM named twice is there once.
pub(crate) fn resolve<'a>(
    references: &[VmRef],
    vms: &'a [VmView],
) -> Vec<Result<&'a VmView, CliError>> {
    let mut seen: Vec<&VmId> = Vec::new();
    let mut resolved = Vec::new();
    for reference in references {
        match resolve_one(reference, vms) {
            Ok(vm) if seen.contains(&&vm.id) => {}
            Ok(vm) => {
                seen.push(&vm.id);
                resolved.push(Ok(vm));
            }
            Err(error) => resolved.push(Err(error)),
        }
    }
    resolved
}

/// Finds the VM that `reference` means.
///
/// # Errors
/// When it means none or several.
pub(crate) fn resolve_one<'a>(
    reference: &VmRef,
    vms: &'a [VmView],
) -> Result<&'a VmView, CliError> {
    if let Some(vm) = vms.iter().find(|vm| vm.name == reference.0) {
        return Ok(vm);
    }
    let text = reference.0.as_str();
    let matching: Vec<_> = vms.iter().filter(|vm| vm.id.as_str().starts_with(text)).collect();
    match matching.as_slice() {
        [vm] => Ok(vm),
        [] => {
            let problem = Problem::new(Code::NotFound, format!("no VM `{text}`"));
            let error = CliError::from(problem);
            Err(match near_names(text, vms) {
                near if near.is_empty() => error.hint("`banger ls` shows all VMs"),
                near => error.hint(format!("did you mean {}?", near.join(" or "))),
            })
        }
        several => {
            let names: Vec<_> =
                several.iter().map(|vm| format!("`{}` ({})", vm.name, vm.id)).collect();
            let problem = Problem::new(
                Code::BadRequest,
                format!("`{text}` is the beginning of several ids: {}", names.join(", ")),
            );
            Err(CliError::from(problem).hint("give more digits, or the name"))
        }
    }
}

/// Names a slip of the fingers away: one character more for every four typed.
fn near_names(text: &str, vms: &[VmView]) -> Vec<String> {
    let mut near: Vec<_> = vms
        .iter()
        .map(|vm| (strsim::osa_distance(text, vm.name.as_str()), &vm.name))
        .filter(|(distance, _)| *distance <= 1 + text.len() / 4)
        .collect();
    near.sort();
    near.into_iter().take(SUGGESTIONS).map(|(_, name)| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: &str, name: &str) -> VmView {
        serde_json::from_value(serde_json::json!({
            "id": id, "name": name, "state": "running", "image": "i", "kernel": "k", "vcpu": 1,
            "memory": 0, "disk_size": 0, "disk_used": 0,
            "backend": {"vmm": "qemu", "accel": "tcg"}, "ephemeral": false, "created_at": "",
            "console_log": ""
        }))
        .unwrap()
    }

    fn names(references: &[&str], vms: &[VmView]) -> Vec<Result<String, String>> {
        let references: Vec<VmRef> = references.iter().map(|r| r.parse().unwrap()).collect();
        resolve(&references, vms)
            .into_iter()
            .map(|resolved| {
                resolved.map(|vm| vm.name.to_string()).map_err(|error| format!("{error:?}"))
            })
            .collect()
    }

    #[test]
    fn every_image_has_a_path() {
        assert_eq!(image_path("debian-bookworm", ""), "/v1/images/debian-bookworm");
        assert_eq!(
            image_path("localhost:5000/a/b:1.2", "/promote"),
            "/v1/images/localhost%3A5000%2Fa%2Fb%3A1.2/promote"
        );
        assert_eq!(image_path("..", ""), "/v1/images/%2E%2E");
        assert_eq!(image_path("a b?#é", ""), "/v1/images/a%20b%3F%23%C3%A9");
    }

    #[test]
    fn names_ids_and_prefixes_meet_once() {
        let vms = [vm("aa0000000000", "web"), vm("ab0000000000", "db")];
        assert_eq!(
            names(&["web", "aa", "ab0000000000", "web"], &vms),
            [Ok("web".to_owned()), Ok("db".to_owned())]
        );
    }

    #[test]
    fn a_name_wins_over_a_prefix() {
        let vms = [vm("ab0000000000", "web"), vm("cd0000000000", "ab")];
        assert_eq!(names(&["ab"], &vms), [Ok("ab".to_owned())]);
    }

    #[test]
    fn what_is_not_clear_says_so() {
        let vms = [vm("aa0000000000", "web"), vm("ab0000000000", "db")];
        let [Err(ambiguous), Err(unknown)] = &names(&["a", "wbe"], &vms)[..] else { panic!() };
        assert!(ambiguous.contains("several ids: `web` (aa0000000000), `db`"), "{ambiguous}");
        assert!(unknown.contains("did you mean `web`?"), "{unknown}");
    }
}
