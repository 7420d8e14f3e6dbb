//! The database's file, simulated.

use redb::StorageBackend;
use std::sync::{Arc, Mutex};

/// One thing a database does to its file.
#[derive(Clone, Debug)]
pub enum Operation {
    SetLen(usize),
    Write { at: usize, bytes: Vec<u8> },
    Sync,
}

impl Operation {
    pub fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Operation::SetLen(length) => file.resize(*length, 0),
            Operation::Write { at, bytes } => {
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                file[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Operation::Sync => {}
        }
    }
}

/// A file in memory that remembers how it came to be.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<(Vec<u8>, Vec<Operation>)>>);

impl Recorder {
    pub fn of(file: Vec<u8>) -> Recorder {
        Recorder(Arc::new(Mutex::new((file, Vec::new()))))
    }

    pub fn operations(&self) -> Vec<Operation> {
        self.0.lock().unwrap().1.clone()
    }

    /// What a killed process would leave.
    pub fn file(&self) -> Vec<u8> {
        self.0.lock().unwrap().0.clone()
    }

    fn record(&self, operation: Operation) {
        let (file, operations) = &mut *self.0.lock().unwrap();
        operation.apply(file);
        operations.push(operation);
    }
}

type Outcome<T> = std::io::Result<T>;

impl StorageBackend for Recorder {
    fn len(&self) -> Outcome<u64> {
        Ok(self.0.lock().unwrap().0.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Outcome<()> {
        let at = offset as usize;
        match self.0.lock().unwrap().0.get(at..at + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Outcome<()> {
        self.record(Operation::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Outcome<()> {
        self.record(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Outcome<()> {
        self.record(Operation::Write { at: offset as usize, bytes: data.to_vec() });
        Ok(())
    }
}
