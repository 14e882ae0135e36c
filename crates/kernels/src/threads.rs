//! A small pool: one fork and join a kernel, tasks fixed by the shape, never by the number of threads.
//!
//! Workers spin for 200 µs after their last job and then park, so that the layers of one inference find them awake
//! and an idle session costs nothing. The calling thread always works too, and waits only for workers that joined the
//! job: a worker that the system has not scheduled delays nobody.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a worker looks for the next job before it parks.
const SPIN: Duration = Duration::from_micros(200);
/// Bit of [`Shared::state`]: the job may be joined. Below it: how many workers are in it; above it: its number.
const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;
const EPOCH: u64 = 1 << 32;

/// A handle to a pool of threads; clones share the pool. One thread means no pool at all.
///
/// Results of every kernel are the same bytes at any number of threads.
#[derive(Clone)]
pub struct Threads {
    pool: Option<Arc<Pool>>,
}

struct Pool {
    shared: Arc<Shared>,
    /// Held while a job runs; whoever finds it taken (a nested or concurrent call) runs its tasks alone.
    caller: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
}

struct Shared {
    state: AtomicU64,
    /// Written only by the holder of `Pool::caller` while no worker is active; read only by workers that joined.
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

impl Threads {
    /// A pool of `n_threads` in all, the calling thread included; 0 counts as 1.
    ///
    /// If the system refuses to start a thread, the pool is as large as it allowed.
    pub fn new(n_threads: usize) -> Self {
        if n_threads <= 1 {
            return Self::single();
        }
        let n_threads = n_threads.min(1024);
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
        Self { pool: Some(Arc::new(Pool { shared, caller: Mutex::new(()), workers, handles })) }
    }

    /// Everything on the calling thread.
    pub fn single() -> Self {
        Self { pool: None }
    }

    /// Number of threads that work on a job, the caller included.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.workers.len() + 1)
    }

    /// Runs `task(0)` to `task(n_tasks - 1)`, each once, in any order and at the same time; returns when all are done.
    ///
    /// A call from inside a task, or while another thread uses this pool, runs its tasks on the calling thread.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run(&self, n_tasks: usize, task: impl Fn(usize) + Sync) {
        let Some(pool) = self.pool.as_ref().filter(|_| n_tasks > 1) else {
            return (0..n_tasks).for_each(task);
        };
        let Ok(_caller) = pool.caller.try_lock() else {
            return (0..n_tasks).for_each(task);
        };
        pool.run(n_tasks, &task);
    }

    /// Splits `items` into chunks of `chunk` elements (the last may be shorter) and runs `task(index, chunk)` on each.
    pub fn run_chunks<T: Send>(&self, items: &mut [T], chunk: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        let (len, chunk) = (items.len(), chunk.max(1));
        let start = Shareable(items.as_mut_ptr());
        self.run(len.div_ceil(chunk), |index| {
            let first = index * chunk;
            // SAFETY: the chunks are disjoint parts of `items`, which is borrowed until all tasks are done.
            let part = unsafe { std::slice::from_raw_parts_mut(start.at(first), chunk.min(len - first)) };
            task(index, part);
        });
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("count", &self.count()).finish()
    }
}

/// A pointer to output that tasks write in disjoint parts.
pub(crate) struct Shareable<T>(pub *mut T);

impl<T> Shareable<T> {
    /// # Safety
    /// `offset` lies inside the allocation, and no other task touches what the caller will touch there.
    pub unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller's.
        unsafe { self.0.add(offset) }
    }
}

// SAFETY: users write disjoint parts, see `at`.
unsafe impl<T: Send> Sync for Shareable<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shareable<T> {}

impl Pool {
    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
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

impl Drop for Pool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_exactly_once() {
        for n_threads in [1, 2, 3, 5] {
            let threads = Threads::new(n_threads);
            for n_tasks in [0, 1, 2, 3, 7, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                threads.run(n_tasks, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{n_threads} {n_tasks}");
            }
        }
    }

    #[test]
    fn nested_and_concurrent_calls_finish() {
        let threads = Threads::new(3);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        threads.run(4, |_| threads.run(2, |_| _ = total.fetch_add(1, Ordering::Relaxed)));
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 3 * 200 * 4 * 2);
    }

    #[test]
    fn parked_workers_wake_and_the_pool_ends() {
        let threads = Threads::new(4);
        for _ in 0..3 {
            std::thread::sleep(SPIN * 5);
            let total = AtomicUsize::new(0);
            threads.run(8, |i| _ = total.fetch_add(i, Ordering::Relaxed));
            assert_eq!(total.load(Ordering::Relaxed), 28);
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
        let threads = Threads::new(2);
        for _ in 0..20 {
            let outcome = catch_unwind(AssertUnwindSafe(|| threads.run(8, |i| assert!(i != 5, "five"))));
            assert!(outcome.is_err());
        }
        let total = AtomicUsize::new(0);
        threads.run(10, |i| _ = total.fetch_add(i, Ordering::Relaxed));
        assert_eq!(total.load(Ordering::Relaxed), 45);
    }

    #[test]
    fn chunks_cover_the_slice() {
        let mut items = vec![0usize; 103];
        Threads::new(2).run_chunks(&mut items, 10, |index, chunk| chunk.fill(index));
        assert!(items.iter().enumerate().all(|(i, &index)| index == i / 10));
    }
}
