//! Open files and directories, by the handles that the client has for them.

use std::collections::BTreeMap;
use std::fs::{File, ReadDir};

use super::protocol::Status;

/// Handles of one client.
const LIMIT: usize = 256;

/// Something open.
#[derive(Debug)]
pub(super) enum Open {
    /// A file; whether writes go to its end.
    File { file: File, append: bool },
    /// A directory, as far as it was listed.
    Directory(ReadDir),
}

/// All that is open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: BTreeMap<u32, Open>,
    next: u32,
}

impl Handles {
    /// Most that can be open at a time.
    pub(super) const LIMIT: u64 = LIMIT as u64;

    /// Keeps it, and gives it a handle.
    pub(super) fn insert(&mut self, open: Open) -> Result<[u8; 4], Status> {
        if self.open.len() >= LIMIT {
            return Err(Status::failure("too many open files"));
        }
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(handle, open);
        Ok(handle.to_be_bytes())
    }

    pub(super) fn close(&mut self, handle: &[u8]) -> Result<(), Status> {
        parse(handle)
            .and_then(|handle| self.open.remove(&handle))
            .ok_or_else(Status::bad_handle)?;
        Ok(())
    }

    /// The file of a handle, and whether writes go to its end.
    pub(super) fn file(&self, handle: &[u8]) -> Result<(&File, bool), Status> {
        match parse(handle).and_then(|handle| self.open.get(&handle)) {
            Some(Open::File { file, append }) => Ok((file, *append)),
            _ => Err(Status::bad_handle()),
        }
    }

    pub(super) fn directory(&mut self, handle: &[u8]) -> Result<&mut ReadDir, Status> {
        match parse(handle).and_then(|handle| self.open.get_mut(&handle)) {
            Some(Open::Directory(directory)) => Ok(directory),
            _ => Err(Status::bad_handle()),
        }
    }
}

fn parse(handle: &[u8]) -> Option<u32> {
    handle.try_into().ok().map(u32::from_be_bytes)
}
