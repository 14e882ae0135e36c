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
            return Self::Lines(Mutex::new(Lines { what: String::new(), next: Instant::now() }));
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
                bar.set_length(total as u64);
                bar.set_message(what.to_owned());
                bar.set_position(done as u64);
            }
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let now = Instant::now();
                // A new kind of work is told at once; names of layers change too fast for that.
                let is_new = done == 0 && lines.what != what;
                if is_new || now >= lines.next {
                    note(&format!("{what}: {done} of {total}"));
                    lines.next = now + LINE_EVERY;
                    what.clone_into(&mut lines.what);
                }
            }
        }
    }
}
