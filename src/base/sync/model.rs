//! Atomics that a model checker (loom) watches, in the shape of the real ones.
//!
//! loom's own types can be made at run time only, inside of an execution, and are larger than what
//! they stand for; the heap has its atomics in statics, in zeroed metadata and behind descriptors. So
//! an atomic here is the real one with a shadow: within an execution the first operation on an
//! address makes a loom atomic that begins with the value that stands there, and all operations go to
//! that. The word itself never changes in an execution, so each one begins with the same values.
//! Outside of an execution the operations are the real ones.
//!
//! loom wants an atomic made before the threads that use it. Addresses are learnt: an execution that
//! meets a new one in a thread is given up, and the exploration starts again with the address known,
//! so that the shadow is made before the first thread is.
//!
//! What is watched besides: what a lock guards (`Guarded`), memory that a scenario says is alive or
//! gone ([`alive`], [`gone`]), and sleepers on a word ([`sleep`], [`rouse`]), so that races, uses
//! after a release and lost wake-ups end the exploration.
//!
//! An ordering can be weakened by its place in the source ([`Flaw`]): a scenario that does not notice
//! proves nothing, and one that does shows that the ordering is needed.
//!
//! Limits, of loom: `SeqCst` operations count as `AcqRel`, a `SeqCst` fence synchronises with every
//! other one (more than C++20 promises), of each atomic the last seven values are remembered, and a
//! scenario has four threads besides the first at most.

mod explore;

use core::ops::Range;
use core::panic::Location;
pub(crate) use core::sync::atomic::Ordering;
pub(crate) use explore::{Flaw, check, must_find};
use loom::cell::UnsafeCell;
use loom::sync::atomic as watched;
use loom::thread::Thread;
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic;
use std::rc::Rc;
use std::sync::Mutex;
use std::vec::Vec;

