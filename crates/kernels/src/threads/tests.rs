//! Every task runs once, on any pool.

use std::time::Duration;

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
        std::thread::sleep(Duration::from_millis(1));
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

struct Rayon(rayon::ThreadPool);

impl Pool for Rayon {
    fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    fn broadcast(&self, work: &(dyn Fn() + Sync)) {
        self.0.broadcast(|_| work());
    }
}

/// Calls `work` this often, half of the time on other threads.
struct Calls(usize);

impl Pool for Calls {
    fn count(&self) -> usize {
        self.0
    }

    fn broadcast(&self, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 0..self.0.div_ceil(2) {
                scope.spawn(work);
            }
            (0..self.0 / 2).for_each(|_| work());
        });
    }
}

fn callers_pools() -> Vec<Threads> {
    let rayon = |n| Rayon(rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    vec![
        Threads::on(Arc::new(rayon(1))),
        Threads::on(Arc::new(rayon(3))),
        Threads::on(Arc::new(Calls(0))),
        Threads::on(Arc::new(Calls(17))),
    ]
}

#[test]
fn every_task_runs_exactly_once_on_a_callers_pool() {
    for threads in callers_pools() {
        assert!(threads.count() >= 1);
        for n_tasks in [0, 1, 2, 3, 7, 64, 1000] {
            let counts: Vec<AtomicUsize> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
            threads.run(n_tasks, |i| _ = counts[i].fetch_add(1, Ordering::Relaxed));
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads:?} {n_tasks}");
        }
    }
}

#[test]
fn a_panic_on_a_callers_pool_reaches_the_caller_with_its_message() {
    for threads in callers_pools() {
        for _ in 0..5 {
            let done = AtomicUsize::new(0);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                threads.run(8, |i| {
                    assert!(i != 5, "five");
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }));
            assert_eq!(outcome.unwrap_err().downcast_ref::<&str>(), Some(&"five"));
            assert_eq!(done.load(Ordering::Relaxed), 7);
        }
    }
}

#[test]
fn a_pool_is_used_again_after_a_panic() {
    let threads = Threads::new(2);
    let panicked = catch_unwind(AssertUnwindSafe(|| threads.run(8, |i| assert!(i != 5, "five"))));
    assert!(panicked.is_err());
    let team = threads.team.as_deref().unwrap();
    assert!(team.enter().is_some());
}

#[test]
fn jobs_of_a_callers_pool_may_use_it_themselves() {
    let pool = Arc::new(Rayon(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap()));
    let threads = Threads::on(Arc::clone(&pool) as Arc<dyn Pool>);
    let total = AtomicUsize::new(0);
    pool.0.scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|_| threads.run(4, |_| threads.run(2, |_| _ = total.fetch_add(1, Ordering::Relaxed))));
        }
    });
    assert_eq!(total.load(Ordering::Relaxed), 50 * 8);
}
