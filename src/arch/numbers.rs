//! The calls that processors of 32 bits have twice. Here they are under the names of the others,
//! and are the ones with ids of 32 bits, times of 64 and sizes of 64: of the older ones some answer
//! success and change nothing (ids above 65535), or fail (file systems of terabytes, after 2038).

#[cfg(target_pointer_width = "64")]
pub use linux_raw_sys::general::{
    __NR_clock_gettime, __NR_fstatfs, __NR_getgroups, __NR_getresgid, __NR_getresuid, __NR_ppoll,
    __NR_rt_sigtimedwait, __NR_setgroups, __NR_setresgid, __NR_setresuid, __NR_statfs,
};

#[cfg(target_pointer_width = "32")]
pub use linux_raw_sys::general::{
    __NR_clock_gettime64 as __NR_clock_gettime, __NR_fstatfs64 as __NR_fstatfs,
    __NR_getgroups32 as __NR_getgroups, __NR_getresgid32 as __NR_getresgid,
    __NR_getresuid32 as __NR_getresuid, __NR_ppoll_time64 as __NR_ppoll,
    __NR_rt_sigtimedwait_time64 as __NR_rt_sigtimedwait, __NR_setgroups32 as __NR_setgroups,
    __NR_setresgid32 as __NR_setresgid, __NR_setresuid32 as __NR_setresuid,
    __NR_statfs64 as __NR_statfs,
};
