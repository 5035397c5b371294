//! The files of the guest's object store, as they are: loose objects and packs. Whether they are
//! what their names say is for the host to find out.

use std::io::{self, Write};

use banger_proto::guest::Surveyed;
use banger_tree::changes::{Change, FILE};
use banger_tree::{Node, Tree};

use super::SurveyError;
use super::head::Head;
use super::pulse::Out;

const STORE: &[u8] = b".git/objects";

/// Sends all files that hold objects, but for the packs named in `except`.
pub(super) fn send(
    mut top: Tree,
    except: &[String],
    out: &mut Out,
) -> Result<Surveyed, SurveyError> {
    // Before the objects, so that all it needs is among them.
    let head = Head::load(&mut top);
    for directory in list(&mut top, STORE)? {
        let path = [STORE, b"/", &directory].concat();
        let packs = directory == b"pack";
        let hex = |name: &[u8]| name.iter().all(u8::is_ascii_hexdigit);
        if !(packs || directory.len() == 2 && hex(&directory)) {
            continue;
        }
        for name in list(&mut top, &path)? {
            let wanted = match packs {
                true => name.ends_with(b".pack") && !except.iter().any(|it| it.as_bytes() == name),
                false => hex(&name),
            };
            if wanted {
                send_file(&mut top, &[path.as_slice(), b"/", &name].concat(), out)?;
            }
        }
    }
    let Head { commit, reference } = head;
    Ok(Surveyed { commit, reference, ..Surveyed::default() })
}

fn list(top: &mut Tree, path: &[u8]) -> Result<Vec<Vec<u8>>, SurveyError> {
    Ok(top.list(path).map_err(SurveyError::read(path))?.unwrap_or_default())
}

fn send_file(top: &mut Tree, path: &[u8], out: &mut Out) -> Result<(), SurveyError> {
    // What has gone was packed meanwhile; what was packed then is missed by the host.
    let Some(Node::File(mut file, stat)) = top.read(path).map_err(SurveyError::read(path))? else {
        return Ok(());
    };
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    let below_git = path.strip_prefix(b".git/").unwrap_or(path).to_vec();
    let change = Change { path: below_git, mode: FILE, size };
    change.write(out).map_err(|_| SurveyError::Unheard)?;
    copy_exactly(&mut file, size, path, out)
}

/// Copies `size` bytes.
pub(super) fn copy_exactly(
    file: &mut impl io::Read,
    size: u64,
    path: &[u8],
    out: &mut Out,
) -> Result<(), SurveyError> {
    let mut left = size;
    let mut block = [0; 16 << 10];
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        match file.read(&mut block[..room]) {
            Ok(0) => return Err(SurveyError::Changed(String::from_utf8_lossy(path).into_owned())),
            Ok(count) => {
                out.write_all(&block[..count]).map_err(|_| SurveyError::Unheard)?;
                left -= count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SurveyError::read(path)(error)),
        }
    }
    Ok(())
}
