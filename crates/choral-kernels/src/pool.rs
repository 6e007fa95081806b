//! Fork-join workers for work of microseconds.
//!
//! A layer forks several times and a token runs through dozens of layers, so a
//! fork must cost well under a microsecond when the machine is quiet, and must
//! not collapse when a worker loses its core to somebody else. Hence: chunks are
//! claimed one by one; the join waits for chunks, not for workers (a worker that
//! was descheduled before it claimed anything is not waited for); waiting spins
//! shortly, then yields, then parks.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const SPIN: Duration = Duration::from_micros(50);
const YIELD: Duration = Duration::from_micros(500);

/// The claim word holds the fork's generation above and the next chunk below.
const INDEX_BITS: u32 = 24;
/// As an index: this fork takes no claims (yet, or any more).
const CLOSED: u64 = (1 << INDEX_BITS) - 1;

/// A task as the workers see it: the caller's closure, its type erased.
type Call = unsafe fn(*const (), usize);

#[derive(Debug)]
struct Shared {
    /// `generation << INDEX_BITS | next chunk`.
    claim: AtomicU64,
    chunks: AtomicUsize,
    done: AtomicUsize,
    task: AtomicPtr<()>,
    call: AtomicPtr<()>,
    sleeping: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Workers that run the chunks of one fork at a time.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during a fork: forks of several callers run one after the other.
    forking: Mutex<()>,
}

