//! Where a thread is, and what happens when it touches what it must not: stacks, names of code
//! addresses, the handler of memory faults. For reports only; no allocation path depends on it.
//!
//! Assumes that [`prepare`] ran before the first stack is taken: the C library loads its unwinder
//! then, which may allocate. Promises: afterwards nothing here allocates. Stacks need unwind tables
//! (which compilers emit by default); without them, and on other systems, they are empty.

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", not(miri)))]
mod imp {
    use core::cell::UnsafeCell;
    use core::ffi::{CStr, c_int, c_void};
    use core::fmt::{self, Write};
    use core::mem::MaybeUninit;
    use core::ptr;
    use static_assertions::const_assert_eq;

    /// Loads what stacks need.
    pub(crate) fn prepare() {
        let mut frames = [0; 4];
        backtrace(&mut frames);
    }

    /// Writes the return addresses of the calling thread, the innermost first. Gives their number.
    pub(crate) fn backtrace(frames: &mut [usize]) -> usize {
        let room = c_int::try_from(frames.len()).unwrap_or(c_int::MAX);
        // SAFETY: the buffer has room for so many pointers, which are as large as a usize.
        let count = unsafe { libc::backtrace(frames.as_mut_ptr().cast(), room) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The kernel's number of the calling thread.
    pub(crate) fn thread_id() -> u32 {
        // SAFETY: no preconditions.
        unsafe { libc::gettid() }.cast_unsigned()
    }

    /// Writes where a code address lies: module and offset, and the function if its name is known.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write_place(address: usize, out: &mut dyn Write) -> fmt::Result {
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: `found` is valid; the call looks the address up and touches it not.
        let known = unsafe {
            libc::dladdr(ptr::without_provenance::<c_void>(address), found.as_mut_ptr()) != 0
        };
        // SAFETY: all-zero is a valid value; the call has filled it in if it knew the address.
        let found = unsafe { found.assume_init() };
        if !known || found.dli_fname.is_null() {
            return out.write_str("(no module)");
        }
        // SAFETY: the loader's strings are C strings that live as long as the module.
        let name = unsafe { CStr::from_ptr(found.dli_fname) };
        write!(
            out,
            "{}+{:#x}",
            name.to_str().unwrap_or("?"),
            address.wrapping_sub(found.dli_fbase.addr())
        )?;
        if !found.dli_sname.is_null() {
            // SAFETY: as above.
            let symbol = unsafe { CStr::from_ptr(found.dli_sname) };
            write!(
                out,
                " ({}+{:#x})",
                symbol.to_str().unwrap_or("?"),
                address.wrapping_sub(found.dli_saddr.addr())
            )?;
        }
        Ok(())
    }

    /// A fault: the address that was touched, and whether it was to be written.
    pub(crate) struct Fault {
        pub(crate) address: usize,
        pub(crate) write: bool,
    }

    /// Looks at a fault. True: it was ours and has been reported.
    pub(crate) type Look = fn(&Fault) -> bool;

    /// A handler as `SA_SIGINFO` has it, and as without.
    type WithInformation = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    type Plain = unsafe extern "C" fn(c_int);
    const_assert_eq!(size_of::<libc::sighandler_t>(), size_of::<WithInformation>());
    const_assert_eq!(align_of::<libc::sighandler_t>(), align_of::<WithInformation>());

    struct Handler {
        look: UnsafeCell<Option<Look>>,
        previous: UnsafeCell<MaybeUninit<libc::sigaction>>,
    }

    // SAFETY: written once, before the handler is installed.
    unsafe impl Sync for Handler {}

    static HANDLER: Handler =
        Handler { look: UnsafeCell::new(None), previous: UnsafeCell::new(MaybeUninit::zeroed()) };

    /// Has every memory fault looked at from now on. What is not ours goes to the handler that was
    /// there before, and what is ours, too, once it has been reported: by default the process ends
    /// with the signal, at the instruction that did it.
    ///
    /// # Safety
    /// Called once.
    pub(crate) unsafe fn on_fault(look: Look) -> bool {
        // SAFETY: the first call, and the handler is not installed yet; all-zero is a valid
        // sigaction, whose handler is as wide as a function pointer; the handler is a function of this
        // library, which is never unloaded.
        unsafe {
            HANDLER.look.get().write(Some(look));
            let previous = (*HANDLER.previous.get()).as_mut_ptr();
            let mut action: libc::sigaction = core::mem::zeroed();
            // The C library's field is a number; what the kernel calls is written as what it is.
            (&raw mut action.sa_sigaction).cast::<WithInformation>().write(faulted);
            // On the stack that the thread is on: alternate ones are too small to take a stack from (8
            // KiB in Rust programs). So an overflow of the stack ends the process without a handler.
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGSEGV, ptr::null(), previous) == 0
                && libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()) == 0
        }
    }

    /// The handler.
    ///
    /// # Safety
    /// Called by the kernel, for a signal that it was installed for.
    unsafe extern "C" fn faulted(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        /// Bit of the processor's error code: the access was a write.
        const WRITE: i64 = 2;
        // SAFETY: the kernel passes a valid siginfo and context; both fields of the handler were
        // written before it was installed.
        let (ours, previous, plain) = unsafe {
            let context: *const libc::ucontext_t = context.cast();
            let error = (*context).uc_mcontext.gregs[libc::REG_ERR as usize];
            let fault = Fault { address: (*info).si_addr().addr(), write: error & WRITE != 0 };
            // Sent by another process, there is no address.
            let real = (*info).si_code > 0;
            let ours = real && (*HANDLER.look.get()).is_some_and(|look| look(&fault));
            let previous = (*HANDLER.previous.get()).as_ptr();
            (ours, previous, (*previous).sa_sigaction)
        };
        // SAFETY: as above; the previous handler gets what the kernel would have given it. It is read as
        // the function that it is, from where the kernel wrote it: a copy would be a number.
        unsafe {
            if plain == libc::SIG_DFL || plain == libc::SIG_IGN || ours {
                // Back to what was before; the instruction then faults again.
                libc::sigaction(signal, previous, ptr::null_mut());
                if (*info).si_code <= 0 && plain == libc::SIG_DFL {
                    libc::raise(signal);
                }
            } else if (*previous).sa_flags & libc::SA_SIGINFO != 0 {
                let run = (&raw const (*previous).sa_sigaction).cast::<WithInformation>().read();
                run(signal, info, context);
            } else {
                let run = (&raw const (*previous).sa_sigaction).cast::<Plain>().read();
                run(signal);
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64", not(miri))))]
mod imp {
    use core::fmt::{self, Write};

    /// Nothing to load.
    pub(crate) fn prepare() {}

    /// No stacks here.
    pub(crate) fn backtrace(_frames: &mut [usize]) -> usize {
        0
    }

    /// Threads have no number here.
    pub(crate) fn thread_id() -> u32 {
        0
    }

    /// Modules have no names here.
    pub(crate) fn write_place(_address: usize, out: &mut dyn Write) -> fmt::Result {
        out.write_str("(no module)")
    }

    /// A fault: the address that was touched, and whether it was to be written. None is seen here.
    #[allow(dead_code)]
    pub(crate) struct Fault {
        pub(crate) address: usize,
        pub(crate) write: bool,
    }

    /// Looks at a fault. True: it was ours and has been reported.
    pub(crate) type Look = fn(&Fault) -> bool;

    /// No faults are seen here: whoever makes one ends without a report.
    ///
    /// # Safety
    /// None.
    pub(crate) unsafe fn on_fault(_look: Look) -> bool {
        false
    }
}

pub(crate) use imp::*;
