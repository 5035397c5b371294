//! What is asked before it is done.

use banger_proto::api::VmView;

use super::Act;

/// A question whose answer is yes or no.
#[derive(Debug)]
pub(crate) enum Question {
    /// Whether this VM is to be deleted.
    Delete(Box<VmView>),
    /// Whether to leave, though this is not done yet: names of VMs.
    Leave(Vec<(String, Act)>),
}

impl Question {
    /// The question itself.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Delete(vm) => format!("Delete VM `{}` with its disk, for good? [y/N]", vm.name),
            Self::Leave(unfinished) => {
                let (name, act) = match unfinished.as_slice() {
                    [(name, act), ..] => (name.as_str(), act.doing()),
                    [] => ("", ""),
                };
                let more = match unfinished.len() {
                    0 | 1 => String::new(),
                    several => format!(" and {} more", several - 1),
                };
                format!("Still {act} `{name}`{more}. Leave, and break it off? [y/N]")
            }
        }
    }
}
