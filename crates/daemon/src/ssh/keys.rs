//! Private keys in files of mode 0600, each made once: of two who make one at the same time, the
//! first wins and both use its key.

use std::io;
use std::path::{Path, PathBuf};

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey, PublicKey};

use super::{SshError, save_private, write_private};

/// The managed key of the user.
const IDENTITY: &str = "id_ed25519";
/// The key of a VM, in its state directory.
pub(crate) const HOST_KEY: &str = "ssh_host_ed25519_key";
/// What tells the managed key from others where somebody lists them.
const COMMENT: &str = "banger";

/// A VM's key.
#[derive(Debug)]
pub(super) struct HostKey {
    /// The private key as OpenSSH has it in a file.
    pub(super) private: String,
    /// Type and public key, as in a list of known hosts.
    pub(super) public: String,
}

/// Makes sure that the managed key of the user is in `dir`, its public half beside it, and
/// returns its path.
pub(super) fn ensure_identity(dir: &Path) -> Result<PathBuf, SshError> {
    let path = dir.join(IDENTITY);
    let key = ensure_key(&path, COMMENT)?;
    let public = with_pub(&path);
    let text = format!("{}\n", render_public(key.public_key(), &path)?);
    // Derived, and so mended when it is missing.
    if fs_err::read_to_string(&public).ok().as_ref() != Some(&text) {
        save_private(&public, text.as_bytes())?;
    }
    Ok(path)
}

/// The public half of the private key `path`, as a line for `authorized_keys`: from the file
/// beside it, as keys on a token or with a passphrase have it, else from the key itself.
pub(super) fn load_public(path: &Path) -> Result<String, SshError> {
    let beside = with_pub(path);
    match fs_err::read_to_string(&beside) {
        Ok(text) => {
            let key = PublicKey::from_openssh(text.trim())
                .map_err(|source| SshError::NotAKey { path: beside.clone(), source })?;
            render_public(&key, &beside)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            render_public(load_key(path)?.public_key(), path)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes sure that the VM whose state directory is `dir` has a key.
pub(super) fn ensure_host_key(dir: &Path) -> Result<HostKey, SshError> {
    ensure_key(&dir.join(HOST_KEY), "")?;
    load_host_key(dir)
}

/// Reads the key of the VM whose state directory is `dir`.
pub(super) fn load_host_key(dir: &Path) -> Result<HostKey, SshError> {
    let path = dir.join(HOST_KEY);
    let key = load_key(&path)?;
    let mut public = key.public_key().clone();
    public.set_comment("");
    let public = render_public(&public, &path)?;
    Ok(HostKey { private: fs_err::read_to_string(&path)?, public: public.trim_end().to_owned() })
}

fn ensure_key(path: &Path, comment: &str) -> Result<PrivateKey, SshError> {
    match load_key(path) {
        Err(SshError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let text = make_key(comment)?;
    let file = write_private(path, text.as_bytes())?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
            Err(super::named(&error.error, path).into())
        }
        _ => load_key(path),
    }
}

fn make_key(comment: &str) -> Result<String, SshError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| SshError::Make(error.into()))?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let made = PrivateKey::new(pair, comment).and_then(|key| key.to_openssh(LineEnding::LF));
    made.map(|text| text.to_string()).map_err(|error| SshError::Make(error.into()))
}

fn load_key(path: &Path) -> Result<PrivateKey, SshError> {
    let text = fs_err::read_to_string(path)?;
    PrivateKey::from_openssh(&text)
        .map_err(|source| SshError::NotAKey { path: path.to_owned(), source })
}

fn render_public(key: &PublicKey, path: &Path) -> Result<String, SshError> {
    key.to_openssh().map_err(|source| SshError::NotAKey { path: path.to_owned(), source })
}

fn with_pub(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}
