//! Children by `fork`.

/// Seconds after which a child has hung: many times what one takes on a machine that is busy.
const HANGS: u32 = 300;

/// Forks; the child runs `body`, which may use this heap but not the system's, and exits with the
/// code that it gives.
pub fn fork(body: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child calls only what is safe after a fork in a threaded program, and _exit.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork");
        if child == 0 {
            // A child that hangs on a lock is a failure, not a test that never ends.
            libc::alarm(HANGS);
            let code = body();
            libc::_exit(code);
        }
        child
    }
}

/// Waits for a child and gives its exit code, or the signal that ended it as a negative number.
pub fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: our child, a valid place.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
}