impl Pool {
    /// Starts `threads - 1` workers.
    ///
    /// # Panics
    /// If `threads` is 0, or the operating system refuses a thread.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self::try_new(threads).expect("the operating system starts worker threads")
    }

    /// The same for a number of threads that somebody asked for.
    ///
    /// # Errors
    /// If the operating system refuses a thread. Those that it gave have ended.
    ///
    /// # Panics
    /// If `threads` is 0.
    pub fn try_new(threads: usize) -> io::Result<Self> {
        assert!(threads > 0, "a pool needs at least the calling thread");
        let shared = Arc::new(Shared {
            claim: AtomicU64::new(CLOSED),
            chunks: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            task: AtomicPtr::new(ptr::null_mut()),
            call: AtomicPtr::new(ptr::null_mut()),
            sleeping: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        // Whole from the start: if it is dropped on the way, it ends its workers.
        let mut pool = Self {
            shared,
            workers: Vec::new(),
            forking: Mutex::new(()),
        };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new()
                .name(format!("choral-compute-{i}"))
                .spawn(move || shared.serve())?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads that run chunks, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0..chunks)`, each exactly once, and returns when all are done.
    ///
    /// # Panics
    /// With the panic of a chunk, after all chunks have ended; or if a chunk
    /// forks on the same pool (it would wait for itself) or there are 2^24
    /// chunks or more.
    pub fn run<F: Fn(usize) + Sync + ?Sized>(&self, chunks: usize, task: &F) {
        if self.workers.is_empty() || chunks <= 1 {
            return (0..chunks).for_each(task);
        }
        assert!((chunks as u64) < CLOSED, "{chunks} chunks in one fork");
        let guard = self.forking.lock().unwrap_or_else(PoisonError::into_inner);
        let s = &*self.shared;
        let generation = (s.claim.load(Relaxed) >> INDEX_BITS) + 1;
        // Close first: a late worker must not claim with half-changed fields.
        s.claim.store((generation << INDEX_BITS) | CLOSED, SeqCst);
        s.chunks.store(chunks, Relaxed);
        s.done.store(0, Relaxed);
        // A thin pointer to the (possibly unsized) reference.
        let thin: &&F = &task;
        s.task.store(ptr::from_ref(thin).cast_mut().cast(), Relaxed);
        let call: Call = call_task::<F>;
        s.call.store(call as *mut (), Relaxed);
        s.claim.store(generation << INDEX_BITS, SeqCst);
        if s.sleeping.load(SeqCst) > 0 {
            for worker in &self.workers {
                worker.thread().unpark();
            }
        }
        s.work(generation);
        let mut waited = 0_u32;
        while s.done.load(Acquire) < chunks {
            waited += 1;
            if waited < 2_000 {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        let panic = s
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(guard);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker's panics were handed to the forks' callers.
            let _ = worker.join();
        }
    }
}

/// # Safety
/// `task` points to a live `&F`.
unsafe fn call_task<F: Fn(usize) + Sync + ?Sized>(task: *const (), chunk: usize) {
    // SAFETY: the caller's promise.
    let task: &&F = unsafe { &*task.cast::<&F>() };
    task(chunk);
}

impl Shared {
    /// Takes the next chunk of that generation, if it has one left.
    fn claim(&self, generation: u64) -> Option<usize> {
        let mut word = self.claim.load(Acquire);
        loop {
            let index = word & CLOSED;
            // `chunks` may already belong to a later fork; then the exchange fails.
            if word >> INDEX_BITS != generation
                || index == CLOSED
                || index as usize >= self.chunks.load(Relaxed)
            {
                return None;
            }
            match self
                .claim
                .compare_exchange_weak(word, word + 1, AcqRel, Acquire)
            {
                Ok(_) => return Some(index as usize),
                Err(now) => word = now,
            }
        }
    }

    /// Runs chunks of that generation until none is left to claim.
    fn work(&self, generation: u64) {
        while let Some(chunk) = self.claim(generation) {
            let call = self.call.load(Relaxed);
            let task = self.task.load(Relaxed);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                // SAFETY: the claim succeeded, so the fork of this generation is
                // still waiting for this chunk in `run`: its closure is alive, and
                // `call` and `task` are those that it stored before it opened.
                unsafe {
                    let call = std::mem::transmute::<*mut (), Call>(call);
                    call(task, chunk);
                }
            }));
            if let Err(payload) = outcome {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
            }
            self.done.fetch_add(1, Release);
        }
    }

    fn serve(&self) {
        let mut last = 0;
        loop {
            let Some(generation) = self.wait(last) else {
                return;
            };
            last = generation;
            self.work(generation);
        }
    }

    /// Waits for an open fork after `last`; `None` when the pool is dropped.
    fn wait(&self, last: u64) -> Option<u64> {
        let open = || {
            let word = self.claim.load(SeqCst);
            (word >> INDEX_BITS != last && word & CLOSED != CLOSED).then_some(word >> INDEX_BITS)
        };
        let start = Instant::now();
        let mut rounds = 0_u32;
        loop {
            if let Some(generation) = open() {
                return Some(generation);
            }
            rounds = rounds.wrapping_add(1);
            if !rounds.is_multiple_of(64) {
                std::hint::spin_loop();
                continue;
            }
            if self.stop.load(SeqCst) {
                return None;
            }
            let waited = start.elapsed();
            if waited > YIELD {
                self.sleeping.fetch_add(1, SeqCst);
                // Looked at again after `sleeping` was raised: either the forking
                // thread sees the sleeper and unparks it, or it is seen here.
                if open().is_none() && !self.stop.load(SeqCst) {
                    thread::park_timeout(Duration::from_millis(50));
                }
                self.sleeping.fetch_sub(1, SeqCst);
            } else if waited > SPIN {
                thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_exactly_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for round in 0..2_000_usize {
                let n = round % 37;
                let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n, &|i| {
                    counts[i].fetch_add(1, Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_in_a_chunk_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(16, &|i| assert!(i != 7, "chunk seven"));
        }));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, &|i| {
            sum.fetch_add(i, Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn workers_wake_after_they_parked() {
        let pool = Pool::new(2);
        for _ in 0..5 {
            let start = Instant::now();
            while start.elapsed() < YIELD * 3 {
                thread::yield_now();
            }
            let seen = Mutex::new(0);
            pool.run(64, &|_| *seen.lock().expect("no panic") += 1);
            assert_eq!(seen.into_inner().expect("no panic"), 64);
        }
    }
}
