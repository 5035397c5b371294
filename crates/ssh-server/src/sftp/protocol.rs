//! Numbers of SFTP, and the answers that every request can get.

use std::io;

use rustix::io::Errno;

use crate::wire::Writer;

/// The version that is spoken.
pub(super) const VERSION: u32 = 3;

/// What a client asks for.
pub(super) mod request {
    pub(in crate::sftp) const INIT: u8 = 1;
    pub(in crate::sftp) const OPEN: u8 = 3;
    pub(in crate::sftp) const CLOSE: u8 = 4;
    pub(in crate::sftp) const READ: u8 = 5;
    pub(in crate::sftp) const WRITE: u8 = 6;
    pub(in crate::sftp) const LSTAT: u8 = 7;
    pub(in crate::sftp) const FSTAT: u8 = 8;
    pub(in crate::sftp) const SETSTAT: u8 = 9;
    pub(in crate::sftp) const FSETSTAT: u8 = 10;
    pub(in crate::sftp) const OPENDIR: u8 = 11;
    pub(in crate::sftp) const READDIR: u8 = 12;
    pub(in crate::sftp) const REMOVE: u8 = 13;
    pub(in crate::sftp) const MKDIR: u8 = 14;
    pub(in crate::sftp) const RMDIR: u8 = 15;
    pub(in crate::sftp) const REALPATH: u8 = 16;
    pub(in crate::sftp) const STAT: u8 = 17;
    pub(in crate::sftp) const RENAME: u8 = 18;
    pub(in crate::sftp) const READLINK: u8 = 19;
    pub(in crate::sftp) const SYMLINK: u8 = 20;
    pub(in crate::sftp) const EXTENDED: u8 = 200;
}

/// What it gets.
pub(super) mod answer {
    pub(in crate::sftp) const VERSION: u8 = 2;
    pub(in crate::sftp) const STATUS: u8 = 101;
    pub(in crate::sftp) const HANDLE: u8 = 102;
    pub(in crate::sftp) const DATA: u8 = 103;
    pub(in crate::sftp) const NAME: u8 = 104;
    pub(in crate::sftp) const ATTRS: u8 = 105;
    pub(in crate::sftp) const EXTENDED_REPLY: u8 = 201;
}

/// Extensions that are served, with the versions of them.
pub(super) const EXTENSIONS: [(&str, &str); 6] = [
    ("posix-rename@openssh.com", "1"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// How a request ended that has nothing else to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    code: u32,
    message: String,
}

impl Status {
    fn new(code: u32, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }

    pub(super) fn ok() -> Self {
        Self::new(0, "")
    }

    pub(super) fn end_of_file() -> Self {
        Self::new(1, "end of file")
    }

    pub(super) fn failure(message: &str) -> Self {
        Self::new(4, message)
    }

    pub(super) fn bad_handle() -> Self {
        Self::failure("no such handle")
    }

    pub(super) fn unsupported() -> Self {
        Self::new(8, "not supported")
    }

    /// The answer to the request `id`.
    pub(super) fn answer(&self, id: u32) -> Writer {
        let status = Writer::message(answer::STATUS).u32(id).u32(self.code);
        status.string(&self.message).string("")
    }
}

impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => 2,
            io::ErrorKind::PermissionDenied => 3,
            _ => 4,
        };
        // The path is the client's own, so that the reason is all there is to tell.
        let reason = match error.raw_os_error() {
            Some(number) => {
                let text = io::Error::from_raw_os_error(number).to_string();
                text.split(" (os error").next().unwrap_or_default().to_owned()
            }
            None => error.to_string(),
        };
        Self { code, message: reason }
    }
}

impl From<Errno> for Status {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}
