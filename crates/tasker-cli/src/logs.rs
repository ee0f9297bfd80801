//! Logs go to stderr, as `RUST_LOG` says; above a progress view, not through it.

use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::EnvFilter;

/// Starts logging at `level` where `RUST_LOG` says nothing. Gives the lines that logs are kept out of: hidden until a
/// progress view shows them.
pub fn start(level: &str) -> MultiProgress {
    let lines = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
    let above = lines.clone();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(crate::output::Paint::stderr().is_on())
        .log_internal_errors(false)
        .with_writer(move || Above(above.clone()))
        .init();
    lines
}

/// Writes above the progress lines.
struct Above(MultiProgress);

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line)).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