/// A place in the source: file and line.
pub(crate) type Site = (&'static str, u32);

/// What one execution has.
#[derive(Default)]
struct Execution {
    atoms: HashMap<usize, Rc<watched::AtomicU64>>,
    cells: HashMap<usize, Rc<UnsafeCell<()>>>,
    queues: HashMap<usize, Vec<Thread>>,
    regions: Vec<(Range<usize>, Rc<UnsafeCell<()>>)>,
    /// Threads of the scenario run: shadows made from now on are late.
    threaded: bool,
}

/// What an exploration knows beyond one execution.
#[derive(Default)]
struct Exploration {
    running: Option<Execution>,
    /// Addresses of atomics (and of guarded values) with a way to their first value.
    known: BTreeMap<usize, Option<fn(usize) -> u64>>,
    /// An address was met too late.
    learnt: bool,
    flaw: Option<BTreeSet<Site>>,
    /// Places whose ordering could be weaker, with what stands there.
    seen: BTreeMap<Site, &'static str>,
    executions: u64,
}

std::thread_local! {
    // loom runs the threads of a scenario as coroutines of this one.
    static HERE: RefCell<Exploration> = RefCell::default();
}

fn here<R>(act: impl FnOnce(&mut Exploration) -> R) -> R {
    HERE.with(|it| act(&mut it.borrow_mut()))
}

/// Scenarios share the heap's statics: one exploration at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Whether a scenario is being run.
fn running() -> bool {
    here(|it| it.running.is_some())
}

/// Whether the execution is being given up: what destructors still do is done to copies.
fn in_ruins() -> bool {
    std::thread::panicking() && running()
}

/// Given up: an address was not known in time.
struct Late;

/// The shadow of an atomic; `None` outside of an execution.
fn shadow(at: usize, first: fn(usize) -> u64) -> Option<Rc<watched::AtomicU64>> {
    if in_ruins() {
        return None;
    }
    let used: Vec<_> = here(|it| {
        let regions = it.running.iter().flat_map(|running| &running.regions);
        regions.filter(|region| region.0.contains(&at)).map(|region| Rc::clone(&region.1)).collect()
    });
    used.iter().for_each(|cell| cell.with(|_| ()));
    let found = here(|it| {
        let running = it.running.as_ref()?;
        match running.atoms.get(&at) {
            Some(atom) => Some(Some(Rc::clone(atom))),
            None if running.threaded => {
                it.known.insert(at, Some(first));
                it.learnt = true;
                Some(None)
            }
            None => {
                let atom = Rc::new(watched::AtomicU64::new(first(at)));
                it.running.as_mut()?.atoms.insert(at, Rc::clone(&atom));
                Some(Some(atom))
            }
        }
    });
    match found {
        Some(None) => panic::resume_unwind(Box::new(Late)),
        found => found.flatten(),
    }
}

/// The ordering that an operation has now: as written, unless this is the flaw.
#[track_caller]
fn weigh(order: Ordering) -> Ordering {
    if order == Ordering::Relaxed {
        return order;
    }
    let name = match order {
        Ordering::Acquire => "Acquire",
        Ordering::Release => "Release",
        Ordering::AcqRel => "AcqRel",
        _ => "SeqCst",
    };
    if flawed(name) { Ordering::Relaxed } else { order }
}

/// Notes the caller's place; whether it is the flaw.
#[track_caller]
fn flawed(what: &'static str) -> bool {
    let place = Location::caller();
    let site = (place.file(), place.line());
    here(|it| {
        it.seen.entry(site).or_insert(what);
        it.flaw.as_ref().is_some_and(|flaw| flaw.contains(&site))
    })
}

/// A value that fits into a word.
trait Word: Copy {
    fn word(self) -> u64;
    fn of(word: u64) -> Self;
}

macro_rules! atomic {
    ($($name:ident $of:ty;)*) => {$(
        impl Word for $of {
            fn word(self) -> u64 {
                self as u64
            }
            fn of(word: u64) -> Self {
                word as $of
            }
        }

        #[repr(transparent)]
        pub(crate) struct $name(core::sync::atomic::$name);

        impl $name {
            pub(crate) const fn new(value: $of) -> Self {
                $name(core::sync::atomic::$name::new(value))
            }

            pub(crate) const fn as_ptr(&self) -> *mut $of {
                self.0.as_ptr()
            }

            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $of, order: Ordering) -> $of {
                match self.shadow() {
                    Some(it) => Word::of(it.fetch_add(value.word(), weigh(order))),
                    None => self.real(|it| it.fetch_add(value, order)),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $of, order: Ordering) -> $of {
                match self.shadow() {
                    Some(it) => Word::of(it.fetch_sub(value.word(), weigh(order))),
                    None => self.real(|it| it.fetch_sub(value, order)),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, value: $of, order: Ordering) -> $of {
                match self.shadow() {
                    Some(it) => Word::of(it.fetch_or(value.word(), weigh(order))),
                    None => self.real(|it| it.fetch_or(value, order)),
                }
            }
        }

        common!([] $name, core::sync::atomic::$name, $of);
    )*};
}

macro_rules! common {
    ([$($parameter:ident)?] $name:ty, $real:ty, $of:ty) => {
        impl$(<$parameter>)? $name {
            /// Acts on the word itself.
            fn real<R>(&self, act: impl FnOnce(&$real) -> R) -> R {
                if in_ruins() {
                    return act(&<$real>::new(self.0.load(Ordering::Relaxed)));
                }
                act(&self.0)
            }

            fn shadow(&self) -> Option<Rc<watched::AtomicU64>> {
                fn first$(<$parameter>)?(at: usize) -> u64 {
                    let at = core::ptr::with_exposed_provenance::<$name>(at);
                    // SAFETY: addresses are noted by live atomics, which scenarios have in memory
                    // that outlives the exploration.
                    let at = unsafe { &*at };
                    at.0.load(Ordering::Relaxed).word()
                }
                shadow((&raw const self.0).expose_provenance(), first$(::<$parameter>)?)
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $of {
                match self.shadow() {
                    Some(it) => Word::of(it.load(weigh(order))),
                    None => self.real(|it| it.load(order)),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $of, order: Ordering) {
                match self.shadow() {
                    Some(it) => it.store(value.word(), weigh(order)),
                    None => self.real(|it| it.store(value, order)),
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $of, order: Ordering) -> $of {
                match self.shadow() {
                    Some(it) => Word::of(it.swap(value.word(), weigh(order))),
                    None => self.real(|it| it.swap(value, order)),
                }
            }

            #[track_caller]
            #[allow(dead_code, reason = "not every type's is used")]
            pub(crate) fn compare_exchange(
                &self,
                from: $of,
                to: $of,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$of, $of> {
                match self.shadow() {
                    Some(it) => it
                        .compare_exchange(from.word(), to.word(), weigh(order), weigh(failure))
                        .map(Word::of)
                        .map_err(Word::of),
                    None => self.real(|it| it.compare_exchange(from, to, order, failure)),
                }
            }

            #[track_caller]
            #[allow(dead_code, reason = "not every type's is used")]
            pub(crate) fn compare_exchange_weak(
                &self,
                from: $of,
                to: $of,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$of, $of> {
                self.compare_exchange(from, to, order, failure)
            }
        }
    };
}

atomic! {
    AtomicU8 u8;
    AtomicU32 u32;
    AtomicU64 u64;
    AtomicUsize usize;
}

impl Word for bool {
    fn word(self) -> u64 {
        u64::from(self)
    }
    fn of(word: u64) -> Self {
        word != 0
    }
}

#[repr(transparent)]
pub(crate) struct AtomicBool(core::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) const fn new(value: bool) -> Self {
        AtomicBool(core::sync::atomic::AtomicBool::new(value))
    }
}

common!([] AtomicBool, core::sync::atomic::AtomicBool, bool);

impl<T> Word for *mut T {
    fn word(self) -> u64 {
        self.expose_provenance() as u64
    }
    fn of(word: u64) -> Self {
        core::ptr::with_exposed_provenance_mut(word as usize)
    }
}

#[repr(transparent)]
pub(crate) struct AtomicPtr<T>(core::sync::atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    pub(crate) const fn new(value: *mut T) -> Self {
        AtomicPtr(core::sync::atomic::AtomicPtr::new(value))
    }
}

common!([T] AtomicPtr<T>, core::sync::atomic::AtomicPtr<T>, *mut T);

/// Half of a fence whose other half is a barrier in every thread (`os::barrier`): together they are
/// two full fences, and that is what both are here.
#[track_caller]
pub(crate) fn compiler_fence(order: Ordering) {
    if !running() || in_ruins() {
        core::sync::atomic::compiler_fence(order);
    } else if !flawed("fence") {
        watched::fence(Ordering::SeqCst);
    }
}

/// The other half. True: there is one.
#[track_caller]
pub(crate) fn barrier() -> bool {
    if running() && !in_ruins() && !flawed("barrier") {
        watched::fence(Ordering::SeqCst);
    }
    true
}

/// Lets others run.
pub(crate) fn spin_loop() {
    if running() && !in_ruins() {
        loom::hint::spin_loop();
    } else {
        core::hint::spin_loop();
    }
}

/// Notes that who uses what is guarded at this address is its only user.
pub(crate) fn written<T>(at: *const T) {
    if in_ruins() {
        return;
    }
    let at = at.addr();
    let found = here(|it| {
        let running = it.running.as_mut()?;
        if let Some(cell) = running.cells.get(&at) {
            return Some(Some(Rc::clone(cell)));
        }
        if running.threaded {
            it.known.insert(at, None);
            it.learnt = true;
            return Some(None);
        }
        Some(Some(Rc::clone(
            running.cells.entry(at).or_insert_with(|| Rc::new(UnsafeCell::new(()))),
        )))
    });
    match found {
        Some(None) => panic::resume_unwind(Box::new(Late)),
        Some(Some(cell)) => cell.with_mut(|_| ()),
        None => {}
    }
}

/// The queue of a word's sleepers: an atomic of its own beside the word, as the kernel has it.
fn queue(word: &AtomicU32) -> Option<Rc<watched::AtomicU64>> {
    shadow((&raw const word.0).addr() + 1, |_| 0)
}

/// Sleeps until a wake-up if the word holds `value`. Lies down before it looks, as the kernel does
/// under its lock, so that a wake-up in between finds it.
pub(crate) fn sleep(word: &AtomicU32, value: u32) {
    let (Some(queue), Some(atom)) = (queue(word), word.shadow()) else {
        std::thread::yield_now();
        return;
    };
    let at = (&raw const word.0).addr();
    let me = loom::thread::current();
    let id = me.id();
    // AcqRel: the kernel's lock on the queue, under which it looks at the word.
    queue.fetch_add(1, Ordering::AcqRel);
    sleepers(at, |queue| queue.push(me));
    // Relaxed: the queue orders it after any store whose wake-up came before.
    let awake = u32::of(atom.load(Ordering::Relaxed)) != value
        && sleepers(at, |queue| match queue.iter().position(|it| it.id() == id) {
            Some(place) => {
                queue.remove(place);
                true
            }
            // Woken already: the wake-up is to be used up.
            None => false,
        });
    if !awake {
        loom::thread::park();
    }
}

/// Acts on the queue of the word at `at`.
fn sleepers<R>(at: usize, act: impl FnOnce(&mut Vec<Thread>) -> R) -> R {
    here(|it| act(it.running.as_mut().expect("in an execution").queues.entry(at).or_default()))
}

/// Wakes the sleeper that has slept longest.
#[track_caller]
pub(crate) fn rouse(word: &AtomicU32) {
    let Some(queue) = queue(word) else { return };
    if flawed("wake") {
        return;
    }
    // AcqRel: as in `sleep`.
    queue.fetch_add(1, Ordering::AcqRel);
    let at = (&raw const word.0).addr();
    let first = sleepers(at, |queue| (!queue.is_empty()).then(|| queue.remove(0)));
    if let Some(thread) = first {
        thread.unpark();
    }
}

/// From now on every atomic operation in `[at, at + bytes)` is a use of that memory.
pub(crate) fn alive<T>(at: *const T, bytes: usize) {
    let cell = Rc::new(UnsafeCell::new(()));
    here(|it| {
        let running = it.running.as_mut().expect("in an execution");
        running.regions.push((at.addr()..at.addr() + bytes, cell));
    });
}

/// The memory that begins here is somebody else's now: whoever may still use it is found out.
pub(crate) fn gone<T>(at: *const T) {
    let found = here(|it| {
        let running = it.running.as_ref().expect("in an execution");
        let mut regions = running.regions.iter();
        regions.find(|(range, _)| range.start == at.addr()).map(|(_, cell)| Rc::clone(cell))
    });
    found.expect("was said to be alive").with_mut(|_| ());
}

/// Runs the threads of a scenario to their ends; the first is the caller's.
pub(crate) fn together(threads: Vec<Box<dyn FnOnce()>>) {
    here(|it| it.running.as_mut().expect("in an execution").threaded = true);
    let mut threads = threads.into_iter();
    let first = threads.next();
    let others: Vec<_> = threads.map(|run| loom::thread::spawn(run)).collect();
    if let Some(run) = first {
        run();
    }
    for other in others {
        other.join().expect("a panic ends the exploration before");
    }
}
