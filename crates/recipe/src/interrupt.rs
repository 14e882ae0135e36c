//! Stopping on request: the first signal finishes the current unit, the second stops at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::ExitCode;

/// A flag that asks work to stop after the current unit. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    code: Arc<AtomicUsize>,
}

/// Work stopped because it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request; the work so far is kept and the same command resumes")]
pub struct Interrupted {
    /// How the process should end: [`ExitCode::Interrupted`] or [`ExitCode::Terminated`].
    pub exit_code: ExitCode,
}

/// The signal handlers could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the signal handlers")]
pub struct InterruptError(#[from] io::Error);

impl Interrupt {
    /// A flag that nothing has raised.
    pub fn new() -> Interrupt {
        Interrupt::default()
    }

    /// Asks to stop; `exit_code` says why.
    pub fn raise(&self, exit_code: ExitCode) {
        self.code.store(usize::from(exit_code.code()), Ordering::SeqCst);
    }

    /// Whether work should go on.
    ///
    /// # Errors
    /// [`Interrupted`] once a signal has come.
    pub fn check(&self) -> Result<(), Interrupted> {
        const TERMINATED: usize = ExitCode::Terminated as usize;
        match self.code.load(Ordering::SeqCst) {
            0 => Ok(()),
            TERMINATED => Err(Interrupted { exit_code: ExitCode::Terminated }),
            _ => Err(Interrupted { exit_code: ExitCode::Interrupted }),
        }
    }

    /// Whether a signal has come.
    pub fn is_raised(&self) -> bool {
        self.check().is_err()
    }
}

/// Installs handlers for SIGINT (exit 130) and SIGTERM (exit 143) and returns the flag they raise.
///
/// The first signal raises the flag; any second one ends the process at once with its own code,
/// which loses only the unit being computed.
///
/// # Errors
/// If the operating system refuses a handler.
pub fn install() -> Result<Interrupt, InterruptError> {
    let interrupt = Interrupt::new();
    let armed = Arc::new(AtomicBool::new(false));
    for (signal, code) in [(SIGINT, ExitCode::Interrupted), (SIGTERM, ExitCode::Terminated)] {
        let number = usize::from(code.code());
        // The order matters: the shutdown looks at what earlier signals armed, so it comes first.
        flag::register_conditional_shutdown(signal, i32::from(code.code()), Arc::clone(&armed))?;
        flag::register_usize(signal, Arc::clone(&interrupt.code), number)?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    Ok(interrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_flag_is_seen_by_clones_and_keeps_its_reason() {
        let interrupt = Interrupt::new();
        let clone = interrupt.clone();
        assert!(clone.check().is_ok());
        interrupt.raise(ExitCode::Terminated);
        assert_eq!(clone.check().unwrap_err().exit_code, ExitCode::Terminated);
        interrupt.raise(ExitCode::Interrupted);
        assert_eq!(clone.check().unwrap_err().exit_code, ExitCode::Interrupted);
    }
}
