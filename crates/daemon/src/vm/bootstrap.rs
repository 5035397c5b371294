//! Whether mise can install the tools of a new VM's workspace. The installing itself is a job like others,
//! which whoever asked for the VM starts.

use banger_proto::api::CreateVm;
use banger_proto::{Code, Problem};

use crate::workspace::Source;

/// Refuses a VM whose tools were going to be installed and could not be. `source` is its workspace, and
/// `nat` whether it reaches what lies beyond the host.
///
/// # Errors
/// When the workspace names tools, they are wanted, and there is no way to them.
pub(crate) fn check(asked: &CreateVm, source: &Source, nat: bool) -> Result<(), Problem> {
    let Some(file) = source.tools().filter(|_| asked.bootstrap && !nat) else { return Ok(()) };
    let top = source.top_level().display();
    let message = format!(
        "`{file}` in `{top}` names tools, and a VM without `--nat` cannot get them from anywhere"
    );
    Err(Problem::new(Code::Conflict, message)
        .hint("to have mise install them: banger vm run --nat ...")
        .hint("to make the VM without them: banger vm run --no-bootstrap ...")
        .hint("one command needs none of this: banger vm run PATH -- COMMAND"))
}
