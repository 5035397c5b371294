//! `SHA256SUMS`: the hashes of a release's files, as `sha256sum` writes them. This is what is signed;
//! the version is in the names, so that it is signed, too.

use banger_proto::Digest;

use crate::ReleaseError;

/// Largest list, in bytes.
pub(crate) const MAX_SIZE: usize = 64 << 10;

/// The hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums(Vec<(String, Digest)>);

impl Sums {
    /// Reads a list.
    ///
    /// # Errors
    /// When a line is not `HASH  NAME`, or two are about one name.
    pub fn parse(text: &[u8]) -> Result<Self, ReleaseError> {
        let text = std::str::from_utf8(text).map_err(|_| ReleaseError::Sums(1))?;
        let mut sums: Vec<(String, Digest)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let parsed = line.split_once("  ").and_then(|(hash, name)| {
                let digest = format!("sha256:{hash}").parse().ok()?;
                let known = sums.iter().any(|(other, _)| other == name);
                (!known && !name.is_empty()).then(|| (name.to_owned(), digest))
            });
            sums.push(parsed.ok_or(ReleaseError::Sums(number + 1))?);
        }
        Ok(Self(sums))
    }

    /// The hash of the file `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Digest> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, digest)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sha256sum_writes_is_read() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let line = format!("{hash}  banger.tar.gz\n");
        let sums = Sums::parse(line.as_bytes()).unwrap();
        assert_eq!(sums.find("banger.tar.gz").unwrap().hex(), hash);
        assert_eq!(sums.find("other"), None);
        for wrong in
            [&line[1..], &line[..64], &line.replace("  ", " "), &format!("{line}{line}"), "\n"]
        {
            Sums::parse(wrong.as_bytes()).unwrap_err();
        }
    }
}
