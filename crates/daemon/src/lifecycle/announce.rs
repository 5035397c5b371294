//! Telling whoever starts the daemon how that goes, on standard output: one line, `ready`, or a
//! [`Problem`] as JSON. Afterwards standard output is nobody's.

use std::io::Write;

use banger_proto::Problem;

/// The one line, not yet written.
#[derive(Debug)]
pub(super) struct Announcement {
    wanted: bool,
}

impl Announcement {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted }
    }

    /// The daemon answers from now on.
    pub(super) fn ready(&mut self) {
        self.write("ready");
    }

    /// The daemon did not start, or ended by itself, which nobody hears any more.
    pub(super) fn failed(&mut self, problem: &Problem) {
        self.write(&serde_json::to_string(problem).unwrap_or_default());
    }

    fn write(&mut self, line: &str) {
        if !std::mem::take(&mut self.wanted) {
            return;
        }
        // Whoever asked may have gone; the daemon stays for others.
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{line}");
        let _ = stdout.flush();
        // The reader learns the end of the line by the end of the pipe, whatever inherits it.
        if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(null);
        }
    }
}
