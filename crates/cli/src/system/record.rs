//! What was installed: for who takes it off again, and for who would install it twice.

use std::path::{Path, PathBuf};

use banger_proto::BridgeName;
use serde::{Deserialize, Serialize};

use crate::errors::CliError;

/// Where it is written down.
pub(crate) const RECORD: &str = "/etc/banger/system.json";

/// What was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of the program that installed it.
    pub(crate) version: String,
    /// Name of the owner.
    pub(crate) owner: String,
    /// The owner's number.
    pub(crate) uid: u32,
    /// What the programs are beneath.
    pub(crate) prefix: PathBuf,
    /// What the bridge is called.
    #[serde(default)]
    pub(crate) bridge: BridgeName,
    /// Files that were written, this one excluded.
    pub(crate) files: Vec<PathBuf>,
    /// Directories that were made for them, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) directories: Vec<PathBuf>,
}

impl Record {
    /// What is installed on this host; none when nothing is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn load() -> Result<Option<Self>, CliError> {
        Self::load_from(Path::new(RECORD))
    }

    fn load_from(path: &Path) -> Result<Option<Self>, CliError> {
        let failed = || CliError::failure(format!("cannot read `{}`", path.display()));
        match std::fs::read(path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| failed().because(&error)).map(Some)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed().because(&error)),
        }
    }

    /// It as it is written.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub(super) fn render(&self) -> Result<Vec<u8>, CliError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| {
            CliError::failure("cannot write down what is installed").because(&error)
        })?;
        text.push(b'\n');
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system.json");
        assert_eq!(Record::load_from(&path).unwrap(), None);
        let record = Record {
            version: "1.2.3".into(),
            owner: "jo".into(),
            uid: 1000,
            prefix: "/usr/local".into(),
            bridge: "br-x".parse().unwrap(),
            files: vec!["/etc/x".into()],
            directories: vec![],
        };
        std::fs::write(&path, record.render().unwrap()).unwrap();
        assert_eq!(Record::load_from(&path).unwrap(), Some(record));
        std::fs::write(&path, "{").unwrap();
        assert!(Record::load_from(&path).is_err());
    }
}
