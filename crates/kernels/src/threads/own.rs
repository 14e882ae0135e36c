//! A small pool of its own.
//!
//! Workers spin for 200 µs after their last job and then park, so that the layers of one inference find them awake
//! and an idle session costs nothing. The calling thread always works too, and waits only for workers that joined the
//! job: a worker that the system has not scheduled delays nobody.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for the next job before it parks.
const SPIN: Duration = Duration::from_micros(200);
/// Bit of [`Shared::state`]: the job may be joined. Below it: how many workers are in it; above it: its number.
const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;
const EPOCH: u64 = 1 << 32;

pub(super) struct OwnPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
}

struct Shared {
    state: AtomicU64,
    /// Written only by the caller of `OwnPool::run` while no worker is active; read only by workers that joined.
    job: UnsafeCell<Option<Job>>,
    /// Next task of each participant's share; others steal from it when theirs is done.
    next: Vec<AtomicUsize>,
    parked: Vec<AtomicBool>,
    stop: AtomicBool,
    panicked: AtomicBool,
}

// SAFETY: `job` is guarded by `state` as its comment says; everything else is atomic.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointer in `job` points to a `Sync` closure and is used only while its owner waits.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    n_tasks: usize,
}

impl OwnPool {
    /// A pool of `n_threads` in all, the calling thread included, or as many as the system allows.
    pub fn new(n_threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: (0..n_threads).map(|_| AtomicUsize::new(0)).collect(),
            parked: (0..n_threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let workers: Vec<_> = (1..n_threads)
            .map_while(|slot| {
                let shared = Arc::clone(&shared);
                let name = format!("lissom-{slot}");
                std::thread::Builder::new().name(name).spawn(move || shared.work(slot)).ok()
            })
            .collect();
        let handles = workers.iter().map(|worker| worker.thread().clone()).collect();
        Self { shared, workers, handles }
    }

    /// Number of threads, the calling one included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// See `Threads::run`.
    ///
    /// # Safety
    /// One call at a time.
    pub unsafe fn run(&self, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; this function does not return before every worker has left the job.
        let task: *const (dyn Fn(usize) + Sync + 'static) = unsafe { std::mem::transmute(task) };
        let job = Job { task, n_tasks };
        // SAFETY: the caller's lock is held and no worker is active, so nobody else touches `job`.
        unsafe { *shared.job.get() = Some(job) };
        for (slot, next) in shared.next.iter().enumerate() {
            next.store(shared.share(slot, n_tasks), Ordering::Relaxed);
        }
        let epoch = shared.state.load(Ordering::Relaxed) / EPOCH + 1;
        shared.state.store(epoch.wrapping_mul(EPOCH) | OPEN, Ordering::SeqCst);
        for (handle, parked) in self.handles.iter().zip(&shared.parked[1..]) {
            if parked.load(Ordering::SeqCst) {
                handle.unpark();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| shared.do_tasks(0, job)));
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while shared.state.load(Ordering::Acquire) & ACTIVE != 0 {
            spins += 1;
            if spins.is_multiple_of(1 << 12) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
        if let Err(payload) = mine {
            shared.panicked.store(false, Ordering::Relaxed);
            std::panic::resume_unwind(payload);
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a task panicked on another thread");
    }
}

impl Drop for OwnPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (worker, handle) in self.workers.drain(..).zip(&self.handles) {
            handle.unpark();
            // A worker catches the panics of tasks, so joining cannot fail in a way worth a second panic.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// First task of `slot`'s share.
    fn share(&self, slot: usize, n_tasks: usize) -> usize {
        (slot as u128 * n_tasks as u128 / self.next.len() as u128) as usize
    }

    fn do_tasks(&self, slot: usize, job: Job) {
        let n_slots = self.next.len();
        for step in 0..n_slots {
            let victim = (slot + step) % n_slots;
            let end = self.share(victim + 1, job.n_tasks);
            loop {
                let index = self.next[victim].fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                // SAFETY: the owner of the closure waits until every participant has left the job.
                unsafe { (*job.task)(index) };
            }
        }
    }

    fn work(&self, slot: usize) {
        let mut last_epoch = 0;
        while let Some(state) = self.next_job(slot, last_epoch) {
            if self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // Another worker joined, or the job is closed: look again, for this job too.
                continue;
            }
            last_epoch = state / EPOCH;
            // SAFETY: this worker is active now, so `job` stays as it is until it leaves.
            if let Some(job) = unsafe { *self.job.get() }
                && catch_unwind(AssertUnwindSafe(|| self.do_tasks(slot, job))).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits for an open job other than `last_epoch` and returns the state that shows it; `None` when the pool ends.
    fn next_job(&self, slot: usize, last_epoch: u64) -> Option<u64> {
        let is_new = |state: u64| state & OPEN != 0 && state / EPOCH != last_epoch;
        loop {
            let started = Instant::now();
            while started.elapsed() < SPIN {
                for _ in 0..64 {
                    let state = self.state.load(Ordering::Acquire);
                    if is_new(state) {
                        return Some(state);
                    }
                    std::hint::spin_loop();
                }
                if self.stop.load(Ordering::Relaxed) {
                    return None;
                }
            }
            self.parked[slot].store(true, Ordering::SeqCst);
            // The job may have been opened before the flag was seen; then do not sleep.
            if !is_new(self.state.load(Ordering::SeqCst)) && !self.stop.load(Ordering::SeqCst) {
                std::thread::park();
            }
            self.parked[slot].store(false, Ordering::SeqCst);
        }
    }
}
