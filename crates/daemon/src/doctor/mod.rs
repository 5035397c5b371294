//! Checks of the host: whether everything a VM needs is there, and what to do about what is not.
//!
//! A check is a value in [`CHECKS`]: a name and a function of [`Inputs`]. It finds something,
//! good or bad, or cannot tell; that it cannot tell is a failure, too, and never silently green.
//! Checks change nothing on the host, and nothing here decides how VMs are run.
//!
//! | module | responsible for |
//! |---|---|
//! | `inputs` | what checks look at, handed in so that tests can vary it |
//! | `checks` | the checks, one file per subject |
//! | `namespaces` | settings that forbid namespaces, and how they are lifted |
//! | `packages` | what a program's package is called on this distribution |

mod checks;
mod inputs;
mod namespaces;
mod packages;

use std::error::Error;
use std::time::Duration;

use banger_proto::api::{CheckResult, CheckStatus};
use futures_util::future::{BoxFuture, join_all};

pub(crate) use checks::network::observe_probe;
pub use inputs::{Availability, DefaultItem, DefaultValue, HostFacts, Inputs, NetworkFacts};

/// How long one check may take; those that start a program need a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a check found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How good it is.
    pub status: CheckStatus,
    /// What was found, a fragment.
    pub found: String,
    /// What to do about it, a sentence; only what passes has none.
    pub remedy: Option<String>,
}

impl Finding {
    fn pass(found: impl Into<String>) -> Self {
        Self { status: CheckStatus::Pass, found: found.into(), remedy: None }
    }

    fn warn(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: CheckStatus::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: CheckStatus::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// Why a check could not find anything out.
type Unable = Box<dyn Error + Send + Sync>;

/// What a check answers.
type Outcome = Result<Finding, Unable>;

/// A check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Stable name, as in `banger doctor --json`.
    pub name: &'static str,
    run: for<'a> fn(&'a Inputs) -> BoxFuture<'a, Outcome>,
}

/// All checks in the order in which they are shown: what is needed first comes first.
pub const CHECKS: &[Check] = &[
    Check { name: "architecture", run: |inputs| Box::pin(checks::machine::architecture(inputs)) },
    Check { name: "kvm", run: |inputs| Box::pin(checks::machine::kvm(inputs)) },
    Check { name: "qemu", run: |inputs| Box::pin(checks::programs::qemu(inputs)) },
    Check { name: "firecracker", run: |inputs| Box::pin(checks::programs::firecracker(inputs)) },
    Check { name: "agent", run: |inputs| Box::pin(checks::content::agent(inputs)) },
    Check { name: "kernel", run: |inputs| Box::pin(checks::content::kernel(inputs)) },
    Check { name: "image", run: |inputs| Box::pin(checks::content::image(inputs)) },
    Check { name: "image-builder", run: |inputs| Box::pin(checks::builder::mmdebstrap(inputs)) },
    Check {
        name: "user-namespaces",
        run: |inputs| Box::pin(checks::builder::user_namespaces(inputs)),
    },
    Check { name: "git", run: |inputs| Box::pin(checks::programs::git(inputs)) },
    Check { name: "ssh", run: |inputs| Box::pin(checks::ssh::client(inputs)) },
    Check { name: "ssh-include", run: |inputs| Box::pin(checks::ssh::included(inputs)) },
    Check { name: "network-helper", run: |inputs| Box::pin(checks::network::helper(inputs)) },
    Check { name: "network-namespace", run: |inputs| Box::pin(checks::network::namespace(inputs)) },
    Check { name: "network-bridge", run: |inputs| Box::pin(checks::network::bridge(inputs)) },
    Check { name: "network-tap", run: |inputs| Box::pin(checks::network::tap(inputs)) },
    Check { name: "network-rules", run: |inputs| Box::pin(checks::network::rules(inputs)) },
    Check { name: "network-way-out", run: |inputs| Box::pin(checks::network::way_out(inputs)) },
    Check { name: "network", run: |inputs| Box::pin(checks::network::mode(inputs)) },
    Check { name: "jail", run: |inputs| Box::pin(checks::jail::walls(inputs)) },
    Check { name: "names", run: |inputs| Box::pin(checks::names::answered(inputs)) },
    Check {
        name: "runtime-directory",
        run: |inputs| Box::pin(checks::places::runtime_directory(inputs)),
    },
    Check { name: "store", run: |inputs| Box::pin(checks::places::store(inputs)) },
    Check { name: "leftovers", run: |inputs| Box::pin(checks::content::leftovers(inputs)) },
    Check { name: "disk-space", run: |inputs| Box::pin(checks::places::disk_space(inputs)) },
    Check { name: "vm-defaults", run: |inputs| Box::pin(checks::content::vm_defaults(inputs)) },
];

/// Runs all checks, side by side, and reports them in their order.
pub async fn run(inputs: &Inputs) -> Vec<CheckResult> {
    join_all(CHECKS.iter().map(|check| run_one(check, inputs, PATIENCE))).await
}

async fn run_one(check: &Check, inputs: &Inputs, patience: Duration) -> CheckResult {
    let outcome = match tokio::time::timeout(patience, (check.run)(inputs)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {patience:?}").into()),
    };
    let finding = outcome.unwrap_or_else(|error| {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        Finding::fail(format!("could not be checked: {text}"), "Mend that and run this again.")
    });
    CheckResult {
        name: check.name.to_owned(),
        status: finding.status,
        found: finding.found,
        remedy: finding.remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_every_check_in_order() {
        let host = inputs::tests::Host::new();
        let results = run(&host.inputs).await;
        let names: Vec<_> = results.iter().map(|check| check.name.as_str()).collect();
        let expected: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names, expected);
        for check in &results {
            let passed = check.status == CheckStatus::Pass;
            assert_eq!(check.remedy.is_none(), passed, "{check:?}");
        }
    }

    #[tokio::test]
    async fn what_could_not_run_is_a_failure() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot look")]
        struct Broken(#[source] std::io::Error);
        let check = Check {
            name: "broken",
            run: |_| {
                let cause = std::io::Error::other("no eyes");
                Box::pin(async { Err(Box::new(Broken(cause)).into()) })
            },
        };
        let host = inputs::tests::Host::new();
        let result = run_one(&check, &host.inputs, PATIENCE).await;
        assert_eq!(result.status, CheckStatus::Fail);
        assert_eq!(result.found, "could not be checked: cannot look: no eyes");
    }

    #[tokio::test]
    async fn what_hangs_is_a_failure() {
        let check = Check { name: "hangs", run: |_| Box::pin(std::future::pending()) };
        let host = inputs::tests::Host::new();
        let result = run_one(&check, &host.inputs, Duration::ZERO).await;
        assert_eq!(result.status, CheckStatus::Fail);
    }
}
