//! Progress for people: a bar with the time left on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use lissom_compress::Progress;

use crate::print::note;

/// Where progress goes. Everything is on stderr.
#[derive(Debug)]
pub(crate) enum Watcher {
    /// Nobody watches.
    Nobody,
    /// A terminal.
    Bar(ProgressBar),
    /// A log.
    Lines(Mutex<Lines>),
}

/// The state of plain lines.
#[derive(Debug)]
pub(crate) struct Lines {
    what: String,
    next: Instant,
    /// When the work under way began here, and with how much done.
    began: (Instant, usize),
    /// How much was done and of what the last time.
    last: (usize, usize),
}

impl Lines {
    fn new() -> Self {
        let now = Instant::now();
        Self { what: String::new(), next: now, began: (now, 0), last: (0, 0) }
    }

    /// The time left, by how long it took so far; nothing that takes seconds only is worth it.
    fn left(&mut self, done: usize, total: usize, now: Instant) -> Option<String> {
        if done < self.last.0 || total != self.last.1 {
            self.began = (now, done);
        }
        self.last = (done, total);
        let (since, first) = (now.duration_since(self.began.0), self.began.1);
        if done <= first || since < LINE_EVERY {
            return None;
        }
        let seconds = since.as_secs_f64() / (done - first) as f64 * total.saturating_sub(done) as f64;
        (seconds >= 10.0).then(|| match seconds {
            ..90.0 => format!(", {seconds:.0} s left"),
            ..5400.0 => format!(", {:.0} min left", seconds / 60.0),
            _ => format!(", {:.1} h left", seconds / 3600.0),
        })
    }
}

/// At most one plain line in this time for the same work.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Watcher {
    /// The right one for this process.
    pub(crate) fn new(is_quiet: bool) -> Self {
        if is_quiet {
            return Self::Nobody;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Mutex::new(Lines::new()));
        }
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self::Bar(bar)
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Watcher {
    fn report(&self, done: usize, total: usize, what: &str) {
        match self {
            Self::Nobody => {}
            Self::Bar(bar) => {
                if done == 0 {
                    bar.reset();
                }
                // Work that goes on from where it was stopped did not take the time since then.
                if bar.length() != Some(total as u64) {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                    bar.reset_eta();
                }
                bar.set_message(what.to_owned());
                bar.set_position(done as u64);
            }
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let now = Instant::now();
                // A new kind of work is told at once; names of layers change too fast for that.
                let is_new = done == 0 && lines.what != what;
                let left = lines.left(done, total, now).unwrap_or_default();
                if is_new || now >= lines.next {
                    note(&format!("{what}: {done} of {total}{left}"));
                    lines.next = now + LINE_EVERY;
                    what.clone_into(&mut lines.what);
                }
            }
        }
    }
}
