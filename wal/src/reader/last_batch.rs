//! The header of the batch before an offset: what two replicas compare where their logs meet.

use std::rc::Rc;

use protocol::Offset;
use protocol::record_batch::BatchHeader;

use super::ReadError;
use crate::file::Storage;
use crate::jobs::LogClosed;
use crate::log::LogInner;
use crate::recovery::{BatchDamage, Damage};
use crate::segment::{FIRST_FRAME_POSITION, NameKind, file_name};

impl<S: Storage> LogInner<S> {
    pub(crate) async fn last_batch(self: &Rc<Self>) -> Result<Option<BatchHeader>, ReadError> {
        loop {
            let log_end = self.state.borrow().log_end;
            match self.batch_before(log_end).await {
                // It was cut meanwhile: there is another end.
                Err(ReadError::OutOfRange { .. }) => {}
                result => return result,
            }
        }
    }

    pub(crate) async fn batch_before(self: &Rc<Self>, end: Offset) -> Result<Option<BatchHeader>, ReadError> {
        loop {
            {
                let state = self.state.borrow();
                if state.closed {
                    return Err(LogClosed.into());
                }
                if end > state.log_end {
                    return Err(ReadError::OutOfRange { offset: end, start: state.log_start, end: state.log_end });
                }
                if end <= state.log_start {
                    return Ok(None);
                }
            }
            // Whatever is appended there, durable or not: the log end bounds it, not what consumers may see.
            match self.read(end.prev(), Offset(i64::MAX), 0, usize::MAX).await {
                Ok(found) if found.bytes > 0 => {
                    let parsed = BatchHeader::parse(&found.contiguous()).map_err(|_| self.no_batch(end.prev()))?;
                    return Ok((parsed.base_offset < end).then_some(parsed));
                }
                // The log begins or ends elsewhere by now: look again.
                Ok(_) | Err(ReadError::OutOfRange { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A frame with a good checksum, and no batch in it.
    fn no_batch(&self, offset: Offset) -> ReadError {
        let state = self.state.borrow();
        let path = self.dir.join(file_name(state.segments[state.segment_at(offset)].base, NameKind::Log));
        ReadError::Corrupt { path, position: FIRST_FRAME_POSITION, offset, found: Damage::Batch(BatchDamage::Invalid) }
    }
}
