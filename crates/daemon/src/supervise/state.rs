//! What the supervisor knows, for its file and its watchers.

use std::sync::Arc;

use banger_proto::supervisor::{SupervisorState, VmmExit};
use tokio::sync::watch;

use super::files::RuntimeFiles;
use super::recorder::Recorder;

/// The state: every change is written to the file first and told to watchers then.
#[derive(Debug, Clone)]
pub(super) struct StateBoard {
    state: watch::Sender<SupervisorState>,
    files: Arc<RuntimeFiles>,
    recorder: Recorder,
}

impl StateBoard {
    /// A board that begins with `state`.
    pub(super) fn new(
        state: SupervisorState,
        files: Arc<RuntimeFiles>,
        recorder: Recorder,
    ) -> Self {
        let board = Self { state: watch::Sender::new(state), files, recorder };
        board.save(&board.current());
        board
    }

    /// The state now.
    pub(super) fn current(&self) -> SupervisorState {
        self.state.borrow().clone()
    }

    /// The state now and from now on.
    pub(super) fn watch(&self) -> watch::Receiver<SupervisorState> {
        self.state.subscribe()
    }

    /// Says whether the link is up.
    pub(super) fn set_link_up(&self, link_up: bool) {
        let state = SupervisorState { link_up, ..self.current() };
        self.save(&state);
        self.state.send_replace(state);
    }

    /// Says whether the guest stands still.
    pub(super) fn set_paused(&self, paused: bool) {
        let state = SupervisorState { paused, ..self.current() };
        self.save(&state);
        self.state.send_replace(state);
    }

    /// Records the VMM's end and takes the sockets away before anybody is told: whoever hears of
    /// the end may start the VM again at once.
    pub(super) fn set_exit(&self, exit: VmmExit) {
        let state =
            SupervisorState { link_up: false, paused: false, exit: Some(exit), ..self.current() };
        self.save(&state);
        if let Err(error) = self.files.remove_sockets() {
            self.recorder.log(format_args!("cannot remove the sockets: {error}"));
        }
        self.state.send_replace(state);
    }

    fn save(&self, state: &SupervisorState) {
        // A state file that cannot be written (a full tmpfs) is no reason to end a VM; those who
        // watch are told all the same.
        if let Err(error) = self.files.save_state(state) {
            self.recorder.log(format_args!("cannot write the state file: {error}"));
        }
    }
}
