//! Why io_uring cannot be used: the two refusals that look alike, "not there" and "not for you", have different cures.

use super::{KERNEL_MIN, Line};
use crate::cli::check::facts::IoUring;

const CHECK: &str = "io_uring";

/// `version` is the kernel's, if known.
pub(super) fn judge(outcome: &IoUring, version: Option<(u32, u32)>) -> Line {
    match outcome {
        IoUring::Works { missing } if missing.is_empty() => Line::ok(CHECK, "works, with every operation needed"),
        IoUring::Works { missing } => Line::fail(
            CHECK,
            format!("works, but lacks {}", missing.join(", ")),
            "upgrade the kernel to 5.15 or newer, or leave the sandbox that restricts io_uring",
        ),
        IoUring::NotImplemented => not_implemented(version),
        IoUring::NotPermitted { disabled } => not_permitted(*disabled),
        IoUring::OutOfMemory => Line::fail(
            CHECK,
            "no memory for a ring (ENOMEM)",
            "before Linux 5.12 rings count as locked memory: raise the memlock limit, or free memory",
        ),
        IoUring::Failed { error } => Line::fail(
            CHECK,
            format!("a ring cannot be set up: {error}"),
            "look for a security module or sandbox that interferes; `strace -e trace=io_uring_setup ringlog check` shows \
             the call",
        ),
    }
}

fn not_implemented(version: Option<(u32, u32)>) -> Line {
    let found = "not present (ENOSYS)";
    let advice = if version.is_some_and(|version| version < KERNEL_MIN) {
        "this kernel is too old: upgrade to 5.15 or newer"
    } else {
        "this kernel is new enough, so it was built without CONFIG_IO_URING, or a sandbox (gVisor, some seccomp \
         profiles) hides it: run on a kernel that has it, outside of such a sandbox"
    };
    Line::fail(CHECK, found, advice)
}

fn not_permitted(disabled: Option<u8>) -> Line {
    let (found, advice) = match disabled {
        Some(2) => (
            "forbidden (EPERM): kernel.io_uring_disabled=2, for every process",
            "as root: `sysctl -w kernel.io_uring_disabled=0`, and the same line in /etc/sysctl.d to keep it",
        ),
        Some(1) => (
            "forbidden (EPERM): kernel.io_uring_disabled=1, for processes without CAP_SYS_ADMIN",
            "add the broker's user to the group whose id is in kernel.io_uring_group, or as root: `sysctl -w \
             kernel.io_uring_disabled=0`",
        ),
        Some(_) | None => (
            "forbidden (EPERM), and not by kernel.io_uring_disabled",
            "a seccomp filter or security module forbids it, as Docker's and containerd's default profiles do: allow \
             io_uring_setup, io_uring_enter and io_uring_register in the profile, or run with `--security-opt \
             seccomp=unconfined`",
        ),
    };
    Line::fail(CHECK, found, advice)
}
