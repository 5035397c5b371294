//! What the resident agent and process 1 say to each other: one line of JSON a message, over a
//! socket pair that exists from the start.
//!
//! When process 1 becomes systemd, its end closes by itself: that is how success looks.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long process 1 may take to answer; it makes four system calls for it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// From the agent to process 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Enter the new root and become this program of it.
    Become {
        /// Absolute path in the new root.
        init: String,
        /// The socket at which it says that it is ready, for its environment.
        notify_socket: String,
    },
    /// Enter the new root and stay.
    Stay,
    /// End the guest.
    PowerOff {
        /// Boot again instead.
        reboot: bool,
    },
    /// The image's own program does not run any more, if it ever did: part of ending the guest.
    ServiceEnded,
    /// The agent's last command has ended: part of ending the guest.
    Quiet,
}

/// From process 1 to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It is in the new root and stays.
    Entered,
    /// The order could not be carried out.
    Failed(String),
    /// The guest is going down.
    Stopping,
}

/// Writes one message.
pub(crate) fn send(mut socket: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    socket.write_all(&line)
}

/// Reads the messages one by one, to the end of the stream. Blocks.
pub(crate) fn messages<T: for<'de> Deserialize<'de>>(
    socket: UnixStream,
) -> impl Iterator<Item = io::Result<T>> {
    BufReader::new(socket).split(b'\n').map(|line| Ok(serde_json::from_slice(&line?)?))
}

/// The agent's end.
#[derive(Debug)]
pub(crate) struct Door {
    socket: UnixStream,
    answers: Mutex<Receiver<Report>>,
}

/// Why process 1 did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    /// The socket failed.
    #[error("cannot talk to process 1")]
    Io(#[from] io::Error),
    /// It said why.
    #[error("{0}")]
    Failed(String),
    /// It said nothing.
    #[error("process 1 did not answer within {} s", ANSWER_DEADLINE.as_secs())]
    Silent,
    /// It is gone, or became something when it should have stayed.
    #[error("process 1 closed its door")]
    Closed,
}

impl Door {
    /// Takes over the socket. `stopping` is called, on a thread of its own, when process 1 says
    /// that the guest is going down.
    pub(crate) fn new(
        socket: UnixStream,
        mut stopping: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (answer, answers) = channel();
        let reader = socket.try_clone()?;
        std::thread::Builder::new().name("door".into()).stack_size(64 << 10).spawn(move || {
            for report in messages(reader).map_while(Result::ok) {
                if report == Report::Stopping {
                    stopping();
                } else if answer.send(report).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { socket, answers: Mutex::new(answers) })
    }

    /// Tells process 1 to do something that it does not answer.
    pub(crate) fn tell(&self, order: &Order) -> Result<(), DoorError> {
        Ok(send(&self.socket, order)?)
    }

    /// Tells process 1 to enter the new root, as `Become` or `Stay`, and waits until it has.
    pub(crate) fn enter(&self, order: &Order) -> Result<(), DoorError> {
        self.tell(order)?;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let becomes = matches!(order, Order::Become { .. });
        match answers.recv_timeout(ANSWER_DEADLINE) {
            Ok(Report::Failed(why)) => Err(DoorError::Failed(why)),
            Ok(Report::Entered | Report::Stopping) => Ok(()),
            Err(RecvTimeoutError::Disconnected) if becomes => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(DoorError::Closed),
            Err(RecvTimeoutError::Timeout) => Err(DoorError::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn become_systemd() -> Order {
        Order::Become { init: "/sbin/init".into(), notify_socket: "@x".into() }
    }

    #[test]
    fn a_closed_door_is_success_for_becoming_only() {
        for (order, works) in [(become_systemd(), true), (Order::Stay, false)] {
            let (near, far) = UnixStream::pair().unwrap();
            let door = Door::new(near, || {}).unwrap();
            let reader = far.try_clone().unwrap();
            let process_1 = std::thread::spawn(move || {
                let mut orders = messages::<Order>(reader);
                let got = orders.next().unwrap().unwrap();
                far.shutdown(std::net::Shutdown::Both).unwrap();
                got
            });
            assert_eq!(door.enter(&order).is_ok(), works);
            assert_eq!(process_1.join().unwrap(), order);
        }
    }

    #[test]
    fn reports_reach_who_waits_for_them() {
        let (near, far) = UnixStream::pair().unwrap();
        let (told, stopping) = channel();
        let door = Door::new(near, move || told.send(()).unwrap()).unwrap();
        send(&far, &Report::Stopping).unwrap();
        send(&far, &Report::Failed("no such file".into())).unwrap();
        stopping.recv().unwrap();
        let error = door.enter(&become_systemd()).unwrap_err();
        assert!(matches!(error, DoorError::Failed(why) if why == "no such file"));
    }
}
