//! Reading records back in order, also while they are being written.

use std::sync::Arc;

use bytes::Bytes;
use millstream_core::Result;

use crate::format::{DATA_START, SNAPSHOT, Seed};
use crate::journal::Location;
use crate::scan::{Found, Scanner};
use crate::segment;
use crate::shared::Shared;

/// Gives records in order from a place on; made by [`crate::Journal::reader`]. Snapshots are passed over.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    /// The next record is here or later.
    next: Location,
    /// Open on `next.segment`.
    scanner: Option<Scanner>,
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, from: Location) -> Self {
        Self { shared, next: from, scanner: None }
    }

    /// Gives the next record that is written, with its kind; `None` when there is none yet: a later call may find one.
    ///
    /// Only records whose `done` was or is just being told well are given. Damage is passed over, set aside and counted;
    /// so are segments that were deleted meanwhile.
    ///
    /// # Errors
    /// A failed read; the next call tries again.
    #[allow(clippy::should_implement_trait, reason = "the end is not final and a failure not the end")]
    pub fn next(&mut self) -> Result<Option<(Location, u8, Bytes)>> {
        loop {
            let Some((number, end, sealed)) = self.here() else { return Ok(None) };
            if number != self.next.segment {
                self.next = Location { segment: number, offset: 0 };
                self.scanner = None;
            }
            let scanner = match &mut self.scanner {
                Some(scanner) => scanner,
                None => {
                    let path = self.shared.dir.join(segment::name(number));
                    let file = match self.shared.disk.open(&path) {
                        Ok(file) => file,
                        // Deleted since we looked: go on behind it.
                        Err(_) if !self.shared.segments.lock().contains_key(&number) => continue,
                        Err(error) => return Err(error),
                    };
                    let seed = Seed::new(self.shared.log_id, number);
                    self.scanner.insert(Scanner::new(file, seed, self.next.offset.max(DATA_START)))
                }
            };
            let found = scanner.next(end)?;
            self.next.offset = scanner.position();
            match found {
                Found::Frame { head, .. } if head.flags == SNAPSHOT => {}
                Found::Frame { offset, head, payload } => {
                    return Ok(Some((Location { segment: number, offset }, head.kind, payload)));
                }
                Found::Damage { offset, length } | Found::Tail { offset, length } => {
                    self.shared.damaged(number, offset, length);
                }
                Found::End if sealed => {
                    self.next = Location { segment: number + 1, offset: 0 };
                    self.scanner = None;
                }
                Found::End => return Ok(None),
            }
        }
    }

    /// The segment to read in, the end of what may be read there, and whether a later segment follows.
    fn here(&self) -> Option<(u64, u64, bool)> {
        let segments = self.shared.segments.lock();
        let mut from = segments.range(self.next.segment..);
        let (number, end) = from.next()?;
        Some((*number, *end, from.next().is_some()))
    }
}
