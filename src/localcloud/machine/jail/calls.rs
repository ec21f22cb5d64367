//! The system calls that no process of an instance may make: those that affect
//! the whole kernel, and those that could circumvent other protections.
//!
//! The filter is a second line of defense behind the user namespace, similar to
//! Docker's default filter. A blocked call fails with `EPERM`, as it does
//! without the privilege. Programs for a different architecture than the host's
//! are killed.

use std::collections::BTreeMap;
use std::io;

use nix::errno::Errno;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// The bit of x32 call numbers, which reach the same calls.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;

/// Blocked with any arguments.
const REFUSED: &[libc::c_long] = &[
    // Kernel keyrings.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Programs and events in the kernel.
    libc::SYS_bpf,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // The kernel itself.
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    // Clocks, accounting, swap.
    libc::SYS_acct,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    // Files outside their paths, and mounts.
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    // Namespaces, memory placement and descriptors of other processes.
    libc::SYS_kcmp,
    libc::SYS_lookup_dcookie,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_pidfd_getfd,
    libc::SYS_setns,
    libc::SYS_vhangup,
];

/// Blocked calls that only x86 has.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS__sysctl,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[libc::SYS_kexec_file_load];

/// Every namespace flag of `clone` and `unshare`.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Socket families that reach a hypervisor or drivers.
const SOCKETS: [libc::c_int; 3] = [libc::AF_VSOCK, libc::AF_ALG, libc::AF_XDP];

/// Blocks these calls for this process and all that it executes.
pub(super) fn refuse() -> io::Result<()> {
    install(&unknown_calls().map_err(io::Error::other)?)?;
    install(&refused_calls().map_err(io::Error::other)?)
}

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Compiles the filter for `clone3`. Its flags are in memory, which a filter
/// cannot read. With `ENOSYS`, programs fall back to `clone`.
fn unknown_calls() -> Result<BpfProgram, Failure> {
    let mut rules = Rules::new();
    refuse_call(&mut rules, libc::SYS_clone3, &[]);
    compile(rules, libc::ENOSYS)
}

fn compile(rules: Rules, error: libc::c_int) -> Result<BpfProgram, Failure> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let fails = SeccompAction::Errno(error.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, fails, architecture)?;
    Ok(filter.try_into()?)
}

fn refused_calls() -> Result<BpfProgram, Failure> {
    let mut rules = Rules::new();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        refuse_call(&mut rules, *call, &[]);
    }
    let with_flag = |flag: libc::c_int| -> Result<SeccompRule, seccompiler::BackendError> {
        let flag = u64::from(flag.cast_unsigned());
        let set = SeccompCmpOp::MaskedEq(flag);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, set, flag)?;
        SeccompRule::new(vec![condition])
    };
    let namespaces = NAMESPACES.into_iter().map(with_flag);
    let namespaces = namespaces.collect::<Result<Vec<_>, _>>()?;
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        refuse_call(&mut rules, call, &namespaces);
    }
    let of_family = |family: libc::c_int| -> Result<SeccompRule, seccompiler::BackendError> {
        let family = u64::from(family.cast_unsigned());
        let same = SeccompCmpOp::Eq;
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, same, family)?;
        SeccompRule::new(vec![condition])
    };
    let sockets = SOCKETS.into_iter().map(of_family);
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    refuse_call(&mut rules, libc::SYS_socket, &sockets);
    compile(rules, libc::EPERM)
}

fn refuse_call(rules: &mut Rules, call: libc::c_long, when: &[SeccompRule]) {
    rules.insert(call, when.to_vec());
    #[cfg(target_arch = "x86_64")]
    rules.insert(call | X32, when.to_vec());
}

/// Installs a filter. The crate's own function sets no_new_privs, which would
/// disable set-user-ID programs such as sudo. This process has the privilege to
/// install filters without it.
#[expect(
    unsafe_code,
    reason = "the crate installs filters only with no_new_privs"
)]
fn install(program: &BpfProgram) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel reads `len` instructions, which have its own layout.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    Ok(Errno::result(result).map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_short_enough_for_the_kernel() {
        let length = refused_calls().unwrap().len();
        assert!(length < 4096, "{length} instructions");
    }
}
