//! Sets up a small ring, as every shard does, and asks which operations it has.

use io_uring::{Probe, opcode};
use rustix::io::Errno;

use super::super::facts::IoUring;

/// Entries of the ring that is tried; the smallest useful number.
const ENTRIES: u32 = 8;

/// The operations that glommio insists on.
const NEEDED: &[(&str, u8)] = &[
    ("NOP", opcode::Nop::CODE),
    ("READV", opcode::Readv::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("RECVMSG", opcode::RecvMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("ACCEPT", opcode::Accept::CODE),
    ("LINK_TIMEOUT", opcode::LinkTimeout::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("FALLOCATE", opcode::Fallocate::CODE),
    ("OPENAT", opcode::OpenAt::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("STATX", opcode::Statx::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("SEND", opcode::Send::CODE),
    ("RECV", opcode::Recv::CODE),
];

pub(crate) fn io_uring() -> IoUring {
    let ring = match io_uring::IoUring::new(ENTRIES) {
        Ok(ring) => ring,
        Err(error) => return refusal(&error),
    };
    let mut probe = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut probe) {
        // A kernel too old to be asked (before 5.6) lacks several of them; a sandbox may forbid the question.
        return refusal(&error);
    }
    let missing = NEEDED.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|(name, _)| *name).collect();
    IoUring::Works { missing }
}

fn refusal(error: &std::io::Error) -> IoUring {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => IoUring::NotImplemented,
        Some(Errno::PERM) => IoUring::NotPermitted { disabled: disabled() },
        Some(Errno::NOMEM) => IoUring::OutOfMemory,
        _ => IoUring::Failed { error: error.to_string() },
    }
}

/// `kernel.io_uring_disabled`, where there is such a thing.
fn disabled() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}
