//! `banger doctor`

use banger_proto::api::{CheckResult, CheckStatus, DoctorReport, Repair};
use banger_proto::exit_code;

use super::Context;
use crate::errors::Outcome;

/// Check this host
///
/// Says for everything banger needs whether it is there, and what to do where it is not. With
/// `--fix`, what needs no judgement is repaired before: places that are open to other users are
/// closed, and what is left of networks and sockets that nobody uses is removed. Exits with 1 if
/// a check fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  banger doctor\n  banger doctor --fix")]
pub(crate) struct Args {
    /// Repair what needs no judgement, and say what was done
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn doctor(context: &Context, args: Args) -> Outcome {
    let client = context.daemon_to_ask().await?;
    let report: DoctorReport = match args.fix {
        true => client.post("/v1/doctor", &()).await?,
        false => client.get("/v1/doctor").await?,
    };
    if args.json {
        context.ui.print_json(&report)?;
    } else {
        context.ui.print(&render_report(&report))?;
    }
    note_repairs(context, &report.repairs, args.fix);
    let failed = report.checks.iter().any(|check| check.status == CheckStatus::Fail);
    Ok(if failed { exit_code::FAILURE } else { exit_code::OK })
}

fn note_repairs(context: &Context, repairs: &[Repair], fix: bool) {
    for repair in repairs {
        context.ui.note(render_repair(repair));
    }
    match (repairs.is_empty(), fix) {
        (true, true) => context.ui.note("nothing to repair".to_owned()),
        (false, false) => context.ui.note("to do so: banger doctor --fix".to_owned()),
        _ => {}
    }
}

fn render_repair(repair: &Repair) -> String {
    match repair {
        Repair { problem: Some(problem), what, .. } => format!("could not {what}: {problem}"),
        Repair { done: true, what, .. } => format!("done: {what}"),
        Repair { what, .. } => format!("could be repaired: {what}"),
    }
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
        // A file to be written has lines of its own.
        for (at, line) in remedy.lines().enumerate() {
            let arrow = if at == 0 { "->" } else { "  " };
            text.push_str(&format!("\n      {:width$}  {arrow} {line}", ""));
        }
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
                check("x", CheckStatus::Fail, "forbidden", Some("Write this:\na {\n  b\n}")),
            ],
            repairs: Vec::new(),
        };
        insta::assert_snapshot!(render_report(&report), @r"
        WARN  kvm   no /dev/kvm
                    -> VMs will be slow
        PASS  qemu  7.2.0
        FAIL  x     forbidden
                    -> Write this:
                       a {
                         b
                       }
        ");
    }

    #[test]
    fn says_what_was_repaired() {
        let repair = |done, problem| Repair { what: "close `/run`".into(), done, problem };
        let problem = banger_proto::Problem::new(banger_proto::Code::OperationFailed, "not yours");
        for (repair, said) in [
            (repair(false, None), "could be repaired: close `/run`"),
            (repair(true, None), "done: close `/run`"),
            (repair(false, Some(problem)), "could not close `/run`: not yours"),
        ] {
            assert_eq!(render_repair(&repair), said);
        }
    }
}
