//! The network helper: the only code that changes networks.
//!
//! It executes typed, idempotent operations, and is a program apart because of the privilege that takes:
//! blocking, one thread, a small dependency tree, no network client. It never asks for more than it has:
//! for an ordinary user it is root in a user namespace of the user's own, and nothing outside of that; as a
//! service of the system it has two capabilities over the host's network, and works for one user.
//!
//! ```text
//!              makes                     enters                      enters
//! hold ──────────────▶ user namespace ◀────────── serve ◀─ packets   ◀────── run ──▶ VMM
//! (sleeps, so that it    └ network namespace       │                  gives up everything,
//!  stays)                    br-fc, taps, rules ◀──┘ operations       then becomes the VMM
//! ```
//!
//! | module | what it answers for |
//! |---|---|
//! | [`arguments`] | which role, from the command line |
//! | [`hold`], [`run`], [`serve`], [`probe`] | the roles |
//! | [`jail`] | what a guest finds that has broken its VMM |
//! | [`namespace`] | making and entering namespaces, and why the kernel refuses |
//! | [`privileges`] | giving up capabilities for good |
//! | [`request`] | what a caller may ask; the one place where its word is checked |
//! | [`peer`] | which process has connected |
//! | [`place`] | where the operations work: a namespace of the user's own, or the host's |
//! | [`operations`] | what is done to the network |
//! | [`rules`] | the text of the rules, pure; [`nft`] loads it |
//! | [`keeper`], [`pace`] | rules that others change are loaded again, at a pace |
//! | [`program`] | starting programs of the host |
//! | [`netlink`], [`rule_changes`], [`sysctl`], [`sys`] | the kernel's interfaces |

pub mod arguments;
pub mod hold;
pub mod jail;
pub mod keeper;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod operations;
pub mod pace;
pub mod peer;
pub mod place;
pub mod privileges;
pub mod probe;
pub mod program;
pub mod request;
pub mod rule_changes;
pub mod rules;
pub mod run;
pub mod serve;
pub mod sys;
pub mod sysctl;

use std::error::Error;

/// What an error is due to, outermost first, without the error itself.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes
}
