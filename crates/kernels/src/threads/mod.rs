//! The threads a kernel runs on: a small pool of its own, or the caller's.
//!
//! One fork and join a kernel; tasks are fixed by the shape, never by which thread runs them.

mod own;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use own::OwnPool;

const MAX_THREADS: usize = 1024;

/// Threads of a program that kernels may use.
///
/// Whatever an implementation does, every task of a kernel runs exactly once: tasks are handed out inside `work`, and the
/// calling thread does those that are left.
pub trait Pool: Send + Sync {
    /// Threads that may work on one job, the calling one included: kernels cut their work for as many.
    fn count(&self) -> usize;

    /// Calls `work` on as many threads as are free, perhaps on none, and returns when all calls have returned.
    ///
    /// `work` does not panic; it returns when no task is left. A call that comes too late returns at once.
    fn broadcast(&self, work: &(dyn Fn() + Sync));
}

/// A handle to a pool of threads; clones share the pool. One thread means no pool at all.
///
/// Results of every kernel are the same bytes at any number of threads.
#[derive(Clone)]
pub struct Threads {
    team: Option<Arc<Team>>,
}

struct Team {
    /// Held while a job runs; whoever finds it taken (a nested or concurrent call) runs its tasks alone.
    caller: Mutex<()>,
    members: Members,
}

enum Members {
    Own(OwnPool),
    /// With the number of threads it said first: work that is cut for it must not change.
    Callers(Arc<dyn Pool>, usize),
}

impl Threads {
    /// A pool of `n_threads` in all, the calling thread included; 0 counts as 1.
    ///
    /// If the system refuses to start a thread, the pool is as large as it allowed.
    pub fn new(n_threads: usize) -> Self {
        if n_threads <= 1 {
            return Self::single();
        }
        Self::of(Members::Own(OwnPool::new(n_threads.min(MAX_THREADS))))
    }

    /// The caller's threads: no others are started.
    pub fn on(pool: Arc<dyn Pool>) -> Self {
        let count = pool.count().clamp(1, MAX_THREADS);
        Self::of(Members::Callers(pool, count))
    }

    /// Everything on the calling thread.
    pub fn single() -> Self {
        Self { team: None }
    }

    fn of(members: Members) -> Self {
        Self { team: Some(Arc::new(Team { caller: Mutex::new(()), members })) }
    }

    /// Number of threads that work on a job, the caller included.
    pub fn count(&self) -> usize {
        match self.team.as_deref() {
            None => 1,
            Some(Team { members: Members::Own(pool), .. }) => pool.count(),
            Some(Team { members: Members::Callers(_, count), .. }) => *count,
        }
    }

    /// True if the threads are the caller's, who may use the calling thread for something else while a job runs.
    pub fn are_callers(&self) -> bool {
        matches!(self.team.as_deref(), Some(Team { members: Members::Callers(..), .. }))
    }

    /// Runs `task(0)` to `task(n_tasks - 1)`, each once, in any order and at the same time; returns when all are done.
    ///
    /// A call from inside a task, or while another thread uses this pool, runs its tasks on the calling thread.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run(&self, n_tasks: usize, task: impl Fn(usize) + Sync) {
        self.run_tasks(n_tasks, &task);
    }

    /// One for all tasks, so that the code of each is there once.
    fn run_tasks(&self, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let team = self.team.as_deref().filter(|_| n_tasks > 1);
        let Some((team, _caller)) = team.and_then(|team| Some((team, team.enter()?))) else {
            return (0..n_tasks).for_each(task);
        };
        match &team.members {
            // SAFETY: `_caller` is held by one thread at a time.
            Members::Own(pool) => unsafe { pool.run(n_tasks, task) },
            Members::Callers(pool, _) => run_on(&**pool, n_tasks, task),
        }
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

impl Team {
    /// None if the pool is in use. A task that panicked leaves nothing half done, so poison means nothing.
    fn enter(&self) -> Option<MutexGuard<'_, ()>> {
        match self.caller.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Hands out the tasks one by one to whoever calls `work`, at last to this thread.
fn run_on(pool: &dyn Pool, n_tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let panic: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);
    let work = || {
        // Looked at first, so that no number of late calls can make the counter wrap around.
        while next.load(Ordering::Relaxed) < n_tasks {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= n_tasks {
                break;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(index))) {
                panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
            }
        }
    };
    pool.broadcast(&work);
    work();
    if let Some(payload) = panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
        resume_unwind(payload);
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("count", &self.count()).field("are_callers", &self.are_callers()).finish()
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
