//! A measured process: what it said and what it took. Part of several benches.

#![expect(unsafe_code, reason = "only wait4 tells what a child used")]

/// The output of `child` and its peak resident memory in kB, as the kernel counted it.
pub fn finish(mut child: std::process::Child) -> (Vec<u8>, i64) {
    let mut output = Vec::new();
    std::io::Read::read_to_end(child.stdout.as_mut().unwrap(), &mut output).unwrap();
    // SAFETY: `rusage` is plain numbers, for which all zero bits are a value.
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    // SAFETY: both pointers are to live values of the right types, and the child is ours and not waited for yet.
    let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) };
    assert!(waited > 0 && status == 0, "the main job failed");
    (output, usage.ru_maxrss)
}
