//! Logs go to stderr, as `RUST_LOG` says; above a progress view, not through it.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

use crate::{output::Paint, screen::Screen};

/// Starts logging at `level` where `RUST_LOG` says nothing. Gives the screen above which logs are written.
pub fn start(level: &str) -> Screen {
    let screen = Screen::new();
    let above = screen.clone();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(Paint::stderr().is_on())
        .log_internal_errors(false)
        .with_writer(move || Above(above.clone()))
        .init();
    screen
}

/// Writes above what is drawn.
struct Above(Screen);

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.above(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
