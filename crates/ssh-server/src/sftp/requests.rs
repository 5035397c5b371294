//! From a request to its answer.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::REQUEST_LIMIT;
use super::attributes::Attributes;
use super::files::{self, path};
use super::handles::{Handles, Open};
use super::listing;
use super::protocol::{EXTENSIONS, Status, VERSION, answer, request};
use crate::wire::{Malformed, Reader, Writer};

/// Most bytes of one read or write, which leaves room for the rest of its packet.
const DATA_LIMIT: u32 = REQUEST_LIMIT - 1024;
/// Names in one answer about a directory.
const NAMES: usize = 100;

/// What a request is answered with.
enum Answer {
    Status(Status),
    Handle([u8; 4]),
    Data(Vec<u8>),
    Attributes(Attributes),
    /// Names with a line for people and attributes each.
    Names(Vec<(Vec<u8>, Vec<u8>, Attributes)>),
    Limits,
}

/// Why there is none.
enum Failure {
    /// The client gets to know.
    Status(Status),
    /// It does not speak SFTP.
    Malformed,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Status(error.into())
    }
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Does what the packet `message` asks for; the packet of the answer.
///
/// # Errors
/// When it is no request.
pub(super) fn answer(
    handles: &mut Handles,
    message: &mut Reader<'_>,
) -> Result<Vec<u8>, Malformed> {
    let (kind, id) = (message.byte()?, message.u32()?);
    if kind == request::INIT {
        let mut hello = Writer::message(answer::VERSION).u32(VERSION);
        for (name, version) in EXTENSIONS {
            hello = hello.string(name).string(version);
        }
        return Ok(hello.finish());
    }
    let answer = match act(handles, kind, message) {
        Ok(answer) => answer,
        Err(Failure::Status(status)) => Answer::Status(status),
        Err(Failure::Malformed) => return Err(Malformed),
    };
    Ok(answer.render(id).finish())
}

fn act(handles: &mut Handles, kind: u8, message: &mut Reader<'_>) -> Result<Answer, Failure> {
    match kind {
        request::OPEN
        | request::CLOSE
        | request::READ
        | request::WRITE
        | request::FSTAT
        | request::FSETSTAT
        | request::OPENDIR
        | request::READDIR => act_on_handle(handles, kind, message),
        request::EXTENDED => {
            let name = message.text()?;
            extended(handles, name, message)
        }
        _ => act_on_name(kind, message),
    }
}

fn act_on_handle(
    handles: &mut Handles,
    kind: u8,
    message: &mut Reader<'_>,
) -> Result<Answer, Failure> {
    // What is opened comes by its name, everything else by its handle.
    let subject = message.string()?;
    match kind {
        request::OPEN => {
            let flags = message.u32()?;
            let (file, append) = files::open(path(subject), flags, &Attributes::read(message)?)?;
            return Ok(Answer::Handle(handles.insert(Open::File { file, append })?));
        }
        request::OPENDIR => {
            let directory = fs::read_dir(path(subject))?;
            return Ok(Answer::Handle(handles.insert(Open::Directory(directory))?));
        }
        request::CLOSE => handles.close(subject)?,
        request::READ => {
            let (offset, length) = (message.u64()?, message.u32()?);
            let mut data = vec![0; usize::try_from(length.min(DATA_LIMIT)).unwrap_or(0)];
            let read = handles.file(subject)?.0.read_at(&mut data, offset)?;
            if read == 0 && !data.is_empty() {
                return Err(Status::end_of_file().into());
            }
            data.truncate(read);
            return Ok(Answer::Data(data));
        }
        request::WRITE => {
            let (offset, data) = (message.u64()?, message.string()?);
            let (mut file, append) = handles.file(subject)?;
            if append { file.write_all(data)? } else { file.write_all_at(data, offset)? }
        }
        request::FSTAT => {
            let file = handles.file(subject)?.0.metadata()?;
            return Ok(Answer::Attributes((&file).into()));
        }
        request::FSETSTAT => {
            Attributes::read(message)?.set_on_file(handles.file(subject)?.0)?;
        }
        _ => return list(handles.directory(subject)?),
    }
    Ok(Answer::done())
}

