//! The two streams. `println!` panics when nobody reads any more (`lissom ops | head -1`); these do not.

use std::io::{self, Write};
use std::path::Path;

use lissom_job::JobError;
use lissom_recipe::run::FileError;

/// Writes a result to stdout. A reader that has gone is no error, a full disk is.
///
/// # Errors
/// [`JobError::File`].
pub(crate) fn out(text: &str) -> Result<(), JobError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(FileError::of("write", Path::new("standard output"), error).into())
        }
        _ => Ok(()),
    }
}

/// Writes a message line to stderr; nothing can be done if that fails.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
