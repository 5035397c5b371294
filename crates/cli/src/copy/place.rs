//! What one side of a copy names: a place in a guest, `VM:PATH`, or one on this host.
//!
//! A colon before the first slash makes it a guest's, as with scp; `./a:b` is a file of this
//! host.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::str::FromStr as _;

use crate::errors::CliError;
use crate::reference::{VmRef, vm_path};

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Host(PathBuf),
    Guest(GuestPlace),
}

/// A place in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestPlace {
    pub(crate) vm: VmRef,
    /// Relative to root's home when it is not absolute.
    pub(crate) path: String,
}

impl GuestPlace {
    /// The interface's path of the files there.
    pub(crate) fn call(&self) -> Result<String, CliError> {
        let query = serde_urlencoded::to_string([("path", &self.path)]).map_err(|error| {
            CliError::failure("cannot write the request as a query").because(&error)
        })?;
        Ok(vm_path(&self.vm, &format!("/files?{query}")))
    }
}

impl Place {
    /// Reads what a person typed.
    ///
    /// # Errors
    /// When it is a guest's, but no VM is called so, or its path is none.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, CliError> {
        let bytes = text.as_bytes();
        let end = bytes.iter().position(|byte| matches!(byte, b':' | b'/'));
        let Some(colon) = end.filter(|end| bytes[*end] == b':') else {
            return Self::parse_host(text);
        };
        let shown = text.display();
        let host = format!("a file of this host: ./{shown}");
        let vm = str::from_utf8(&bytes[..colon]).ok().and_then(|vm| VmRef::from_str(vm).ok());
        let vm = vm.ok_or_else(|| {
            CliError::usage(format!("no VM can be called what `{shown}` begins with"))
                .hint(host.clone())
        })?;
        let path = str::from_utf8(&bytes[colon + 1..]).map_err(|error| {
            CliError::usage(format!("the path in `{shown}` is not UTF-8"))
                .because(&error)
                .hint("copy the directory that it is in")
        })?;
        Ok(Self::Guest(GuestPlace { vm, path: path.to_owned() }))
    }

    fn parse_host(text: &OsStr) -> Result<Self, CliError> {
        match text.as_bytes() {
            b"" => Err(CliError::usage("an empty path names nothing")),
            b"-" => {
                Err(CliError::usage("a copy is neither from standard input nor to standard output")
                    .hint("a stream of one file: banger vm exec web -- cat FILE")
                    .hint("a file of that name: ./-"))
            }
            _ => Ok(Self::Host(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(vm: &str, path: &str) -> Place {
        Place::Guest(GuestPlace { vm: vm.parse().unwrap(), path: path.to_owned() })
    }

    #[test]
    fn a_colon_before_a_slash_makes_a_guest() {
        let parse = |text: &str| Place::parse(OsStr::new(text)).unwrap();
        assert_eq!(parse("web:/etc/a:b"), guest("web", "/etc/a:b"));
        assert_eq!(parse("web:"), guest("web", ""));
        assert_eq!(parse("web:x"), guest("web", "x"));
        for host in ["./a:b", "/a:b", "a/b:c", "plain", "~x"] {
            assert_eq!(parse(host), Place::Host(host.into()));
        }
        let odd = OsStr::from_bytes(b"\xff");
        assert_eq!(Place::parse(odd).unwrap(), Place::Host(odd.into()));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in [&b":x"[..], b"A B:x", b"web:\xff", b"\xff:x", b"", b"-"] {
            assert_eq!(Place::parse(OsStr::from_bytes(wrong)).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn paths_are_written_as_queries() {
        let place = GuestPlace { vm: "web".parse().unwrap(), path: "/a b&c=ü\n".into() };
        assert_eq!(place.call().unwrap(), "/v1/vms/web/files?path=%2Fa+b%26c%3D%C3%BC%0A");
    }
}
