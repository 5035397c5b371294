//! `banger doctor`

use banger_proto::api::{CheckResult, CheckStatus, DoctorReport};
use banger_proto::exit_code;

use super::Context;
use crate::errors::Outcome;

/// Check this host
///
/// Says for everything banger needs whether it is there, and what to do where it is not. Exits
/// with 1 if a check fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  banger doctor")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn doctor(context: &Context, args: Args) -> Outcome {
    let report: DoctorReport = context.daemon_to_ask().await?.get("/v1/doctor").await?;
    if args.json {
        context.ui.print_json(&report)?;
    } else {
        context.ui.print(&render_report(&report))?;
    }
    let failed = report.checks.iter().any(|check| check.status == CheckStatus::Fail);
    Ok(if failed { exit_code::FAILURE } else { exit_code::OK })
}

fn render_report(report: &DoctorReport) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    report.checks.iter().map(|check| render_check(check, width)).collect::<Vec<_>>().join("\n")
}

/// A check on its line, and under it what to do.
fn render_check(check: &CheckResult, width: usize) -> String {
    let status = match check.status {
        CheckStatus::Pass => "PASS",
        CheckStatus::Warn => "WARN",
        CheckStatus::Fail => "FAIL",
    };
    let mut text = format!("{status}  {:width$}  {}", check.name, check.found);
    if let Some(remedy) = &check.remedy {
        text.push_str(&format!("\n      {:width$}  -> {remedy}", ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do() {
        let check = |name: &str, status, found: &str, remedy: Option<&str>| CheckResult {
            name: name.into(),
            status,
            found: found.into(),
            remedy: remedy.map(Into::into),
        };
        let report = DoctorReport {
            checks: vec![
                check("kvm", CheckStatus::Warn, "no /dev/kvm", Some("VMs will be slow")),
                check("qemu", CheckStatus::Pass, "7.2.0", None),
            ],
        };
        insta::assert_snapshot!(render_report(&report), @r"
        WARN  kvm   no /dev/kvm
                    -> VMs will be slow
        PASS  qemu  7.2.0
        ");
    }
}
