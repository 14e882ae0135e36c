//! How the process ends, as a number a script can act on.

use std::fmt;

/// The exit codes of the command line; the numbers 65 to 75 are those of BSD `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Done = 0,
    /// The command line itself was wrong.
    Usage = 2,
    /// The job finished, but a budget (size, drop, latency) was not met.
    BudgetMissed = 3,
    /// A model, dataset or recipe is wrong.
    BadInput = 65,
    /// A mistake in this program.
    Bug = 70,
    /// Reading or writing failed, or there was no space.
    Io = 74,
    /// Another process holds the run folder; the same command may work later.
    TryAgain = 75,
    /// Stopped by SIGINT (Ctrl-C); the same command resumes.
    Interrupted = 130,
    /// Stopped by SIGTERM; the same command resumes.
    Terminated = 143,
}

impl ExitCode {
    /// Every code, in numeric order.
    pub const ALL: &'static [ExitCode] = &[
        ExitCode::Done,
        ExitCode::Usage,
        ExitCode::BudgetMissed,
        ExitCode::BadInput,
        ExitCode::Bug,
        ExitCode::Io,
        ExitCode::TryAgain,
        ExitCode::Interrupted,
        ExitCode::Terminated,
    ];

    /// The number given to the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One line for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            ExitCode::Done => "done",
            ExitCode::Usage => "the command line is wrong",
            ExitCode::BudgetMissed => "done, but a budget was not met",
            ExitCode::BadInput => "a model, dataset or recipe is wrong",
            ExitCode::Bug => "a mistake in lissom itself; please report it",
            ExitCode::Io => "reading or writing failed, or the disk is full",
            ExitCode::TryAgain => "another process holds the run folder; try again later",
            ExitCode::Interrupted => "interrupted (SIGINT); the same command resumes",
            ExitCode::Terminated => "terminated (SIGTERM); the same command resumes",
        }
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code(), self.meaning())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones_in_order() {
        let codes: Vec<u8> = ExitCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes, [0, 2, 3, 65, 70, 74, 75, 130, 143]);
    }
}
