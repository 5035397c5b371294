//! The second reading: contents on their way into the image.

use std::ops::Range;

use super::index::{Meaning, meaning};
use super::stream::{Source, Watch};
use super::{ImageError, LayerError};
use crate::archive::{Reader, What};
use crate::ext4::{Ext4Error, Writer};
use crate::tree::{Limits, Object, shown};

/// Copies the contents of one layer, whose numbers are `numbers`. A layer is read up to the last
/// file of it that is in the image.
pub(super) fn copy(
    source: &Source,
    numbers: Range<u32>,
    writer: &mut Writer<'_>,
    limits: Limits,
    watch: &mut Watch<'_>,
) -> Result<(), ImageError> {
    let wanted = |writer: &mut Writer<'_>| writer.next_source().filter(|n| numbers.contains(n));
    if wanted(writer).is_some() {
        let mut reader = Reader::new(source.stream(limits.unpacked, false, watch)?);
        let outcome = (|| {
            let mut number = numbers.start;
            while let Some(next) = wanted(writer) {
                // What was there at the first reading has to be there at the second.
                let member = reader.next()?.ok_or(LayerError::Changed)?;
                let What::Object(Object::File { .. }, _) = member.what else { continue };
                let Meaning::Entry = meaning(&member.path) else { continue };
                if number == next {
                    writer.fill(number, &member.segments, &mut reader.payload()).map_err(
                        |error| match error {
                            Ext4Error::Contents(source) => {
                                LayerError::Contents { path: shown(&member.path), source }
                            }
                            error => error.into(),
                        },
                    )?;
                }
                number += 1;
            }
            Ok::<_, LayerError>(())
        })();
        if reader.input().is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        outcome.map_err(|error| match error {
            // Not the layer's fault.
            LayerError::Ext4(error @ Ext4Error::Write(_)) => ImageError::Ext4(error),
            error => source.error(error),
        })?;
    }
    if watch.pass(source.len()).is_break() {
        return Err(ImageError::Cancelled);
    }
    Ok(())
}