/// The next names of a directory. What vanishes meanwhile is left out.
fn list(directory: &mut fs::ReadDir) -> Result<Answer, Failure> {
    let mut names = Vec::new();
    for entry in directory.by_ref().take(NAMES) {
        let entry = entry?;
        let Ok(file) = entry.metadata() else { continue };
        let name = entry.file_name();
        let line = listing::render_line(&file, &name);
        names.push((name.as_bytes().to_vec(), line, (&file).into()));
    }
    if names.is_empty() {
        return Err(Status::end_of_file().into());
    }
    Ok(Answer::Names(names))
}

fn act_on_name(kind: u8, message: &mut Reader<'_>) -> Result<Answer, Failure> {
    // Also of a request that nobody knows, which is likely to have one.
    let subject = path(message.string()?);
    match kind {
        request::LSTAT => return Ok(Answer::Attributes((&subject.symlink_metadata()?).into())),
        request::STAT => return Ok(Answer::Attributes((&subject.metadata()?).into())),
        request::SETSTAT => Attributes::read(message)?.set_on_path(subject)?,
        request::REMOVE => fs::remove_file(subject)?,
        request::MKDIR => files::make_directory(subject, &Attributes::read(message)?)?,
        request::RMDIR => fs::remove_dir(subject)?,
        request::REALPATH => return Ok(Answer::name(&files::real_path(subject)?)),
        request::RENAME => files::rename_new(subject, path(message.string()?))?,
        request::READLINK => return Ok(Answer::name(&fs::read_link(subject)?)),
        request::SYMLINK => files::make_link(subject, path(message.string()?))?,
        _ => return Err(Status::unsupported().into()),
    }
    Ok(Answer::done())
}

fn extended(
    handles: &mut Handles,
    name: &str,
    message: &mut Reader<'_>,
) -> Result<Answer, Failure> {
    match name {
        "posix-rename@openssh.com" => {
            fs::rename(path(message.string()?), path(message.string()?))?;
        }
        "hardlink@openssh.com" => {
            fs::hard_link(path(message.string()?), path(message.string()?))?;
        }
        "fsync@openssh.com" => handles.file(message.string()?)?.0.sync_all()?,
        "lsetstat@openssh.com" => {
            let subject = path(message.string()?);
            Attributes::read(message)?.set_on_link(subject)?;
        }
        "limits@openssh.com" => return Ok(Answer::Limits),
        "expand-path@openssh.com" => return Ok(Answer::name(&files::expand(message.string()?)?)),
        _ => return Err(Status::unsupported().into()),
    }
    Ok(Answer::done())
}

impl Answer {
    fn done() -> Self {
        Self::Status(Status::ok())
    }

    /// One name and nothing about it.
    fn name(name: &Path) -> Self {
        let name = name.as_os_str().as_bytes().to_vec();
        Self::Names(vec![(name.clone(), name, Attributes::default())])
    }

    fn render(self, id: u32) -> Writer {
        match self {
            Self::Status(status) => status.answer(id),
            Self::Handle(handle) => Writer::message(answer::HANDLE).u32(id).string(handle),
            Self::Data(data) => Writer::message(answer::DATA).u32(id).string(data),
            Self::Attributes(attributes) => {
                attributes.write(Writer::message(answer::ATTRS).u32(id))
            }
            Self::Names(names) => {
                let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
                let mut message = Writer::message(answer::NAME).u32(id).u32(count);
                for (name, line, attributes) in names {
                    message = attributes.write(message.string(name).string(line));
                }
                message
            }
            Self::Limits => Writer::message(answer::EXTENDED_REPLY)
                .u32(id)
                .u64(REQUEST_LIMIT.into())
                .u64(DATA_LIMIT.into())
                .u64(DATA_LIMIT.into())
                .u64(Handles::LIMIT),
        }
    }
}
